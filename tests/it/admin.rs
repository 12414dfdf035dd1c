//! The admin listener: health and metrics for everybody who can connect, the rest for who has the token.

use std::sync::atomic::Ordering;

use axum::body::Body;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Request, StatusCode};
use reset_gatekeeper::admin::Admin;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::serve::{Place, Sidecar};
use crate::stage::{Stage, client};

const TOKEN: &str = "a token that is long enough";

async fn place_with_admin(token: &str) -> (Place, Sidecar) {
    let place = Place::open().await;
    let sidecar = place.serve_with(&[("GATEKEEPER__ADMIN", "127.0.0.1:0"), ("GATEKEEPER_ADMIN_TOKEN", token)]).await;
    (place, sidecar)
}

/// Status and body, of what was asked with the token.
async fn post(sidecar: &Sidecar, path: &str, body: &Value) -> (u16, Value) {
    let request = client().post(format!("{}{path}", sidecar.admin)).bearer_auth(TOKEN).json(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn get(sidecar: &Sidecar, path: &str) -> (u16, String) {
    let answer = client().get(format!("{}{path}", sidecar.admin)).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_application_in_any_language_asks_for_a_verdict_which_is_carried_out_and_recorded() {
    let (place, sidecar) = place_with_admin(TOKEN).await;
    for (email, verdict, reasons) in [
        ("good@healthy.com", "allow", json!([])),
        ("nobody@healthy.com", "allow", json!([])),
        ("lapsed@lapsed.com", "block", json!(["domain_redemption"])),
        ("unverified@healthy.com", "block", json!(["email_unverified"])),
        ("no address", "block", json!(["target_invalid"])),
    ] {
        let (status, assessment) = post(&sidecar, "/assess", &json!({ "email": email })).await;
        assert_eq!((status, &assessment["verdict"], &assessment["reasons"]), (200, &verdict.into(), &reasons), "{email}");
        assert_eq!(assessment["reference"], place.records().last().unwrap()["id"], "{email}");
    }
    assert_eq!(place.verified(2).await, 0, "a lapse un-verifies for good");
    for body in [json!({}), json!({ "email": "a@b.com", "id": "1" }), json!({ "mail": "a@b.com" }), json!("a@b.com"), json!({ "email": 1 })]
    {
        let (status, problem) = post(&sidecar, "/assess", &body).await;
        assert!([400, 422].contains(&status) && problem["status"] == status, "{body}: {problem}");
    }
    // There is no query that finds accounts by a username here, and so no verdict.
    let (status, problem) = post(&sidecar, "/assess", &json!({ "username": "good" })).await;
    assert_eq!((status, &problem["detail"]), (404, &"There is no verdict: the directory finds no account by username.".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_address_that_was_verified_again_is_told_by_http() {
    let place = Place::open().await;
    place.configure("email = \"SELECT id, email, verified, verified_at FROM users WHERE lower(email) = lower($1)\"", "", "");
    let sidecar = place.serve_with(&[("GATEKEEPER__ADMIN", "127.0.0.1:0"), ("GATEKEEPER_ADMIN_TOKEN", TOKEN)]).await;
    assert_eq!(sidecar.reset("again@again.com").await, 403);
    assert_eq!(
        post(&sidecar, "/verified", &json!({ "email": "AGAIN@again.com" })).await,
        (200, json!({ "email": "AGAIN@again.com", "baseline": true, "verified": true }))
    );
    assert_eq!(sidecar.reset("again@again.com").await, 200);
    assert_eq!(post(&sidecar, "/verified", &json!({ "email": "nobody@again.com" })).await.0, 404);
    assert_eq!(post(&sidecar, "/verified", &json!({ "email": "no address" })).await.0, 404);

    // The application's own flag is not ours to give back.
    let (status, told) = post(&sidecar, "/verified", &json!({ "email": "unverified@healthy.com" })).await;
    assert_eq!((status, &told["baseline"], &told["verified"]), (200, &true.into(), &false.into()), "{told}");
    assert!(told["detail"].as_str().unwrap().contains("resets stay blocked until it says so"), "{told}");
    assert_eq!(sidecar.reset("unverified@healthy.com").await, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_who_has_the_token_may_ask_for_more_than_health_and_metrics() {
    let (place, sidecar) = place_with_admin(TOKEN).await;
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(get(&sidecar, path).await.0, 200, "{path}");
    }
    let asked = |credentials: Option<&str>| {
        let request = client().post(format!("{}/assess", sidecar.admin)).json(&json!({ "email": "good@healthy.com" }));
        let request = credentials.into_iter().fold(request, |request, credentials| request.header(AUTHORIZATION, credentials));
        async { request.send().await.unwrap() }
    };
    for credentials in
        [None, Some("Bearer a token that is long enougH"), Some("Bearer"), Some("Basic !"), Some("Digest a token that is long enough")]
    {
        let answer = asked(credentials).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{credentials:?}");
        assert!(answer.headers()[WWW_AUTHENTICATE].to_str().unwrap().contains("Bearer"));
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
    }
    assert!(place.records().is_empty(), "nobody was looked up");
    let login =
        client().post(format!("{}/assess", sidecar.admin)).basic_auth("jo", Some(TOKEN)).json(&json!({ "email": "good@healthy.com" }));
    assert_eq!(login.send().await.unwrap().status(), 200);
    drop(sidecar);

    // Without a token there is nothing to be had by guessing one, and a short one could be guessed.
    let sidecar = place.serve_with(&[("GATEKEEPER__ADMIN", "127.0.0.1:0")]).await;
    assert_eq!(post(&sidecar, "/assess", &json!({ "email": "good@healthy.com" })).await.0, 403);
    drop(sidecar);
    let mut command = place.command(&["serve"]);
    let output = command.env("GATEKEEPER__ADMIN", "127.0.0.1:0").env("GATEKEEPER_ADMIN_TOKEN", "short").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("short\""), "the token is told nowhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_decided_and_asked_is_counted() {
    let (_place, sidecar) = place_with_admin(TOKEN).await;
    for (email, status) in [("good@healthy.com", 200), ("good@healthy.com", 200), ("lapsed@lapsed.com", 403)] {
        assert_eq!(sidecar.reset(email).await, status);
    }
    let (_, metrics) = get(&sidecar, "/metrics").await;
    for line in [
        "reset_gatekeeper_verdicts_total{verdict=\"allow\",reason=\"none\",enforced=\"true\"} 2",
        "reset_gatekeeper_verdicts_total{verdict=\"block\",reason=\"domain_redemption\",enforced=\"true\"} 1",
        "reset_gatekeeper_cache_lookups_total{outcome=\"asked\"} 2",
        "reset_gatekeeper_cache_lookups_total{outcome=\"fresh\"} 1",
        "reset_gatekeeper_live_checks_total{source=\"rdap\",outcome=\"answered\"} 2",
        "reset_gatekeeper_verdict_seconds_count 3",
        "reset_gatekeeper_audit_seconds_count 3",
        "reset_gatekeeper_live_check_seconds_count{source=\"rdap\"} 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_can_judge_nothing_is_not_ready() {
    let stage = Stage::open().await;
    // An answer is given again for a second, so each question is put to a listener of its own.
    let readiness = async || {
        let admin = Admin::new(stage.gatekeeper.clone()).router();
        let answer = admin.oneshot(Request::get("/readyz").body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    assert_eq!(readiness().await, (StatusCode::OK, json!({ "ready": true, "directory": true, "state": true, "audit": true })));
    stage.accounts.fails.store(true, Ordering::SeqCst);
    let (status, answer) = readiness().await;
    assert_eq!((status, &answer["directory"], &answer["audit"]), (StatusCode::SERVICE_UNAVAILABLE, &false.into(), &true.into()));
    stage.accounts.fails.store(false, Ordering::SeqCst);
    stage.audit.fails.store(true, Ordering::SeqCst);
    let (status, answer) = readiness().await;
    assert_eq!((status, &answer["directory"], &answer["audit"]), (StatusCode::SERVICE_UNAVAILABLE, &true.into(), &false.into()));
    assert_eq!(stage.audit.records().len(), 0, "the question itself leaves no record");
}

/// RFC 9110 §15.5.6: what is not asked for by a method is told, and by which it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_description_has_all_paths_and_what_another_method_is_answered() {
    let (_place, sidecar) = place_with_admin(TOKEN).await;
    let description: Value = serde_json::from_str(&get(&sidecar, "/openapi.json").await.1).unwrap();
    let paths = description["paths"].as_object().unwrap();
    assert_eq!(paths.keys().collect::<Vec<_>>(), ["/assess", "/healthz", "/metrics", "/openapi.json", "/readyz", "/verified"]);
    for (path, operations) in paths {
        let operations = operations.as_object().unwrap();
        assert!(operations.values().all(|operation| operation["responses"]["405"].is_object()), "{path}");
        let answer = client().delete(format!("{}{path}", sidecar.admin)).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
        let allowed = answer.headers()[ALLOW].to_str().unwrap().to_ascii_lowercase();
        assert!(operations.keys().all(|method| allowed.contains(method)), "{path}: {allowed}");
    }
}

/// A panel that asks for what nobody counts stays empty, and nobody notices.
#[test]
fn the_dashboard_shows_only_what_is_counted() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let described = std::fs::read_to_string(folder.join("src/metrics.rs")).unwrap();
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("examples/grafana/reset-gatekeeper.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries: Vec<&str> =
        panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten().map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() > 10, "{queries:?}");
    for query in queries {
        let names = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("reset_gatekeeper_"));
        for name in names {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(described.contains(&format!("{name}\",")), "{name} in {query}");
        }
    }
}
