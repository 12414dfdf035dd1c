//! How fast servers are asked: how often, and how many questions are under way.

use std::num::NonZeroU32;

use governor::Quota;
use tokio::sync::Semaphore;

/// Registries that publish a limit have one of some sixteen a second.
const A_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);

/// How many questions are asked at once after a pause, where a second's worth are not more.
const AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);

/// So often one server is asked, and all that follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) struct Pace {
    per_second: NonZeroU32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { per_second: A_SECOND }
    }
}

impl Pace {
    pub(in crate::domain) const fn new(per_second: NonZeroU32) -> Self {
        Self { per_second }
    }

    pub(super) fn quota(self) -> Quota {
        Quota::per_second(self.per_second).allow_burst(self.per_second.max(AT_ONCE))
    }

    /// How many questions wait for their turn: ten seconds' worth. Their callers go away sooner, and find the answers when they ask again.
    pub(super) fn waiting(self) -> usize {
        usize::try_from(self.per_second.get()).unwrap_or(usize::MAX).saturating_mul(10).min(Semaphore::MAX_PERMITS)
    }

    /// How many questions to one server are under way at a time: enough where an answer takes a quarter of a second.
    pub(super) fn under_way(self) -> usize {
        usize::try_from(self.per_second.get() / 4).unwrap_or(usize::MAX).clamp(8, 64)
    }

    /// How many questions are under way to all servers together.
    pub(super) fn under_way_in_all(self) -> usize {
        usize::try_from(self.per_second.get()).unwrap_or(usize::MAX).clamp(64, 256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_more_often_is_asked_more_at_a_time_within_bounds() {
        for (per_second, at_once, waiting, under_way, in_all) in [
            (1, 100, 10, 8, 64),
            (16, 100, 160, 8, 64),
            (40, 100, 400, 10, 64),
            (200, 200, 2_000, 50, 200),
            (1_000, 1_000, 10_000, 64, 256),
        ] {
            let pace = Pace::new(per_second.try_into().unwrap());
            let found = (pace.quota().burst_size().get(), pace.waiting(), pace.under_way(), pace.under_way_in_all());
            assert_eq!(found, (at_once, waiting, under_way, in_all), "{per_second}");
        }
        assert_eq!(Pace::default(), Pace::new(16.try_into().unwrap()));
        assert!(Pace::new(NonZeroU32::MAX).waiting() <= Semaphore::MAX_PERMITS);
    }
}
