//! Request reading: what can't be read exactly as an application might is refused, and what is allowed arrives as it was sent.

use std::time::Duration;

use reqwest::RequestBuilder;
use reset_gatekeeper::Reply;
use reset_gatekeeper::audit::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{Seen, Stage};

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
async fn an_address_that_is_none_is_forbidden_before_any_look_up() {
    let stage = stage().await;
    stage.accounts.fails.store(true, std::sync::atomic::Ordering::SeqCst);
    for email in ["a", "a@com", "mıke@example.com"] {
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
    // What is left of the body keeps the connection from being used again, and its client is told.
    for (length, connection) in [(1025, Some("close")), (1024, None)] {
        let response = post(&stage, "/password-reset", FORM, long(length)).send().await.unwrap();
        assert_eq!(response.headers().get("connection").map(|value| value.to_str().unwrap()), connection, "{length}");
    }
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

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is answered with this status for this reason, whoever it is for.
    Refused(u16, &'static str),
    /// The account is found and judged.
    Judged,
    /// The account is found and judged, but stands in a path where it can't be replaced.
    JudgedInPlace,
    /// No recovery request, or one in which no parser finds the account.
    Passed,
}

use Fate::{Judged, JudgedInPlace, Passed, Refused};

const AMBIGUOUS: Fate = Refused(400, "target_ambiguous");
const MISSING: Fate = Refused(400, "target_missing");
const UNDECODABLE: Fate = Refused(400, "target_undecodable");
const UNSUPPORTED: Fate = Refused(415, "target_undecodable");
const INVALID: Fate = Refused(403, "target_invalid");

/// Method and target, then header lines.
type Head = &'static str;

const FORM_HEAD: Head = "POST /password-reset\ncontent-type: application/x-www-form-urlencoded";
const NESTED_HEAD: Head = "POST /nested\ncontent-type: application/x-www-form-urlencoded";
const JSON_HEAD: Head = "POST /api/password-reset\ncontent-type: application/json";
const MULTIPART_HEAD: Head = "POST /password-reset\ncontent-type: multipart/form-data; boundary=XX";
const ANYHOW_JSON_HEAD: Head = "POST /anyhow\ncontent-type: application/json";

/// The same field or key twice, in brackets, in another case.
const REPEATED: &[(Fate, Head, &[u8])] = &[
    (Judged, FORM_HEAD, b"email=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"email=a@example.com&email=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"email=b@example.com&email=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"email[]=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"email%5b%5d=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"email=a@example.com&email[]=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"email[0]=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"email=a@example.com&[email]=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"email=a@example.com&email.address=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"email=a@example.com&model.email=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"email=a@example.com&model[ema]il=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"ema[]il=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"Email=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"email=a@example.com&+email=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"email%00=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"ema%C4%B1l=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"x=1;email=b@example.com&email=a@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"email=a@example.com;email=b@example.com"),
    (AMBIGUOUS, FORM_HEAD, b"x=1;email=b@example.com"),
    (Judged, NESTED_HEAD, b"user[email]=b@example.com&user[name]=x"),
    (Judged, NESTED_HEAD, b"user%5Bemail%5D=b@example.com"),
    (AMBIGUOUS, NESTED_HEAD, b"user[email]=a@example.com&user.email=b@example.com"),
    (AMBIGUOUS, NESTED_HEAD, b"user[email][]=b@example.com"),
    (AMBIGUOUS, NESTED_HEAD, b"user[Email]=b@example.com"),
    (Judged, JSON_HEAD, br#"{"user":{"email":"b@example.com"}}"#),
    (AMBIGUOUS, JSON_HEAD, br#"{"user":{"email":["b@example.com"]}}"#),
    (AMBIGUOUS, JSON_HEAD, br#"{"user":[{"email":"b@example.com"}]}"#),
    (AMBIGUOUS, JSON_HEAD, br#"{"user":{"email":{"$eq":"b@example.com"}}}"#),
    (AMBIGUOUS, JSON_HEAD, br#"{"user":{"email":"a@example.com","email":"b@example.com"}}"#),
    (AMBIGUOUS, JSON_HEAD, br#"{"user":{"email":"a@example.com"},"user":{"email":"b@example.com"}}"#),
    (AMBIGUOUS, JSON_HEAD, br#"{"user":{"email":"a@example.com"},"User":{"email":"b@example.com"}}"#),
    (AMBIGUOUS, JSON_HEAD, br#"{"user":{"email":"a@example.com"},"user.email":"b@example.com"}"#),
    (AMBIGUOUS, JSON_HEAD, br#"[{"user":{"email":"b@example.com"}}]"#),
    (AMBIGUOUS, ANYHOW_JSON_HEAD, "{\"ema\u{131}l\":\"b@example.com\"}".as_bytes()),
];

/// Query, body, path and header that name different people.
const SEVERAL_PLACES: &[(Fate, Head, &[u8])] = &[
    (AMBIGUOUS, "POST /password-reset?email=b@example.com\ncontent-type: application/x-www-form-urlencoded", b"email=a@example.com"),
    (AMBIGUOUS, "POST /password-reset?email[]=b@example.com\ncontent-type: application/x-www-form-urlencoded", b"email=a@example.com"),
    (AMBIGUOUS, "POST /password-reset?model.email=b@example.com\ncontent-type: application/x-www-form-urlencoded", b"email=a@example.com"),
    (Judged, "POST /password-reset?email=b@example.com\ncontent-type: application/x-www-form-urlencoded", b"email=B%40example.com"),
    (AMBIGUOUS, "POST /anyhow?email=b@example.com\ncontent-type: application/x-www-form-urlencoded", b"email=a@example.com"),
    (AMBIGUOUS, "POST /anyhow?email=b@example.com\ncontent-type: application/json", br#"{"email":"a@example.com"}"#),
    (AMBIGUOUS, "POST /by-query?email=a@example.com\ncontent-type: application/x-www-form-urlencoded", b"email=b@example.com"),
    (AMBIGUOUS, "POST /by-query?email=a@example.com\ncontent-type: application/json", br#"{"email":"b@example.com"}"#),
    (AMBIGUOUS, "POST /by-query?email=a@example.com&email=b@example.com", b""),
    (UNSUPPORTED, "POST /by-query?email=a@example.com\ncontent-type: text/plain", b"email=b@example.com"),
    // Rails, which parses no `+json` but those that it knows, then looks in the query.
    (
        AMBIGUOUS,
        "POST /api/password-reset?user[email]=b@example.com\ncontent-type: application/x+json",
        br#"{"user":{"email":"a@example.com"}}"#,
    ),
    (AMBIGUOUS, "POST /by-path/a@example.com;b@example.com/reset", b""),
    (AMBIGUOUS, "POST /by-path/a@example.com/reset?email=b@example.com", b""),
    // ASP.NET Core binds a form's fields before a route's.
    (AMBIGUOUS, "POST /by-path/a@example.com/reset\ncontent-type: application/x-www-form-urlencoded", b"email=b@example.com"),
    (AMBIGUOUS, "POST /by-header\nx-email: a@example.com\nx-email: b@example.com", b""),
    // CGI makes one of `_` and `-`.
    (AMBIGUOUS, "POST /by-header\nx-email: a@example.com\nx_email: b@example.com", b""),
    (Judged, "POST /by-header\nX_Email: b@example.com", b""),
];

const NOBODY: &[(Fate, Head, &[u8])] = &[
    (MISSING, FORM_HEAD, b""),
    (MISSING, FORM_HEAD, b"csrf=x"),
    (MISSING, FORM_HEAD, b"email="),
    (MISSING, FORM_HEAD, b"email=%20%09"),
    (UNDECODABLE, FORM_HEAD, br#"{"email":"b@example.com"}"#),
    (UNDECODABLE, FORM_HEAD, br#" {"email":"b@example.com","a":"&email=a@example.com&"}"#),
    (UNDECODABLE, FORM_HEAD, br#"[{"email":"b@example.com","a":"&email=a@example.com&"}]"#),
    (AMBIGUOUS, "POST /anyhow\ncontent-type: application/json", br#"{"a":"&email=b@example.com&","email":"a@example.com"}"#),
    (MISSING, "POST /password-reset?email=b@example.com\ncontent-type: application/x-www-form-urlencoded", b"csrf=x"),
    (MISSING, JSON_HEAD, b"{}"),
    (MISSING, JSON_HEAD, br#"{"user":{"email":null}}"#),
    (MISSING, JSON_HEAD, br#"{"user":{"email":""}}"#),
    (MISSING, "POST /by-query\ncontent-type: application/x-www-form-urlencoded", b"x=1"),
    (MISSING, "POST /by-header\ncontent-type: text/plain", b"x"),
    (MISSING, "POST /anyhow\ncontent-type: application/x-www-form-urlencoded", b"x=1"),
];

/// Content types and encodings.
const TYPES: &[(Fate, Head, &[u8])] = &[
    (Judged, "POST /password-reset\ncontent-type: Application/X-WWW-Form-URLencoded; Charset=\"UTF-8\"", b"email=b@example.com"),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: application/x-www-form-urlencoded ; charset=utf-8", b"email=b@example.com"),
    (Judged, "POST /api/password-reset\ncontent-type: application/vnd.api+json; charset=utf8", br#"{"user":{"email":"b@example.com"}}"#),
    (UNSUPPORTED, "POST /password-reset", b"email=b@example.com"),
    (UNSUPPORTED, "POST /password-reset\ncontent-type:", b"email=b@example.com"),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: text/plain", b"email=b@example.com"),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: nonsense", b"email=b@example.com"),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: application/json", br#"{"email":"b@example.com"}"#),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: application/x-www-form-urlencoded+json", b"email=b@example.com"),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: application/x-www-form-urlencoded, application/json", b"email=b@example.com"),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: application/x-www-form-urlencoded; x=y", b"email=b@example.com"),
    (
        UNSUPPORTED,
        "POST /password-reset\ncontent-type: application/x-www-form-urlencoded; charset=utf-8; charset=utf-8",
        b"email=b@example.com",
    ),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: application/x-www-form-urlencoded; charset=utf-16", b"email=b@example.com"),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: application/x-www-form-urlencoded; charset=utf-7", b"email=+AGI-@example.com"),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: application/x-www-form-urlencoded; charset=iso-8859-1", b"email=b@example.com"),
    (UNSUPPORTED, FORM_HEAD, b"_charset_=utf-7&email=%2BAGI-@example.com"),
    (
        UNSUPPORTED,
        "POST /password-reset\ncontent-type: application/x-www-form-urlencoded\ncontent-type: application/json",
        b"email=b@example.com",
    ),
    (
        UNSUPPORTED,
        "POST /password-reset\ncontent-type: application/x-www-form-urlencoded\ncontent_type: application/json",
        b"email=b@example.com",
    ),
    (UNSUPPORTED, "POST /api/password-reset\ncontent-type: text/plain", br#"{"user":{"email":"b@example.com"}}"#),
    (UNSUPPORTED, "POST /api/password-reset\ncontent-type: text/json", br#"{"user":{"email":"b@example.com"}}"#),
    (UNSUPPORTED, "POST /api/password-reset", br#"{"user":{"email":"b@example.com"}}"#),
    (UNSUPPORTED, "POST /api/password-reset\ncontent-type: application/json; charset=utf-7", b"{}"),
    (UNSUPPORTED, "POST /api/password-reset\ncontent-type: application/x-www-form-urlencoded", b"user[email]=b@example.com"),
    (Judged, "POST /password-reset\ncontent-type: application/x-www-form-urlencoded\ncontent-encoding: Identity", b"email=b@example.com"),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: application/x-www-form-urlencoded\ncontent-encoding: gzip", b"email=b@example.com"),
    (
        UNSUPPORTED,
        "POST /password-reset\ncontent-type: application/x-www-form-urlencoded\ncontent-encoding: deflate",
        b"email=b@example.com",
    ),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: application/x-www-form-urlencoded\ncontent-encoding: br", b"email=b@example.com"),
    (
        UNSUPPORTED,
        "POST /password-reset\ncontent-type: application/x-www-form-urlencoded\ncontent-encoding: identity, gzip",
        b"email=b@example.com",
    ),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: application/x-www-form-urlencoded\ncontent_encoding: gzip", b"email=b@example.com"),
];

/// Bytes, escapes and characters.
const BYTES: &[(Fate, Head, &[u8])] = &[
    (Judged, FORM_HEAD, b"%65mail=%62%40example%2ecom"),
    (Judged, FORM_HEAD, b"email=+b@example.com+"),
    (INVALID, FORM_HEAD, b"email=b%2540example.com"),
    (UNDECODABLE, FORM_HEAD, b"email=b%4"),
    (UNDECODABLE, FORM_HEAD, b"email=%u0062@example.com"),
    (UNDECODABLE, FORM_HEAD, b"%u0065mail=b@example.com"),
    (UNDECODABLE, FORM_HEAD, b"email=%FF"),
    (UNDECODABLE, FORM_HEAD, b"email=b\xff@example.com"),
    (UNDECODABLE, FORM_HEAD, b"email=%C1%A2@example.com"),
    (UNDECODABLE, FORM_HEAD, b"\xff\xfee\0m\0a\0i\0l\0=\0b\0"),
    (MISSING, FORM_HEAD, b"e\0m\0a\0i\0l\0=\0b\0"),
    (AMBIGUOUS, FORM_HEAD, b"\xef\xbb\xbfemail=b@example.com"),
    (INVALID, FORM_HEAD, b"email=b@example.com%00"),
    (INVALID, FORM_HEAD, b"email=b%00@example.com"),
    (INVALID, FORM_HEAD, b"email=a@example.com%0D%0Ab@example.com"),
    (UNDECODABLE, "POST /password-reset?%4=x\ncontent-type: application/x-www-form-urlencoded", b"email=b@example.com"),
    (Judged, JSON_HEAD, br#"{"user":{"\u0065mail":"\u0062@example.com"}}"#),
    (Judged, JSON_HEAD, br#"{"\u0075ser":{"email":"b\u0040example.com"}}"#),
    (AMBIGUOUS, JSON_HEAD, br#"{"user":{"email":"a@example.com","\u0065mail":"b@example.com"}}"#),
    (AMBIGUOUS, JSON_HEAD, br#"{"user":{"email":"a@example.com","email\u0000":"b@example.com"}}"#),
    (UNDECODABLE, JSON_HEAD, br#"{"user":{"email":"\ud800b@example.com"}}"#),
    (UNDECODABLE, JSON_HEAD, br#"{"user":{"email":1}}"#),
    (UNDECODABLE, JSON_HEAD, br#"{'user':{'email':'b@example.com'}}"#),
    (UNDECODABLE, JSON_HEAD, br#"{"user":{"email":"b@example.com"},}"#),
    (UNDECODABLE, JSON_HEAD, br#"{"user":{"email":/**/"b@example.com"}}"#),
    (UNDECODABLE, JSON_HEAD, br#"{"user":{"email":"b@example.com"}}{}"#),
    (UNDECODABLE, JSON_HEAD, b"{\"user\":{\"email\":\"b@example.com\"}}\0"),
    (UNDECODABLE, JSON_HEAD, b"\xef\xbb\xbf{\"user\":{\"email\":\"b@example.com\"}}"),
    (UNDECODABLE, JSON_HEAD, b"{\"user\":{\"email\":\"b\xff@example.com\"}}"),
    (UNDECODABLE, JSON_HEAD, b"{\0\"\0u\0"),
    (UNDECODABLE, JSON_HEAD, b"{"),
    (UNDECODABLE, JSON_HEAD, b"user=1"),
    (UNDECODABLE, "POST /by-header\nx-email: b\u{ff}@example.com\nx-odd: latin", b""),
];

const MULTIPART: &[(Fate, Head, &[u8])] = &[
    (Judged, MULTIPART_HEAD, b"--XX\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nb@example.com\r\n--XX--\r\n"),
    (Judged, MULTIPART_HEAD, b"--XX\r\nContent-Disposition: form-data; name=email\r\nContent-Length: 13\r\n\r\nb@example.com\r\n--XX--"),
    (
        Judged,
        MULTIPART_HEAD,
        b"--XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\nContent-Type: multipart/mixed\r\n\r\nx\r\n\
          --XX\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nb@example.com\r\n--XX--\r\n",
    ),
    (
        AMBIGUOUS,
        MULTIPART_HEAD,
        b"--XX\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\na@example.com\r\n\
          --XX\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nb@example.com\r\n--XX--\r\n",
    ),
    (AMBIGUOUS, MULTIPART_HEAD, b"--XX\r\nContent-Disposition: form-data; name=\"email[]\"\r\n\r\nb@example.com\r\n--XX--\r\n"),
    (UNDECODABLE, MULTIPART_HEAD, b"--XX\r\nContent-Disposition: form-data; name=\"email\"; filename=\"\"\r\n\r\nb@example.com\r\n--XX--\r\n"),
    (UNDECODABLE, MULTIPART_HEAD, b"--XX\r\nContent-Disposition: form-data; filename=\"x\"\r\n\r\nb@example.com\r\n--XX--\r\n"),
    (UNDECODABLE, MULTIPART_HEAD, b"--XX\r\nContent-Disposition: form-data; name=\"x\"; name=\"email\"\r\n\r\nb@example.com\r\n--XX--\r\n"),
    (UNDECODABLE, MULTIPART_HEAD, b"--XX\r\nContent-Disposition: form-data; name=\"x\"; name*=utf-8''email\r\n\r\nb@example.com\r\n--XX--\r\n"),
    (
        UNDECODABLE,
        MULTIPART_HEAD,
        b"--XX\r\nContent-Disposition: form-data; name=\"x\"; filename=\"a\\\"; name=\\\"email\"\r\n\r\nb@example.com\r\n--XX--\r\n",
    ),
    (UNDECODABLE, MULTIPART_HEAD, b"--XX\r\nContent-Disposition: form-data;\r\n name=\"email\"\r\n\r\nb@example.com\r\n--XX--\r\n"),
    (UNDECODABLE, MULTIPART_HEAD, b"preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nb@example.com\r\n--XX--\r\n"),
    (UNDECODABLE, MULTIPART_HEAD, b"--XX\nContent-Disposition: form-data; name=\"email\"\n\nb@example.com\n--XX--\n"),
    (UNDECODABLE, MULTIPART_HEAD, b"--XX\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nb@example.com\r\n"),
    (
        UNDECODABLE,
        MULTIPART_HEAD,
        b"--XX\r\nContent-Disposition: form-data; name=\"x\"\r\nContent-Type: multipart/mixed; boundary=YY\r\n\r\n\
          --YY\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nb@example.com\r\n--YY--\r\n--XX--\r\n",
    ),
    (
        UNDECODABLE,
        MULTIPART_HEAD,
        b"--XX\r\nContent-Disposition: form-data; name=\"email\"\r\nContent-Transfer-Encoding: base64\r\n\r\nYkBleGFtcGxlLmNvbQ==\r\n--XX--\r\n",
    ),
    (
        UNDECODABLE,
        MULTIPART_HEAD,
        b"--XX\r\nContent-Disposition: form-data; name=\"email\"\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n+AGI-@example.com\r\n--XX--\r\n",
    ),
    // RFC 7578 §4.6; aiohttp heeds it.
    (
        UNSUPPORTED,
        "POST /password-reset\ncontent-type: multipart/form-data; boundary=\"XX:\"",
        b"--XX:\r\nContent-Disposition: form-data; name=\"_charset_\"\r\n\r\nutf-7\r\n\
          --XX:\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\n+AGI-@example.com\r\n--XX:--\r\n",
    ),
    (UNDECODABLE, MULTIPART_HEAD, b"email=b@example.com"),
    (UNDECODABLE, "POST /password-reset\ncontent-type: multipart/form-data", b"--XX--"),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: multipart/form-data; boundary=XX; boundary=YY", b"--XX--"),
    (UNSUPPORTED, "POST /password-reset\ncontent-type: multipart/mixed; boundary=XX", b"--XX--"),
];

/// What stands for an address. Sent as the field of a form, with all of it escaped.
const ADDRESSES: &[(Fate, &str)] = &[
    (Judged, "b@example.com"),
    (Judged, "B@EXAMPLE.COM"),
    (Judged, "\t b@example.com\u{a0}"),
    (INVALID, "b"),
    (INVALID, "b@com"),
    (INVALID, "b@example.com."),
    (INVALID, "b(x)@example.com"),
    (INVALID, "b@example.com(x)"),
    (INVALID, "\"b\"@example.com"),
    (INVALID, "\"\\b\"@example.com"),
    (INVALID, "=?utf-8?q?b?=@example.com"),
    (INVALID, "B <b@example.com>"),
    (INVALID, "<b@example.com>"),
    (INVALID, "mailto:b@example.com"),
    // CVE-2023-7028: two mailboxes.
    (INVALID, "a@example.com,b@example.com"),
    (INVALID, "a@example.com;b@example.com"),
    (INVALID, "a@example.com b@example.com"),
    (INVALID, "a@example.com\r\nBcc: b@example.com"),
    (INVALID, "[\"a@example.com\",\"b@example.com\"]"),
    (INVALID, "b@[192.0.2.1]"),
    (INVALID, "b@[IPv6:2001:db8::1]"),
    (INVALID, "b@192.0.2.1"),
    // CVE-2019-19844: what folds into another.
    (INVALID, "b@example.com\u{feff}"),
    (INVALID, "\u{ff42}@example.com"),
    (INVALID, "b\u{ff20}example.com"),
    (INVALID, "b@example\u{3002}com"),
    (INVALID, "b@exa\u{ad}mple.com"),
    (INVALID, "b\u{200b}@example.com"),
    (INVALID, "b@\u{24d4}xample.com"),
    (INVALID, "mi\u{212a}e@example.com"),
    (INVALID, "m\u{131}ke@example.com"),
    (INVALID, "mi\u{17f}ter@example.com"),
    (Judged, "i@b\u{fc}cher.example"),
    (Judged, "i@xn--bcher-kva.example"),
    (Judged, "I@XN--BCHER-KVA.example"),
    (INVALID, "i@b\u{dc}cher.example"),
    (INVALID, "i@bu\u{308}cher.example"),
    (INVALID, "i@xn--bcher-kva\u{3002}example"),
    // A letter that only looks like another is another.
    (Passed, "\u{44c}@example.com"),
    (Passed, "b+x@example.com"),
    (Passed, "\"b b\"@example.com"),
];

/// Asked for with the address in a form.
const PATHS: &[(Fate, &str)] = &[
    (Judged, "/password-reset/"),
    (Judged, "/PASSWORD-RESET"),
    (Judged, "//password-reset"),
    (Judged, "/./password-reset"),
    (Judged, "/x/../password-reset"),
    (Judged, "/x/%2e%2e/password-reset"),
    (Judged, "/x//../../password-reset"),
    (Judged, "/password-reset/%2e/.."),
    (Judged, "/%70assword-reset"),
    (Judged, "/password%2Dreset"),
    (Judged, "/password-reset;a=b"),
    (Judged, "/;a=b/password-reset"),
    (Judged, "/x/..;/password-reset"),
    (Judged, "/x%2f..%2fpassword-reset"),
    (Judged, "/x%5c..%5cpassword-reset"),
    (Judged, "/x\\..\\password-reset"),
    (Judged, "/password-reset%00"),
    (Judged, "/password-reset%20"),
    (Judged, "/password-reset."),
    (Judged, "/password-reset.json"),
    (Judged, "/index.php/password-reset"),
    (Judged, "http://other.example/password-reset"),
    (Judged, "http://other.example//x/../password-reset"),
    (Passed, "/password-reset/done"),
    (Passed, "/password%252Dreset"),
    (Passed, "/x/password-reset"),
    (Judged, "/by-path/b%40example.com/reset"),
    (Judged, "/By-Path/B@example.com/RESET"),
    (JudgedInPlace, "/by-path/b@example.com//reset"),
    (JudgedInPlace, "/x/../by-path/b@example.com/reset"),
    (INVALID, "/by-path/b%2540example.com/reset"),
    (INVALID, "/by-path/b@example.com%00/reset"),
    (INVALID, "/by-path/%EF%BF%BDb@example.com/reset"),
];

/// Methods, and what stands for one.
const METHODS: &[(Fate, Head, &[u8])] = &[
    (Judged, "post /password-reset\ncontent-type: application/x-www-form-urlencoded", b"email=b@example.com"),
    (Judged, "pOsT /password-reset\ncontent-type: application/x-www-form-urlencoded", b"email=b@example.com"),
    (Judged, "CONNECT /password-reset\ncontent-type: application/x-www-form-urlencoded", b"email=b@example.com"),
    (Judged, "POST /password-reset\ncontent-type: application/x-www-form-urlencoded\nx-http-method-override: GET", b"email=b@example.com"),
    (Judged, "PUT /put-only\ncontent-type: application/x-www-form-urlencoded", b"email=b@example.com"),
    (Judged, "POST /put-only\ncontent-type: application/x-www-form-urlencoded\nx-http-method-override: put", b"email=b@example.com"),
    (Judged, "POST /put-only\ncontent-type: application/x-www-form-urlencoded\nx-http-method: PUT", b"email=b@example.com"),
    (Judged, "POST /put-only\ncontent-type: application/x-www-form-urlencoded\nx-method-override: PUT", b"email=b@example.com"),
    (Judged, "POST /put-only\ncontent-type: application/x-www-form-urlencoded\nx_http_method_override: PATCH, PUT", b"email=b@example.com"),
    (Judged, "POST /put-only?_method=PUT\ncontent-type: application/x-www-form-urlencoded", b"email=b@example.com"),
    (Judged, "POST /put-only\ncontent-type: application/x-www-form-urlencoded", b"_method=PUT&email=b@example.com"),
    (Judged, "POST /put-only\ncontent-type: application/x-www-form-urlencoded", b"[_method]=put&email=b@example.com"),
    (Judged, "POST /put-only\ncontent-type: application/x-www-form-urlencoded", b"%5fmethod=P%55T&email=b@example.com"),
    (
        Judged,
        "POST /put-only\ncontent-type: multipart/form-data; boundary=XX",
        b"--XX\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nPUT\r\n\
          --XX\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nb@example.com\r\n--XX--\r\n",
    ),
    // Laravel looks in JSON, Rack in a body without type and in one of any multipart type.
    (UNDECODABLE, "POST /put-only\ncontent-type: application/json", br#"{"_method":"put","email":"b@example.com"}"#),
    (UNDECODABLE, "POST /put-only\ncontent-type: application/json", br#"{"\u005fmethod":"put","email":"b@example.com"}"#),
    (UNDECODABLE, "POST /put-only", b"_method=put&email=b@example.com"),
    (UNDECODABLE, "POST /put-only", b"%5Fmethod=put&email=b@example.com"),
    (
        UNDECODABLE,
        "POST /put-only\ncontent-type: multipart/mixed; boundary=XX",
        b"--XX\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nPUT\r\n\
          --XX\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nb@example.com\r\n--XX--\r\n",
    ),
    (Passed, "POST /put-only\ncontent-type: application/x-www-form-urlencoded", b"email=b@example.com"),
    (Passed, "POST /put-only\ncontent-type: application/json", br#"{"email":"b@example.com"}"#),
    (Passed, "GET /password-reset?email=b@example.com", b""),
];

/// Sends a request as it is written, and gives the answer's status.
async fn send(stage: &Stage, head: &str, body: &[u8]) -> u16 {
    let authority = stage.base.strip_prefix("http://").unwrap();
    let (first, headers) = head.split_once('\n').unwrap_or((head, ""));
    let mut request = format!("{first} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    request.extend(headers.lines().map(|line| format!("{line}\r\n")));
    let mut request = [latin1(&request).as_slice(), b"\r\n"].concat();
    request.extend(body);
    let mut stream = TcpStream::connect(authority).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("{head}: {answer}")).parse().unwrap()
}

/// A character of a header is a byte.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

/// Whether the blocked address stands anywhere in what the application saw, in any case and however it is escaped.
fn shows_blocked(seen: &Seen) -> bool {
    let body = String::from_utf8_lossy(&seen.body).replace("\\u00", "%");
    let headers = seen.headers.values().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let texts = [seen.uri.to_string(), body].into_iter().chain(headers);
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().to_lowercase();
    texts.map(|text| decoded(&decoded(&text))).any(|text| {
        ["b@example.com", "i@b\u{fc}cher.example", "i@xn--bcher-kva.example"].iter().any(|address| {
            // `nob@example.com` would be another.
            text.match_indices(address).any(|(at, _)| !text[..at].ends_with(char::is_alphanumeric))
        })
    })
}

/// What is wrong with what became of a request.
async fn mistake(stage: &Stage, decoys: bool, fate: Fate, head: &str, body: &[u8]) -> Option<String> {
    stage.clear_seen();
    let before = stage.audit.records().len();
    let status = send(stage, head, body).await;
    let seen = stage.seen();
    let reasons = if stage.audit.records().len() > before { stage.last_reasons() } else { Vec::new() };
    let is_right = match fate {
        Refused(expected, reason) => (status, reasons.as_slice()) == (expected, &[reason]) && seen.is_empty(),
        JudgedInPlace if decoys => (status, reasons.as_slice()) == (400, &["target_undecodable"]) && seen.is_empty(),
        Judged | JudgedInPlace => {
            let answer = if decoys { 200 } else { 403 };
            let is_judged = (status, reasons.as_slice()) == (answer, &["email_unverified"]);
            is_judged && seen.len() == usize::from(decoys) && !seen.iter().any(shows_blocked)
        }
        Passed => status == 200 && seen.len() == 1 && seen[0].body == body,
    };
    let request = format!("{head}\n\n{}", String::from_utf8_lossy(body));
    (!is_right).then(|| format!("should be {fate:?}, but is {status} for {reasons:?}: {request}\nThe application sees {seen:?}\n"))
}

/// The gate sees what the application sees, or refuses: one row for each spelling, in both enforcing modes. `b@example.com` is not verified.
#[tokio::test]
async fn every_spelling_is_judged_or_refused() {
    for (reply, decoys) in [(Reply::refuse(), false), (Reply::decoy().floor(Duration::ZERO), true)] {
        let stage = Stage::with(reply, |builder| builder).await;
        stage.healthy_account("a@example.com");
        for email in ["b@example.com", "mike@example.com", "mister@example.com", "i@xn--bcher-kva.example"] {
            stage.accounts.insert(email, false, None);
        }
        let mut mistakes = Vec::new();
        for (fate, head, body) in [REPEATED, SEVERAL_PLACES, NOBODY, TYPES, BYTES, MULTIPART, METHODS].concat() {
            mistakes.extend(mistake(&stage, decoys, fate, head, body).await);
        }
        for (fate, address) in ADDRESSES {
            let escaped = percent_encoding::utf8_percent_encode(address, percent_encoding::NON_ALPHANUMERIC);
            mistakes.extend(mistake(&stage, decoys, *fate, FORM_HEAD, format!("email={escaped}").as_bytes()).await);
        }
        for (fate, path) in PATHS {
            // The path names its own account where it has one.
            let body = if path.to_lowercase().contains("/by-path") { "" } else { "email=b@example.com" };
            let head = format!("POST {path}\ncontent-type: application/x-www-form-urlencoded");
            mistakes.extend(mistake(&stage, decoys, *fate, &head, body.as_bytes()).await);
        }
        // To read it in every way would take long.
        let head = format!("POST /unguarded{}\ncontent-type: application/x-www-form-urlencoded", "/x%2fa\\b%5cc;d/../%2e%00".repeat(100));
        mistakes.extend(mistake(&stage, decoys, UNDECODABLE, &head, b"").await);
        assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    }
}

/// Some applications decode a form once more than they should.
#[tokio::test]
async fn a_field_whose_name_is_encoded_twice_counts_as_the_field() {
    let stage = Stage::open().await;
    stage.accounts.insert("a@example.com", false, None);
    for body in [
        "email=nobody@example.com&%2565mail=a@example.com",
        "%2565mail=a@example.com",
        "email=nobody@example.com&%25u0065mail=a@example.com",
    ] {
        let request = stage.http.post(stage.url("/password-reset")).header("content-type", "application/x-www-form-urlencoded").body(body);
        assert_eq!(request.send().await.unwrap().status(), 400, "{body}");
    }
    assert!(stage.seen().is_empty());
}
