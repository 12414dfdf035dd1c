//! The whole decision: from a requested address to a verdict that is carried out and recorded.

mod builder;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use futures_util::future::join;
use http::request::Parts;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{Instrument, Span, field};

use crate::account::{Account, Directory, DirectoryError};
use crate::address::{AddressError, Mailbox, RegistrableDomain};
use crate::audit::{AuditError, AuditSink, Client, DomainRecord, Event, Record, RequestRecord};
use crate::clock::{Clock, uuid, within};
use crate::decoy;
use crate::domain::cache::Cache;
use crate::domain::{Mail, Sighting, SourceError};
use crate::exemption::{Exemption, Exemptions};
use crate::identifier::{Identifier, IdentifierError, Identifies};
use crate::limit::Counter;
use crate::metrics::{self, LookUp, Metrics};
use crate::policy::{Evidence, Policy, judge};
use crate::verdict::{Reason, Verdict};

pub use self::builder::{BuildError, GatekeeperBuilder};

/// How long the directory and the audit log may take before a guarded request is answered 503, and the state before nobody is exempt.
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
    pub(crate) audit: Arc<dyn AuditSink>,
    exemptions: Option<Arc<dyn Exemptions>>,
    pub(crate) policy: Policy,
    pub(crate) clock: Arc<dyn Clock>,
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) state: Option<crate::state::State>,
    record_allowed: bool,
    metrics: Metrics,
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

impl Occasion<'_> {
    /// A span with the names of OpenTelemetry's conventions. Without the path, in which a secret may stand.
    fn span(&self) -> Span {
        let span = tracing::info_span!(
            "reset_gatekeeper.verdict",
            "http.request.method" = field::Empty,
            "client.address" = field::Empty,
            "reset_gatekeeper.verdict" = field::Empty,
            "reset_gatekeeper.reason" = field::Empty,
            "reset_gatekeeper.enforced" = self.enforced,
        );
        if let Some(request) = self.request.filter(|_| !span.is_disabled()) {
            span.record("http.request.method", request.method.as_str());
            if let Some(Client(address)) = request.extensions.get() {
                span.record("client.address", field::display(address));
            }
        }
        span
    }
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

    /// The verdict about a request for all of `asked`, carried out where that is the occasion's wish, recorded and counted.
    pub(crate) async fn decide(&self, asked: &[Asked<'_>], occasion: Occasion<'_>) -> Result<Verdict, AssessError> {
        let judging = Judging::begin(occasion);
        let verdict = self.decided(asked, occasion).instrument(judging.span.clone()).await;
        judging.end(&verdict, &self.inner.metrics);
        verdict
    }

    /// The verdict about a request that can't be read, recorded and counted.
    pub(crate) async fn refuse(&self, reason: Reason, occasion: Occasion<'_>) -> Result<Verdict, AssessError> {
        let judging = Judging::begin(occasion);
        let verdict = self.refused(reason, occasion).instrument(judging.span.clone()).await;
        judging.end(&verdict, &self.inner.metrics);
        verdict
    }

    async fn decided(&self, asked: &[Asked<'_>], occasion: Occasion<'_>) -> Result<Verdict, AssessError> {
        let mut judged = Vec::new();
        let mut is_stranger_over_limit = false;
        for one in asked {
            let requested = match Identifier::parse(one.identifies, one.name) {
                Ok(requested) if self.inner.admits(&requested) => requested,
                Ok(_) | Err(_) => return self.refused(Reason::TargetInvalid, occasion).await,
            };
            let accounts = self.inner.find(&requested).await?;
            if accounts.is_empty() && self.inner.is_read_as_another(&requested).await? {
                return self.refused(Reason::TargetInvalid, occasion).await;
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
            return self.refused(Reason::TooManyRequests, occasion).await;
        }
        if !self.inner.record_allowed && judged.iter().all(|one| one.verdict.is_allowed() && one.verdict.exemption().is_none()) {
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

    async fn refused(&self, reason: Reason, occasion: Occasion<'_>) -> Result<Verdict, AssessError> {
        let verdict = Verdict::refusal(reason);
        let record = self.inner.record(&verdict, None, occasion.request.map(RequestRecord::of), occasion.enforced);
        let verdict = verdict.recorded_as(record.id);
        self.inner.keep(vec![record]).await?;
        Ok(verdict)
    }
}

/// A verdict in the making, in a span and counted.
struct Judging {
    span: Span,
    start: Instant,
    enforced: bool,
}

impl Judging {
    fn begin(occasion: Occasion<'_>) -> Self {
        Self { span: occasion.span(), start: Instant::now(), enforced: occasion.enforced }
    }

    fn end(self, verdict: &Result<Verdict, AssessError>, metrics: &Metrics) {
        match verdict {
            Ok(verdict) => {
                self.span.record("reset_gatekeeper.verdict", verdict.as_str());
                if let Some(reason) = verdict.reasons().first() {
                    self.span.record("reset_gatekeeper.reason", reason.as_str());
                }
                metrics.judged(verdict, self.enforced, self.start.elapsed());
            }
            // Somebody asked by what this directory doesn't know.
            Err(AssessError::Directory(DirectoryError::Unsupported(_))) => {}
            Err(AssessError::Directory(_)) => metrics::unavailable("directory"),
            Err(AssessError::Audit(_)) => metrics::unavailable("audit"),
        }
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
        let verified = account.verified;
        let evidence = Evidence { verified, verified_at, requested_is_stored, domain: sighting.as_ref(), mail, over_limit };
        let verdict = judge(&self.policy, &evidence, self.clock.now());
        let domain = mailbox.as_ref().map(|mailbox| mailbox.domain().clone());
        let judged = Judged { account, domain, sighting, verdict };
        match self.exemption(&judged).await {
            // Rare, and so not part of every verdict's future.
            Some(exemption) => Box::pin(self.exempt(judged, exemption, mailbox.as_deref())).await,
            None => judged,
        }
    }

    /// The exemption that holds for who was `judged`. Only what blocks asks for one, and who can't tell gives none.
    async fn exemption(&self, judged: &Judged) -> Option<Exemption> {
        let exemptions = self.exemptions.as_ref().filter(|_| judged.verdict.is_exemptible())?;
        let (account, now) = (&judged.account.id, self.clock.now());
        let found = within(PATIENCE, exemptions.exemption(account, judged.domain.as_ref(), now)).await;
        found.unwrap_or_else(|elapsed| Err(elapsed.into())).unwrap_or_else(|error| {
            tracing::error!(account = %account, error = &*error as &dyn std::error::Error, "whether an account is exempt can't be told: it is not");
            None
        })
    }

    /// Lets pass whom `exemption` is for, unless the domain came to another holder after it was given: then it was for somebody else.
    async fn exempt(&self, judged: Judged, exemption: Exemption, mailbox: Option<&Mailbox>) -> Judged {
        let Some(mailbox) = mailbox else { return Judged { verdict: judged.verdict.exempted(exemption), ..judged } };
        // That of an address that isn't verified was not asked about, and what was seen before doesn't tell.
        let (sighting, mail) = self.seen(mailbox, exemption.given_at).await;
        let (verified, verified_at) = (judged.account.verified, Some(exemption.given_at));
        let evidence = Evidence { verified, verified_at, requested_is_stored: true, domain: sighting.as_ref(), mail, over_limit: false };
        let since_given = judge(&self.policy, &evidence, self.clock.now());
        let verdict = if since_given.reasons().iter().any(|reason| reason.is_of_another_holder()) {
            judged.verdict.beside(&since_given)
        } else {
            judged.verdict.exempted(exemption)
        };
        Judged { sighting: sighting.or(judged.sighting), verdict, ..judged }
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
            let sighting = self.sighting(domain, since).await;
            let mail = sighting.as_ref().and_then(|sighting| sighting.report.mail);
            return (sighting, mail);
        }
        join(self.sighting(domain, since), self.domains.mail(host, since)).await
    }

    async fn sighting(&self, domain: &RegistrableDomain, since: SystemTime) -> Option<Sighting> {
        let sighting = self.domains.sighting(domain, since).await.ok();
        self.metrics.looked_up(match &sighting {
            Some(sighting) if sighting.stale => LookUp::Stale,
            Some(sighting) if sighting.cached => LookUp::Fresh,
            Some(_) => LookUp::Asked,
            None => LookUp::Failed,
        });
        sighting.or_else(|| self.known_lapse(domain, since))
    }

    /// What is known of `domain`, however old, where it is that it has lapsed `since` then: nobody is let through for want of an answer.
    fn known_lapse(&self, domain: &RegistrableDomain, since: SystemTime) -> Option<Sighting> {
        let known = self.domains.known(domain)?;
        let has_lapsed = known.report.phase(self.clock.now(), Duration::ZERO).is_lapsed() || known.history.lapsed_since(since);
        has_lapsed.then_some(Sighting { stale: true, ..known })
    }

    /// Un-verifies what must be, records everything, and gives the verdict that decides: the first that blocks, else the first that an exemption lets pass, else
    /// any. Where nothing blocks, each exemption that was needed has a record.
    async fn carry_out(&self, judged: Vec<Judged>, request: Option<RequestRecord>, enforced: bool) -> Result<Verdict, AssessError> {
        let mut records = Vec::new();
        for one in judged.iter().filter(|_| enforced) {
            let Some(reason) = one.verdict.unverify() else { continue };
            match self.unverify(&one.account, reason).await {
                Ok(true) => {
                    let record = self.record(&one.verdict, Some(one), request.clone(), enforced);
                    records.push(Record { event: Event::EmailUnverified, ..record });
                }
                Ok(false) => {}
                // It is blocked by the same reason next time.
                Err(error) => {
                    let (account, error) = (&one.account.id, &error as &dyn std::error::Error);
                    tracing::error!(%account, error, "the address stays verified although it must not");
                }
            }
        }
        let mut exempted = judged.iter().filter(|one| one.verdict.exemption().is_some());
        let blocking = judged.iter().find(|one| !one.verdict.is_allowed());
        let deciding = blocking.or_else(|| exempted.next()).or_else(|| judged.first());
        if blocking.is_none() {
            records.extend(exempted.map(|one| self.record(&one.verdict, Some(one), request.clone(), enforced)));
        }
        let verdict = deciding.map_or_else(Verdict::default, |one| one.verdict.clone());
        let record = self.record(&verdict, deciding, request, enforced);
        let verdict = verdict.recorded_as(record.id);
        records.push(record);
        self.keep(records).await?;
        Ok(verdict)
    }

    /// Takes the verification away, and says whether it was this call that took it.
    pub(crate) async fn unverify(&self, account: &Account, reason: Reason) -> Result<bool, DirectoryError> {
        let operation = "un-verifying an account";
        within(PATIENCE, (*self.directory).unverify(account, reason)).await.unwrap_or(Err(DirectoryError::Timeout { operation }))
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
        Record {
            id: uuid(time),
            time,
            event,
            verdict: verdict.decision(),
            enforced,
            reasons: verdict.reasons().to_vec(),
            notices: verdict.notices().to_vec(),
            account,
            domain,
            request: None,
            exemption: verdict.exemption().cloned(),
        }
    }

    pub(crate) async fn keep(&self, records: Vec<Record>) -> Result<(), AuditError> {
        let (start, count) = (Instant::now(), records.len());
        let kept = within(PATIENCE, (*self.audit).record(records)).await.unwrap_or(Err(AuditError::Timeout));
        self.metrics.recorded(if kept.is_ok() { 0 } else { count }, start.elapsed());
        kept.inspect_err(|error| tracing::error!(error = error as &dyn std::error::Error, "a verdict could not be recorded"))
    }
}

impl std::fmt::Debug for Gatekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gatekeeper").field("policy", &self.inner.policy).field("domains", &self.inner.domains).finish_non_exhaustive()
    }
}
