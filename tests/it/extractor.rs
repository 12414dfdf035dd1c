//! A handler of axum that has the verdict as an argument.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::post;
use reset_gatekeeper::account::{Account, MemoryDirectory};
use reset_gatekeeper::audit::Tracing;
use reset_gatekeeper::testing::{Phase, Registry, SetClock, time};
use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, Guard, Reply, Target, Verdict};

use crate::stage::{NOW, client};

#[tokio::test]
async fn a_handler_that_needs_a_verdict_runs_only_with_one() {
    let registry = Registry::start().await.unwrap();
    registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2026-02-20T00:00:00Z"));
    let verified_at = Some(time("2020-01-01T00:00:00Z"));
    let account = Account { id: "1".into(), email: "a@example.com".to_owned(), verified: true, verified_at };
    let gatekeeper = Gatekeeper::builder()
        .directory(MemoryDirectory::from_iter([account]))
        .domains(registry.rdap().await.unwrap())
        .audit(Tracing)
        .clock(SetClock::at(NOW))
        .build()
        .unwrap();
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
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    let ask = async |path: &str| {
        let response = client().post(format!("{base}{path}")).form(&[("email", "a@example.com")]).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };

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
    let verified_at = Some(time("2020-01-01T00:00:00Z"));
    let account = Account { id: "1".into(), email: "a@lapsed.com".to_owned(), verified: true, verified_at };
    let gatekeeper = Gatekeeper::builder()
        .directory(MemoryDirectory::from_iter([account]))
        .domains(registry.rdap().await.unwrap())
        .audit(Tracing)
        .clock(SetClock::at(NOW))
        .build()
        .unwrap();
    let app = Router::new()
        .route("/reset", post(async |verdict: Verdict| format!("{} {:?}", verdict.as_str(), verdict.reasons())))
        .layer(GatekeeperLayer::new(gatekeeper, Reply::decoy()).guard(Guard::post("/reset").target(Target::form("email"))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/reset", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    let ask = async |email: &str| {
        let response = client().post(&url).form(&[("email", email)]).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(ask("a@lapsed.com").await, ask("nobody@lapsed.com").await);
    assert_eq!(ask("a@lapsed.com").await, (200, "allow []".to_owned()));
}
