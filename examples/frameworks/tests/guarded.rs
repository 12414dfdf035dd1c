//! The same promises, asked of the application of each framework over a real socket.

use std::time::Duration;

use futures_channel::mpsc;
use reqwest::{Body, Client, StatusCode};
use reset_gatekeeper::testing::Registry;
use reset_gatekeeper::{GatekeeperLayer, Reply};
use reset_gatekeeper_frameworks::{FRAMEWORKS, Outbox, Serve, gate, gatekeeper};
use tokio::net::TcpListener;

const HEALTHY: &str = "a@healthy.example";
const LAPSED: &str = "a@lapsed.example";

/// An application that serves until the test ends.
struct Site {
    framework: &'static str,
    base: String,
    http: Client,
    outbox: Outbox,
    _registry: Registry,
}

impl Site {
    /// One of each framework, whose blocked callers see `reply`.
    async fn each(reply: Reply) -> Vec<Self> {
        let mut sites = Vec::new();
        for (framework, serve) in FRAMEWORKS {
            let (gatekeeper, registry) = gatekeeper().await.unwrap();
            sites.push(Self::start(framework, serve, gate(gatekeeper, reply.clone()), registry).await);
        }
        sites
    }

    async fn start(framework: &'static str, serve: Serve, gate: GatekeeperLayer, registry: Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let outbox = Outbox::default();
        tokio::spawn(serve(listener, gate, outbox.clone()));
        let http = Client::builder().no_proxy().build().unwrap();
        Self { framework, base, http, outbox, _registry: registry }
    }

    async fn ask_reset(&self, email: &str) -> reqwest::Response {
        self.http.post(format!("{}/password-reset", self.base)).form(&[("email", email)]).send().await.unwrap()
    }

    async fn ask_link(&self, email: &str) -> reqwest::Response {
        self.http.post(format!("{}/magic-link/{email}", self.base)).send().await.unwrap()
    }
}

#[tokio::test]
async fn a_reset_for_a_healthy_domain_reaches_the_handler() {
    for site in Site::each(Reply::refuse()).await {
        assert_eq!(site.ask_reset(HEALTHY).await.status(), StatusCode::ACCEPTED, "{}", site.framework);
        assert_eq!(site.ask_link(HEALTHY).await.status(), StatusCode::ACCEPTED, "{}", site.framework);
        assert_eq!(site.outbox.sent(), [HEALTHY, HEALTHY], "{}", site.framework);
    }
}

#[tokio::test]
async fn a_reset_for_a_lapsed_domain_is_refused_before_the_handler_runs() {
    for site in Site::each(Reply::refuse()).await {
        for refused in [site.ask_reset(LAPSED).await, site.ask_link(LAPSED).await] {
            assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{}", site.framework);
            assert_eq!(refused.headers()["content-type"], "application/problem+json", "{}", site.framework);
            assert!(refused.text().await.unwrap().contains("\"status\":403"), "{}", site.framework);
        }
        assert!(site.outbox.sent().is_empty(), "{}", site.framework);
    }
}

#[tokio::test]
async fn a_handler_that_takes_the_verdict_does_not_run_without_the_guard() {
    for (framework, serve) in FRAMEWORKS {
        let (gatekeeper, registry) = gatekeeper().await.unwrap();
        let site = Site::start(framework, serve, GatekeeperLayer::new(gatekeeper, Reply::refuse()), registry).await;
        assert_eq!(site.ask_reset(HEALTHY).await.status(), StatusCode::INTERNAL_SERVER_ERROR, "{framework}");
        assert!(site.outbox.sent().is_empty(), "{framework}");
    }
}

/// The first piece comes back before the second is sent, so nothing on the way there or back waits for the whole.
#[tokio::test]
async fn what_no_guard_concerns_is_streamed_both_ways() {
    for site in Site::each(Reply::refuse()).await {
        let echoed = async {
            let (pieces, body) = mpsc::unbounded::<Result<&'static str, std::io::Error>>();
            pieces.unbounded_send(Ok("first")).unwrap();
            let mut response = site.http.post(format!("{}/echo", site.base)).body(Body::wrap_stream(body)).send().await.unwrap();
            assert_eq!(response.chunk().await.unwrap().unwrap(), "first", "{}", site.framework);
            pieces.unbounded_send(Ok("second")).unwrap();
            drop(pieces);
            response.text().await.unwrap()
        };
        let echoed = tokio::time::timeout(Duration::from_secs(20), echoed).await;
        assert_eq!(echoed.unwrap_or_else(|_| panic!("{} waits for the whole body", site.framework)), "second");
    }
}

/// A decoy is another request to the application. What stands in the path is read anew where the layer is around the router; else the request is refused.
#[tokio::test]
async fn a_decoy_reaches_the_handler_wherever_the_layer_is_around_the_router() {
    for site in Site::each(Reply::decoy()).await {
        assert_eq!(site.ask_reset(LAPSED).await.status(), StatusCode::ACCEPTED, "{}", site.framework);
        let is_around = site.framework != "salvo";
        let expected = if is_around { StatusCode::ACCEPTED } else { StatusCode::FORBIDDEN };
        assert_eq!(site.ask_link(LAPSED).await.status(), expected, "{}", site.framework);
        let sent = site.outbox.sent();
        assert_eq!(sent.len(), if is_around { 2 } else { 1 }, "{}", site.framework);
        assert!(sent.iter().all(|email| email.ends_with("@gatekeeper.invalid")), "{}: {sent:?}", site.framework);
    }
}
