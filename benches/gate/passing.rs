//! A request for another route: what each layer adds to it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use reset_gatekeeper::account::MemoryDirectory;
use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, Guard, Reply, Target};
use tokio::runtime::Runtime;
use tower::{Layer, service_fn};
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::GlobalKeyExtractor;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

use crate::meter::{Cost, Failure, Peer, compare};
use crate::parts::{Forgetful, Healthy};
use crate::service::{application, batch};
use crate::{Row, row};

pub(crate) fn rows(runtime: &Runtime) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    rows.extend(rows_for(runtime, "GET /articles/42", get)?);
    rows.extend(rows_for(runtime, "POST /login", post)?);
    Ok(rows)
}

fn get() -> Request<Full<Bytes>> {
    request(Method::GET, "/articles/42", "")
}

fn post() -> Request<Full<Bytes>> {
    request(Method::POST, "/login", "name=jo&password=correct+horse")
}

fn request(method: Method, path: &'static str, body: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_static(path);
    // As servers leave it.
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 40_000))));
    request.headers_mut().insert("host", HeaderValue::from_static("www.example.com"));
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    request
}

fn rows_for(runtime: &Runtime, what: &str, request: fn() -> Request<Full<Bytes>>) -> Result<Vec<Row>, Failure> {
    let gatekeeper = Gatekeeper::builder().directory(MemoryDirectory::new()).domains(Healthy).audit(Forgetful).build()?;
    let target = || Target::form("email");
    let one = GatekeeperLayer::new(gatekeeper, Reply::refuse()).guard(Guard::post("/password-reset").target(target()));
    let (mut literal, mut matched) = (one.clone(), one.clone());
    for n in 1..64 {
        literal = literal.guard(Guard::new(&format!("/app-{n}/password-reset"))?.methods([Method::POST]).target(target()));
        matched = matched.guard(Guard::new(&format!("/app-{n}/{{user}}/password-reset"))?.methods([Method::POST]).target(target()));
    }
    // As it comes, by the peer's address; and with one count for all, which keeps nothing of anybody.
    let quota = GovernorConfigBuilder::default().per_nanosecond(1).burst_size(u32::MAX).finish().ok_or("no quota")?;
    let mut quota_of_all = GovernorConfigBuilder::default().key_extractor(GlobalKeyExtractor);
    let quota_of_all = quota_of_all.per_nanosecond(1).burst_size(u32::MAX).finish().ok_or("no quota")?;
    let limit = RequestBodyLimitLayer::new(1 << 20);
    let header = SetResponseHeaderLayer::overriding(http::header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    let timeout = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(30));

    let [bare, ours, ours_of_64, ours_matched, governor, governor_of_all, limit, header, timeout] = compare(
        what,
        [
            Peer::new("the bare service", batch(runtime, service_fn(application), request)),
            Peer::new("GatekeeperLayer, 1 guard", batch(runtime, one.layer(service_fn(application)), request)),
            Peer::new("GatekeeperLayer, 64 guards", batch(runtime, literal.layer(service_fn(application)), request)),
            Peer::new("GatekeeperLayer, 64 guards, 63 with a parameter", batch(runtime, matched.layer(service_fn(application)), request)),
            Peer::new("GovernorLayer", batch(runtime, GovernorLayer::new(quota).layer(service_fn(application)), request)),
            Peer::new(
                "GovernorLayer, without keys",
                batch(runtime, GovernorLayer::new(quota_of_all).layer(service_fn(application)), request),
            ),
            Peer::new("RequestBodyLimitLayer", batch(runtime, limit.layer(service_fn(application)), request)),
            Peer::new("SetResponseHeaderLayer", batch(runtime, header.layer(service_fn(application)), request)),
            Peer::new("TimeoutLayer", batch(runtime, timeout.layer(service_fn(application)), request)),
        ],
    )?;
    let beside = |case: &str, ours: Cost, peer: Cost, goal| row(format!("{what}: {case}"), ours.beyond(bare), peer.beyond(bare), goal);
    Ok(vec![
        beside("1 guard / GovernorLayer", ours, governor, Some(0.25)),
        beside("64 guards / GovernorLayer", ours_of_64, governor, Some(0.6)),
        beside("64, with parameters / GovernorLayer", ours_matched, governor, Some(0.6)),
        beside("1 guard / GovernorLayer without keys", ours, governor_of_all, None),
        beside("1 guard / RequestBodyLimitLayer", ours, limit, None),
        beside("1 guard / SetResponseHeaderLayer", ours, header, None),
        beside("1 guard / TimeoutLayer", ours, timeout, None),
    ])
}
