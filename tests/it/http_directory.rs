//! The directory that an application serves over HTTP, on a real server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reset_gatekeeper::account::{Account, Directory, DirectoryError, HttpDirectory, IdKind};
use reset_gatekeeper::testing::time;
use reset_gatekeeper::{Identifier, Identifies, Reason};
use serde_json::{Value, json};

const AT: &str = "2021-05-04T10:00:00Z";

/// An application that answers each question alike.
struct Application {
    base: String,
    asked: Arc<Mutex<Vec<(String, HeaderMap, Value)>>>,
}

impl Application {
    async fn start<R: IntoResponse>(answer: impl Fn() -> R + Clone + Send + Sync + 'static) -> Self {
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let log = Arc::clone(&asked);
        let app = Router::new().fallback(move |request: Request| {
            let (log, answer) = (Arc::clone(&log), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                log.lock().unwrap().push((
                    format!("{} {}", parts.method, parts.uri),
                    parts.headers,
                    serde_json::from_slice(&body).unwrap_or_default(),
                ));
                answer().into_response()
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/gatekeeper", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { base, asked }
    }

    async fn answering(answer: Value) -> Self {
        Self::start(move || axum::Json(answer.clone())).await
    }

    fn directory(&self) -> HttpDirectory {
        HttpDirectory::new(&self.base).unwrap().token("hush").unwrap()
    }

    fn asked(&self) -> (String, HeaderMap, Value) {
        self.asked.lock().unwrap().pop().unwrap()
    }
}

fn mailbox(text: &str) -> Identifier {
    Identifier::parse(Identifies::Email, text).unwrap()
}

fn account() -> Account {
    Account { id: "42".into(), email: "a@example.com".to_owned(), verified: true, verified_at: Some(time(AT)) }
}

#[tokio::test]
async fn the_three_questions_are_asked_and_read_as_agreed() {
    let row = json!({"id": 42, "email": "a@example.com", "verified": true, "verified_at": AT, "name": "Jo"});
    let application = Application::answering(json!({"accounts": [row]})).await;
    let directory = application.directory();
    assert_eq!(directory.find(&mailbox("A@Example.com")).await.unwrap(), [account()]);
    let (line, headers, asked) = application.asked();
    assert_eq!(line, "POST /gatekeeper/find");
    assert_eq!(headers[header::AUTHORIZATION], "Bearer hush");
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(asked, json!({"by": "email", "values": ["A@Example.com", "a@example.com"]}));
    directory.find(&Identifier::parse(Identifies::Token, "t0").unwrap()).await.unwrap();
    assert_eq!(application.asked().2, json!({"by": "token", "values": ["t0"]}));

    assert_eq!(directory.page(None, 500).await.unwrap(), [account()]);
    let (line, _, asked) = application.asked();
    assert_eq!((line.as_str(), asked), ("POST /gatekeeper/page", json!({"after": null, "limit": 500})));
    directory.page(Some(&"42".into()), 1).await.unwrap();
    assert_eq!(application.asked().2, json!({"after": "42", "limit": 1}));

    for (answer, unverified) in [(json!({"unverified": true}), true), (json!({"unverified": false}), false)] {
        let application = Application::answering(answer).await;
        let account = Account { verified_at: Some(time("2021-05-04T10:00:00.123456Z")), ..account() };
        assert_eq!(application.directory().unverify(&account, Reason::DomainRedemption).await.unwrap(), unverified);
        let (line, _, asked) = application.asked();
        assert_eq!(line, "POST /gatekeeper/unverify");
        let verified_at = "2021-05-04T10:00:00.123456Z";
        assert_eq!(asked, json!({"id": "42", "email": "a@example.com", "verified_at": verified_at, "reason": "domain_redemption"}));
    }
}

#[tokio::test]
async fn every_form_of_member_is_read_and_no_other() {
    let row = |id: Value, verified: Value, verified_at: Value| json!({"id": id, "email": "a@example.com", "verified": verified, "verified_at": verified_at});
    let at = Some(time(AT));
    for (row, expected) in [
        (row(json!("x-1"), json!(true), json!("2021-05-04 10:00:00")), ("x-1", true, at)),
        (row(json!(42), json!(1), json!(1_620_122_400)), ("42", true, at)),
        (row(json!(u64::MAX), json!(0), json!(1_620_122_400_000_u64)), ("18446744073709551615", false, at)),
        (row(json!(-1), json!(null), json!(1_620_122_400.0)), ("-1", false, at)),
        (row(json!("1"), json!(false), json!(null)), ("1", false, None)),
    ] {
        let found = Application::answering(json!({"accounts": [row]})).await.directory().find(&mailbox("a@example.com")).await.unwrap();
        assert_eq!((found[0].id.as_str(), found[0].verified, found[0].verified_at), expected, "{row}");
    }
    for (row, column) in [
        (row(json!(1), json!(true), json!("secret")), "verified_at"),
        (row(json!(1), json!(true), json!([1])), "verified_at"),
        (row(json!(1), json!("secret"), json!(null)), "verified"),
        (row(json!(1.5), json!(true), json!(null)), "id"),
        (row(json!(""), json!(true), json!(null)), "id"),
        (row(json!(null), json!(true), json!(null)), "id"),
    ] {
        let application = Application::answering(json!({"accounts": [row]})).await;
        let error = application.directory().find(&mailbox("a@example.com")).await.unwrap_err();
        assert!(matches!(&error, DirectoryError::Unreadable { column: found, .. } if *found == column), "{row}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_as_agreed_is_an_error_that_tells_no_secrets() {
    let garbage: [fn() -> Response; 6] = [
        || "secret".into_response(),
        || Body::empty().into_response(),
        || axum::Json(json!({"rows": []})).into_response(),
        || axum::Json(json!({"accounts": "secret"})).into_response(),
        || axum::Json(json!({"accounts": [{"id": 1, "email": "a@example.com", "verified": true}]})).into_response(),
        || axum::Json(json!({"accounts": [{"id": 1, "verified": true, "verified_at": null}]})).into_response(),
    ];
    for answer in garbage {
        let application = Application::start(answer).await;
        let error = application.directory().find(&mailbox("a@example.com")).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Unusable { .. }), "{error:?}");
        let text = format!("{error} {error:?} {:?}", application.directory());
        assert!(!text.contains("secret") && !text.contains("hush"), "{text}");
    }
    for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::NOT_FOUND, StatusCode::UNAUTHORIZED, StatusCode::NO_CONTENT] {
        let application = Application::start(move || (status, r#"{"accounts":[]}"#)).await;
        let error = application.directory().find(&mailbox("a@example.com")).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Refused { status: code, .. } if code == status.as_u16()), "{error:?}");
    }
    let application = Application::start(|| StatusCode::NOT_IMPLEMENTED).await;
    let directory = application.directory();
    let unsupported = directory.find(&mailbox("a@example.com")).await;
    assert!(matches!(unsupported, Err(DirectoryError::Unsupported(Identifies::Email))));
    assert!(matches!(directory.page(None, 1).await, Err(DirectoryError::NoQuery("page"))));
    assert!(matches!(directory.unverify(&account(), Reason::DomainExpired).await, Err(DirectoryError::NoQuery("unverify"))));
}

/// The token would go along.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Application::answering(json!({"accounts": []})).await;
    let location = format!("{}/find", elsewhere.base);
    for status in [StatusCode::FOUND, StatusCode::TEMPORARY_REDIRECT] {
        let location = location.clone();
        let application = Application::start(move || (status, [(header::LOCATION, location.clone())])).await;
        let error = application.directory().find(&mailbox("a@example.com")).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Refused { status: code, .. } if code == status.as_u16()), "{error:?}");
    }
    assert!(elsewhere.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_has_a_limit_in_length_and_time() {
    let row = json!({"id": 1, "email": "a@example.com", "verified": true, "verified_at": null, "padding": "x".repeat(2 << 20)});
    let answer = json!({"accounts": [row]}).to_string();
    // With its length, and without.
    let answers: [Box<dyn Fn() -> Body + Send + Sync>; 2] = [
        Box::new({
            let answer = answer.clone();
            move || Body::from(answer.clone())
        }),
        Box::new(move || Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(answer.clone())]))),
    ];
    for answer in answers {
        let answer = Arc::new(answer);
        let directory = Application::start(move || Response::new(answer())).await.directory();
        let error = directory.find(&mailbox("a@example.com")).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Unusable { what: "its answer is too long", .. }), "{error:?}");
        assert_eq!(directory.page(None, 1).await.unwrap().len(), 1, "a page may be longer");
    }
    let never = || Response::new(Body::from_stream(futures_util::stream::pending::<Result<String, std::io::Error>>()));
    let directory = Application::start(never).await.directory();
    let error = tokio::time::timeout(Duration::from_secs(20), directory.find(&mailbox("a@example.com"))).await.unwrap().unwrap_err();
    assert!(matches!(error, DirectoryError::Timeout { operation: "finding accounts" }), "{error:?}");
}

#[tokio::test]
async fn only_an_address_to_which_a_token_may_be_sent_is_taken() {
    for base in ["https://app.example", "https://app.example/a/b/", "http://127.0.0.1:8000/x", "http://[::1]/", "http://localhost:3000"] {
        assert!(HttpDirectory::new(base).is_ok(), "{base}");
    }
    for base in [
        "http://app.example",
        "http://10.0.0.1/",
        "http://localhost.example/",
        "ftp://app.example",
        "app.example",
        "",
        "https://user:hush@app.example",
        "https://app.example/?key=hush",
        "https://app.example/#hush",
    ] {
        let error = HttpDirectory::new(base).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
    let error = HttpDirectory::new("https://app.example").unwrap().token("hush\n").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
}

/// A key is asked for in every form in which an application may keep it, and refused where programs differ about it.
#[tokio::test]
async fn a_key_is_of_the_kind_that_was_agreed() {
    let application = Application::answering(json!({"accounts": []})).await;
    let uuid = Identifier::parse(Identifies::Id, "67e55044-10b1-426f-9247-bb680e5fe0c8").unwrap();
    application.directory().keys(IdKind::Uuid).find(&uuid).await.unwrap();
    let upper = ["67E5504410B1426F9247BB680E5FE0C8", "67E55044-10B1-426F-9247-BB680E5FE0C8"];
    let lower = upper.map(str::to_lowercase);
    assert_eq!(application.asked().2["values"], json!([upper[1], upper[0], lower[1], lower[0]]));
    for (kind, key, is_key) in [
        (IdKind::Integer, "42", true),
        (IdKind::Integer, "042", false),
        (IdKind::Uuid, "{67e55044-10b1-426f-9247-bb680e5fe0c8}", false),
        (IdKind::Text, "042", true),
    ] {
        assert_eq!(application.directory().keys(kind).admits(&key.into()), is_key, "{key}");
    }
}

/// One row that can't be read hides none of those after it, and what is found is still read strictly.
#[tokio::test]
async fn an_account_that_cannot_be_read_is_listed_as_not_verified() {
    let row = |id: Value, email: Value, verified: Value, verified_at: Value| json!({"id": id, "email": email, "verified": verified, "verified_at": verified_at});
    for unreadable in [
        row(json!(41), json!(["b@example.com"]), json!(true), json!(null)),
        row(json!(41), json!("b@example.com"), json!("yes"), json!(null)),
        row(json!(41), json!("b@example.com"), json!(true), json!("0000-00-00")),
    ] {
        let readable = row(json!(42), json!("a@example.com"), json!(true), json!(AT));
        let directory = Application::answering(json!({"accounts": [unreadable, readable]})).await.directory();
        let listed = Account { id: "41".into(), email: String::new(), verified: false, verified_at: None };
        assert_eq!(directory.page(None, 10).await.unwrap(), [listed, account()], "{unreadable}");
        assert!(matches!(directory.find(&mailbox("a@example.com")).await, Err(DirectoryError::Unreadable { .. })), "{unreadable}");
    }
    let nobody = row(json!(null), json!("b@example.com"), json!(true), json!(null));
    let directory = Application::answering(json!({"accounts": [nobody]})).await.directory();
    assert!(matches!(directory.page(None, 10).await, Err(DirectoryError::Unreadable { column: "id", .. })));
}

/// What a page gave is a key, whatever kind of them a request is admitted by.
#[tokio::test]
async fn a_page_after_what_is_no_key_is_an_error() {
    let application = Application::answering(json!({"accounts": []})).await;
    let directory = application.directory().keys(IdKind::Integer);
    assert!(matches!(directory.page(Some(&"".into()), 10).await, Err(DirectoryError::NoKey(_))));
    assert!(application.asked.lock().unwrap().is_empty());
    directory.page(Some(&"18446744073709551615".into()), 10).await.unwrap();
    assert_eq!(application.asked().2["after"], "18446744073709551615");
}
