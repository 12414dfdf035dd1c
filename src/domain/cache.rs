//! What was learned about domains, remembered: so that few questions are asked, and an outage blocks nobody who was seen.
//!
//! 1. A report younger than `fresh_for` is used without asking. Once the end of a registration that it states has passed, it isn't: the
//!    registry may have renewed the domain. From three quarters of that age on, a use has it asked for anew behind the caller's back.
//! 2. A report that is older than the moment that a caller needs it to be younger than is no evidence for that caller: it asks again.
//! 3. However many callers wait for one domain, one question is asked. It goes on when a caller gives up, or its time runs out.
//! 4. While the sources fail, a report of up to `stale_for` stands in, marked stale, but not past the end that it states; and so does an older one, where the DNS was seen
//!    within that time, or fifteen days, to lead where it did when it was made. What the DNS alone tells meanwhile is laid over it. A domain of one of the large [mailbox providers](providers) is never waited for while such a report may stand in.
//! 5. A source that failed is left alone for as long as it says, else for a second.
//! 6. At most `capacity` domains are kept; one that was not used since the last round makes place for a new one.
//! 7. What outlives the process and is shared by replicas stands behind the memory: it is read before a source is asked, and written when one answered.
//!    Where it can't be read, nobody knows what was seen of a domain, and there is no answer but from memory. A lapse that another replica finds is read again at
//!    once.

mod entries;
mod flights;
pub mod providers;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::broadcast::{self, error::RecvError};

use self::entries::{Entries, Fingerprint, Key, Known, Map};
use self::flights::Flights;
use crate::address::RegistrableDomain;
use crate::clock::Clock;
use crate::domain::{DNS, DomainSource, History, Mail, Report, Sighting, SourceError};

type Outcome = Result<Sighting, Arc<SourceError>>;

/// How long a failed source is left alone where it does not say so itself, and at most where it does.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(300);

/// How long a lookup may go on when nobody waits for it any more.
const LONGEST_LOOKUP: Duration = Duration::from_secs(30);

/// How long it may take to keep what was learned; a caller has the answer when it is kept, or after that.
const KEEPING: Duration = Duration::from_millis(500);

/// How long a report is fresh that says that no mail can reach a name: resolvers have hiccups.
const DOUBT: Duration = Duration::from_secs(60);

/// A sweep polls delegations every two weeks, so a confirmation holds for so long at least.
const POLLED_EACH: Duration = Duration::from_secs(15 * 86_400);

/// How many failures are kept before those that are over are looked for.
const FAILURES: usize = 10_000;

/// The settings of a [`Cache`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CacheSettings {
    /// Reports younger than this are not asked for again. One hour by default.
    pub fresh_for: Duration,
    /// A report of up to this age may stand in while the source fails. Seven days by default. So may one that a sweep's poll of the DNS confirmed that long, or fifteen days, ago.
    pub stale_for: Duration,
    /// How long a caller waits for the source. Two seconds by default.
    pub timeout: Duration,
    /// How many domains are kept. A hundred thousand by default.
    pub capacity: usize,
    /// Domains of mailbox providers, whose resets wait for no source while a report of up to `stale_for` is known. [`providers::KNOWN`] by default.
    pub providers: Arc<[RegistrableDomain]>,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            fresh_for: Duration::from_secs(3_600),
            stale_for: Duration::from_secs(7 * 86_400),
            timeout: Duration::from_secs(2),
            capacity: 100_000,
            providers: providers::known(),
        }
    }
}

/// What is remembered of a domain, where it outlives the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// What was last said.
    pub report: Arc<Report>,
    /// What was seen of it up to now, by all that share it.
    pub history: Arc<History>,
    /// When the sources were asked, to the microsecond.
    pub checked_at: SystemTime,
    /// When the DNS was last seen to lead where it did when the report was made. `None` where nobody looked since.
    pub confirmed_at: Option<SystemTime>,
}

/// What stands behind the memory.
#[async_trait]
pub(crate) trait Store: Send + Sync + 'static {
    async fn read(&self, domain: &RegistrableDomain) -> Result<Option<Remembered>, SourceError>;

    /// Keeps what was learned beside what others did, and gives both.
    async fn keep(&self, domain: &RegistrableDomain, remembered: &Remembered) -> Result<Remembered, SourceError>;

    /// Domains about which another process finds a lapse, as they come from now on.
    fn news(&self) -> broadcast::Receiver<RegistrableDomain>;
}

/// A source, with what it said before.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

struct Shared {
    domains: Memory,
    /// Mail hosts below registrable domains.
    hosts: Memory,
    source: Arc<dyn DomainSource>,
    store: Option<Arc<dyn Store>>,
    clock: Arc<dyn Clock>,
    settings: CacheSettings,
    fingerprint: Fingerprint,
}

/// What is known of names of one kind.
struct Memory {
    entries: Entries,
    failures: Map<Failure>,
    flights: Flights,
}

struct Failure {
    error: Arc<SourceError>,
    until: SystemTime,
}

/// Which report is asked for.
#[derive(Debug, Clone)]
enum Question {
    Domain(RegistrableDomain),
    /// Whether mail can reach a name below a registrable domain.
    Host(Arc<str>),
}

impl Cache {
    /// Remembers what `source` says, by the time that `clock` tells.
    #[must_use]
    pub fn new(source: Arc<dyn DomainSource>, clock: Arc<dyn Clock>, settings: CacheSettings) -> Self {
        Self::over(None, source, clock, settings)
    }

    /// With `store` behind the memory.
    pub(crate) fn over(
        store: Option<Arc<dyn Store>>,
        source: Arc<dyn DomainSource>,
        clock: Arc<dyn Clock>,
        settings: CacheSettings,
    ) -> Self {
        let (domains, hosts) = (Memory::new(settings.capacity), Memory::new(settings.capacity));
        Self { shared: Arc::new(Shared { domains, hosts, source, store, clock, settings, fingerprint: Fingerprint::new() }) }
    }

    /// How `domain` stands, by a report no older than `since`.
    ///
    /// Cancel safe: a lookup that was started goes on without its caller.
    ///
    /// # Errors
    /// Where the source could not tell, and nothing that is remembered may stand in.
    pub async fn sighting(&self, domain: &RegistrableDomain, since: SystemTime) -> Outcome {
        // Most answers are remembered, and then the name need not even be copied.
        let key = self.shared.fingerprint.of(domain.as_str());
        let now = self.shared.clock.now();
        match self.shared.domains.remembered(&key, since, now, &self.shared.settings) {
            Some(Ok(sighting)) => {
                if self.shared.is_to_be_renewed(&sighting, now) {
                    self.renew(Question::Domain(domain.clone()), key, &sighting);
                }
                Ok(sighting)
            }
            Some(Err(error)) => Err(error),
            // Rare, and so not part of every answer's future.
            None => Box::pin(self.asked(Question::Domain(domain.clone()), key, since, now)).await,
        }
    }

    /// Whether mail can reach `host`, a name below a registrable domain, by an answer no older than `since`. `None` where nobody could tell.
    ///
    /// Cancel safe, as [`Self::sighting`] is.
    pub async fn mail(&self, host: &str, since: SystemTime) -> Option<Mail> {
        let key = self.shared.fingerprint.of(host);
        let now = self.shared.clock.now();
        let outcome = match self.shared.hosts.remembered(&key, since, now, &self.shared.settings) {
            Some(outcome) => outcome,
            None => Box::pin(self.asked(Question::Host(host.into()), key, since, now)).await,
        };
        outcome.ok()?.report.mail
    }

    /// What is remembered of `domain`, however old. Asks nobody.
    #[must_use]
    pub fn known(&self, domain: &RegistrableDomain) -> Option<Sighting> {
        let known = self.shared.domains.entries.get(&self.shared.fingerprint.of(domain.as_str()))?;
        let is_fresh = self.shared.settings.is_fresh(&known, self.shared.clock.now());
        Some(known.sighting(true, !is_fresh))
    }

    /// How many domains are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.domains.entries.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who is asked.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn source(&self) -> Arc<dyn DomainSource> {
        Arc::clone(&self.shared.source)
    }

    /// Replaces what is remembered of `domain`, where anything is, by what was found by other ways.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn learn(&self, domain: &RegistrableDomain, remembered: Remembered) {
        let key = self.shared.fingerprint.of(domain.as_str());
        if self.shared.domains.entries.get(&key).is_some() {
            self.shared.domains.learn(key, remembered.into());
        }
    }

    /// Whether `domain` is a mailbox provider's, on which strangers have accounts.
    #[cfg(feature = "admin")]
    pub(crate) fn is_of_provider(&self, domain: &RegistrableDomain) -> bool {
        self.shared.settings.providers.contains(domain)
    }

    pub(crate) fn has_store(&self) -> bool {
        self.shared.store.is_some()
    }

    /// Reads again what other processes find lapsed, as long as there is a store.
    pub(crate) async fn follow_news(&self) {
        let Some(store) = self.shared.store.clone() else { return };
        let mut news = store.news();
        loop {
            match news.recv().await {
                Ok(domain) => self.shared.reread(&*store, &domain).await,
                // What was missed is found when the reports here run out.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Asks, and waits for as long as a caller may.
    async fn asked(&self, question: Question, key: Key, since: SystemTime, now: SystemTime) -> Outcome {
        let (memory, settings) = (self.shared.memory(&question), &self.shared.settings);
        if settings.is_of_provider(&question)
            && let Some(sighting) = memory.stale(&key, since, now, settings)
        {
            self.renew(question, key, &sighting);
            return Ok(sighting);
        }
        let limit = settings.timeout;
        let asked = tokio::time::timeout(limit, self.ask(&question, key, since)).await;
        let late = |_| Err(Arc::new(SourceError::Timeout { domain: question.name(), limit }));
        match asked.unwrap_or_else(late) {
            Ok(sighting) => Ok(sighting),
            Err(error) => memory.stale(&key, since, now, settings).map(|sighting| doubted(sighting, &error)).ok_or(error),
        }
    }

    /// Joins the lookup that is under way, or starts one.
    async fn ask(&self, question: &Question, key: Key, since: SystemTime) -> Outcome {
        let broke_off = || Err(Arc::new(SourceError::BrokeOff { domain: question.name() }));
        let mut outcome = broke_off();
        // A lookup that was under way before `since` is no evidence for this caller, whose own question comes after it.
        for _ in 0..2 {
            let shared = &self.shared;
            let landed = || shared.memory(question).remembered(&key, since, shared.clock.now(), &shared.settings);
            let lookup = || Arc::clone(shared).look_up(question.clone(), key, since);
            outcome = shared.memory(question).flights.join(key, landed, lookup).landed().await.unwrap_or_else(broke_off);
            if !matches!(&outcome, Ok(sighting) if sighting.checked_at < since) {
                break;
            }
        }
        outcome
    }

    /// Has a name asked for anew of which `seen` is remembered, without waiting.
    fn renew(&self, question: Question, key: Key, seen: &Sighting) {
        let shared = &self.shared;
        let now = shared.clock.now();
        let memory = shared.memory(&question);
        // Another caller's question may have landed since.
        let renewed = || memory.entries.get(&key).filter(|known| known.checked_at > seen.checked_at);
        let landed = || memory.failure(&key, now).map(Err).or_else(|| Some(Ok(renewed()?.sighting(true, false))));
        if !memory.flights.has(&key) {
            drop(memory.flights.join(key, landed, || Arc::clone(shared).look_up(question, key, now)));
        }
    }
}

/// A report that stands in, with the doubt that the DNS alone adds.
fn doubted(sighting: Sighting, error: &SourceError) -> Sighting {
    match error {
        SourceError::Undecided { dns, .. } => Sighting { report: Arc::new(Report::clone(&sighting.report).beside_dns(dns)), ..sighting },
        _ => sighting,
    }
}

impl Shared {
    const fn memory(&self, question: &Question) -> &Memory {
        match question {
            Question::Domain(_) => &self.domains,
            Question::Host(_) => &self.hosts,
        }
    }

    /// One lookup: the store, then the source, whose answer is remembered in both.
    async fn look_up(self: Arc<Self>, question: Question, key: Key, since: SystemTime) -> Outcome {
        let limit = LONGEST_LOOKUP;
        let looked_up = tokio::time::timeout(limit, self.look_up_unbounded(&question, key, since)).await;
        let late = |_| Err(SourceError::Timeout { domain: question.name(), limit });
        looked_up.unwrap_or_else(late).map_err(|error| {
            tracing::warn!(name = %question.name(), error = &error as &dyn std::error::Error, "the live check could not tell");
            self.memory(&question).fail(key, error, self.clock.now())
        })
    }

    async fn look_up_unbounded(&self, question: &Question, key: Key, since: SystemTime) -> Result<Sighting, SourceError> {
        let memory = self.memory(question);
        let kept = self.kept(question).await?;
        if let Some(kept) = kept {
            let kept = memory.learn(key, kept);
            if kept.checked_at >= since && self.settings.is_fresh(&kept, self.clock.now()) {
                return Ok(kept.sighting(true, false));
            }
        }
        let checked_at = self.clock.now();
        let report = question.put_to(&*self.source).await?;
        let history = match memory.entries.get(&key) {
            Some(known) => known.history.after(&report, checked_at),
            None => History::beginning(&report, checked_at),
        };
        let known = Known::new(Arc::new(report), Arc::new(history), checked_at);
        // Before it is kept, which may take its time: what was found out is known here at once.
        memory.entries.insert(key, &known);
        memory.failures.remove(&key);
        let kept = self.keep(question, &known).await;
        if let Some(kept) = &kept {
            memory.entries.insert(key, kept);
        }
        Ok(kept.unwrap_or(known).sighting(false, false))
    }

    /// What the store has.
    async fn kept(&self, question: &Question) -> Result<Option<Known>, SourceError> {
        match (question, &self.store) {
            (Question::Domain(domain), Some(store)) => Ok(store.read(domain).await?.map(Known::from)),
            (Question::Host(_), _) | (_, None) => Ok(None),
        }
    }

    /// Writes `known` into the store, and gives it with what others saw. `None` where there is no store, or it fails: then memory alone has it.
    async fn keep(&self, question: &Question, known: &Known) -> Option<Known> {
        let (Question::Domain(domain), Some(store)) = (question, &self.store) else { return None };
        let Known { report, history, checked_at, .. } = known.clone();
        let remembered = Remembered { report, history, checked_at, confirmed_at: None };
        let late = |_| Err(SourceError::Timeout { domain: domain.as_str().into(), limit: KEEPING });
        match tokio::time::timeout(KEEPING, store.keep(domain, &remembered)).await.unwrap_or_else(late) {
            Ok(kept) if kept.checked_at >= known.checked_at => Some(Known::from(kept)),
            Ok(kept) => Some(Known::new(Arc::clone(&known.report), kept.history, known.checked_at)),
            Err(error) => {
                tracing::error!(%domain, error = &error as &dyn std::error::Error, "what was seen of the domain is not kept");
                None
            }
        }
    }

    async fn reread(&self, store: &dyn Store, domain: &RegistrableDomain) {
        let key = self.fingerprint.of(domain.as_str());
        if self.domains.entries.get(&key).is_none() {
            return;
        }
        match store.read(domain).await {
            Ok(kept) => drop(kept.map(|kept| self.domains.learn(key, kept.into()))),
            Err(error) => tracing::warn!(%domain, error = &error as &dyn std::error::Error, "another's finding can't be read"),
        }
    }

    /// Whether a report that is still fresh is old enough to be asked for anew meanwhile.
    fn is_to_be_renewed(&self, sighting: &Sighting, now: SystemTime) -> bool {
        !sighting.stale && now.duration_since(sighting.checked_at).is_ok_and(|age| age >= self.settings.fresh_for / 4 * 3)
    }
}

impl Memory {
    fn new(capacity: usize) -> Self {
        Self { entries: Entries::new(capacity), failures: Map::default(), flights: Flights::default() }
    }

    /// Remembers what the store has, and gives it with what is known here: the later of both reports, and all that was seen.
    fn learn(&self, key: Key, kept: Known) -> Known {
        let joined = match self.entries.get(&key) {
            Some(known) => {
                let history = Arc::new(known.history.merged(&kept.history));
                // The store's word: it may have been taken back, or have come of a clock that was ahead.
                let confirmed_at = kept.confirmed_at;
                let mut later = if known.checked_at < kept.checked_at { kept } else { known };
                (later.history, later.confirmed_at) = (history, confirmed_at);
                later
            }
            None => kept,
        };
        self.entries.insert(key, &joined);
        joined
    }

    /// The answer that can be given without asking: a fresh report, or that the source is being left alone.
    fn remembered(&self, key: &Key, since: SystemTime, now: SystemTime, settings: &CacheSettings) -> Option<Outcome> {
        if let Some(known) = self.entries.get(key)
            && known.checked_at >= since
            && settings.is_fresh(&known, now)
        {
            return Some(Ok(known.sighting(true, false)));
        }
        let error = self.failure(key, now)?;
        Some(self.stale(key, since, now, settings).map(|sighting| doubted(sighting, &error)).ok_or(error))
    }

    /// Why the source is being left alone. A rest that is longer than any comes of a clock that was put back.
    fn failure(&self, key: &Key, now: SystemTime) -> Option<Arc<SourceError>> {
        let failure = self.failures.get(key)?;
        failure.holds(now).then(|| Arc::clone(&failure.error))
    }

    /// A report that may stand in.
    fn stale(&self, key: &Key, since: SystemTime, now: SystemTime, settings: &CacheSettings) -> Option<Sighting> {
        let known = self.entries.get(key)?;
        let is_young = known.age(now, LONGEST_REST) <= settings.stale_for
            || known.is_confirmed(settings.stale_for.max(POLLED_EACH), now, LONGEST_REST);
        (known.checked_at >= since && is_young && !known.has_run_out(now)).then(|| known.sighting(true, true))
    }

    fn fail(&self, key: Key, error: SourceError, now: SystemTime) -> Arc<SourceError> {
        if self.failures.len() >= FAILURES {
            self.failures.retain(|_, failure| failure.holds(now));
        }
        let rest = error.retry_after().unwrap_or(REST).min(LONGEST_REST);
        let error = Arc::new(error);
        self.failures.insert(key, Failure { error: Arc::clone(&error), until: now + rest });
        error
    }
}

impl Failure {
    fn holds(&self, now: SystemTime) -> bool {
        self.until.duration_since(now).is_ok_and(|rest| !rest.is_zero() && rest <= LONGEST_REST)
    }
}

impl CacheSettings {
    fn is_fresh(&self, known: &Known, now: SystemTime) -> bool {
        let fresh_for = if known.is_doubtful() { self.fresh_for.min(DOUBT) } else { self.fresh_for };
        known.age(now, LONGEST_REST) < fresh_for && !known.has_run_out(now)
    }

    fn is_of_provider(&self, question: &Question) -> bool {
        matches!(question, Question::Domain(domain) if self.providers.contains(domain))
    }
}

impl Question {
    async fn put_to(&self, source: &dyn DomainSource) -> Result<Report, SourceError> {
        match self {
            Self::Domain(domain) => source.report(domain).await,
            Self::Host(host) => Ok(Report { mail: source.mail(host).await?, ..Report::about_nothing(DNS) }),
        }
    }

    fn name(&self) -> Arc<str> {
        match self {
            Self::Domain(domain) => domain.as_str().into(),
            Self::Host(host) => Arc::clone(host),
        }
    }
}

impl From<Remembered> for Known {
    fn from(remembered: Remembered) -> Self {
        let mut known = Self::new(remembered.report, remembered.history, remembered.checked_at);
        known.confirmed_at = remembered.confirmed_at;
        known
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("settings", &self.shared.settings).field("len", &self.len()).finish_non_exhaustive()
    }
}
