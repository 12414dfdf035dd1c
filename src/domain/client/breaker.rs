//! Leaves a server alone that fails again and again: it gains nothing by more questions, and who asks gains a quick answer.
//!
//! Failures are counted by question, each once. Whoever has an account at one name on which a registry fails could else shut the registry off for everybody, by asking
//! for resets of that account.
//!
//! The crates for this (failsafe, recloser) read the process's clock themselves, so that no test can set the time, and hold a probe by a guard that
//! a lookup which is given up would have to return. Here a probe is claimed by moving the time of the next one on, which needs nothing to be returned.

use std::time::Duration;

use tokio::time::Instant;

/// After how many questions that failed in a row nobody is let through.
pub(super) const FAILURES: usize = 5;

/// How long nobody is let through; then one is, and nobody else for as long again.
pub(super) const OPEN_FOR: Duration = Duration::from_secs(5);

/// Closed until [`FAILURES`] in a row, then open until an answer.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// The questions that failed since the last answer, up to [`FAILURES`].
    failed: Vec<Box<str>>,
    /// When the next probe may go.
    probe_at: Option<Instant>,
}

impl Breaker {
    /// How long the server is still left alone.
    pub(super) fn open_for(&self, now: Instant) -> Option<Duration> {
        let left = self.probe_at?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Lets a question through, or tells for how long the server is left alone.
    pub(super) fn enter(&mut self, now: Instant) -> Result<(), Duration> {
        if let Some(left) = self.open_for(now) {
            return Err(left);
        }
        self.probe_at = self.probe_at.map(|_| now + OPEN_FOR);
        Ok(())
    }

    /// Closes. Says whether it was open.
    pub(super) fn answered(&mut self) -> bool {
        std::mem::take(self).probe_at.is_some()
    }

    /// Says whether it opens.
    pub(super) fn failed(&mut self, question: &str, now: Instant) -> bool {
        if self.failed.len() < FAILURES && !self.failed.iter().any(|failed| **failed == *question) {
            self.failed.push(question.into());
        }
        if self.failed.len() >= FAILURES {
            return self.probe_at.replace(now + OPEN_FOR).is_none();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_lets_one_probe_through() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for number in 1..FAILURES {
            breaker.failed(&number.to_string(), start);
        }
        breaker.answered();
        for number in 1..FAILURES {
            breaker.failed(&number.to_string(), start);
            assert_eq!(breaker.enter(start), Ok(()), "an answer in between starts the count anew");
        }
        breaker.failed("last", start);
        assert_eq!(breaker.enter(start), Err(OPEN_FOR));
        let later = start + OPEN_FOR;
        assert_eq!(breaker.enter(later), Ok(()), "the probe");
        assert_eq!(breaker.enter(later), Err(OPEN_FOR), "and nobody beside it");
        assert_eq!(breaker.enter(later + OPEN_FOR), Ok(()), "another, where the first never came back");
        breaker.failed("last", later + OPEN_FOR);
        assert_eq!(breaker.enter(later + OPEN_FOR), Err(OPEN_FOR), "one failure is enough now");
        breaker.answered();
        assert_eq!(breaker.enter(later + OPEN_FOR), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_question_that_always_fails_counts_once() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..100 {
            breaker.failed("same", start);
        }
        assert_eq!(breaker.enter(start), Ok(()));
        for number in 1..FAILURES {
            assert_eq!(breaker.enter(start), Ok(()));
            breaker.failed(&number.to_string(), start);
        }
        assert_eq!(breaker.enter(start), Err(OPEN_FOR));
    }
}
