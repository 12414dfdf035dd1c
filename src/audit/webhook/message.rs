//! What is sent of a record.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;
use uuid::Uuid;

use super::Payload;
use super::cursor::Entry;
use crate::audit::format::{Format, native};
use crate::metrics;

/// One request.
pub(super) struct Message {
    /// The number of the record.
    pub(super) seq: u64,
    /// By which it is known when it is sent again: the record's reference, or what begins with it.
    pub(super) id: String,
    pub(super) content_type: HeaderValue,
    pub(super) body: Bytes,
}

/// What is to be sent of `entries`, by what they are about: only what is in one lane must keep its order.
pub(super) fn lanes(entries: &[Entry], payload: &Payload, now: SystemTime) -> BTreeMap<String, Vec<Message>> {
    let mut lanes = BTreeMap::<_, Vec<_>>::new();
    for entry in entries {
        match messages(entry, payload, now) {
            Ok((subject, messages)) if !messages.is_empty() => lanes.entry(subject).or_default().extend(messages),
            Ok(_) => {}
            Err(error) => {
                metrics::passed_over("unreadable", 1);
                tracing::error!(
                    seq = entry.head.seq,
                    id = Outline::of(&entry.line).map(|outline| outline.id.to_string()).unwrap_or_default(),
                    error = &error as &dyn std::error::Error,
                    "a line of the audit log is no record that is known here, and is not delivered"
                );
            }
        }
    }
    lanes
}

fn messages(entry: &Entry, payload: &Payload, now: SystemTime) -> serde_json::Result<(String, Vec<Message>)> {
    let (written, text) = native(&entry.line)?;
    let outline: Outline = serde_json::from_str(text)?;
    let seq = entry.head.seq;
    let messages = match payload {
        Payload::Risc(risc) => risc.messages(&serde_json::from_str(text)?, seq, now),
        Payload::Signed(_, format) => {
            let body = match *format {
                // As it stands, whichever version wrote it.
                format if format == written => entry.line.clone().into_bytes(),
                Format::Native => text.as_bytes().to_vec(),
                format => format.envelope(&serde_json::from_str(text)?, seq, text)?,
            };
            vec![Message { seq, id: outline.id.to_string(), content_type: content_type(*format), body: body.into() }]
        }
    };
    Ok((outline.subject(), messages))
}

/// What every version's record has: its reference, and what it is about.
#[derive(Deserialize)]
struct Outline {
    id: Uuid,
    account: Option<Account>,
    domain: Option<Domain>,
}

#[derive(Deserialize)]
struct Account {
    id: String,
}

#[derive(Deserialize)]
struct Domain {
    name: String,
}

impl Outline {
    fn of(line: &str) -> serde_json::Result<Self> {
        serde_json::from_str(native(line)?.1)
    }

    fn subject(self) -> String {
        match (self.account, self.domain) {
            (Some(account), _) => format!("account/{}", account.id),
            (None, Some(domain)) => format!("domain/{}", domain.name),
            (None, None) => self.id.to_string(),
        }
    }
}

/// CloudEvents has one of its own (HTTP binding §3.2.1).
const fn content_type(format: Format) -> HeaderValue {
    HeaderValue::from_static(match format {
        Format::Native | Format::Ocsf => "application/json",
        Format::CloudEvents => "application/cloudevents+json",
    })
}
