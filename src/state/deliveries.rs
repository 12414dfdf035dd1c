//! How far audit logs were delivered to webhooks.

use std::path::Path;

use super::pool::with;
use super::{State, StateError, count, failed};
use crate::audit::Head;

const READ: &str = "SELECT seq, hash FROM gatekeeper_deliveries WHERE file = $1 AND webhook = $2";

const KEEP: &str = "INSERT INTO gatekeeper_deliveries (file, webhook, seq, hash) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (file, webhook) DO UPDATE SET seq = excluded.seq, hash = excluded.hash";

impl State {
    /// The last record of the audit log `file` that `webhook` took. The log is known as for [its head](Self::audit_head).
    pub(crate) async fn delivered(&self, file: &Path, webhook: &str) -> Result<Option<Head>, StateError> {
        let row: Option<(i64, String)> =
            with!(&self.pool, |pool| sqlx::query_as(READ).bind(self.node.log(file)).bind(webhook).fetch_optional(pool).await)
                .map_err(failed("reading how far the audit log was delivered"))?;
        Ok(row.map(|(seq, hash)| Head::new(seq.unsigned_abs(), hash)))
    }

    /// Keeps that `webhook` took all records up to `head`.
    pub(crate) async fn keep_delivered(&self, file: &Path, webhook: &str, head: &Head) -> Result<(), StateError> {
        let (log, seq) = (self.node.log(file), count(head.seq));
        with!(&self.pool, |pool| {
            let query = sqlx::query(KEEP).bind(log).bind(webhook).bind(seq).bind(&head.hash);
            query.execute(pool).await.map(drop)
        })
        .map_err(failed("keeping how far the audit log was delivered"))
    }
}

#[cfg(test)]
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::state::place::{Place, promised_of_both};

    promised_of_both! {
        each_webhook_of_each_log_has_a_position_of_its_own,
    }

    async fn each_webhook_of_each_log_has_a_position_of_its_own(place: Place) {
        let state = place.state().await;
        let (one, other) = (Path::new("one.jsonl"), Path::new("other.jsonl"));
        assert_eq!(state.delivered(one, "a").await.unwrap(), None);
        state.keep_delivered(one, "a", &Head::new(7, "77")).await.unwrap();
        state.keep_delivered(one, "b", &Head::new(3, "33")).await.unwrap();
        // A log that began anew begins anew there too.
        state.keep_delivered(one, "a", &Head::new(2, "22")).await.unwrap();
        let state = place.state().await;
        assert_eq!(state.delivered(one, "a").await.unwrap(), Some(Head::new(2, "22")));
        assert_eq!(state.delivered(one, "b").await.unwrap(), Some(Head::new(3, "33")));
        assert_eq!(state.delivered(other, "a").await.unwrap(), None);
    }
}
