//! The record of what was decided, and the port through which it is kept: [`AuditSink`].
//!
//! A sink keeps one [`Record`] and answers when it is kept for good: the caller of a blocked reset is answered only then, and where a
//! record can't be kept, every guarded request is answered 503.

mod jsonl;
mod trace;

use std::borrow::Cow;
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use http::request::Parts;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::account::Account;
use crate::clock::rfc3339;
use crate::domain::{Sighting, Standing};
use crate::verdict::{Notice, Reason};

pub use jsonl::{Head, JsonLines, VerifyError, read_log, verify, verify_up_to};
pub use trace::Tracing;

/// What a record tells about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A recovery request was blocked, or would have been where nothing is enforced.
    ResetBlocked,
    /// A recovery request was let through.
    ResetAllowed,
    /// An account's address lost its verification for good.
    EmailUnverified,
    /// A domain stands otherwise than when it was last told of: it is about to lapse, has lapsed, changed hands, or is well again.
    DomainChanged,
    /// A source could not tell.
    SourceFailed,
}

/// One line of the audit log.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Record {
    /// A UUID of version 7: the reference that a blocked caller is given.
    pub id: Uuid,
    /// When it was decided.
    #[serde(serialize_with = "as_rfc3339")]
    pub time: SystemTime,
    /// What happened.
    pub event: Event,
    /// `allow` or `block`.
    pub verdict: &'static str,
    /// Whether the verdict was carried out.
    pub enforced: bool,
    /// Every reason that held.
    pub reasons: Vec<Reason>,
    /// What was worth knowing besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
    /// The account; of several, the one that decided. `None` where the request named none.
    #[serde(serialize_with = "as_account")]
    pub account: Option<Account>,
    /// How the account's domain was seen. `None` where nobody looked.
    pub domain: Option<DomainRecord>,
    /// The request. `None` where the application asked by itself.
    pub request: Option<RequestRecord>,
}

/// How a domain was seen when the verdict was found.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct DomainRecord {
    /// The registrable domain.
    pub name: String,
    /// Where it stood.
    pub standing: Standing,
    /// When its present registration began, if the registry says so.
    #[serde(serialize_with = "as_rfc3339_if_known")]
    pub registered_at: Option<SystemTime>,
    /// When it ends, if the registry says so.
    #[serde(serialize_with = "as_rfc3339_if_known")]
    pub expires_at: Option<SystemTime>,
    /// When the source was asked. `None` where no source could tell.
    #[serde(serialize_with = "as_rfc3339_if_known")]
    pub checked_at: Option<SystemTime>,
    /// Which source told.
    pub source: Option<Cow<'static, str>>,
    /// Whether the report was remembered rather than asked for.
    pub cached: bool,
    /// Whether an old report stood in for a source that failed.
    pub stale: bool,
}

impl DomainRecord {
    /// The record of `name` as it was seen, or of nothing having been learned about it.
    #[must_use]
    pub fn new(name: impl Into<String>, standing: Standing, sighting: Option<&Sighting>) -> Self {
        Self {
            name: name.into(),
            standing,
            registered_at: sighting.and_then(|sighting| sighting.report.began_at()),
            expires_at: sighting.and_then(|sighting| sighting.report.ends_at()),
            checked_at: sighting.map(|sighting| sighting.checked_at),
            source: sighting.map(|sighting| sighting.report.source.clone()),
            cached: sighting.is_some_and(|sighting| sighting.cached),
            stale: sighting.is_some_and(|sighting| sighting.stale),
        }
    }
}

/// The request that was judged.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RequestRecord {
    /// The method.
    pub method: String,
    /// The path as it was sent, without query.
    pub path: String,
    /// The caller's address, where the server told it by a [`Client`] extension.
    pub client: Option<IpAddr>,
    /// The trace's identifier, from the header `traceparent` (W3C Trace Context §3.2).
    pub trace_id: Option<String>,
}

impl RequestRecord {
    pub(crate) fn of(parts: &Parts) -> Self {
        Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            client: parts.extensions.get::<Client>().map(|client| client.0),
            trace_id: parts.headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(trace_id),
        }
    }
}

/// The second field of a `traceparent` (W3C Trace Context §3.2.2.3): 32 hexadecimal digits, not all zero.
fn trace_id(traceparent: &str) -> Option<String> {
    let id = traceparent.split('-').nth(1)?;
    let is_id = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) && id.bytes().any(|byte| byte != b'0');
    is_id.then(|| id.to_owned())
}

/// The caller's address. A server that knows it puts it into the request's extensions, from where it gets into the audit record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client(pub IpAddr);

/// Why a record was not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The log can't be opened, read or written.
    #[error("{operation} failed")]
    Io {
        /// What was attempted, and where.
        operation: String,
        /// What happened.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The log does not end in a record of ours, so its chain can't be continued.
    #[error("{file} is damaged: {what}")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// The sink did not answer in time.
    #[error("the record was not kept in time")]
    Timeout,
    /// The sink has stopped.
    #[error("the audit log is closed")]
    Closed,
    /// Another sink's own error.
    #[error("the record was not kept")]
    Other(#[source] Box<dyn Error + Send + Sync>),
}

/// Where records are kept.
#[async_trait]
pub trait AuditSink: Send + Sync + 'static {
    /// Keeps `records`, in their order, and returns when they are kept for good.
    ///
    /// Cancel safe: a record that was handed over may be kept although nobody waits for it any more.
    ///
    /// # Errors
    /// Where any of them may be lost.
    async fn record(&self, records: Vec<Record>) -> Result<(), AuditError>;
}

#[async_trait]
impl<S: AuditSink + ?Sized> AuditSink for Arc<S> {
    async fn record(&self, records: Vec<Record>) -> Result<(), AuditError> {
        (**self).record(records).await
    }
}

fn as_rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn as_rfc3339_if_known<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(rfc3339).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn as_account<S: Serializer>(account: &Option<Account>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct AccountRecord<'a> {
        id: &'a str,
        email: &'a str,
        verified: bool,
        verified_at: Option<String>,
    }
    let record = account.as_ref().map(|account| AccountRecord {
        id: account.id.as_str(),
        email: &account.email,
        verified: account.verified,
        verified_at: account.verified_at.map(rfc3339),
    });
    record.serialize(serializer)
}
