//! What was learned about domains, remembered in memory: so that few questions are asked, and an outage blocks nobody who was seen.
//!
//! 1. A report younger than `fresh_for` is used without asking. Once the end of a registration that it states has passed, it isn't: the
//!    registry may have renewed the domain.
//! 2. A report that is older than the moment that a caller needs it to be younger than is no evidence for that caller: it asks again.
//! 3. However many callers wait for one domain, one question is asked. It goes on when a caller gives up, or its time runs out.
//! 4. While the source fails, a report of up to `stale_for` stands in, marked stale, but not past the end that it states.
//! 5. A source that failed is left alone for as long as it says, else for a second.
//! 6. At most `capacity` domains are kept; one that was not used since the last round makes place for a new one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use tokio::sync::watch;

use crate::address::RegistrableDomain;
use crate::clock::Clock;
use crate::domain::{DomainSource, History, Report, Sighting, SourceError};

type Map<V> = DashMap<RegistrableDomain, V, foldhash::quality::RandomState>;
type Outcome = Result<Sighting, Arc<SourceError>>;

/// How long a failed source is left alone where it does not say so itself, and at most where it does.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(300);

/// How long a lookup may go on when nobody waits for it any more.
const LONGEST_LOOKUP: Duration = Duration::from_secs(30);

/// The settings of a [`Cache`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CacheSettings {
    /// Reports younger than this are not asked for again. One hour by default.
    pub fresh_for: Duration,
    /// A report of up to this age may stand in while the source fails. Seven days by default.
    pub stale_for: Duration,
    /// How long a caller waits for the source. Two seconds by default.
    pub timeout: Duration,
    /// How many domains are kept. A hundred thousand by default.
    pub capacity: usize,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            fresh_for: Duration::from_secs(3_600),
            stale_for: Duration::from_secs(7 * 86_400),
            timeout: Duration::from_secs(2),
            capacity: 100_000,
        }
    }
}

/// A source, with what it said before.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

struct Shared {
    source: Arc<dyn DomainSource>,
    clock: Arc<dyn Clock>,
    settings: CacheSettings,
    entries: Map<Entry>,
    /// The keys of `entries` in the order in which the clock's hand reaches them.
    queue: Mutex<VecDeque<RegistrableDomain>>,
    flights: Map<watch::Receiver<Option<Outcome>>>,
}

struct Entry {
    known: Option<Known>,
    failure: Option<Box<Failure>>,
    used: AtomicBool,
}

struct Known {
    report: Arc<Report>,
    /// The report's, kept here since every look at the report needs it.
    ends_at: Option<SystemTime>,
    checked_at: SystemTime,
    history: Arc<History>,
}

struct Failure {
    error: Arc<SourceError>,
    until: SystemTime,
}

impl Cache {
    /// Remembers what `source` says, by the time that `clock` tells.
    #[must_use]
    pub fn new(source: Arc<dyn DomainSource>, clock: Arc<dyn Clock>, settings: CacheSettings) -> Self {
        let (entries, flights) = (Map::default(), Map::default());
        Self { shared: Arc::new(Shared { source, clock, settings, entries, queue: Mutex::default(), flights }) }
    }

    /// How `domain` stands, by a report no older than `since`.
    ///
    /// Cancel safe: a lookup that was started goes on without its caller.
    ///
    /// # Errors
    /// Where the source could not tell, and nothing that is remembered may stand in.
    pub async fn sighting(&self, domain: &RegistrableDomain, since: SystemTime) -> Outcome {
        let shared = &self.shared;
        let now = shared.clock.now();
        if let Some(answer) = shared.remembered(domain, since, now) {
            return answer;
        }
        let limit = shared.settings.timeout;
        let asked = tokio::time::timeout(limit, self.ask(domain, since)).await;
        match asked.unwrap_or_else(|_| Err(Arc::new(SourceError::Timeout { domain: domain.clone(), limit }))) {
            Ok(sighting) => Ok(sighting),
            Err(error) => shared.stale(domain, since, now).ok_or(error),
        }
    }

    /// What is remembered of `domain`, however old. Asks nobody.
    #[must_use]
    pub fn known(&self, domain: &RegistrableDomain) -> Option<Sighting> {
        let now = self.shared.clock.now();
        let entry = self.shared.entries.get(domain)?;
        let known = entry.known.as_ref()?;
        Some(known.sighting(!known.is_fresh(&self.shared.settings, now)))
    }

    /// How many domains are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.entries.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Joins the lookup that is under way, or starts one.
    async fn ask(&self, domain: &RegistrableDomain, since: SystemTime) -> Outcome {
        let broke_off = || Err(Arc::new(SourceError::BrokeOff { domain: domain.clone() }));
        let mut outcome = broke_off();
        // A lookup that was under way before `since` is no evidence for this caller, whose own question comes after it.
        for _ in 0..2 {
            outcome = match self.join(domain, since) {
                Flight::Landed(outcome) => outcome,
                Flight::UnderWay(mut flight) => {
                    flight.wait_for(Option::is_some).await.map_or(None, |outcome| outcome.clone()).unwrap_or_else(broke_off)
                }
            };
            if !matches!(&outcome, Ok(sighting) if sighting.checked_at < since) {
                break;
            }
        }
        outcome
    }

    fn join(&self, domain: &RegistrableDomain, since: SystemTime) -> Flight {
        let slot = match self.shared.flights.entry(domain.clone()) {
            dashmap::Entry::Occupied(flight) => return Flight::UnderWay(flight.get().clone()),
            dashmap::Entry::Vacant(slot) => slot,
        };
        // One may have landed since this caller looked: what it learned was remembered before its slot became vacant.
        if let Some(outcome) = self.shared.remembered(domain, since, self.shared.clock.now()) {
            return Flight::Landed(outcome);
        }
        let (landing, flight) = watch::channel(None);
        slot.insert(flight.clone());
        let (shared, domain) = (Arc::clone(&self.shared), domain.clone());
        tokio::spawn(async move {
            // The slot must become vacant even if the source panics, or nobody would ask again.
            let slot = Slot { shared: &shared, domain: &domain };
            let checked_at = shared.clock.now();
            let answer = tokio::time::timeout(LONGEST_LOOKUP, shared.source.report(&domain)).await;
            let timeout = |_| Err(SourceError::Timeout { domain: domain.clone(), limit: LONGEST_LOOKUP });
            let outcome = shared.remember(&domain, checked_at, answer.unwrap_or_else(timeout));
            drop(slot);
            landing.send_replace(Some(outcome));
        });
        Flight::UnderWay(flight)
    }
}

enum Flight {
    UnderWay(watch::Receiver<Option<Outcome>>),
    Landed(Outcome),
}

struct Slot<'a> {
    shared: &'a Shared,
    domain: &'a RegistrableDomain,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.shared.flights.remove(self.domain);
    }
}

impl Shared {
    /// The answer that can be given without asking: a fresh report, or that the source is being left alone.
    fn remembered(&self, domain: &RegistrableDomain, since: SystemTime, now: SystemTime) -> Option<Outcome> {
        let entry = self.entries.get(domain)?;
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        if let Some(known) = &entry.known
            && known.checked_at >= since
            && known.is_fresh(&self.settings, now)
        {
            return Some(Ok(known.sighting(false)));
        }
        let failure = entry.failure.as_ref().filter(|failure| failure.holds(now))?;
        let error = Arc::clone(&failure.error);
        drop(entry);
        Some(self.stale(domain, since, now).ok_or(error))
    }

    fn stale(&self, domain: &RegistrableDomain, since: SystemTime, now: SystemTime) -> Option<Sighting> {
        let entry = self.entries.get(domain)?;
        let known = entry.known.as_ref()?;
        let may_stand_in = known.checked_at >= since && known.age(now) <= self.settings.stale_for && !known.has_run_out(now);
        may_stand_in.then(|| known.sighting(true))
    }

    fn remember(&self, domain: &RegistrableDomain, checked_at: SystemTime, answer: Result<Report, SourceError>) -> Outcome {
        let mut is_new = false;
        let outcome = {
            let mut entry = self.entries.entry(domain.clone()).or_insert_with(|| {
                is_new = true;
                Entry { known: None, failure: None, used: AtomicBool::new(false) }
            });
            match answer {
                Ok(report) => {
                    let history = match &entry.known {
                        Some(known) => known.history.after(&report, checked_at),
                        None => History::beginning(&report, checked_at),
                    };
                    let known = Known { ends_at: report.ends_at(), report: Arc::new(report), checked_at, history: Arc::new(history) };
                    let sighting = Sighting { cached: false, ..known.sighting(false) };
                    entry.known = Some(known);
                    entry.failure = None;
                    Ok(sighting)
                }
                Err(error) => {
                    tracing::warn!(%domain, error = &error as &dyn std::error::Error, "the live check could not tell");
                    let rest = error.retry_after().unwrap_or(REST).min(LONGEST_REST);
                    let error = Arc::new(error);
                    entry.failure = Some(Box::new(Failure { error: Arc::clone(&error), until: self.clock.now() + rest }));
                    Err(error)
                }
            }
        };
        if is_new {
            self.make_place_for(domain);
        }
        outcome
    }

    /// Second chance: the oldest goes, unless it was used since the hand last passed it.
    fn make_place_for(&self, domain: &RegistrableDomain) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(domain.clone());
        while queue.len() > self.settings.capacity {
            let Some(oldest) = queue.pop_front() else { break };
            let gone = self.entries.remove_if(&oldest, |_, entry| !entry.used.swap(false, Ordering::Relaxed));
            if gone.is_none() {
                queue.push_back(oldest);
            }
        }
    }
}

impl Failure {
    /// Whether the source is still to be left alone. A rest that is longer than any comes of a clock that was put back.
    fn holds(&self, now: SystemTime) -> bool {
        self.until.duration_since(now).is_ok_and(|rest| !rest.is_zero() && rest <= LONGEST_REST)
    }
}

impl Known {
    fn age(&self, now: SystemTime) -> Duration {
        match now.duration_since(self.checked_at) {
            Ok(age) => age,
            // The clock was put back, and nobody knows how old the report is.
            Err(ahead) if ahead.duration() > LONGEST_REST => Duration::MAX,
            Err(_) => Duration::ZERO,
        }
    }

    fn is_fresh(&self, settings: &CacheSettings, now: SystemTime) -> bool {
        self.age(now) < settings.fresh_for && !self.has_run_out(now)
    }

    /// Whether the registration, still running when the report was made, has ended by the report's own dates.
    fn has_run_out(&self, now: SystemTime) -> bool {
        self.ends_at.is_some_and(|end| self.checked_at < end && end <= now)
    }

    fn sighting(&self, stale: bool) -> Sighting {
        Sighting { report: Arc::clone(&self.report), checked_at: self.checked_at, history: Arc::clone(&self.history), cached: true, stale }
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("settings", &self.shared.settings).field("len", &self.len()).finish_non_exhaustive()
    }
}
