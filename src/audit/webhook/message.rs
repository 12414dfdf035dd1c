//! What is sent of a record.

use std::collections::BTreeMap;

use http::HeaderValue;

use super::Payload;
use super::cursor::Entry;
use crate::audit::Record;
use crate::audit::format::{Format, native};

/// One request.
pub(super) struct Message {
    /// By which it is known when it is sent again.
    pub(super) id: String,
    pub(super) content_type: HeaderValue,
    pub(super) body: bytes::Bytes,
}

/// What is to be sent of `entries`, by what they are about: only what is in one lane must keep its order.
pub(super) fn lanes(entries: &[Entry], payload: &Payload) -> BTreeMap<String, Vec<Message>> {
    let mut lanes = BTreeMap::<_, Vec<_>>::new();
    for entry in entries {
        match messages(entry, payload) {
            Ok((subject, messages)) if !messages.is_empty() => lanes.entry(subject).or_default().extend(messages),
            Ok(_) => {}
            Err(error) => tracing::error!(
                seq = entry.head.seq,
                error = &error as &dyn std::error::Error,
                "a line of the audit log is no record, and is not delivered"
            ),
        }
    }
    lanes
}

fn messages(entry: &Entry, payload: &Payload) -> serde_json::Result<(String, Vec<Message>)> {
    let (written, text) = native(&entry.line)?;
    let record: Record = serde_json::from_str(text)?;
    let messages = match payload {
        Payload::Risc(risc) => risc.messages(&record),
        Payload::Signed(_, format) => {
            let body = if *format == written { entry.line.clone().into_bytes() } else { format.envelope(&record, entry.head.seq, text)? };
            vec![Message { id: record.id.to_string(), content_type: content_type(*format), body: body.into() }]
        }
    };
    Ok((subject(&record), messages))
}

fn subject(record: &Record) -> String {
    match (&record.account, &record.domain) {
        (Some(account), _) => format!("account/{}", account.id),
        (None, Some(domain)) => format!("domain/{}", domain.name),
        (None, None) => record.id.to_string(),
    }
}

/// CloudEvents has one of its own (HTTP binding §3.2.1).
const fn content_type(format: Format) -> HeaderValue {
    HeaderValue::from_static(match format {
        Format::Native | Format::Ocsf => "application/json",
        Format::CloudEvents => "application/cloudevents+json",
    })
}
