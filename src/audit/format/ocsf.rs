//! Events of the Open Cybersecurity Schema Framework, version 1.9.0: the classes User Management and Entity Management with the profile Security Control.
//! <https://schema.ocsf.io/1.9.0/classes/user_management>

use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::account::Account;
use crate::audit::{self, Decision, Record, RequestRecord};
use crate::verdict::Reason;

/// How each begins.
pub(super) const BEGINNING: &[u8] = b"{\"class_uid\":";

const VERSION: &str = "1.9.0";
const IDENTITY_AND_ACCESS_MANAGEMENT: u32 = 3;

/// The methods that the schema has a value for, of those that a recovery endpoint may have.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// All members but `unmapped`.
#[derive(Serialize)]
pub(super) struct Event<'r> {
    class_uid: u32,
    category_uid: u32,
    activity_id: u32,
    type_uid: u32,
    /// In milliseconds since 1970.
    #[serde(serialize_with = "in_milliseconds")]
    time: SystemTime,
    severity_id: u32,
    status_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_detail: Option<String>,
    message: String,
    metadata: Metadata<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<Entity<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_endpoint: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_request: Option<HttpRequest<'r>>,
    action_id: u32,
    disposition_id: u32,
    is_alert: bool,
}

#[derive(Serialize)]
struct Metadata<'r> {
    version: &'static str,
    profiles: [&'static str; 1],
    product: Product,
    uid: Uuid,
    event_code: &'static str,
    sequence: u64,
    /// What else the trace tells of, as far as others' records hold its identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_uid: Option<&'r str>,
}

#[derive(Serialize)]
struct Product {
    name: &'static str,
    vendor_name: &'static str,
    version: &'static str,
}

#[derive(Serialize, Default)]
struct User<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_addr: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid_alt: Option<&'r str>,
}

#[derive(Serialize)]
struct Entity<'r> {
    name: &'r str,
    #[serde(rename = "type")]
    kind: &'static str,
    type_id: u32,
}

#[derive(Serialize)]
struct Endpoint {
    ip: IpAddr,
}

#[derive(Serialize)]
struct HttpRequest<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    http_method: Option<&'r str>,
    url: Url<'r>,
}

#[derive(Serialize)]
struct Url<'r> {
    path: &'r str,
}

/// A class with one of its activities, and whether the activity succeeded.
struct Activity {
    class: u32,
    id: u32,
    status: u32,
}

/// What the control did (`action_id`), and what came of it (`disposition_id`).
struct Outcome(u32, u32);

const USER_MANAGEMENT: u32 = 3007;
const ENTITY_MANAGEMENT: u32 = 3004;

const UNKNOWN: u32 = 0;
const SUCCESS: u32 = 1;
const FAILURE: u32 = 2;

const ALLOWED: Outcome = Outcome(1, 1);
const APPROVED: Outcome = Outcome(1, 8);
const BLOCKED: Outcome = Outcome(2, 2);
const ACCESS_REVOKED: Outcome = Outcome(2, 24);
const DETECTED: Outcome = Outcome(3, 15);
const LOGGED: Outcome = Outcome(3, 17);

impl<'r> Event<'r> {
    pub(super) fn of(record: &'r Record, seq: u64) -> Self {
        let Activity { class, id, status } = activity(record);
        let Outcome(action, disposition) = outcome(record);
        let is_of_user = class == USER_MANAGEMENT;
        let request = record.request.as_ref();
        Self {
            class_uid: class,
            category_uid: IDENTITY_AND_ACCESS_MANAGEMENT,
            activity_id: id,
            type_uid: class * 100 + id,
            time: record.time,
            severity_id: record.reasons.iter().map(|reason| severity(*reason)).max().unwrap_or(1),
            status_id: status,
            status_code: record.reasons.first().map(|reason| reason.as_str()),
            status_detail: (!record.reasons.is_empty()).then(|| reasons(record)),
            message: message(record),
            metadata: Metadata::of(record, seq),
            user: is_of_user.then(|| record.account.as_ref().map_or_else(User::unknown, User::of)),
            entity: (!is_of_user).then(|| Entity::of(record)),
            src_endpoint: request.and_then(|request| request.client).map(|ip| Endpoint { ip }),
            http_request: request.map(HttpRequest::of),
            action_id: action,
            disposition_id: disposition,
            is_alert: !record.reasons.is_empty() && record.exemption.is_none(),
        }
    }
}

fn activity(record: &Record) -> Activity {
    let (class, id, status) = match record.event {
        audit::Event::ResetBlocked if record.enforced => (USER_MANAGEMENT, 9, FAILURE),
        audit::Event::ResetBlocked | audit::Event::ResetAllowed => (USER_MANAGEMENT, 9, UNKNOWN),
        audit::Event::EmailUnverified => (USER_MANAGEMENT, 2, if record.enforced { SUCCESS } else { UNKNOWN }),
        audit::Event::DomainChanged => (ENTITY_MANAGEMENT, 3, SUCCESS),
        audit::Event::SourceFailed => (ENTITY_MANAGEMENT, 2, FAILURE),
    };
    Activity { class, id, status }
}

fn outcome(record: &Record) -> Outcome {
    match (record.event, record.enforced, record.verdict) {
        (audit::Event::DomainChanged | audit::Event::SourceFailed, _, _) | (_, false, Decision::Allow) => LOGGED,
        (_, false, Decision::Block) => DETECTED,
        (audit::Event::EmailUnverified, true, _) => ACCESS_REVOKED,
        (audit::Event::ResetBlocked, true, _) => BLOCKED,
        (audit::Event::ResetAllowed, true, _) if record.exemption.is_some() => APPROVED,
        (audit::Event::ResetAllowed, true, _) => ALLOWED,
    }
}

/// Low (2) of what anybody's mistake may be, high (4) of what a take-over begins with, medium (3) of the rest.
const fn severity(reason: Reason) -> u32 {
    match reason {
        Reason::DomainReregistered | Reason::DomainChangedHands => 4,
        Reason::DomainUnregistered
        | Reason::DomainPendingDelete
        | Reason::DomainRedemption
        | Reason::DomainExpired
        | Reason::DomainOnHold
        | Reason::DomainExpiring
        | Reason::DomainUnresolvable
        | Reason::DomainUnknown
        | Reason::EmailUnverified
        | Reason::TargetMismatch => 3,
        Reason::BodyTooLarge
        | Reason::TargetUndecodable
        | Reason::TargetMissing
        | Reason::TargetAmbiguous
        | Reason::TargetInvalid
        | Reason::TooManyRequests => 2,
    }
}

fn reasons(record: &Record) -> String {
    record.reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(", ")
}

fn message(record: &Record) -> String {
    let what = match (record.event, record.enforced) {
        (audit::Event::ResetBlocked, true) => "A password reset was blocked",
        (audit::Event::ResetBlocked, false) => "A password reset would have been blocked",
        (audit::Event::ResetAllowed, _) if record.exemption.is_some() => "A password reset was let through by an exemption",
        (audit::Event::ResetAllowed, _) => "A password reset was let through",
        (audit::Event::EmailUnverified, true) => "An e-mail address lost its verification",
        (audit::Event::EmailUnverified, false) => "An e-mail address would have lost its verification",
        (audit::Event::DomainChanged, _) => "A domain stands otherwise than before",
        (audit::Event::SourceFailed, _) => "A source could not tell how a domain stands",
    };
    if record.reasons.is_empty() { what.to_owned() } else { format!("{what}: {}", reasons(record)) }
}

impl<'r> Metadata<'r> {
    fn of(record: &'r Record, seq: u64) -> Self {
        Self {
            version: VERSION,
            profiles: ["security_control"],
            product: Product { name: "reset-gatekeeper", vendor_name: "reset-gatekeeper", version: env!("CARGO_PKG_VERSION") },
            uid: record.id,
            event_code: record.event.as_str(),
            sequence: seq,
            correlation_uid: record.request.as_ref().and_then(|request| request.trace_id.as_deref()),
        }
    }
}

impl<'r> User<'r> {
    fn of(account: &'r Account) -> Self {
        let email = account.email.as_str();
        let (email_addr, uid_alt) = if is_plain(email) { (Some(email), None) } else { (None, Some(email)) };
        Self { uid: Some(account.id.as_str()), name: None, email_addr, uid_alt }
    }

    fn unknown() -> Self {
        Self { name: Some("unknown"), ..Self::default() }
    }
}

/// Whether the schema's type `email_t` has a form for this address: not for one that is quoted, international, or hashed.
fn is_plain(email: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    email.rsplit_once('@').is_some_and(|(local, host)| {
        let is_local = local.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte));
        !local.is_empty() && is_local && host.split_once('.').is_some_and(|(first, rest)| is_name(first) && is_name(rest))
    })
}

impl<'r> Entity<'r> {
    fn of(record: &'r Record) -> Self {
        let name = record.domain.as_ref().map_or("unknown", |domain| domain.name.as_str());
        Self { name, kind: "Domain", type_id: 99 }
    }
}

impl<'r> HttpRequest<'r> {
    fn of(request: &'r RequestRecord) -> Self {
        let method = request.method.as_str();
        Self { http_method: METHODS.contains(&method).then_some(method), url: Url { path: &request.path } }
    }
}

fn in_milliseconds<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    serializer.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
