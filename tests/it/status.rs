//! The status services Fastly Domain Research and Domainr, as real servers on loopback.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::IntoResponse;
use reset_gatekeeper::RegistrableDomain;
use reset_gatekeeper::domain::domainr::Domainr;
use reset_gatekeeper::domain::fastly::Fastly;
use reset_gatekeeper::domain::{DomainSource, Report, SourceError, Standing};
use reset_gatekeeper::testing::time;

use crate::stage::NOW;

const SECRET: &str = "s3cret-key";

/// A service that gives every question one answer, and remembers the last question.
struct Service {
    base: String,
    asked: Arc<Mutex<Option<(String, HeaderMap)>>>,
}

async fn service(status: u16, headers: &[(&'static str, &'static str)], body: impl Into<String>) -> Service {
    let asked = Arc::<Mutex<Option<(String, HeaderMap)>>>::default();
    let (seen, body) = (Arc::clone(&asked), body.into());
    let headers: HeaderMap = headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
    let app = Router::new().fallback(async move |request: Request| {
        *seen.lock().unwrap() = Some((request.uri().to_string(), request.headers().clone()));
        (StatusCode::from_u16(status).unwrap(), headers, body).into_response()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v/status", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    Service { base, asked }
}

impl Service {
    async fn fastly(&self, domain: &str) -> Result<Report, SourceError> {
        Fastly::new(SECRET).unwrap().endpoint(&self.base).unwrap().report(&RegistrableDomain::of(domain).unwrap()).await
    }

    async fn domainr(&self, domain: &str) -> Result<Report, SourceError> {
        Domainr::new(SECRET).unwrap().endpoint(&self.base).unwrap().report(&RegistrableDomain::of(domain).unwrap()).await
    }
}

fn standing(report: &Report) -> Standing {
    report.standing(time(NOW), std::time::Duration::ZERO)
}

#[tokio::test]
async fn fastly_is_asked_with_its_key_and_its_words_are_read() {
    let body = r#"{"domain":"example.com","zone":"com","status":"undelegated inactive","tags":"generic"}"#;
    let service = service(200, &[("content-type", "application/json; charset=utf-8")], body).await;
    let report = service.fastly("example.com").await.unwrap();
    assert_eq!((report.source.as_ref(), standing(&report)), ("fastly", Standing::Unregistered));
    let (uri, headers) = service.asked.lock().unwrap().clone().unwrap();
    assert_eq!(uri, "/v/status?domain=example.com");
    assert_eq!(headers["fastly-key"], SECRET);
}

#[tokio::test]
async fn domainr_is_asked_with_its_client_and_its_words_are_read() {
    let body = r#"{"status":[{"domain":"example.com","zone":"com","status":"parked active","summary":"active"}]}"#;
    let service = service(200, &[], body).await;
    let report = service.domainr("example.com").await.unwrap();
    assert_eq!((report.source.as_ref(), standing(&report)), ("domainr", Standing::Active));
    let (uri, _) = service.asked.lock().unwrap().clone().unwrap();
    assert_eq!(uri, "/v/status?domain=example.com&client_id=s3cret-key");
}

/// An international domain is asked for in A-labels, and may be answered in either form.
#[tokio::test]
async fn an_answer_must_be_about_the_domain_in_whichever_form() {
    for (asked, answered, is_read) in [
        ("xn--mller-kva.de", "müller.de", true),
        ("xn--mller-kva.de", "xn--mller-kva.de", true),
        ("example.com", "EXAMPLE.com.", true),
        ("example.com", "example.org", false),
        ("example.com", "www.example.com", false),
        ("example.com", "", false),
    ] {
        let fastly = service(200, &[], format!(r#"{{"domain":"{answered}","status":"active"}}"#)).await;
        assert_eq!(fastly.fastly(asked).await.is_ok(), is_read, "{answered}");
        let domainr = service(200, &[], format!(r#"{{"status":[{{"domain":"{answered}","status":"active"}}]}}"#)).await;
        assert_eq!(domainr.domainr(asked).await.is_ok(), is_read, "{answered}");
    }
}

/// Recorded answers, and what a service that fails may send.
#[tokio::test]
async fn what_is_no_status_is_no_answer_and_tells_no_secret() {
    let long = format!(r#"{{"domain":"example.com","status":"active","tags":"{}"}}"#, "x".repeat(70_000));
    let rows: [(u16, &str); 16] = [
        (400, r#"{"title":"Domain not found","status":400,"detail":"example.com"}"#),
        (200, r#"{"scope":"estimate","domain":"example.com","zone":"com","status":"undelegated inactive"}"#),
        (200, r#"{"domain":"example.com","status":"unknown"}"#),
        (200, r#"{"domain":"example.com","status":"undelegated"}"#),
        (200, r#"{"errors":[{"code":400,"message":"Bad request","detail":"unknown zone: ocm"}]}"#),
        (200, r#"{"status":[],"errors":[{"code":400,"detail":"unknown zone: ocm","message":"Bad request"}]}"#),
        (200, r#"{"domain":"example.com","status":400}"#),
        (200, r#"{"domain":"example.com","status":"#),
        (200, "<html>sorry</html>"),
        (200, ""),
        (200, &long),
        (401, r#"{"msg":"Provided credentials are missing or invalid"}"#),
        (403, ""),
        (404, ""),
        (500, ""),
        (302, ""),
    ];
    for (status, body) in rows {
        let service = service(status, &[("location", "http://127.0.0.1:1/elsewhere")], body).await;
        for outcome in [service.fastly("example.com").await, service.domainr("example.com").await] {
            let error = outcome.unwrap_err();
            let shown: Vec<String> = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
                .map(|error| format!("{error} {error:?}"))
                .collect();
            assert!(!shown.join(" ").contains(SECRET), "{shown:?}");
            assert!(!matches!(error, SourceError::Transport { .. }), "{status} {body}: redirects are not followed: {error:?}");
        }
    }
    let throttled = service(429, &[("retry-after", "17")], "").await;
    let waits = std::time::Duration::from_secs(17);
    assert_eq!(throttled.fastly("example.com").await.unwrap_err().retry_after(), Some(waits));
    assert_eq!(throttled.domainr("example.com").await.unwrap_err().retry_after(), Some(waits));
    assert!(!format!("{:?} {:?}", Fastly::new(SECRET).unwrap(), Domainr::new(SECRET).unwrap()).contains(SECRET));
}

#[test]
fn the_server_that_counts_the_questions_is_the_endpoints() {
    let domain = RegistrableDomain::of("example.com").unwrap();
    assert_eq!(Fastly::new(SECRET).unwrap().servers(&domain), ["https://api.fastly.com"]);
    assert_eq!(Domainr::new(SECRET).unwrap().endpoint("http://127.0.0.1:9/v2").unwrap().servers(&domain), ["http://127.0.0.1:9"]);
}

#[test]
fn a_key_or_an_endpoint_that_can_not_be_is_an_error() {
    assert!(Fastly::new("two\nlines").is_err());
    for endpoint in ["", "api.example", "ftp://api.example/"] {
        assert!(Fastly::new(SECRET).unwrap().endpoint(endpoint).is_err(), "{endpoint}");
        assert!(Domainr::new(SECRET).unwrap().endpoint(endpoint).is_err(), "{endpoint}");
    }
}
