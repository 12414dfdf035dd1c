//! The whole decision: from a requested address to a verdict that is carried out and recorded.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use futures_util::future::join;
use http::request::Parts;
use tokio::task::JoinHandle;
use uuid::{NoContext, Timestamp, Uuid};

use crate::account::{Account, Directory, DirectoryError};
use crate::address::{AddressError, Mailbox, RegistrableDomain};
use crate::audit::{AuditError, AuditSink, DomainRecord, Event, Record, RequestRecord};
use crate::clock::{Clock, SystemClock, within};
use crate::decoy;
use crate::domain::cache::{Cache, CacheSettings, Store};
use crate::domain::{DomainSource, Mail, Sighting, SourceError};
use crate::identifier::{Identifier, IdentifierError, Identifies};
use crate::limit::Counter;
use crate::policy::{Evidence, Policy, judge};
use crate::verdict::{Reason, Verdict};

/// How long the directory and the audit log may take before a guarded request is answered 503.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many names are tried until one is nobody's.
const ATTEMPTS: usize = 8;

/// Decides about recovery requests. Cloning shares everything.
#[derive(Clone)]
pub struct Gatekeeper {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) domains: Cache,
    audit: Arc<dyn AuditSink>,
    pub(crate) policy: Policy,
    pub(crate) clock: Arc<dyn Clock>,
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) state: Option<crate::state::State>,
    record_allowed: bool,
    following: OnceLock<Following>,
}

/// The task that learns what others who share the state found. It ends with the gatekeeper.
struct Following(JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why there is no verdict. Whoever gets this must not mail a reset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssessError {
    /// The directory of accounts could not tell.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The verdict could not be recorded.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// Why a verification sets no baseline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerificationError {
    /// The address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No source could tell how the domain looks.
    #[error("the domain could not be looked at")]
    Domain(#[source] Arc<SourceError>),
}

/// One account, and what was found about it.
struct Judged {
    account: Account,
    domain: Option<RegistrableDomain>,
    sighting: Option<Sighting>,
    verdict: Verdict,
}

impl Judged {
    fn domain_record(&self) -> Option<DomainRecord> {
        let (domain, standing) = self.domain.as_ref().zip(self.verdict.standing())?;
        Some(DomainRecord::new(domain.as_str(), standing, self.sighting.as_ref()))
    }
}

/// Whom a reset is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'r> {
    pub(crate) identifies: Identifies,
    pub(crate) name: &'r str,
    /// What counts the requests for one account, where they are limited.
    pub(crate) counter: Option<&'r Counter>,
}

/// What a verdict is about, beside whom.
#[derive(Clone, Copy)]
pub(crate) struct Occasion<'r> {
    /// The request. `None` where the application asks by itself.
    pub(crate) request: Option<&'r Parts>,
    /// Whether the verdict is carried out.
    pub(crate) enforced: bool,
}

impl Gatekeeper {
    /// A gatekeeper needs a [directory](GatekeeperBuilder::directory), a [source](GatekeeperBuilder::domains) and an
    /// [audit log](GatekeeperBuilder::audit).
    #[must_use]
    pub fn builder() -> GatekeeperBuilder {
        GatekeeperBuilder::default()
    }

    /// The verdict about a reset for `address`, for a handler that asks without the layer. It is carried out and recorded: a
    /// lapsed domain un-verifies the address.
    ///
    /// # Errors
    /// Where there is no verdict, and so no reset may be mailed.
    pub async fn assess(&self, address: &str) -> Result<Verdict, AssessError> {
        let asked = Asked { identifies: Identifies::Email, name: address, counter: None };
        self.decide(&[asked], Occasion { request: None, enforced: true }).await
    }

    /// Marks that `address` was verified, now: looks at its domain, so that what changes from here on is seen to change. Call it where the application notes the
    /// time of verification.
    ///
    /// Needed for domains whose registry publishes no dates; for all others it is one more look.
    ///
    /// # Errors
    /// Where `address` is none, or no source could tell how its domain looks: then the next look is the first.
    pub async fn record_verification(&self, address: &str) -> Result<(), VerificationError> {
        let mailbox = Mailbox::parse(address)?;
        let sighting = self.inner.domains.sighting(mailbox.domain(), self.inner.clock.now()).await;
        sighting.map(drop).map_err(VerificationError::Domain)
    }

    /// The verdict about a request for all of `asked`, carried out where that is the occasion's wish, and recorded.
    pub(crate) async fn decide(&self, asked: &[Asked<'_>], occasion: Occasion<'_>) -> Result<Verdict, AssessError> {
        let mut judged = Vec::new();
        let mut is_stranger_over_limit = false;
        for one in asked {
            let requested = match Identifier::parse(one.identifies, one.name) {
                Ok(requested) if self.inner.admits(&requested) => requested,
                Ok(_) | Err(_) => return self.refuse(Reason::TargetInvalid, occasion).await,
            };
            let accounts = self.inner.find(&requested).await?;
            if accounts.is_empty() && self.inner.is_read_as_another(&requested).await? {
                return self.refuse(Reason::TargetInvalid, occasion).await;
            }
            if accounts.is_empty() {
                is_stranger_over_limit |= one.counter.is_some_and(|counter| counter.exceeds_for_stranger(&requested));
            }
            for account in accounts {
                let over_limit = one.counter.is_some_and(|counter| counter.exceeds(&account.id));
                judged.push(self.inner.judge(&requested, account, over_limit).await);
            }
        }
        if judged.is_empty() && is_stranger_over_limit {
            return self.refuse(Reason::TooManyRequests, occasion).await;
        }
        if !self.inner.record_allowed && judged.iter().all(|one| one.verdict.is_allowed()) {
            return Ok(judged.pop().map(|one| one.verdict).unwrap_or_default());
        }
        let enforced = occasion.enforced;
        let request = occasion.request.map(RequestRecord::of);
        if enforced && judged.iter().any(|one| one.verdict.unverify().is_some()) {
            // What takes a verification away must also be recorded, even if the caller hangs up between the two.
            let inner = Arc::clone(&self.inner);
            let carried_out = tokio::spawn(async move { inner.carry_out(judged, request, enforced).await });
            return carried_out.await.map_err(|_| AuditError::Closed)?;
        }
        self.inner.carry_out(judged, request, enforced).await
    }

    /// A name of the same form as `name` that no account has. Addresses are at `domain`.
    pub(crate) async fn nobody_like(&self, identifies: Identifies, name: &str, domain: &str) -> Result<String, AssessError> {
        let unusable = |error: IdentifierError| DirectoryError::unavailable("making up a name", error);
        let requested = Identifier::parse(identifies, name).map_err(unusable)?;
        for _ in 0..ATTEMPTS {
            let alike = decoy::alike(&requested, domain);
            let made_up = Identifier::parse(identifies, &alike).map_err(unusable)?;
            if self.inner.find(&made_up).await?.is_empty() && !self.inner.is_read_as_another(&made_up).await? {
                return Ok(alike);
            }
        }
        Err(DirectoryError::unavailable("making up a name", "the directory finds an account for every name").into())
    }

    /// Who tells the time.
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.clock)
    }

    /// The verdict about a request that can't be read, recorded.
    pub(crate) async fn refuse(&self, reason: Reason, occasion: Occasion<'_>) -> Result<Verdict, AssessError> {
        let verdict = Verdict::refusal(reason);
        let record = self.inner.record(&verdict, None, occasion.request.map(RequestRecord::of), occasion.enforced);
        let verdict = verdict.recorded_as(record.id);
        self.inner.keep(vec![record]).await?;
        Ok(verdict)
    }
}

impl Inner {
    fn admits(&self, requested: &Identifier) -> bool {
        match requested {
            Identifier::Id(id) => self.directory.admits(id),
            Identifier::Email(_) | Identifier::Username(_) | Identifier::Token(_) => true,
        }
    }

    async fn find(&self, requested: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        let operation = "finding accounts";
        within(PATIENCE, (*self.directory).find(requested)).await.unwrap_or(Err(DirectoryError::Timeout { operation }))
    }

    /// Whether laxer programs than the directory read the key of an account in `requested`, which the directory doesn't know.
    async fn is_read_as_another(&self, requested: &Identifier) -> Result<bool, DirectoryError> {
        for key in requested.lax_keys() {
            if !self.find(&key).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Judges `account`, which the directory found for `requested`, by its own address and domain.
    async fn judge(&self, requested: &Identifier, account: Account, over_limit: bool) -> Judged {
        let stored = || Mailbox::parse(&account.email).ok().map(Cow::Owned);
        let (requested_is_stored, mailbox) = match requested {
            Identifier::Email(requested) if requested.equals(&account.email) => (true, Some(Cow::Borrowed(requested))),
            Identifier::Email(_) => (false, stored()),
            Identifier::Username(_) | Identifier::Id(_) | Identifier::Token(_) => (true, stored()),
        };
        // As of the question, also when the answer is there.
        let asked_at = self.clock.now();
        let verified_at = account.verified_by(asked_at);
        let since = verified_at.unwrap_or(SystemTime::UNIX_EPOCH);
        let (sighting, mail) = match &mailbox {
            Some(mailbox) if account.verified => self.seen(mailbox, since).await,
            // A block is certain, so nobody is asked.
            Some(mailbox) => (self.domains.known(mailbox.domain()), None),
            None => (None, None),
        };
        let domain = mailbox.map(|mailbox| mailbox.domain().clone());
        let verified = account.verified;
        let evidence = Evidence { verified, verified_at, requested_is_stored, domain: sighting.as_ref(), mail, over_limit };
        let verdict = judge(&self.policy, &evidence, self.clock.now());
        Judged { account, domain, sighting, verdict }
    }

    /// Has the memory learn what others who share the state find, from the first look on.
    fn follow_news(&self) {
        if self.domains.has_store() {
            self.following.get_or_init(|| {
                let domains = self.domains.clone();
                Following(tokio::spawn(async move { domains.follow_news().await }))
            });
        }
    }

    /// How the domain of `mailbox` stands, and whether mail can reach its host, by answers no older than `since`.
    async fn seen(&self, mailbox: &Mailbox, since: SystemTime) -> (Option<Sighting>, Option<Mail>) {
        self.follow_news();
        let (host, domain) = (mailbox.host(), mailbox.domain());
        if host == domain.as_str() {
            let sighting = self.domains.sighting(domain, since).await.ok().or_else(|| self.known_lapse(domain, since));
            let mail = sighting.as_ref().and_then(|sighting| sighting.report.mail);
            return (sighting, mail);
        }
        let (sighting, mail) = join(self.domains.sighting(domain, since), self.domains.mail(host, since)).await;
        (sighting.ok().or_else(|| self.known_lapse(domain, since)), mail)
    }

    /// What is known of `domain`, however old, where it is that it has lapsed `since` then: nobody is let through for want of an answer.
    fn known_lapse(&self, domain: &RegistrableDomain, since: SystemTime) -> Option<Sighting> {
        let known = self.domains.known(domain)?;
        let has_lapsed = known.report.phase(self.clock.now(), Duration::ZERO).is_lapsed() || known.history.lapsed_since(since);
        has_lapsed.then_some(Sighting { stale: true, ..known })
    }

    /// Un-verifies what must be, records everything, and gives the verdict that decides: the first that blocks, else any.
    async fn carry_out(&self, judged: Vec<Judged>, request: Option<RequestRecord>, enforced: bool) -> Result<Verdict, AssessError> {
        let mut records = Vec::new();
        for one in judged.iter().filter(|_| enforced) {
            if let Some(reason) = one.verdict.unverify()
                && self.unverify(&one.account, reason).await
            {
                let record = self.record(&one.verdict, Some(one), request.clone(), enforced);
                records.push(Record { event: Event::EmailUnverified, ..record });
            }
        }
        let deciding = judged.iter().find(|one| !one.verdict.is_allowed()).or_else(|| judged.first());
        let verdict = deciding.map_or_else(Verdict::default, |one| one.verdict.clone());
        let record = self.record(&verdict, deciding, request, enforced);
        let verdict = verdict.recorded_as(record.id);
        records.push(record);
        self.keep(records).await?;
        Ok(verdict)
    }

    /// Whether this call took the verification away. A failure leaves the account blocked by the same reason next time.
    async fn unverify(&self, account: &Account, reason: Reason) -> bool {
        let operation = "un-verifying an account";
        let done = within(PATIENCE, (*self.directory).unverify(account, reason)).await;
        done.unwrap_or(Err(DirectoryError::Timeout { operation })).unwrap_or_else(|error| {
            tracing::error!(account = %account.id, error = &error as &dyn std::error::Error, "the address stays verified although it must not");
            false
        })
    }

    fn record(&self, verdict: &Verdict, judged: Option<&Judged>, request: Option<RequestRecord>, enforced: bool) -> Record {
        let event = if verdict.is_allowed() { Event::ResetAllowed } else { Event::ResetBlocked };
        let account = judged.map(|judged| judged.account.clone());
        Record { request, ..self.record_of(event, verdict, account, judged.and_then(Judged::domain_record), enforced) }
    }

    /// The record of what came of itself, not by a request.
    pub(crate) fn record_of(
        &self,
        event: Event,
        verdict: &Verdict,
        account: Option<Account>,
        domain: Option<DomainRecord>,
        enforced: bool,
    ) -> Record {
        let time = self.clock.now();
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Record {
            id: Uuid::new_v7(Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos())),
            time,
            event,
            verdict: verdict.as_str(),
            enforced,
            reasons: verdict.reasons().to_vec(),
            notices: verdict.notices().to_vec(),
            account,
            domain,
            request: None,
        }
    }

    pub(crate) async fn keep(&self, records: Vec<Record>) -> Result<(), AuditError> {
        let kept = within(PATIENCE, (*self.audit).record(records)).await.unwrap_or(Err(AuditError::Timeout));
        kept.inspect_err(|error| tracing::error!(error = error as &dyn std::error::Error, "a verdict could not be recorded"))
    }
}

/// What a [`Gatekeeper`] is made of.
#[derive(Default)]
pub struct GatekeeperBuilder {
    directory: Option<Arc<dyn Directory>>,
    domains: Option<Arc<dyn DomainSource>>,
    audit: Option<Arc<dyn AuditSink>>,
    store: Option<Arc<dyn Store>>,
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    state: Option<crate::state::State>,
    clock: Option<Arc<dyn Clock>>,
    policy: Policy,
    cache: CacheSettings,
    allowed_unrecorded: bool,
}

/// Why a [`Gatekeeper`] can't be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A part was not given.
    #[error("a gatekeeper needs `{0}`")]
    Missing(&'static str),
    /// A setting makes no sense.
    #[error("`{setting}` {what}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl GatekeeperBuilder {
    /// Where the accounts are.
    #[must_use]
    pub fn directory(mut self, directory: impl Directory) -> Self {
        self.directory = Some(Arc::new(directory));
        self
    }

    /// Who knows how domains stand. What it says is remembered for [`fresh_for`](Self::fresh_for).
    #[must_use]
    pub fn domains(mut self, source: impl DomainSource) -> Self {
        self.domains = Some(Arc::new(source));
        self
    }

    /// Where verdicts are recorded.
    #[must_use]
    pub fn audit(mut self, sink: impl AuditSink) -> Self {
        self.audit = Some(Arc::new(sink));
        self
    }

    /// Whether what was let through is recorded too. It is by default.
    #[must_use]
    pub const fn record_allowed(mut self, record: bool) -> Self {
        self.allowed_unrecorded = !record;
        self
    }

    /// The settings of judging.
    #[must_use]
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How long a report about a domain is used without asking again. One hour by default.
    #[must_use]
    pub const fn fresh_for(mut self, fresh_for: Duration) -> Self {
        self.cache.fresh_for = fresh_for;
        self
    }

    /// How old a report may be that stands in while its source fails. Seven days by default.
    #[must_use]
    pub const fn stale_for(mut self, stale_for: Duration) -> Self {
        self.cache.stale_for = stale_for;
        self
    }

    /// How long the live check may take. Two seconds by default.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.cache.timeout = timeout;
        self
    }

    /// How many domains are remembered. A hundred thousand by default.
    #[must_use]
    pub const fn cache_capacity(mut self, domains: usize) -> Self {
        self.cache.capacity = domains;
        self
    }

    /// Domains of mailbox providers, whose resets wait for no source while what is known of them may stand in. By default
    /// [these](crate::domain::cache::providers::KNOWN).
    #[must_use]
    pub fn providers(mut self, domains: impl IntoIterator<Item = RegistrableDomain>) -> Self {
        self.cache.providers = domains.into_iter().collect();
        self
    }

    /// Where what is seen of domains outlives the process and is shared by replicas. Without it, memory alone has it.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    #[must_use]
    pub fn state(mut self, state: crate::state::State) -> Self {
        self.store = Some(Arc::new(state.clone()));
        self.state = Some(state);
        self
    }

    /// Who tells the time. The machine's clock by default.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Puts everything together.
    ///
    /// # Errors
    /// Names what is missing or makes no sense.
    pub fn build(self) -> Result<Gatekeeper, BuildError> {
        let directory = self.directory.ok_or(BuildError::Missing("directory"))?;
        let source = self.domains.ok_or(BuildError::Missing("domains"))?;
        let audit = self.audit.ok_or(BuildError::Missing("audit"))?;
        let setting = |setting, what| Err(BuildError::Setting { setting, what });
        if self.cache.timeout.is_zero() {
            return setting("timeout", "must not be zero, or no source could ever answer");
        }
        if self.cache.capacity == 0 {
            return setting("cache_capacity", "must not be zero, or every request would ask anew");
        }
        if self.cache.stale_for < self.cache.fresh_for {
            return setting("stale_for", "must not be shorter than `fresh_for`");
        }
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let domains = Cache::over(self.store, source, Arc::clone(&clock), self.cache);
        let inner = Inner {
            directory,
            domains,
            audit,
            policy: self.policy,
            clock,
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            state: self.state,
            record_allowed: !self.allowed_unrecorded,
            following: OnceLock::new(),
        };
        Ok(Gatekeeper { inner: Arc::new(inner) })
    }
}

impl std::fmt::Debug for Gatekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gatekeeper").field("policy", &self.inner.policy).field("domains", &self.inner.domains).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for GatekeeperBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatekeeperBuilder").field("policy", &self.policy).field("cache", &self.cache).finish_non_exhaustive()
    }
}
