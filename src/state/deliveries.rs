//! How far audit logs were delivered to webhooks.

use std::path::Path;
use std::time::SystemTime;

use super::pool::with;
use super::{State, StateError, count, failed, microseconds, time};
use crate::audit::Head;

const READ: &str = "SELECT seq, hash, refused_at FROM gatekeeper_deliveries WHERE file IN ($1, $3) AND webhook = $2 \
     ORDER BY CASE WHEN file = $1 THEN 0 ELSE 1 END LIMIT 1";

const KEEP: &str = "INSERT INTO gatekeeper_deliveries (file, webhook, seq, hash, refused_at) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (file, webhook) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, refused_at = excluded.refused_at";

/// How far a webhook has got in an audit log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Position {
    /// The last record that it took, or that was passed over. `None` before the first.
    pub(crate) head: Option<Head>,
    /// When it first refused one of those that come next. `None` where it refused none.
    pub(crate) refused_at: Option<SystemTime>,
}

impl State {
    /// How far `webhook` has got in the audit log `file`. The log is known as for [its head](Self::audit_head).
    pub(crate) async fn delivered(&self, file: &Path, webhook: &str) -> Result<Position, StateError> {
        let row: Option<(i64, String, Option<i64>)> = with!(&self.pool, |pool| {
            let query = sqlx::query_as(READ).bind(self.node.log(file)).bind(webhook).bind(self.node.former_log(file));
            query.fetch_optional(pool).await
        })
        .map_err(failed("reading how far the audit log was delivered"))?;
        Ok(row.map(Position::from).unwrap_or_default())
    }

    /// Keeps that `webhook` has got so far in the audit log `file`.
    pub(crate) async fn keep_delivered(&self, file: &Path, webhook: &str, position: &Position) -> Result<(), StateError> {
        let (seq, hash) = position.head.as_ref().map_or((0, ""), |head| (head.seq, &head.hash));
        let (log, seq, refused_at) = (self.node.log(file), count(seq), position.refused_at.map(microseconds));
        with!(&self.pool, |pool| {
            let query = sqlx::query(KEEP).bind(log).bind(webhook).bind(seq).bind(hash).bind(refused_at);
            query.execute(pool).await.map(drop)
        })
        .map_err(failed("keeping how far the audit log was delivered"))
    }
}

impl From<(i64, String, Option<i64>)> for Position {
    fn from((seq, hash, refused_at): (i64, String, Option<i64>)) -> Self {
        // Records count from 1 on.
        let head = (seq > 0).then(|| Head::new(seq.unsigned_abs(), hash));
        Self { head, refused_at: refused_at.map(time) }
    }
}

#[cfg(test)]
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::state::place::{Place, at, promised_of_both};

    promised_of_both! {
        each_webhook_of_each_log_has_a_position_of_its_own,
    }

    fn position(seq: u64, hash: &str) -> Position {
        Position { head: Some(Head::new(seq, hash)), refused_at: None }
    }

    async fn each_webhook_of_each_log_has_a_position_of_its_own(place: Place) {
        let state = place.state().await;
        let (one, other) = (Path::new("one.jsonl"), Path::new("other.jsonl"));
        assert_eq!(state.delivered(one, "a").await.unwrap(), Position::default());
        state.keep_delivered(one, "a", &position(7, "77")).await.unwrap();
        state.keep_delivered(one, "b", &position(3, "33")).await.unwrap();
        // A log that began anew begins anew there too.
        state.keep_delivered(one, "a", &position(2, "22")).await.unwrap();
        // The first record of all may be refused.
        let refused = Position { head: None, refused_at: Some(at(5)) };
        state.keep_delivered(one, "c", &refused).await.unwrap();
        let state = place.state().await;
        assert_eq!(state.delivered(one, "a").await.unwrap(), position(2, "22"));
        assert_eq!(state.delivered(one, "b").await.unwrap(), position(3, "33"));
        assert_eq!(state.delivered(one, "c").await.unwrap(), refused);
        assert_eq!(state.delivered(other, "a").await.unwrap(), Position::default());
        state.keep_delivered(one, "c", &position(1, "11")).await.unwrap();
        assert_eq!(state.delivered(one, "c").await.unwrap(), position(1, "11"));
    }
}
