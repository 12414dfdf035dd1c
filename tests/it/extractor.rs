//! A handler of axum that has the verdict as an argument.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use reset_gatekeeper::account::{Account, MemoryDirectory};
use reset_gatekeeper::audit::Tracing;
use reset_gatekeeper::testing::{Phase, Registry, SetClock, time};
use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, Guard, Reply, Target, Verdict};
use tower::Layer;

use crate::stage::{NOW, client};

/// One with a verified account.
async fn gatekeeper(registry: &Registry, email: &str) -> Gatekeeper {
    let verified_at = Some(time("2020-01-01T00:00:00Z"));
    let account = Account { id: "1".into(), email: email.to_owned(), verified: true, verified_at };
    let builder = Gatekeeper::builder().directory(MemoryDirectory::from_iter([account])).domains(registry.rdap().await.unwrap());
    builder.audit(Tracing).clock(SetClock::at(NOW)).build().unwrap()
}

/// Serves `app`, and says where.
async fn served(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    base
}

/// Status and body of the answer to a form about `email`.
async fn ask(url: &str, email: &str) -> (u16, String) {
    let response = client().post(url).form(&[("email", email)]).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_handler_that_needs_a_verdict_runs_only_with_one() {
    let registry = Registry::start().await.unwrap();
    registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2026-02-20T00:00:00Z"));
    let gatekeeper = gatekeeper(&registry, "a@example.com").await;
    let runs = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&runs);
    let needs = async move |verdict: Verdict| {
        counted.fetch_add(1, Ordering::SeqCst);
        format!("{} {:?}", verdict.as_str(), verdict.notices())
    };
    let takes = async |verdict: Option<Verdict>| verdict.map_or("none", |verdict| verdict.as_str());
    let app = Router::new()
        .route("/guarded", post(needs.clone()))
        .route("/open", post(needs))
        .route("/guarded/either", post(takes))
        .route("/open/either", post(takes))
        .layer(
            GatekeeperLayer::new(gatekeeper, Reply::refuse())
                .guard(Guard::post("/guarded").target(Target::form("email")))
                .guard(Guard::post("/guarded/either").target(Target::form("email"))),
        );
    let base = served(app).await;
    let ask = async |path: &str| ask(&format!("{base}{path}"), "a@example.com").await;

    assert_eq!(ask("/guarded").await, (200, "allow [DomainExpiresSoon]".to_owned()));
    assert_eq!(ask("/guarded/either").await, (200, "allow".to_owned()));
    assert_eq!(ask("/open/either").await, (200, "none".to_owned()));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let (status, text) = ask("/open").await;
    assert_eq!(status, 500);
    assert!(text.contains("no guard of a GatekeeperLayer"), "{text}");
    assert_eq!(runs.load(Ordering::SeqCst), 1, "without a verdict it does not run");
}

/// Else it would tell who is blocked.
#[tokio::test]
async fn in_decoy_mode_a_blocked_caller_has_the_verdict_of_a_stranger() {
    let registry = Registry::start().await.unwrap();
    registry.register("lapsed.com", time("2009-01-01T00:00:00Z"), time("2027-01-01T00:00:00Z"));
    registry.put("lapsed.com", Phase::Redemption);
    let gatekeeper = gatekeeper(&registry, "a@lapsed.com").await;
    let app = Router::new()
        .route("/reset", post(async |verdict: Verdict| format!("{} {:?}", verdict.as_str(), verdict.reasons())))
        .layer(GatekeeperLayer::new(gatekeeper, Reply::decoy()).guard(Guard::post("/reset").target(Target::form("email"))));
    let url = format!("{}/reset", served(app).await);
    let ask = async |email: &str| ask(&url, email).await;
    assert_eq!(ask("a@lapsed.com").await, ask("nobody@lapsed.com").await);
    assert_eq!(ask("a@lapsed.com").await, (200, "allow []".to_owned()));
}

/// A layer of axum's router runs after it has read the path, and would give the handler what stood there.
#[tokio::test]
async fn a_decoy_stands_in_the_path_only_where_the_layer_is_around_the_router() {
    let registry = Registry::start().await.unwrap();
    registry.register("lapsed.com", time("2009-01-01T00:00:00Z"), time("2027-01-01T00:00:00Z"));
    registry.put("lapsed.com", Phase::Redemption);
    let gatekeeper = gatekeeper(&registry, "a@lapsed.com").await;
    let layer = GatekeeperLayer::new(gatekeeper, Reply::decoy()).guard(Guard::post("/link/{email}").target(Target::path("email")));
    let mailed = Arc::<Mutex<Vec<String>>>::default();
    let app = || {
        let mailed = Arc::clone(&mailed);
        Router::new().route("/link/{email}", post(async move |Path(email): Path<String>| mailed.lock().unwrap().push(email)))
    };
    let around = Router::new().fallback_service(layer.clone().around_router().layer(app()));
    for (app, status) in [(around, 200), (app().layer(layer), 403)] {
        let url = format!("{}/link/a@lapsed.com", served(app).await);
        assert_eq!(client().post(url).send().await.unwrap().status(), status);
    }
    let [decoy] = mailed.lock().unwrap().clone().try_into().unwrap();
    assert!(decoy.ends_with("@gatekeeper.invalid"), "{decoy}");
}
