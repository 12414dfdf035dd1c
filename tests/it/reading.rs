//! Request reading: what can't be read exactly as an application might is refused, and what is allowed arrives as it was sent.

use std::time::Duration;

use reqwest::RequestBuilder;
use reset_gatekeeper::audit::Event;

use crate::stage::Stage;

const FORM: &str = "application/x-www-form-urlencoded";

async fn stage() -> Stage {
    let stage = Stage::open().await;
    stage.healthy_account("a@example.com");
    stage
}

fn post(stage: &Stage, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    stage.http.post(stage.url(path)).header("content-type", content_type).body(body)
}

/// Sends a request that must be refused with `status` and `reason`, in a record and to the caller, and never reach the application.
async fn assert_refused(stage: &Stage, request: RequestBuilder, status: u16, reason: &str) {
    let before = stage.seen().len();
    let what = format!("{request:?}");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), status, "{what}");
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{what}");
    let problem: serde_json::Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status, "{what}");
    assert_eq!(stage.last_reasons(), [reason], "{what}");
    assert_eq!(problem["id"], stage.audit.last().id.to_string(), "{what}");
    assert_eq!(stage.audit.last().event, Event::ResetBlocked, "{what}");
    assert_eq!(stage.seen().len(), before, "{what}");
}

async fn assert_allowed(stage: &Stage, request: RequestBuilder) {
    let what = format!("{request:?}");
    assert_eq!(request.send().await.unwrap().status(), 200, "{what}");
    assert_eq!(stage.audit.last().account.unwrap().email, "a@example.com", "{what}");
}

#[tokio::test]
async fn an_account_is_found_in_every_kind_of_target() {
    let stage = stage().await;
    assert_allowed(&stage, post(&stage, "/password-reset", FORM, "csrf=x&email=a%40example.com")).await;
    assert_allowed(&stage, post(&stage, "/password-reset", "application/x-www-form-urlencoded; charset=UTF-8", "email=a@example.com"))
        .await;
    let multipart = "--XX\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\na@example.com\r\n--XX--\r\n";
    assert_allowed(&stage, post(&stage, "/password-reset", "multipart/form-data; boundary=XX", multipart)).await;
    let json = r#"{"user":{"email":"a@example.com"}}"#;
    assert_allowed(&stage, post(&stage, "/api/password-reset", "application/json", json)).await;
    assert_allowed(&stage, post(&stage, "/api/password-reset", "application/vnd.api+json; charset=utf-8", json)).await;
    assert_allowed(&stage, stage.http.post(stage.url("/by-query?x=1&email=a%40example.com"))).await;
    assert_allowed(&stage, stage.http.post(stage.url("/by-path/a%40example.com/reset"))).await;
    assert_allowed(&stage, stage.http.post(stage.url("/By-Path/A@Example.com/RESET/"))).await;
    assert_allowed(&stage, stage.http.post(stage.url("/by-header")).header("x-email", "a@example.com")).await;
    assert_allowed(&stage, post(&stage, "/anyhow", FORM, "email=a@example.com")).await;
    assert_allowed(&stage, post(&stage, "/anyhow", "application/json", r#"{"email":"a@example.com"}"#)).await;
    assert_allowed(&stage, stage.http.post(stage.url("/anyhow?email=a@example.com"))).await;
    assert_allowed(&stage, post(&stage, "/anyhow?email=A@example.com", FORM, "email=a@example.com")).await;
}

#[tokio::test]
async fn a_request_that_names_nobody_is_refused() {
    let stage = stage().await;
    for (path, content_type, body) in [
        ("/password-reset", FORM, ""),
        ("/password-reset", FORM, "csrf=x"),
        ("/password-reset", FORM, "email="),
        ("/password-reset", FORM, "email=%20%09"),
        ("/password-reset?email=a@example.com", FORM, "csrf=x"),
        ("/api/password-reset", "application/json", "{}"),
        ("/api/password-reset", "application/json", r#"{"user":{"email":null}}"#),
        ("/api/password-reset", "application/json", r#"{"user":{"email":""}}"#),
        ("/by-query", FORM, "x=1"),
        ("/by-header", "text/plain", "x"),
        ("/anyhow", FORM, "x=1"),
    ] {
        assert_refused(&stage, post(&stage, path, content_type, body), 400, "target_missing").await;
    }
}

/// An endpoint that serves other purposes too.
#[tokio::test]
async fn where_it_may_name_nobody_it_passes_but_for_batches() {
    let stage = stage().await;
    let json = "application/json";
    assert_eq!(post(&stage, "/graphql", json, r#"{"query":"{ articles }"}"#).send().await.unwrap().status(), 200);
    assert!(stage.audit.records().is_empty(), "it is no recovery request");
    assert_allowed(&stage, post(&stage, "/graphql", json, r#"{"email":"a@example.com"}"#)).await;
    assert_refused(&stage, post(&stage, "/graphql", json, r#"[{"email":"a@example.com"}]"#), 400, "target_ambiguous").await;
    assert_refused(&stage, post(&stage, "/graphql?email=a@example.com", json, "{}"), 400, "target_ambiguous").await;
}

#[tokio::test]
async fn a_request_that_names_several_is_refused() {
    let stage = stage().await;
    for (path, content_type, body) in [
        ("/password-reset", FORM, "email=a@example.com&email=b@example.com"),
        ("/password-reset", FORM, "email=a@example.com&email=a@example.com"),
        ("/password-reset", FORM, "email=a@example.com&email[]=b@example.com"),
        ("/password-reset", FORM, "email%5b%5d=a@example.com"),
        ("/password-reset", FORM, "email=a@example.com&[email]=b@example.com"),
        ("/password-reset?model.email=b@example.com", FORM, "email=a@example.com"),
        ("/password-reset", FORM, "Email=a@example.com"),
        ("/password-reset", FORM, "x=1;email=b@example.com&email=a@example.com"),
        ("/password-reset?email=b@example.com", FORM, "email=a@example.com"),
        ("/password-reset?email[]=b@example.com", FORM, "email=a@example.com"),
        ("/anyhow?email=b@example.com", FORM, "email=a@example.com"),
        ("/anyhow?email=b@example.com", "application/json", r#"{"email":"a@example.com"}"#),
        ("/by-query?email=a@example.com", FORM, "email=b@example.com"),
        ("/by-query?email=a@example.com", "application/json", r#"{"email":"b@example.com"}"#),
        ("/by-query?email=a@example.com&email=b@example.com", FORM, ""),
        ("/by-path/a@example.com;b@example.com/reset", FORM, ""),
        ("/api/password-reset", "application/json", r#"{"user":{"email":["a@example.com"]}}"#),
        ("/api/password-reset", "application/json", r#"{"user":{"email":"a@example.com","email":"b@example.com"}}"#),
        ("/api/password-reset", "application/json", r#"{"user":{"email":"a@example.com"},"User":{"email":"b@example.com"}}"#),
        ("/api/password-reset", "application/json", r#"[{"user":{"email":"a@example.com"}}]"#),
    ] {
        assert_refused(&stage, post(&stage, path, content_type, body), 400, "target_ambiguous").await;
    }
    let twice = stage.http.post(stage.url("/by-header")).header("x-email", "a@example.com").header("x-email", "b@example.com");
    assert_refused(&stage, twice, 400, "target_ambiguous").await;
}

#[tokio::test]
async fn a_body_that_is_not_what_it_says_is_refused() {
    let stage = stage().await;
    for (path, content_type, body) in [
        ("/password-reset", FORM, &b"email=%FF"[..]),
        ("/password-reset", FORM, b"email=a\xffb"),
        ("/password-reset", FORM, b"email=%4"),
        ("/password-reset?%4=x", FORM, b"email=a@example.com"),
        ("/password-reset", "multipart/form-data; boundary=XX", b"email=a@example.com"),
        ("/password-reset", "multipart/form-data", b"--XX--"),
        ("/api/password-reset", "application/json", b"{"),
        ("/api/password-reset", "application/json", b"user=1"),
        ("/api/password-reset", "application/json", b"\xef\xbb\xbf{}"),
        ("/api/password-reset", "application/json", br#"{"user":{"email":1}}"#),
    ] {
        assert_refused(&stage, post(&stage, path, content_type, body), 400, "target_undecodable").await;
    }
    for (path, content_type, body) in [
        ("/password-reset", "application/json", r#"{"email":"a@example.com"}"#),
        ("/password-reset", "text/plain", "email=a@example.com"),
        ("/password-reset", "application/x-www-form-urlencoded+json", "email=a@example.com"),
        ("/by-query?email=a@example.com", "text/plain", "email=b@example.com"),
        ("/password-reset", "nonsense", "email=a@example.com"),
        ("/password-reset", "application/x-www-form-urlencoded; x=y", "email=a@example.com"),
        ("/password-reset", "application/x-www-form-urlencoded; charset=utf-8; charset=utf-8", "email=a@example.com"),
        ("/password-reset", "application/x-www-form-urlencoded; charset=utf-16", "email=a@example.com"),
        ("/password-reset", "application/x-www-form-urlencoded; charset=iso-8859-1", "email=a@example.com"),
        ("/password-reset", "application/x-www-form-urlencoded, application/json", "email=a@example.com"),
        ("/api/password-reset", FORM, "user[email]=a@example.com"),
        ("/api/password-reset", "application/json; charset=utf-7", "{}"),
    ] {
        assert_refused(&stage, post(&stage, path, content_type, body), 415, "target_undecodable").await;
    }
    let header = reqwest::header::HeaderValue::from_bytes(b"a\xff@example.com").unwrap();
    assert_refused(&stage, stage.http.post(stage.url("/by-header")).header("x-email", header), 400, "target_undecodable").await;
    let body = "email=a@example.com";
    assert_refused(&stage, stage.http.post(stage.url("/password-reset")).body(body), 415, "target_undecodable").await;
    let twice = post(&stage, "/password-reset", FORM, body).header("content-type", "application/json");
    assert_refused(&stage, twice, 415, "target_undecodable").await;
    for encoding in ["gzip", "deflate", "br", "identity, gzip", "x"] {
        let coded = post(&stage, "/password-reset", FORM, body).header("content-encoding", encoding);
        assert_refused(&stage, coded, 415, "target_undecodable").await;
    }
    assert_allowed(&stage, post(&stage, "/password-reset", FORM, body).header("content-encoding", "identity")).await;
}

#[tokio::test]
async fn an_address_that_is_none_is_forbidden_before_any_look_up() {
    let stage = stage().await;
    stage.accounts.fails.store(true, std::sync::atomic::Ordering::SeqCst);
    for email in ["a", "a@example.com,b@example.com", "A <a@example.com>", "a@[127.0.0.1]", "a@com", "mıke@example.com", "a@example。com"]
    {
        let request = stage.http.post(stage.url("/password-reset")).form(&[("email", email)]);
        assert_refused(&stage, request, 403, "target_invalid").await;
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_however_it_announces_itself() {
    let stage = stage().await;
    let long = |length: usize| format!("email=a@example.com&x={}", "x".repeat(length - 22));
    assert_allowed(&stage, post(&stage, "/password-reset", FORM, long(1024))).await;
    assert_refused(&stage, post(&stage, "/password-reset", FORM, long(1025)), 413, "body_too_large").await;
    let chunks = (0..1000).map(|_| Ok::<_, std::io::Error>("x".repeat(1000)));
    let unannounced = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    assert_refused(&stage, post(&stage, "/password-reset", FORM, unannounced), 413, "body_too_large").await;
    // Unguarded requests have no limit.
    assert_eq!(post(&stage, "/upload", FORM, long(1_000_000)).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_is_allowed_arrives_byte_for_byte() {
    let stage = stage().await;
    let body = "csrf=%41+%2b&email=%61%40example.com&&x";
    let request = post(&stage, "/Password-Reset/?x=%41", FORM, body).header("x-odd", "  kept ").header("accept-encoding", "gzip");
    assert_allowed(&stage, request).await;
    let seen = stage.seen().pop().unwrap();
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.uri, "/Password-Reset/?x=%41");
    assert_eq!(seen.body, body);
    assert_eq!(seen.headers["content-length"], body.len().to_string());
    assert_eq!(seen.headers["accept-encoding"], "gzip");
    assert_eq!(seen.headers["content-type"], FORM);

    let chunks = body.as_bytes().chunks(3).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>();
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    assert_allowed(&stage, post(&stage, "/password-reset", FORM, chunked)).await;
    let seen = stage.seen().pop().unwrap();
    assert_eq!(seen.body, body);
    assert!(!seen.headers.contains_key("content-length"));
}

#[tokio::test]
async fn a_guarded_path_is_guarded_however_it_is_spelled() {
    let stage = stage().await;
    stage.accounts.insert("b@example.com", false, None);
    for path in [
        "/password-reset",
        "/password-reset/",
        "/PASSWORD-RESET",
        "//password-reset",
        "/%70assword-reset",
        "/x/%2e%2e/password-reset",
        "/password-reset;a=b",
        "/x/..;/password-reset",
        "/x%2f..%2fpassword-reset",
        "/x%5c..%5cpassword-reset",
        "/password-reset%00",
        "/password-reset.json",
        "/index.php/password-reset",
        "/x//../../password-reset",
    ] {
        let response = post(&stage, path, FORM, "email=b@example.com").send().await.unwrap();
        assert_eq!(response.status(), 403, "{path}");
    }
    assert!(stage.seen().is_empty());
}

#[tokio::test]
async fn a_method_override_of_a_post_counts_as_both_methods() {
    let stage = stage().await;
    stage.accounts.insert("b@example.com", false, None);
    let put = |path: &str, body: &'static str| post(&stage, path, FORM, body);
    for header in ["x-http-method-override", "x-http-method", "x-method-override"] {
        assert_eq!(put("/put-only", "email=b@example.com").header(header, "put").send().await.unwrap().status(), 403, "{header}");
        let hidden = post(&stage, "/password-reset", FORM, "email=b@example.com").header(header, "GET");
        assert_eq!(hidden.send().await.unwrap().status(), 403, "{header}");
    }
    assert_eq!(put("/put-only?_method=PUT", "email=b@example.com").send().await.unwrap().status(), 403);
    assert_eq!(put("/put-only", "_method=PUT&email=b@example.com").send().await.unwrap().status(), 403);
    assert_eq!(put("/put-only", "[_method]=PUT&email=b@example.com").send().await.unwrap().status(), 403);
    assert_eq!(post(&stage, "/put-only", "application/json", r#"{"_method":"put"}"#).send().await.unwrap().status(), 400);
    assert_eq!(stage.http.post(stage.url("/put-only")).body("_method=put").send().await.unwrap().status(), 400);
    assert!(stage.seen().is_empty());

    assert_eq!(put("/put-only", "email=b@example.com").send().await.unwrap().status(), 200, "a plain POST is not guarded here");
    assert_eq!(stage.seen().pop().unwrap().body, "email=b@example.com");
    assert_eq!(stage.seen().pop().unwrap().verdict, None);
    let method = reqwest::Method::from_bytes(b"post").unwrap();
    let request = stage.http.request(method, stage.url("/password-reset")).header("content-type", FORM).body("email=b@example.com");
    assert_eq!(request.send().await.unwrap().status(), 403);
}

/// A body that never ends holds nothing up but itself.
#[tokio::test]
async fn a_body_that_stalls_does_not_stall_others() {
    let stage = stage().await;
    let stalled = futures_util::stream::once(async { Ok::<_, std::io::Error>("email=") });
    let stalled = futures_util::StreamExt::chain(stalled, futures_util::stream::pending());
    let hung = tokio::spawn(post(&stage, "/password-reset", FORM, reqwest::Body::wrap_stream(stalled)).send());
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), stage.ask_reset("a@example.com")).await, Ok(200));
    hung.abort();
}
