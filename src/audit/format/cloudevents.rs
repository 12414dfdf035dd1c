//! CloudEvents 1.0 in its JSON format: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>.

use serde::Serialize;
use uuid::Uuid;

use crate::audit::Record;
use crate::clock::rfc3339;

/// How each begins.
pub(super) const BEGINNING: &[u8] = b"{\"specversion\":\"";

/// §3.1.1 of the specification: identifies, with `id`, each event. The ids are unique by themselves.
const SOURCE: &str = "/reset-gatekeeper";

/// All members but `data`.
#[derive(Serialize)]
pub(super) struct Event {
    specversion: &'static str,
    id: Uuid,
    source: &'static str,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    time: String,
    datacontenttype: &'static str,
}

impl Event {
    pub(super) fn of(record: &Record) -> Self {
        let account = record.account.as_ref().map(|account| format!("account/{}", account.id));
        let domain = || record.domain.as_ref().map(|domain| format!("domain/{}", domain.name));
        Self {
            specversion: "1.0",
            id: record.id,
            source: SOURCE,
            kind: format!("reset-gatekeeper.{}", record.event.as_str()),
            subject: account.or_else(domain),
            time: rfc3339(record.time),
            datacontenttype: "application/json",
        }
    }
}
