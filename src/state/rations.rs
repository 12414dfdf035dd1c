//! When a server may be asked: all that share the state take its moments out of one row.

use std::time::{Duration, SystemTime};

use super::pool::with;
use super::{State, StateError, failed, microseconds, span, time};

/// How far apart the callers' clocks may be.
const SKEW: Duration = Duration::from_secs(60);

/// The next moment is never in the past: what wasn't asked then is not made up for. One after `$5` can't be: a clock was ahead.
const TAKE: &str = "INSERT INTO gatekeeper_rations AS kept (server, next_at) VALUES ($1, $2 + $3) \
     ON CONFLICT (server) DO UPDATE SET next_at = CASE WHEN kept.next_at > $2 AND kept.next_at <= $5 THEN kept.next_at ELSE $2 END + $3 \
     WHERE kept.next_at <= $4 OR kept.next_at > $5 \
     RETURNING next_at - $3";

impl State {
    /// Takes the next `count` moments at which `server` may be asked, `interval` apart, and gives the first. `None` where it lies more than `horizon` after
    /// `now`: then none is taken. It can't lie further than that, another's `count` moments, and what their clocks differ by: what does counts as `now`.
    pub(crate) async fn ration(
        &self,
        server: &str,
        count: u32,
        interval: Duration,
        now: SystemTime,
        horizon: Duration,
    ) -> Result<Option<SystemTime>, StateError> {
        let failed = || failed("taking a server's next moments");
        let (now, taken) = (microseconds(now), span(interval.saturating_mul(count)));
        let horizon = now.saturating_add(span(horizon));
        let latest = horizon.saturating_add(taken).saturating_add(span(SKEW));
        let mut transaction = self.pool.begin().await.map_err(failed())?;
        let first: Option<i64> = with!(in &mut transaction, |connection| {
            let query = sqlx::query_scalar(TAKE).bind(server).bind(now).bind(taken);
            query.bind(horizon).bind(latest).fetch_optional(connection).await
        })
        .map_err(failed())?;
        transaction.commit().await.map_err(failed())?;
        Ok(first.map(time))
    }
}

#[cfg(test)]
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::state::place::{Place, at, promised_of_both};

    promised_of_both! {
        moments_are_taken_in_turn_and_not_made_up_for,
        all_together_ask_no_faster_than_the_rate,
        a_clock_that_was_ahead_holds_up_no_question,
    }

    const TENTH: Duration = Duration::from_millis(100);
    const SECOND: Duration = Duration::from_secs(1);

    async fn moments_are_taken_in_turn_and_not_made_up_for(place: Place) {
        let (one, other) = (place.state().await, place.state().await);
        assert_eq!(one.ration("a", 5, TENTH, at(0), SECOND).await.unwrap(), Some(at(0)));
        assert_eq!(other.ration("a", 6, TENTH, at(0), SECOND).await.unwrap(), Some(at(0) + TENTH * 5));
        assert_eq!(one.ration("a", 1, TENTH, at(0), SECOND).await.unwrap(), None, "it lies 1.1 s ahead");
        assert_eq!(one.ration("b", 1, TENTH, at(0), Duration::ZERO).await.unwrap(), Some(at(0)), "each server is by itself");
        assert_eq!(one.ration("a", 1, TENTH, at(1), SECOND).await.unwrap(), Some(at(1) + TENTH));
        assert_eq!(one.ration("a", 1, TENTH, at(60), SECOND).await.unwrap(), Some(at(60)));
        assert_eq!(one.ration("a", u32::MAX, Duration::MAX, at(60), Duration::MAX).await.unwrap(), Some(at(60) + TENTH));
        assert_eq!(one.ration("a", u32::MAX, Duration::MAX, at(60), SECOND).await.unwrap(), None);
    }

    async fn a_clock_that_was_ahead_holds_up_no_question(place: Place) {
        let state = place.state().await;
        assert_eq!(state.ration("a", 5, SECOND, at(900), SECOND).await.unwrap(), Some(at(900)));
        assert_eq!(state.ration("a", 5, SECOND, at(839), SECOND).await.unwrap(), None, "as far ahead as clocks may differ");
        assert_eq!(state.ration("a", 5, SECOND, at(838), SECOND).await.unwrap(), Some(at(838)));
        assert_eq!(state.ration("a", 5, SECOND, at(843), SECOND).await.unwrap(), Some(at(843)));
    }

    async fn all_together_ask_no_faster_than_the_rate(place: Place) {
        let states = [place.state().await, place.state().await];
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..16_usize {
            let state = states[task % 2].clone();
            tasks.spawn(async move {
                let mut taken = Vec::new();
                for _ in 0..10 {
                    taken.extend(state.ration("a", 3, TENTH, at(0), SECOND * 30).await.unwrap());
                }
                taken
            });
        }
        let mut taken: Vec<SystemTime> = tasks.join_all().await.into_iter().flatten().collect();
        taken.sort();
        // The first of each three, and none that begins later than the horizon.
        assert_eq!(taken, (0..=100).map(|turn| at(0) + TENTH * 3 * turn).collect::<Vec<_>>());
    }
}
