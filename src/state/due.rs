//! What makes watched domains due before their time.
//!
//! All go in stretches, each a transaction of its own: the locks must not be held for long, nor a statement take more than its time.

use std::time::{Duration, SystemTime};

use sqlx::AssertSqlSafe;

use super::pool::{Dialect, with};
use super::{State, StateError, TRIES, failed, microseconds, span};

const AT_ONCE: i64 = 5_000;

/// No lease is that long.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Of those that were given up. The first condition is the index's.
const GIVEN_UP: &str = "failures > 0 AND failures >= $2 AND lease IS NULL";

fn stretch_given_up() -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "SELECT max(name) FROM (SELECT name FROM gatekeeper_watched WHERE name > $1 AND {GIVEN_UP} ORDER BY name LIMIT $3) AS stretch"
    ))
}

fn retry<DB: Dialect>() -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "UPDATE gatekeeper_watched SET due_at = $4, failures = 0 WHERE name IN \
         (SELECT name FROM gatekeeper_watched WHERE name > $1 AND name <= $3 AND {GIVEN_UP} ORDER BY name {})",
        DB::LOCKING
    ))
}

/// Makes `which` due that aren't until after `$1`.
fn clamp<DB: Dialect>(which: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "UPDATE gatekeeper_watched SET due_at = $2, registry_at = 0, lease = NULL WHERE name IN (SELECT name FROM gatekeeper_watched WHERE name IN \
         (SELECT name FROM gatekeeper_watched WHERE {which} AND due_at > $1 ORDER BY due_at DESC LIMIT $3) AND {which} AND due_at > $1 ORDER BY name {})",
        DB::LOCKING
    ))
}

impl State {
    /// Has those looked at again by `now` that were given up, since they failed too often.
    pub(crate) async fn retry_failed(&self, now: SystemTime) -> Result<(), StateError> {
        let failed = || failed("taking up what failed");
        let (now, tries, mut after) = (microseconds(now), i64::from(TRIES), String::new());
        loop {
            let mut transaction = self.pool.begin().await.map_err(failed())?;
            let last: Option<String> = with!(in &mut transaction, |connection| {
                sqlx::query_scalar(stretch_given_up()).bind(&after).bind(tries).bind(AT_ONCE).fetch_one(connection).await
            })
            .map_err(failed())?;
            let Some(last) = last else { return Ok(()) };
            with!(in &mut transaction, |connection, DB| {
                sqlx::query(retry::<DB>()).bind(&after).bind(tries).bind(&last).bind(now).execute(connection).await.map(drop)
            })
            .map_err(failed())?;
            transaction.commit().await.map_err(failed())?;
            after = last;
        }
    }

    /// Makes those due at `now` that would not be for more than `longest`, which a clock that was ahead left behind, or an earlier setting. They are judged
    /// anew. Leases that no clock explains end.
    pub(crate) async fn clamp_due(&self, now: SystemTime, longest: Duration) -> Result<(), StateError> {
        let failed = || failed("making due what a clock that was ahead put off");
        let now = microseconds(now);
        for (which, longest) in [("accounts > 0 AND lease IS NULL", longest), ("lease IS NOT NULL", HOUR)] {
            let latest = now.saturating_add(span(longest));
            loop {
                let mut transaction = self.pool.begin().await.map_err(failed())?;
                let clamped = with!(in &mut transaction, |connection, DB| {
                    let query = sqlx::query(clamp::<DB>(which)).bind(latest).bind(now).bind(AT_ONCE);
                    query.execute(connection).await.map(|done| done.rows_affected())
                })
                .map_err(failed())?;
                transaction.commit().await.map_err(failed())?;
                if clamped == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod tests {
    use std::collections::BTreeSet;

    use uuid::Uuid;

    use super::*;
    use crate::state::place::{MINUTE, Place, at, discover, discovered, promised_of_both};

    promised_of_both! {
        all_that_was_given_up_is_tried_again,
        what_a_clock_that_was_ahead_put_off_is_due,
    }

    async fn due(state: &State, now: u64) -> BTreeSet<String> {
        let leased = state.lease(Uuid::now_v7(), 10_000, at(now), at(now), MINUTE).await.unwrap();
        leased.into_iter().map(|watched| watched.domain.as_str().to_owned()).collect()
    }

    async fn all_that_was_given_up_is_tried_again(place: Place) {
        let state = place.state().await;
        let found: Vec<_> = (0..5_003).map(|number| discovered(&format!("a{number}.com"), 1, None)).collect();
        discover(&state, &found, 0).await;
        let later = microseconds(at(900));
        place.run(&format!("UPDATE gatekeeper_watched SET due_at = {later}, failures = {TRIES}")).await;
        place.run("UPDATE gatekeeper_watched SET failures = 2 WHERE name = 'a1.com'").await;
        place.run("UPDATE gatekeeper_watched SET lease = 'another' WHERE name = 'a2.com'").await;
        state.retry_failed(at(5)).await.unwrap();
        assert_eq!(due(&state, 4).await.len(), 0);
        let due = due(&state, 5).await;
        assert_eq!((due.len(), due.contains("a1.com"), due.contains("a2.com")), (5_001, false, false));
    }

    async fn what_a_clock_that_was_ahead_put_off_is_due(place: Place) {
        let state = place.state().await;
        let names = ["ahead.com", "edge.com", "held.com", "leased.com", "soon.com"];
        discover(&state, &names.map(|name| discovered(name, 1, None)), 0).await;
        for (name, due_at, lease) in [
            ("ahead", 1_001, "NULL"),
            ("edge", 1_000, "NULL"),
            ("held", 3_601, "'dead'"),
            ("leased", 3_600, "'another'"),
            ("soon", 7, "NULL"),
        ] {
            let due_at = microseconds(at(due_at));
            let set = format!("due_at = {due_at}, registry_at = {due_at}, lease = {lease}");
            place.run(&format!("UPDATE gatekeeper_watched SET {set} WHERE name = '{name}.com'")).await;
        }
        state.clamp_due(at(0), Duration::from_secs(1_000)).await.unwrap();
        assert_eq!(due(&state, 0).await, ["ahead.com", "held.com"].map(str::to_owned).into());
        assert_eq!(due(&state, 7).await, ["soon.com".to_owned()].into());
        state.clamp_due(at(1), Duration::MAX).await.unwrap();
        assert_eq!(due(&state, 8).await.len(), 0);
    }
}
