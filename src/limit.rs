//! How many recovery requests are let through for one account.
//!
//! Requests are counted on the account that they resolve to, whatever the spelling. Names without account are counted too, or the limit would tell
//! which exist; those share a bounded number of counters, so that nobody can fill the memory with them.

use std::fmt;
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::account::AccountId;
use crate::clock::Clock;
use crate::identifier::Identifier;

/// How many counters all names without account share.
const STRANGERS: u64 = 1 << 16;

/// After how many requests the counters of accounts that were left alone are let go.
const SWEEP_EVERY: usize = 1 << 12;

/// So many requests in so much time. All may come at once; after that they are let through as evenly as the time allows (the generic cell rate algorithm).
///
/// As text: `"5/h"`, with `s`, `m`, `h` or `d` for the time.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use reset_gatekeeper::Limit;
///
/// assert_eq!("5/h".parse(), Ok(Limit::new(NonZeroU32::new(5).unwrap(), Duration::from_secs(3600))));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    requests: NonZeroU32,
    per: Duration,
}

/// Why a text is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no limit such as \"5/h\": a number from 1 on, and one of s, m, h, d")]
pub struct LimitError(String);

impl Limit {
    /// `requests` in `per`, which is at least a second.
    #[must_use]
    pub fn new(requests: NonZeroU32, per: Duration) -> Self {
        Self { requests, per: per.max(Duration::from_secs(1)) }
    }

    /// How many requests that is in a second.
    #[cfg(feature = "cli")]
    pub(crate) fn per_second(&self) -> f64 {
        f64::from(self.requests.get()) / self.per.as_secs_f64()
    }
}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let limit = text.split_once('/').and_then(|(requests, unit)| {
            let seconds = match unit.trim() {
                "s" => 1,
                "m" => 60,
                "h" => 3_600,
                "d" => 86_400,
                _ => return None,
            };
            Some(Self::new(requests.trim().parse().ok()?, Duration::from_secs(seconds)))
        });
        limit.ok_or_else(|| LimitError(text.to_owned()))
    }
}

/// Counts the requests of one guard. Cloning shares the counters.
#[derive(Clone)]
pub(crate) struct Counter {
    inner: Arc<Inner>,
}

struct Inner {
    limiter: RateLimiter<u64, DashMapStateStore<u64>, Time, NoOpMiddleware<Nanos>>,
    keys: foldhash::quality::RandomState,
    since_sweep: AtomicUsize,
}

impl Counter {
    pub(crate) fn new(limit: Limit, clock: Arc<dyn Clock>) -> Self {
        let between = limit.per / limit.requests.get();
        // A limit is at least one in a second, so this is never zero.
        let quota = Quota::with_period(between).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(limit.requests);
        let limiter = RateLimiter::new(quota, DashMapStateStore::default(), Time(clock));
        Self { inner: Arc::new(Inner { limiter, keys: foldhash::quality::RandomState::default(), since_sweep: AtomicUsize::new(0) }) }
    }

    /// Counts a request for `account`, and says whether it is one too many.
    pub(crate) fn exceeds(&self, account: &AccountId) -> bool {
        // Odd keys are accounts', even ones strangers'.
        self.count(self.inner.keys.hash_one(account.as_str()) | 1)
    }

    /// The same for a name that no account has.
    pub(crate) fn exceeds_for_stranger(&self, name: &Identifier) -> bool {
        let name = name.as_str().to_lowercase();
        self.count((self.inner.keys.hash_one(name) % STRANGERS) << 1)
    }

    fn count(&self, key: u64) -> bool {
        if self.inner.since_sweep.fetch_add(1, Ordering::Relaxed) == SWEEP_EVERY {
            self.inner.since_sweep.store(0, Ordering::Relaxed);
            self.inner.limiter.retain_recent();
        }
        self.inner.limiter.check_key(&key).is_err()
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

/// Our clock, as the limiter reads it: since 1970.
#[derive(Clone)]
struct Time(Arc<dyn Clock>);

impl GovernorClock for Time {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_and_a_unit() {
        for (text, requests, seconds) in [("5/h", 5, 3_600), ("1/s", 1, 1), ("30 / m", 30, 60), ("2/d", 2, 86_400)] {
            assert_eq!(text.parse(), Ok(Limit::new(NonZeroU32::new(requests).unwrap(), Duration::from_secs(seconds))), "{text}");
        }
        for text in ["", "5", "0/h", "-1/h", "5/w", "5/hour", "x/h"] {
            assert_eq!(text.parse::<Limit>(), Err(LimitError(text.to_owned())));
        }
    }
}
