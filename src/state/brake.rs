//! How many accounts were un-verified of late, by all that share the state: a source that calls everything gone must not take them in small helpings.

use std::time::{Duration, SystemTime};

use super::pool::with;
use super::{Pass, State, StateError, count, failed, microseconds, span};

/// For so long they are added up.
const PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// How far ahead another's clock may be, at most. What began later than that never did: a clock was ahead.
const SKEW: Duration = Duration::from_secs(60);

const READ: &str = "SELECT recent FROM gatekeeper_passes WHERE kind = $1 AND recent_from > $2 AND recent_from <= $3";

const ADD: &str = "INSERT INTO gatekeeper_passes AS kept (kind, number, began_at, ended_at, accounts, leased_until, recent, recent_from) \
     VALUES ($1, 0, -1, -1, 0, -1, $5, $4) ON CONFLICT (kind) DO UPDATE SET \
     recent = CASE WHEN kept.recent_from > $2 AND kept.recent_from <= $3 THEN kept.recent ELSE 0 END + excluded.recent, \
     recent_from = CASE WHEN kept.recent_from > $2 AND kept.recent_from <= $3 THEN kept.recent_from ELSE $4 END \
     RETURNING recent";

impl State {
    /// Adds `number` accounts that are un-verified `now`, and gives how many were within a day, from the first of them on. Then it begins anew.
    pub(crate) async fn count_unverified(&self, number: u64, now: SystemTime) -> Result<u64, StateError> {
        let (kind, now, number) = (Pass::Unverification.as_str(), microseconds(now), count(number));
        let (from, to) = (now.saturating_sub(span(PERIOD)), now.saturating_add(span(SKEW)));
        let recent: Option<i64> = with!(&self.pool, |pool| {
            if number == 0 {
                sqlx::query_scalar(READ).bind(kind).bind(from).bind(to).fetch_optional(pool).await
            } else {
                sqlx::query_scalar(ADD).bind(kind).bind(from).bind(to).bind(now).bind(number).fetch_optional(pool).await
            }
        })
        .map_err(failed("counting what was un-verified"))?;
        Ok(recent.unwrap_or_default().unsigned_abs())
    }
}

#[cfg(test)]
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::state::Begun;
    use crate::state::place::{MINUTE, Place, at, promised_of_both};

    promised_of_both! {
        what_all_un_verify_within_a_day_is_added_up,
        a_pass_keeps_the_count,
    }

    const DAY: u64 = 24 * 60 * 60;

    async fn what_all_un_verify_within_a_day_is_added_up(place: Place) {
        let (one, other) = (place.state().await, place.state().await);
        assert_eq!(one.count_unverified(0, at(0)).await.unwrap(), 0);
        assert_eq!(one.count_unverified(3, at(10)).await.unwrap(), 3);
        assert_eq!(other.count_unverified(4, at(9)).await.unwrap(), 7, "its clock is behind");
        assert_eq!(one.count_unverified(1, at(DAY)).await.unwrap(), 8);
        assert_eq!(other.count_unverified(0, at(DAY + 9)).await.unwrap(), 8);
        assert_eq!(other.count_unverified(0, at(DAY + 10)).await.unwrap(), 0, "a day after the first");
        assert_eq!(one.count_unverified(5, at(DAY + 10)).await.unwrap(), 5);
        assert_eq!(other.count_unverified(2, at(2 * DAY)).await.unwrap(), 7);

        // A clock that was ahead.
        assert_eq!(one.count_unverified(0, at(60)).await.unwrap(), 0);
        assert_eq!(one.count_unverified(1, at(60)).await.unwrap(), 1);
    }

    async fn a_pass_keeps_the_count(place: Place) {
        let state = place.state().await;
        state.count_unverified(3, at(0)).await.unwrap();
        let begun = state.begin_pass(Pass::Unverification, at(0), at(1), MINUTE).await.unwrap();
        assert_eq!(begun, Begun::Mine { number: 1, after: None, accounts: 0 });
        assert!(state.end_unverification(1, &[], || at(2), MINUTE).await.unwrap());
        assert_eq!(state.count_unverified(0, at(3)).await.unwrap(), 3);
    }
}
