//! Records as `tracing` events, for applications that collect those.

use async_trait::async_trait;

use crate::audit::{AuditError, AuditSink, Record};

/// Emits each record as an event of the target `reset_gatekeeper::audit`, with the record as JSON in the field `record`.
///
/// What becomes of it is the subscriber's business: nothing is known to be on disk when a blocked caller is answered. Where that
/// matters, use [`JsonLines`](crate::audit::JsonLines).
#[derive(Debug, Clone, Copy, Default)]
pub struct Tracing;

#[async_trait]
impl AuditSink for Tracing {
    async fn record(&self, records: Vec<Record>) -> Result<(), AuditError> {
        for record in records {
            let json = serde_json::to_string(&record).map_err(|error| AuditError::Other(error.into()))?;
            tracing::info!(target: "reset_gatekeeper::audit", id = %record.id, verdict = record.verdict.as_str(), record = json);
        }
        Ok(())
    }
}
