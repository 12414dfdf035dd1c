//! The hijack of the Python package ctx in May 2022, replayed through the example's real stack: axum, SQLite, RDAP and audit log.

use std::time::Duration;

use axum::Router;
use reset_gatekeeper::testing::{Phase, Registry, SetClock, time};
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;

use crate::stage::client;

#[path = "../../examples/axum.rs"]
#[expect(dead_code, reason = "the example's own `main` is not called here")]
mod site;

use site::Site;

const VICTIM: &str = "figlief@figlief.com";

async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    base
}

async fn ask_reset(base: &str) -> u16 {
    client().post(format!("{base}/password-reset")).form(&[("email", VICTIM)]).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn the_hijacker_of_ctx_is_blocked_on_the_day_and_for_ever_after() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start().await.unwrap();
    registry.register("figlief.com", time("2010-05-20T12:00:00Z"), time("2022-05-01T12:00:00Z"));

    // 2016: the owner, verified in 2014, forgets the password and gets a mail.
    let clock = SetClock::at("2016-03-01T10:00:00Z");
    let site = Site::open(folder.path()).await.unwrap();
    let base = serve(site.app(registry.rdap().await.unwrap(), clock.clone()).await.unwrap()).await;
    assert_eq!(ask_reset(&base).await, 200);
    assert_eq!(site.outbox(), [VICTIM]);

    // The domain lapses and drops; nobody looks. On 2022-05-14 somebody else registers it, and asks for a reset the same day.
    registry.put("figlief.com", Phase::Unregistered);
    registry.register("figlief.com", time("2022-05-14T18:40:05Z"), time("2023-05-14T18:40:05Z"));
    clock.set(time("2022-05-14T19:00:00Z"));
    assert_eq!(ask_reset(&base).await, 403);
    assert_eq!(site.outbox().len(), 1, "no mail went out");
    let log = std::fs::read_to_string(site.audit_log()).unwrap();
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "reset_blocked");
    assert_eq!(last["reasons"], serde_json::json!(["domain_reregistered"]));
    assert_eq!(last["domain"]["standing"], "active");
    assert!(log.contains(r#""event":"email_unverified""#));
    let accounts = SqlitePool::connect_with(SqliteConnectOptions::new().filename(folder.path().join("accounts.db"))).await.unwrap();
    let verified: bool =
        sqlx::query_scalar("SELECT verified FROM accounts WHERE email = $1").bind(VICTIM).fetch_one(&accounts).await.unwrap();
    assert!(!verified);

    // Years later, after a restart with nothing in memory, the domain being in the best of order.
    drop(log);
    let later = SetClock::at("2030-01-01T00:00:00Z");
    registry.register("figlief.com", time("2022-05-14T18:40:05Z"), time("2040-05-14T18:40:05Z"));
    let restarted = tempfile::tempdir().unwrap();
    std::fs::copy(folder.path().join("accounts.db"), restarted.path().join("accounts.db")).unwrap();
    accounts.close().await;
    let site = Site::open(restarted.path()).await.unwrap();
    let base = serve(site.app(registry.rdap().await.unwrap(), later.clone()).await.unwrap()).await;
    let questions = registry.all_questions();
    for _ in 0..3 {
        later.advance(Duration::from_secs(86_400));
        assert_eq!(ask_reset(&base).await, 403);
    }
    assert_eq!(registry.all_questions(), questions, "nobody needs to be asked any more");
    assert!(site.outbox().is_empty());
}
