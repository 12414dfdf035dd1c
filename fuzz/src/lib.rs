//! The gate under attack: what a guarded application sees of a request, in either enforcing mode, read by the most lenient parsers there are.
//!
//! The account `b@example.com`, number 42, is not verified. Whatever names it must not get to the application: if any of the [lenient] parsers
//! finds it in a request that did, the gate has failed.

pub mod lenient;

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use reset_gatekeeper::account::{Account, MemoryDirectory};
use reset_gatekeeper::audit::{AuditError, AuditSink, Record};
use reset_gatekeeper::domain::{DomainSource, Report, SourceError};
use reset_gatekeeper::{
    Clock, Decode, Gatekeeper, GatekeeperLayer, Guard, Identifies, RegistrableDomain, Reply, RequestBody, SystemClock, Target,
};
use tokio::runtime::Runtime;
use tower::{Layer, ServiceExt};

/// The account that must not be reset.
pub const BLOCKED: &str = "b@example.com";

/// Its key.
pub const BLOCKED_ID: &str = "42";

/// A request, as a caller sends it or as the application sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Message {
    /// A request with a body. `None` where no server would hand it on.
    pub fn new(method: &str, uri: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Option<Self> {
        let mut message =
            Self { method: method.parse().ok()?, uri: uri.parse().ok()?, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body) };
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            // The server itself acts on these.
            if !matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection" | "upgrade" | "http2-settings" | "host") {
                message.headers.append(name, HeaderValue::from_bytes(value).ok()?);
            }
        }
        if !body.is_empty() {
            message.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Some(message)
    }

    /// All values of a header, as CGI hands them on: it makes one of `_` and `-`.
    pub fn header(&self, name: &str) -> Vec<&[u8]> {
        let is_it = |other: &HeaderName| other.as_str().replace('_', "-") == name;
        self.headers.iter().filter(|(other, _)| is_it(other)).map(|(_, value)| value.as_bytes()).collect()
    }
}

/// The gate in both modes, with an application behind it that keeps what it sees.
pub struct Gate {
    runtime: Runtime,
    refuse: GatekeeperLayer,
    decoy: GatekeeperLayer,
}

impl Default for Gate {
    fn default() -> Self {
        let decode = |steps: &str| steps.parse::<Decode>().unwrap();
        let id = |path, steps| {
            let guard = Guard::path(path).methods([Method::GET]).target(Target::path("uid")).identifies(Identifies::Id);
            guard.decode(decode(steps))
        };
        let guarded = |reply| {
            GatekeeperLayer::new(gatekeeper(), reply)
                .around_router()
                .guard(Guard::post("/password-reset").target(Target::form("email")))
                .guard(Guard::post("/nested").target(Target::form("user[email]")))
                .guard(Guard::post("/api/password-reset").target(Target::json("/email")))
                .guard(Guard::post("/api/nested").target(Target::json("/user/email")))
                .guard(Guard::path("/by-query").methods([Method::GET, Method::POST]).target(Target::query("email")))
                .guard(Guard::post("/by-path/{email}/reset").target(Target::path("email")))
                .guard(Guard::post("/by-header").target(Target::header(HeaderName::from_static("x-email"))))
                .guard(Guard::path("/anyhow").target(Target::form("email")).target(Target::json("/email")).target(Target::query("email")))
                .guard(Guard::path("/put-only").methods([Method::PUT]).target(Target::form("email")))
                .guard(Guard::post("/id").target(Target::form("id")).identifies(Identifies::Id))
                .guard(id("/base64/{uid}", "base64url"))
                .guard(id("/base36/{uid}", "before:-|base36"))
                .guard(id("/jwt/{uid}", "jwt:/sub"))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { runtime, refuse: guarded(Reply::refuse()), decoy: guarded(Reply::decoy().floor(Duration::ZERO)) }
    }
}

impl Gate {
    /// Sends `sent` through the gate in both modes. Panics where the application sees something that `finds` finds the blocked account in, or where
    /// an allowed request does not arrive as it was sent.
    pub fn attack(&self, sent: &Message, finds: impl Fn(&Message) -> Option<String>) {
        if let Some(seen) = self.seen(&self.refuse, sent) {
            assert_eq!(&seen, sent, "an allowed request arrives as it was sent");
            if let Some(parser) = finds(&seen) {
                panic!("{parser} finds the blocked account in {seen:?}");
            }
        }
        if let Some(seen) = self.seen(&self.decoy, sent) {
            if let Some(length) = seen.headers.get(CONTENT_LENGTH) {
                assert_eq!(length.as_bytes(), seen.body.len().to_string().as_bytes(), "a decoyed request has its true length");
            }
            if let Some(parser) = finds(&seen) {
                panic!("{parser} finds the blocked account in the decoy {seen:?}");
            }
        }
    }

    /// What the application sees of `sent`. `None` where it is refused.
    fn seen(&self, layer: &GatekeeperLayer, sent: &Message) -> Option<Message> {
        let seen = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&seen);
        let application = tower::service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
            let kept = Arc::clone(&kept);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                *kept.lock().unwrap() = Some(Message { method: parts.method, uri: parts.uri, headers: parts.headers, body });
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"the application's answer"))))
            }
        });
        let mut request = Request::new(Full::new(sent.body.clone()));
        *request.method_mut() = sent.method.clone();
        *request.uri_mut() = sent.uri.clone();
        *request.headers_mut() = sent.headers.clone();
        let response = self.runtime.block_on(layer.layer(application).oneshot(request)).unwrap();
        let seen = seen.lock().unwrap().take();
        assert!(seen.is_some() || !response.status().is_success(), "who is not let through is told so");
        seen
    }
}

/// The gate of this thread, made once.
pub fn gate() -> Rc<Gate> {
    thread_local!(static GATE: RefCell<Option<Rc<Gate>>> = const { RefCell::new(None) });
    GATE.with_borrow_mut(|gate| Rc::clone(gate.get_or_insert_with(Rc::default)))
}

fn gatekeeper() -> Gatekeeper {
    let account = |id: &str, email: &str, verified| Account { id: id.into(), email: email.into(), verified, verified_at: Some(ago(1)) };
    let directory: MemoryDirectory = [account("41", "a@example.com", true), account(BLOCKED_ID, BLOCKED, false)].into_iter().collect();
    Gatekeeper::builder().directory(directory).domains(Healthy).audit(Forgetful).build().unwrap()
}

fn ago(years: u64) -> SystemTime {
    SystemClock.now() - Duration::from_secs(years * 31_557_600)
}

/// Every domain is in good standing.
struct Healthy;

#[async_trait]
impl DomainSource for Healthy {
    async fn report(&self, _: &RegistrableDomain) -> Result<Report, SourceError> {
        let mut report = Report::registered("memory");
        report.registered_at = Some(ago(9));
        report.expires_at = Some(SystemClock.now() + Duration::from_secs(31_557_600));
        Ok(report)
    }
}

struct Forgetful;

#[async_trait]
impl AuditSink for Forgetful {
    async fn record(&self, _: Vec<Record>) -> Result<(), AuditError> {
        Ok(())
    }
}
