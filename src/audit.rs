//! The record of what was decided, and the port through which it is kept: [`AuditSink`].
//!
//! A sink keeps one [`Record`] and answers when it is kept for good: the caller of a blocked reset is answered only then, and where a
//! record can't be kept, every guarded request is answered 503.

mod chain;
mod emails;
mod format;
mod jsonl;
mod kept;
mod link;
mod segments;
mod signature;
mod trace;
mod verify;
#[cfg(all(feature = "webhook", any(feature = "postgres", feature = "sqlite")))]
mod webhook;

use std::borrow::Cow;
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use http::request::Parts;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::account::Account;
use crate::clock::{parse, rfc3339};
use crate::domain::{Sighting, Standing};
use crate::exemption::Exemption;
use crate::verdict::{Notice, Reason};

pub use chain::Head;
#[cfg(feature = "admin")]
pub(crate) use emails::is_hashed;
pub use emails::{EmailKey, EmailKeyError, Emails};
pub use format::{Format, native};
pub use jsonl::{JsonLines, JsonLinesBuilder, read_log};
pub use kept::still_holds;
pub use segments::{LogFile, log_files, segments};
pub use signature::{PublicKey, PublicKeyError, Signer, SignerError};
pub use trace::Tracing;
pub use verify::{Intact, Verifier, VerifyError, verify};
#[cfg(all(feature = "webhook", any(feature = "postgres", feature = "sqlite")))]
pub use webhook::{Delivering, Risc, SigningKeyError, Webhook, WebhookError, WebhookSecret, WebhookSecretError};

/// What a record tells about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

impl Event {
    /// The stable code, as it stands in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ResetBlocked => "reset_blocked",
            Self::ResetAllowed => "reset_allowed",
            Self::EmailUnverified => "email_unverified",
            Self::DomainChanged => "domain_changed",
            Self::SourceFailed => "source_failed",
        }
    }
}

/// What a verdict comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Nothing blocked, or an exemption let it pass.
    Allow,
    /// Something blocked.
    Block,
}

impl Decision {
    /// The word for it in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Block => "block",
        }
    }
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// A UUID of version 7: the reference that a blocked caller is given.
    pub id: Uuid,
    /// When it was decided.
    #[serde(serialize_with = "as_rfc3339", deserialize_with = "of_rfc3339")]
    pub time: SystemTime,
    /// What happened.
    pub event: Event,
    /// Whether it was let through.
    pub verdict: Decision,
    /// Whether the verdict was carried out.
    pub enforced: bool,
    /// Every reason that held.
    pub reasons: Vec<Reason>,
    /// What was worth knowing besides.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notices: Vec<Notice>,
    /// The account; of several, the one that decided. `None` where the request named none.
    #[serde(serialize_with = "as_account", deserialize_with = "of_account")]
    pub account: Option<Account>,
    /// How the account's domain was seen. `None` where nobody looked.
    pub domain: Option<DomainRecord>,
    /// The request. `None` where the application asked by itself.
    pub request: Option<RequestRecord>,
    /// What let it pass although `reasons` held. `None` where nothing did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exemption: Option<Exemption>,
}

/// How a domain was seen when the verdict was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DomainRecord {
    /// The registrable domain.
    pub name: String,
    /// Where it stood.
    pub standing: Standing,
    /// When its present registration began, if the registry says so.
    #[serde(serialize_with = "as_rfc3339_if_known", deserialize_with = "crate::clock::text::deserialize")]
    pub registered_at: Option<SystemTime>,
    /// When it ends, if the registry says so.
    #[serde(serialize_with = "as_rfc3339_if_known", deserialize_with = "crate::clock::text::deserialize")]
    pub expires_at: Option<SystemTime>,
    /// When the source was asked. `None` where no source could tell.
    #[serde(serialize_with = "as_rfc3339_if_known", deserialize_with = "crate::clock::text::deserialize")]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RequestRecord {
    /// The method.
    pub method: String,
    /// The path as it was sent, without query; of one beyond 2 KiB, the beginning.
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
            path: beginning(parts.uri.path()),
            client: parts.extensions.get::<Client>().map(|client| client.0),
            trace_id: parts.headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(trace_id),
        }
    }
}

/// How many bytes of a path are recorded: a stranger chooses its length.
const LONGEST_PATH: usize = 2048;

/// `path`, or its beginning and `…`.
fn beginning(path: &str) -> String {
    match path.get(..path.floor_char_boundary(LONGEST_PATH)) {
        Some(beginning) if beginning.len() < path.len() => format!("{beginning}…"),
        _ => path.to_owned(),
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
    /// Keeps `records`, in their order, and returns when they are kept for good. Without any, it tells whether some could be kept now.
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

fn of_rfc3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| serde::de::Error::custom("not a moment as RFC 3339 has it"))
}

/// An account as a record tells of it.
#[derive(Serialize, Deserialize)]
struct AccountRecord<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    email: Cow<'a, str>,
    verified: bool,
    #[serde(serialize_with = "as_rfc3339_if_known", deserialize_with = "crate::clock::text::deserialize")]
    verified_at: Option<SystemTime>,
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn as_account<S: Serializer>(account: &Option<Account>, serializer: S) -> Result<S::Ok, S::Error> {
    let record = account.as_ref().map(|account| AccountRecord {
        id: account.id.as_str().into(),
        email: account.email.as_str().into(),
        verified: account.verified,
        verified_at: account.verified_at,
    });
    record.serialize(serializer)
}

fn of_account<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Account>, D::Error> {
    let record = Option::<AccountRecord<'de>>::deserialize(deserializer)?;
    Ok(record.map(|record| Account {
        id: record.id.as_ref().into(),
        email: record.email.into_owned(),
        verified: record.verified,
        verified_at: record.verified_at,
    }))
}
