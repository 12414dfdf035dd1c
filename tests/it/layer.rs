//! The layer among others: readiness, clones, errors, bodies, and every stack that it is put into.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use reset_gatekeeper::account::{Account, AccountId, Directory, DirectoryError, MemoryDirectory};
use reset_gatekeeper::audit::{AuditError, AuditSink, Record};
use reset_gatekeeper::domain::{DomainSource, Report, SourceError};
use reset_gatekeeper::testing::{SetClock, time};
use reset_gatekeeper::{
    Gatekeeper, GatekeeperLayer, GatekeeperService, Guard, Identifier, Reason, RegistrableDomain, Reply, RequestBody, Target, Verdict,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_test::mock;

use crate::stage::{NOW, Recorder, VERIFIED, client};

/// Every domain is in good standing.
struct Healthy;

#[async_trait::async_trait]
impl DomainSource for Healthy {
    async fn report(&self, _: &RegistrableDomain) -> Result<Report, SourceError> {
        Ok(Report::registered("test"))
    }
}

/// Guards `/password-reset`, with a verified account a@example.com and an unverified one b@example.com.
fn layer() -> GatekeeperLayer {
    guarding(Reply::refuse())
}

fn observing() -> GatekeeperLayer {
    guarding(Reply::observe())
}

fn guarding(reply: Reply) -> GatekeeperLayer {
    let account = |email: &str, verified| Account { id: email.into(), email: email.into(), verified, verified_at: Some(time(VERIFIED)) };
    let gatekeeper = Gatekeeper::builder()
        .directory(MemoryDirectory::from_iter([account("a@example.com", true), account("b@example.com", false)]))
        .domains(Healthy)
        .audit(Arc::<Recorder>::default())
        .clock(SetClock::at(NOW))
        .build()
        .unwrap();
    GatekeeperLayer::new(gatekeeper, reply).guard(Guard::post("/password-reset").target(Target::form("email")))
}

fn reset(email: &str) -> Request<Full<Bytes>> {
    let request = Request::post("/password-reset").header("content-type", "application/x-www-form-urlencoded");
    request.body(Full::from(format!("email={email}"))).unwrap()
}

type Inner = Request<RequestBody<Full<Bytes>>>;
type Guarded = mock::Spawn<GatekeeperService<mock::Mock<Inner, Response<Empty<Bytes>>>>>;

fn mocked() -> (Guarded, mock::Handle<Inner, Response<Empty<Bytes>>>) {
    let layer = layer();
    mock::spawn_with(move |inner| layer.layer(inner))
}

#[tokio::test]
async fn it_is_ready_when_the_inner_service_is() {
    let (mut service, mut handle) = mocked();
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
}

/// tower-service: the service that was made ready is the one that is called.
#[tokio::test]
async fn what_was_made_ready_is_what_is_called() {
    /// Panics when it is called without having been made ready.
    struct Strict {
        is_ready: bool,
    }
    impl Clone for Strict {
        fn clone(&self) -> Self {
            Self { is_ready: false }
        }
    }
    impl<B> Service<Request<B>> for Strict {
        type Response = Response<Empty<Bytes>>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Self::Response, Infallible>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            self.is_ready = true;
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<B>) -> Self::Future {
            assert!(std::mem::take(&mut self.is_ready), "called before it was ready");
            std::future::ready(Ok(Response::default()))
        }
    }
    let mut service = layer().layer(Strict { is_ready: false });
    for _ in 0..3 {
        for request in [reset("a@example.com"), Request::get("/").body(Full::default()).unwrap(), reset("b@example.com")] {
            let service = ServiceExt::<Request<Full<Bytes>>>::ready(&mut service).await.unwrap();
            drop(service.call(request).await.unwrap());
        }
    }
}

#[tokio::test]
async fn a_refused_request_never_calls_the_inner_service_and_gives_its_place_back() {
    let (mut service, mut handle) = mocked();
    handle.allow(2);
    assert!(service.poll_ready().is_ready());
    let response = service.call(reset("b@example.com")).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(!response.extensions().get::<Verdict>().unwrap().is_allowed(), "outer layers can see why");
    assert!(handle.next_request().now_or_never().is_none(), "nothing reached the inner service");
}

#[tokio::test]
async fn a_fallible_service_keeps_its_error() {
    #[derive(Debug, PartialEq)]
    struct Broken(u8);
    let failing = || service_fn(|_: Request<RequestBody<Full<Bytes>>>| async { Err::<Response<Empty<Bytes>>, _>(Broken(7)) });
    for request in [reset("a@example.com"), Request::get("/").body(Full::default()).unwrap()] {
        let error: Broken = layer().layer(failing()).oneshot(request).await.unwrap_err();
        assert_eq!(error, Broken(7));
    }
}

#[tokio::test]
async fn trailers_and_exact_length_arrive_too() {
    let seen = service_fn(|request: Request<RequestBody<_>>| async {
        let body = request.into_body();
        let hint = http_body::Body::size_hint(&body).exact();
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().cloned();
        let mut response = Response::new(Full::new(collected.to_bytes()));
        response.extensions_mut().insert((hint, trailers));
        Ok::<_, Infallible>(response)
    });
    let trailers = HeaderMap::from_iter([("x-checksum".parse().unwrap(), "1".parse().unwrap())]);
    let frames = [Frame::data(Bytes::from("email=a@")), Frame::data(Bytes::from("example.com")), Frame::trailers(trailers.clone())];
    let frames = frames.map(Ok::<_, Infallible>);
    let request = Request::post("/password-reset").header("content-type", "application/x-www-form-urlencoded");
    let request = request.body(StreamBody::new(futures_util::stream::iter(frames))).unwrap();
    let response = layer().layer(seen).oneshot(request).await.unwrap();
    assert_eq!(response.extensions().get::<(Option<u64>, Option<HeaderMap>)>().unwrap(), &(Some(19), Some(trailers)));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "email=a@example.com");
}

/// Observing changes nothing: not even a body that breaks off.
#[tokio::test]
async fn a_body_that_breaks_off_breaks_off_for_the_application_too() {
    let seen = service_fn(|request: Request<RequestBody<_>>| async {
        let mut body = request.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "email=a@");
        assert_eq!(body.frame().await.unwrap().unwrap_err(), "broken");
        assert!(body.frame().await.is_none());
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let broken = || {
        let frames = [Ok(Frame::data(Bytes::from("email=a@"))), Err("broken")];
        let request = Request::post("/password-reset").header("content-type", "application/x-www-form-urlencoded");
        request.body(StreamBody::new(futures_util::stream::iter(frames))).unwrap()
    };
    assert_eq!(observing().layer(seen).oneshot(broken()).await.unwrap().status(), StatusCode::OK);
    assert_eq!(layer().layer(seen).oneshot(broken()).await.unwrap().status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn each_guard_keeps_its_own_limit() {
    let inner = service_fn(|_: Request<RequestBody<Full<Bytes>>>| async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) });
    for (limit, status) in [(19, 200), (18, 413)] {
        let layer = layer().guard(Guard::post("/password-reset").target(Target::form("email")).body_limit(limit));
        assert_eq!(layer.layer(inner).oneshot(reset("a@example.com")).await.unwrap().status(), status);
    }
}

/// What follows an upgrade could not be judged.
#[tokio::test]
async fn a_guarded_path_never_upgrades_its_connection() {
    let echo = service_fn(|request: Request<RequestBody<Full<Bytes>>>| async move {
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.headers_mut() = request.headers().clone();
        assert_eq!(request.headers().contains_key("upgrade"), request.extensions().get::<hyper::upgrade::OnUpgrade>().is_some());
        Ok::<_, Infallible>(response)
    });
    let asks = |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).header("upgrade", "h2c").header("http2-settings", "AAMAAABk");
        let request = request.header("connection", "Upgrade, HTTP2-Settings").header("content-type", "application/x-www-form-urlencoded");
        let mut request = request.body(Full::from("email=a@example.com")).unwrap();
        // What hyper's server leaves in such a request, by which the connection can be taken over.
        let on_upgrade = hyper::upgrade::on(&mut request);
        request.extensions_mut().insert(on_upgrade);
        request
    };
    for (method, path, upgrades) in [("GET", "/password-reset", false), ("POST", "/password-reset/", false), ("GET", "/socket", true)] {
        let response = layer().layer(echo).oneshot(asks(method, path)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers().contains_key("upgrade"), upgrades, "{method} {path}");
    }
}

async fn handler() -> &'static str {
    "done"
}

async fn status_from(app: Router, email: &str) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/password-reset", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    client().post(url).form(&[("email", email)]).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn it_guards_in_axum_as_layer_and_as_route_layer() {
    let route = || Router::new().route("/password-reset", post(handler));
    for app in [route().layer(layer()), route().route_layer(layer()), Router::new().route("/password-reset", post(handler).layer(layer()))]
    {
        assert_eq!(status_from(app.clone(), "a@example.com").await, 200);
        assert_eq!(status_from(app, "b@example.com").await, 403);
    }
}

#[tokio::test]
async fn it_stands_among_tower_http_s_layers_and_behind_a_buffer() {
    let stack = ServiceBuilder::new()
        .layer(tower_http::trace::TraceLayer::new_for_http())
        .layer(tower_http::timeout::TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(10)))
        .layer(layer())
        .layer(tower_http::limit::RequestBodyLimitLayer::new(1 << 20));
    let app = Router::new().route("/password-reset", post(handler)).layer(stack);
    assert_eq!(status_from(app.clone(), "a@example.com").await, 200);
    assert_eq!(status_from(app, "b@example.com").await, 403);

    let inner = service_fn(|_: Request<RequestBody<Full<Bytes>>>| async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) });
    let buffered = ServiceBuilder::new().buffer(8).load_shed().concurrency_limit(2).layer(layer()).service(inner);
    for (email, status) in [("a@example.com", 200), ("b@example.com", 403), ("a@example.com", 200)] {
        assert_eq!(buffered.clone().oneshot(reset(email)).await.unwrap().status(), status);
    }
    let outside = ServiceBuilder::new().layer(layer()).buffer(8).load_shed().concurrency_limit(2).service(inner);
    for (email, status) in [("a@example.com", 200), ("b@example.com", 403), ("a@example.com", 200)] {
        assert_eq!(outside.clone().oneshot(reset(email)).await.unwrap().status(), status);
    }
}

/// Plain hyper, on HTTP/1.1 and on HTTP/2.
#[tokio::test]
async fn it_guards_on_plain_hyper() {
    let inner = service_fn(|request: Request<RequestBody<hyper::body::Incoming>>| async move {
        Ok::<_, Infallible>(Response::new(Full::new(request.into_body().collect().await.unwrap().to_bytes())))
    });
    let service = TowerToHyperService::new(layer().layer(inner));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                drop(server.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    for http in [client(), http2] {
        for (email, status, body) in [("a@example.com", 200, Some("email=a%40example.com")), ("b@example.com", 403, None)] {
            let request = http.post(format!("http://{address}/password-reset")).form(&[("email", email)]);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), status);
            assert!(body.is_none_or(|body| body == "email=a%40example.com"));
            if let Some(body) = body {
                assert_eq!(response.text().await.unwrap(), body);
            }
        }
    }
}

#[test]
fn a_body_over_the_limit_makes_nothing_be_allocated_beyond_it() {
    static CHUNK: [u8; 16 * 1024] = [b'x'; 16 * 1024];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let inner = service_fn(|_: Request<RequestBody<_>>| async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) });
    let mut service = layer().layer(inner);
    let chunks = (0..100_000).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&CHUNK))));
    let request = Request::post("/password-reset").header("content-type", "application/x-www-form-urlencoded");
    let request = request.body(StreamBody::new(futures_util::stream::iter(chunks))).unwrap();
    let mut status = None;
    let allocated = allocation_counter::measure(|| {
        status = Some(runtime.block_on(async { service.ready().await.unwrap().call(request).await.unwrap().status() }));
    });
    assert_eq!(status, Some(StatusCode::PAYLOAD_TOO_LARGE));
    assert!(allocated.bytes_max < 64 * 1024, "{} bytes", allocated.bytes_max);
}

#[tokio::test]
async fn every_guard_that_matches_judges() {
    let layer = layer().guard(Guard::path("/{*any}").target(Target::query("who")));
    let inner = service_fn(|_: Request<RequestBody<Full<Bytes>>>| async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) });
    let mut both = reset("a@example.com");
    *both.uri_mut() = "/password-reset?who=b@example.com".parse().unwrap();
    assert_eq!(layer.layer(inner).oneshot(both).await.unwrap().status(), 403);
    let mut both = reset("b@example.com");
    *both.uri_mut() = "/password-reset?who=a@example.com".parse().unwrap();
    assert_eq!(layer.layer(inner).oneshot(both).await.unwrap().status(), 403);
    let mut both = reset("a@example.com");
    *both.uri_mut() = "/password-reset?who=a@example.com".parse().unwrap();
    assert_eq!(layer.layer(inner).oneshot(both).await.unwrap().status(), 200);
}

#[test]
fn what_is_missing_or_makes_no_sense_is_named() {
    let error = Gatekeeper::builder().build().unwrap_err();
    assert_eq!(error.to_string(), "a gatekeeper needs `directory`");
    let builder = || Gatekeeper::builder().directory(MemoryDirectory::new()).domains(Healthy).audit(Arc::<Recorder>::default());
    assert!(builder().build().is_ok());
    for (builder, setting) in [
        (builder().timeout(Duration::ZERO), "timeout"),
        (builder().cache_capacity(0), "cache_capacity"),
        (builder().stale_for(Duration::ZERO), "stale_for"),
    ] {
        assert!(builder.build().unwrap_err().to_string().contains(setting));
    }
    assert!("form:".parse::<Target>().is_err() && "json:email".parse::<Target>().is_err() && "cookie:x".parse::<Target>().is_err());
    assert_eq!("json:/email".parse::<Target>().unwrap(), Target::json("/email"));
}

/// A directory and an audit log that hang where they are told to.
struct Hanging(&'static str);

impl Hanging {
    async fn at(&self, place: &str) {
        if self.0 == place {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait::async_trait]
impl Directory for Hanging {
    async fn find(&self, _: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        self.at("find").await;
        Ok(vec![Account { id: "1".into(), email: "a@example.com".into(), verified: true, verified_at: Some(time(VERIFIED)) }])
    }
    async fn page(&self, _: Option<&AccountId>, _: usize) -> Result<Vec<Account>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn unverify(&self, _: &Account, _: Reason) -> Result<bool, DirectoryError> {
        self.at("unverify").await;
        Ok(true)
    }
}

#[async_trait::async_trait]
impl AuditSink for Hanging {
    async fn record(&self, _: Vec<Record>) -> Result<(), AuditError> {
        self.at("record").await;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_or_audit_log_that_hangs_is_one_that_fails() {
    /// No domain is registered.
    struct Lapsed;
    #[async_trait::async_trait]
    impl DomainSource for Lapsed {
        async fn report(&self, _: &RegistrableDomain) -> Result<Report, SourceError> {
            Ok(Report::unregistered("test"))
        }
    }
    for (place, status) in [("nowhere", 403), ("find", 503), ("unverify", 403), ("record", 503)] {
        let parts = Gatekeeper::builder().directory(Hanging(place)).domains(Lapsed).audit(Hanging(place)).clock(SetClock::at(NOW));
        let guard = Guard::post("/password-reset").target(Target::form("email"));
        let layer = GatekeeperLayer::new(parts.build().unwrap(), Reply::refuse()).guard(guard);
        let inner = service_fn(|_: Request<RequestBody<Full<Bytes>>>| async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) });
        let answer = tokio::time::timeout(Duration::from_secs(20), layer.layer(inner).oneshot(reset("a@example.com"))).await;
        assert_eq!(answer.unwrap().unwrap().status(), status, "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_waited_for_no_longer_than_half_a_minute() {
    let inner = service_fn(|_: Request<RequestBody<_>>| async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) });
    let body = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let request = Request::post("/password-reset").header("content-type", "application/x-www-form-urlencoded").body(body).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(31), layer().layer(inner).oneshot(request)).await;
    assert_eq!(answer.unwrap().unwrap().status(), StatusCode::BAD_REQUEST);
}
