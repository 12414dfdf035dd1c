//! For tests and examples, ours and our users': a simulated registry, a simulated resolver (with the feature `dns`), and a clock to set.
//!
//! The [`Registry`] is a real RDAP server on loopback with a bootstrap file of its own, asked over real sockets by the real adapter. Its domains can
//! be put into every phase of a registration's life, and the server slowed and broken.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use reset_gatekeeper::Gatekeeper;
//! use reset_gatekeeper::account::{Account, MemoryDirectory};
//! use reset_gatekeeper::audit::Tracing;
//! use reset_gatekeeper::testing::{Phase, Registry, SetClock, time};
//!
//! let registry = Registry::start().await?;
//! registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
//! let account = Account { id: "1".into(), email: "a@example.com".into(), verified: true, verified_at: Some(time("2020-01-01T00:00:00Z")) };
//! let gatekeeper = Gatekeeper::builder()
//!     .directory(MemoryDirectory::from_iter([account]))
//!     .domains(registry.rdap().await?)
//!     .audit(Tracing)
//!     .clock(SetClock::at("2026-01-31T12:00:00Z"))
//!     .build()?;
//! assert!(gatekeeper.assess("a@example.com").await?.is_allowed());
//! # Ok(()) }
//! ```

#[cfg(feature = "dns")]
mod nameserver;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::{Clock, parse, rfc3339};
use crate::domain::SourceError;
use crate::domain::rdap::Rdap;

#[cfg(feature = "dns")]
pub use nameserver::{DnsFault, NameServer};

/// A moment written as RFC 3339 has it.
///
/// # Panics
/// Where `text` is none.
#[must_use]
#[expect(clippy::panic, reason = "a test that names no moment must fail")]
pub fn time(text: &str) -> SystemTime {
    parse(text).unwrap_or_else(|| panic!("`{text}` is no moment"))
}

/// A clock that stands until it is set. Clones share one time.
#[derive(Debug, Clone)]
pub struct SetClock(Arc<Mutex<SystemTime>>);

impl SetClock {
    /// A clock that shows the moment `text`.
    ///
    /// # Panics
    /// Where `text` is no moment as RFC 3339 writes one.
    #[must_use]
    pub fn at(text: &str) -> Self {
        Self(Arc::new(Mutex::new(time(text))))
    }

    /// Shows `time` from now on.
    pub fn set(&self, time: SystemTime) {
        *lock(&self.0) = time;
    }

    /// Lets `duration` pass.
    pub fn advance(&self, duration: Duration) {
        *lock(&self.0) += duration;
    }
}

impl Clock for SetClock {
    fn now(&self) -> SystemTime {
        *lock(&self.0)
    }
}

/// A phase of a registration's life, as a registry shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// In force.
    Active,
    /// Created in the last five days.
    AddPeriod,
    /// In force until the moment given, be it near or past.
    Until(SystemTime),
    /// Renewed by the registry itself.
    AutoRenewPeriod,
    /// Renewed by the registry itself, while the holder's contract with the registrar ends at the moment given.
    AutoRenewPeriodUnpaid(SystemTime),
    /// Taken out of the DNS by the registrar.
    ClientHold,
    /// Taken out of the DNS by the registry.
    ServerHold,
    /// Deleted, and restorable.
    Redemption,
    /// Being restored.
    PendingRestore,
    /// About to be dropped.
    PendingDelete,
    /// Kept back by the registry.
    Reserved,
    /// Not registered.
    Unregistered,
}

/// What the server does to every question instead of answering it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers this status, and how many seconds to wait.
    Status(u16, Option<u64>),
    /// Answers this status, and until when to wait: so long after the date that its own clock shows, which stands still.
    Until(u16, Duration),
    /// Answers as it should, but this much later.
    Slow(Duration),
    /// Begins its answer at once, and sends the body this much later.
    SlowBody(Duration),
    /// Breaks off in the middle of the body.
    Truncated,
    /// Never answers.
    Hang,
    /// Closes the connection.
    Close,
    /// Answers 200 with something that is not RDAP.
    Garbage,
    /// Answers 200 with a body of twenty mebibytes, whose length it does not announce.
    TooLong,
    /// Redirects to this URL.
    Redirect(String),
}

/// A simulated registry, serving until it is dropped.
#[derive(Debug)]
pub struct Registry {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    domains: HashMap<String, Domain>,
    questions: HashMap<String, usize>,
    help: Option<Recorded>,
    help_questions: usize,
    fault: Option<Fault>,
    /// Which questions meet the fault: each that is a multiple of this.
    fault_each: usize,
    asked: usize,
    asked_at: Vec<Instant>,
}

impl State {
    /// Counts a question, and gives what it is to meet.
    fn fault_of_next(&mut self) -> Option<Fault> {
        self.asked += 1;
        self.asked_at.push(Instant::now());
        self.fault.clone().filter(|_| self.asked.is_multiple_of(self.fault_each.max(1)))
    }
}

#[derive(Debug, Clone)]
struct Recorded {
    status: u16,
    content_type: String,
    body: Bytes,
}

#[derive(Debug, Clone)]
enum Domain {
    Registered { registered_at: SystemTime, expires_at: SystemTime, phase: Phase },
    Recorded(Recorded),
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Top-level domains that the bootstrap file lists even while no domain of theirs is registered.
const TOP_LEVELS: [&str; 12] = ["app", "com", "de", "dev", "example", "fr", "io", "net", "nl", "org", "test", "uk"];

impl Registry {
    /// Starts a registry without domains on a free port of the loopback interface.
    ///
    /// # Errors
    /// Where no port can be had.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        let server = tokio::spawn(serve(listener, address, Arc::clone(&state)));
        Ok(Self { state, address, server })
    }

    /// Where the bootstrap file (RFC 9224) is served.
    #[must_use]
    pub fn bootstrap_url(&self) -> String {
        format!("http://{}/dns.json", self.address)
    }

    /// The bootstrap file, to be written where a program expects a file.
    #[must_use]
    pub fn bootstrap_file(&self) -> String {
        lock(&self.state).bootstrap(self.address).to_string()
    }

    /// An RDAP source that asks this registry. Top-level domains of domains that are registered later are unknown to it, but for the
    /// most common.
    ///
    /// # Errors
    /// Where the registry can't be reached.
    pub async fn rdap(&self) -> Result<Rdap, SourceError> {
        Rdap::builder().bootstrap(self.bootstrap_url()).allow_insecure(true).build().await
    }

    /// Registers `domain`, which is in force.
    pub fn register(&self, domain: &str, registered_at: SystemTime, expires_at: SystemTime) {
        lock(&self.state).domains.insert(domain.to_owned(), Domain::Registered { registered_at, expires_at, phase: Phase::Active });
    }

    /// Puts the registered `domain` into `phase`.
    ///
    /// # Panics
    /// Where it was never registered.
    #[expect(clippy::panic, reason = "a test that names no domain of the registry must fail")]
    pub fn put(&self, domain: &str, new: Phase) {
        match lock(&self.state).domains.get_mut(domain) {
            Some(Domain::Registered { phase, .. }) => *phase = new,
            _ => panic!("{domain} is not registered here"),
        }
    }

    /// Lets the registration of `domain` lapse: deleted, and still restorable.
    ///
    /// # Panics
    /// Where it was never registered.
    pub fn lapse(&self, domain: &str) {
        self.put(domain, Phase::Redemption);
    }

    /// Serves a recorded answer for `domain`.
    pub fn answer(&self, domain: &str, status: u16, content_type: &str, body: impl Into<Bytes>) {
        let recorded = Recorded { status, content_type: content_type.to_owned(), body: body.into() };
        lock(&self.state).domains.insert(domain.to_owned(), Domain::Recorded(recorded));
    }

    /// Serves a recorded answer to `help` (RFC 9082 §3.1.6), which is otherwise as it should be.
    pub fn answer_help(&self, status: u16, content_type: &str, body: impl Into<Bytes>) {
        lock(&self.state).help = Some(Recorded { status, content_type: content_type.to_owned(), body: body.into() });
    }

    /// How often `help` was asked for.
    #[must_use]
    pub fn help_questions(&self) -> usize {
        lock(&self.state).help_questions
    }

    /// The base URL, to which `domain/…` is appended.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Breaks the server, or mends it.
    pub fn fault(&self, fault: impl Into<Option<Fault>>) {
        self.fault_each(1, fault);
    }

    /// Breaks the server for each question whose number is a multiple of `number`, and answers all others, or mends it.
    pub fn fault_each(&self, number: usize, fault: impl Into<Option<Fault>>) {
        let mut state = lock(&self.state);
        (state.fault_each, state.fault) = (number, fault.into());
    }

    /// How often `domain` was asked about.
    #[must_use]
    pub fn questions(&self, domain: &str) -> usize {
        lock(&self.state).questions.get(domain).copied().unwrap_or_default()
    }

    /// How many questions came within the busiest `span`.
    #[must_use]
    pub fn most_within(&self, span: Duration) -> usize {
        let asked_at = &lock(&self.state).asked_at;
        let until = |first: &Instant| asked_at.partition_point(|at| *at < *first + span);
        asked_at.iter().enumerate().map(|(place, first)| until(first) - place).max().unwrap_or_default()
    }

    /// How many questions were asked about any domain.
    #[must_use]
    pub fn all_questions(&self) -> usize {
        lock(&self.state).questions.values().sum()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl State {
    fn bootstrap(&self, address: SocketAddr) -> Value {
        let registered = self.domains.keys().filter_map(|domain| domain.rsplit('.').next());
        let labels: HashSet<&str> = TOP_LEVELS.into_iter().chain(registered).collect();
        json!({
            "version": "1.0",
            "publication": "2026-01-01T00:00:00Z",
            "services": [[labels.into_iter().collect::<Vec<_>>(), [format!("http://{address}/")]]]
        })
    }
}

async fn serve(listener: TcpListener, address: SocketAddr, state: Arc<Mutex<State>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, address, Arc::clone(&state)));
            let server =
                hyper::server::conn::http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            drop(server.await); // a client that broke off is no concern of the registry's
        });
    }
}

/// An error closes the connection.
async fn answer<B>(request: Request<B>, address: SocketAddr, state: Arc<Mutex<State>>) -> Result<Response<Body>, io::Error> {
    let fault = if request.uri().path() == "/dns.json" { None } else { lock(&state).fault_of_next() };
    let response = answer_whole(request, address, state, fault.clone()).await?;
    Ok(match fault {
        Some(Fault::SlowBody(delay)) => in_parts(response, move |body| {
            stream::once(async move {
                tokio::time::sleep(delay).await;
                Ok(Frame::data(body))
            })
        }),
        Some(Fault::Truncated) => in_parts(response, |body| {
            let half = body.slice(..body.len() / 2);
            let break_off = async {
                tokio::task::yield_now().await; // in which what there is so far is sent
                Err(io::ErrorKind::ConnectionReset.into())
            };
            stream::once(std::future::ready(Ok(Frame::data(half)))).chain(stream::once(break_off))
        }),
        _ => response.map(|body| body.map_err(|never| match never {}).boxed_unsync()),
    })
}

/// `response` with its body as a stream, and with the length that it should have.
fn in_parts<S>(response: Response<Full<Bytes>>, parts: impl FnOnce(Bytes) -> S) -> Response<Body>
where
    S: Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static,
{
    let (head, mut body) = response.into_parts();
    let body = body.frame().now_or_never().flatten().and_then(|frame| frame.ok()?.into_data().ok()).unwrap_or_default();
    let length = body.len().to_string();
    with_header(Response::from_parts(head, StreamBody::new(parts(body)).boxed_unsync()), CONTENT_LENGTH, &length)
}

async fn answer_whole<B>(
    request: Request<B>,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    fault: Option<Fault>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let path = request.uri().path();
    if path == "/dns.json" {
        let file = lock(&state).bootstrap(address).to_string();
        return Ok(response(200, "application/json", file));
    }
    let name = match path.strip_prefix("/domain/") {
        Some(name) => name,
        None if path == "/help" => "help",
        // As a web server answers where no application is.
        None => return Ok(response(404, "text/plain", "")),
    };
    let domain = {
        let mut state = lock(&state);
        if path == "/help" {
            state.help_questions += 1;
            Some(Domain::Recorded(state.help.clone().unwrap_or_else(help)))
        } else {
            *state.questions.entry(name.to_owned()).or_default() += 1;
            state.domains.get(name).cloned()
        }
    };
    match fault {
        None | Some(Fault::SlowBody(_) | Fault::Truncated) => {}
        Some(Fault::Slow(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Hang) => match std::future::pending::<Infallible>().await {},
        Some(Fault::Close) => return Err(io::ErrorKind::ConnectionReset.into()),
        Some(Fault::Garbage) => return Ok(response(200, "text/html", "<html>not here</html>")),
        // Without its length, which would give it away at once.
        Some(Fault::TooLong) => {
            return Ok(with_header(response(200, "application/rdap+json", vec![b' '; 20 << 20]), TRANSFER_ENCODING, "chunked"));
        }
        Some(Fault::Redirect(url)) => return Ok(with_header(response(302, "text/plain", ""), LOCATION, &url)),
        Some(Fault::Until(status, wait)) => {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
            let until = httpdate::fmt_http_date(now + wait);
            let dated = with_header(response(status, "text/plain", ""), DATE, &httpdate::fmt_http_date(now));
            return Ok(with_header(dated, RETRY_AFTER, &until));
        }
        Some(Fault::Status(status, None)) => return Ok(response(status, "text/plain", "")),
        Some(Fault::Status(status, Some(seconds))) => {
            return Ok(with_header(response(status, "text/plain", ""), RETRY_AFTER, &seconds.to_string()));
        }
    }
    Ok(match domain {
        None | Some(Domain::Registered { phase: Phase::Unregistered, .. }) => not_found(),
        Some(Domain::Recorded(Recorded { status, content_type, body })) => response(status, &content_type, body),
        Some(Domain::Registered { registered_at, expires_at, phase }) => {
            response(200, "application/rdap+json", rdap(name, registered_at, expires_at, phase).to_string())
        }
    })
}

/// A domain object (RFC 9083 §5.3) in the shape that the registry of .com gives it.
fn rdap(name: &str, registered_at: SystemTime, expires_at: SystemTime, phase: Phase) -> Value {
    let statuses: &[&str] = match phase {
        Phase::Active | Phase::Until(_) | Phase::Unregistered => &["client transfer prohibited"],
        Phase::AddPeriod => &["add period"],
        Phase::AutoRenewPeriod | Phase::AutoRenewPeriodUnpaid(_) => &["auto renew period", "client transfer prohibited"],
        Phase::ClientHold => &["client hold", "client transfer prohibited"],
        Phase::ServerHold => &["server hold"],
        Phase::Redemption => &["pending delete", "redemption period"],
        Phase::PendingRestore => &["pending delete", "pending restore"],
        Phase::PendingDelete => &["pending delete"],
        Phase::Reserved => &["reserved"],
    };
    let expires_at = if let Phase::Until(end) = phase { end } else { expires_at };
    let event = |action: &str, date: SystemTime| json!({ "eventAction": action, "eventDate": rfc3339(date) });
    let mut events = vec![event("registration", registered_at), event("expiration", expires_at)];
    if let Phase::AutoRenewPeriodUnpaid(end) = phase {
        events.push(event("registrar expiration", end));
    }
    json!({
        "objectClassName": "domain",
        "handle": format!("{}_DOMAIN-SIM", name.len()),
        "ldhName": name.to_ascii_uppercase(),
        "status": statuses,
        "events": events,
        "entities": [{
            "objectClassName": "entity",
            "roles": ["registrar"],
            "publicIds": [{ "type": "IANA Registrar ID", "identifier": "9999" }],
        }],
        "nameservers": [{ "objectClassName": "nameserver", "ldhName": format!("NS1.{}", name.to_ascii_uppercase()) }],
        "secureDNS": { "delegationSigned": false },
        "rdapConformance": ["rdap_level_0"],
    })
}

/// An answer to `help` (RFC 9083 §7).
fn help() -> Recorded {
    let body =
        json!({ "rdapConformance": ["rdap_level_0"], "notices": [{ "title": "Simulated", "description": ["A registry for tests."] }] });
    Recorded { status: 200, content_type: "application/rdap+json".to_owned(), body: body.to_string().into() }
}

fn not_found() -> Response<Full<Bytes>> {
    let body = json!({ "errorCode": 404, "title": "Not Found", "rdapConformance": ["rdap_level_0"] });
    response(404, "application/rdap+json", body.to_string())
}

fn response(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    with_header(response, CONTENT_TYPE, content_type)
}

fn with_header<B>(mut response: Response<B>, name: http::HeaderName, value: &str) -> Response<B> {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
