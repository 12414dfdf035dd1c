//! What is remembered, in little memory: a hundred bytes or so for each name, beside its report.
//!
//! A name is kept as a fingerprint of 128 bits, keyed at random in each process (SipHash), so that no two names are ever taken for each other, nor can be
//! made to be.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::concurrency::Mutex;
use crate::domain::{History, Mail, Report, Sighting};

/// A name's fingerprint.
pub(super) type Key = [u64; 2];

pub(super) type Map<V> = DashMap<Key, V, foldhash::fast::RandomState>;

/// Makes keys of names.
pub(super) struct Fingerprint {
    keyed: SipHasher13,
}

impl Fingerprint {
    pub(super) fn new() -> Self {
        let mut key = [0; 16];
        // Without randomness of its own the process has the hasher's, which is as secret and shorter.
        if getrandom::fill(&mut key).is_err() {
            let random = || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0).to_le_bytes();
            key = u128::from_le_bytes([random(), random()].concat().try_into().unwrap_or_default()).to_le_bytes();
        }
        Self { keyed: SipHasher13::new_with_key(&key) }
    }

    pub(super) fn of(&self, name: &str) -> Key {
        let mut hasher = self.keyed;
        name.hash(&mut hasher);
        let fingerprint = hasher.finish128();
        [fingerprint.h1, fingerprint.h2]
    }
}

/// The names that are remembered, at most `capacity`. One that was not used since the last round makes place for a new one.
pub(super) struct Entries {
    map: Map<Entry>,
    /// The keys of `map` in the order in which the clock's hand reaches them.
    queue: Mutex<VecDeque<Key>>,
    capacity: usize,
}

struct Entry {
    report: Arc<Report>,
    history: Arc<History>,
    /// Nanoseconds since 1970, which reach to 2262.
    checked_at: i64,
    /// The report's, in seconds since 1970, kept here since every look at the report needs it. The highest number where it states none, or one past 2106.
    ends_at: u32,
    /// When the DNS last confirmed it, in seconds since 1970. 0 where it did not.
    confirmed_at: u32,
    used: AtomicBool,
}

/// A copy of what is remembered of one name.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) report: Arc<Report>,
    pub(super) history: Arc<History>,
    pub(super) checked_at: SystemTime,
    pub(super) confirmed_at: Option<SystemTime>,
    ends_at: u32,
}

impl Entries {
    pub(super) fn new(capacity: usize) -> Self {
        Self { map: Map::default(), queue: Mutex::default(), capacity }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn get(&self, key: &Key) -> Option<Known> {
        let entry = self.map.get(key)?;
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(Known {
            report: Arc::clone(&entry.report),
            history: Arc::clone(&entry.history),
            checked_at: time(entry.checked_at),
            confirmed_at: (entry.confirmed_at > 0).then(|| moment(entry.confirmed_at)),
            ends_at: entry.ends_at,
        })
    }

    /// Remembers `known` as of now.
    pub(super) fn insert(&self, key: Key, known: &Known) {
        let entry = Entry {
            report: Arc::clone(&known.report),
            history: Arc::clone(&known.history),
            checked_at: nanoseconds(known.checked_at),
            ends_at: known.ends_at,
            confirmed_at: known.confirmed_at.map_or(0, seconds),
            used: AtomicBool::new(false),
        };
        match self.map.entry(key) {
            dashmap::Entry::Occupied(mut slot) => {
                entry.used.store(slot.get().used.load(Ordering::Relaxed), Ordering::Relaxed);
                slot.insert(entry);
            }
            dashmap::Entry::Vacant(slot) => {
                slot.insert(entry);
                self.make_place_for(key);
            }
        }
    }

    /// Second chance: the oldest goes, unless it was used since the hand last passed it.
    fn make_place_for(&self, key: Key) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(key);
        while queue.len() > self.capacity {
            let Some(oldest) = queue.pop_front() else { break };
            let gone = self.map.remove_if(&oldest, |_, entry| !entry.used.swap(false, Ordering::Relaxed));
            if gone.is_none() {
                queue.push_back(oldest);
            }
        }
    }
}

impl Known {
    pub(super) fn new(report: Arc<Report>, history: Arc<History>, checked_at: SystemTime) -> Self {
        let ends_at = report.ends_at().map_or(u32::MAX, seconds);
        Self { report, history, checked_at: time(nanoseconds(checked_at)), confirmed_at: None, ends_at }
    }

    /// Whether the DNS says that no mail can get there.
    pub(super) fn is_doubtful(&self) -> bool {
        self.report.mail.is_some_and(|mail| mail != Mail::Accepted)
    }

    /// How old the report is. As old as can be where the clock was put back, so that nobody knows.
    pub(super) fn age(&self, now: SystemTime, tolerance: Duration) -> Duration {
        age(self.checked_at, now, tolerance)
    }

    /// Whether the DNS confirmed it no longer than `span` ago.
    pub(super) fn is_confirmed(&self, span: Duration, now: SystemTime, tolerance: Duration) -> bool {
        self.confirmed_at.is_some_and(|confirmed_at| age(confirmed_at, now, tolerance) <= span)
    }

    /// Whether the registration, still running when the report was made, has ended by the report's own dates.
    pub(super) fn has_run_out(&self, now: SystemTime) -> bool {
        let end = moment(self.ends_at);
        self.ends_at != u32::MAX && self.checked_at < end && end <= now
    }

    pub(super) fn sighting(self, cached: bool, stale: bool) -> Sighting {
        Sighting { report: self.report, history: self.history, checked_at: self.checked_at, cached, stale }
    }
}

fn age(of: SystemTime, now: SystemTime, tolerance: Duration) -> Duration {
    match now.duration_since(of) {
        Ok(age) => age,
        Err(ahead) if ahead.duration() > tolerance => Duration::MAX,
        Err(_) => Duration::ZERO,
    }
}

/// Whole seconds since 1970, as far as they can be counted.
fn seconds(time: SystemTime) -> u32 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

fn moment(seconds: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into())
}

/// Since 1970; negative before it.
fn nanoseconds(time: SystemTime) -> i64 {
    let number = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
    time.duration_since(SystemTime::UNIX_EPOCH).map_or_else(|before| -number(before.duration()), number)
}

fn time(nanoseconds: i64) -> SystemTime {
    let span = Duration::from_nanos(nanoseconds.unsigned_abs());
    let moment = if nanoseconds < 0 { SystemTime::UNIX_EPOCH.checked_sub(span) } else { SystemTime::UNIX_EPOCH.checked_add(span) };
    moment.unwrap_or(SystemTime::UNIX_EPOCH)
}
