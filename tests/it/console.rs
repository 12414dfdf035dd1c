//! The console: what an operator sees, and that nobody else does anything with it.

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::header::{AUTHORIZATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, LOCATION, ORIGIN};
use http::{HeaderMap, Request, StatusCode};
use reset_gatekeeper::admin::Admin;
use reset_gatekeeper::audit::JsonLines;
use reset_gatekeeper::testing::time;
use reset_gatekeeper::{Exempt, NewExemption, Reply, State, SweepSettings};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::serve::Place;
use crate::stage::{NOW, Stage, VERIFIED};

const TOKEN: &str = "a token that is long enough";

/// What a page's operator does by hand.
struct Desk {
    stage: Stage,
    state: State,
    app: Router,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

struct Page {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Page {
    /// The token in the page's forms.
    fn token(&self) -> String {
        let (_, rest) = self.text.split_once("name=\"token\" value=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }

    fn has(&self, texts: &[&str]) {
        for text in texts {
            assert!(self.text.contains(text), "{text} in {}", self.text);
        }
    }
}

impl Desk {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.jsonl");
        let (audit, state) = (JsonLines::open(&log).await.unwrap(), State::memory().await.unwrap());
        let stage = Stage::with(Reply::refuse(), |builder| builder.audit(audit).state(state.clone())).await;
        for email in ["a@lapsed.com", "b@lapsed.com", "a@example.com"] {
            stage.healthy_account(email);
        }
        stage.registry.lapse("lapsed.com");
        let app = Admin::new(stage.gatekeeper.clone()).token(TOKEN).unwrap().log(&log).router();
        Self { stage, state, app, log, _folder: folder }
    }

    async fn send(&self, request: http::request::Builder, who: &str, body: &[(&str, &str)]) -> Page {
        let login = crate::stage::client().get("http://localhost/").basic_auth(who, Some(TOKEN)).build().unwrap();
        let body = body.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&");
        let request = request.header(AUTHORIZATION, &login.headers()[AUTHORIZATION]).header(HOST, "127.0.0.1:9090");
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(Body::from(body)).unwrap();
        let (parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Page { status: parts.status, headers: parts.headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn get(&self, path: &str) -> Page {
        self.send(Request::get(path), "jo", &[]).await
    }

    async fn exempt(&self, token: &str, kind: &str, name: &str, days: &str, reason: &str) -> Page {
        let form = [("token", token), ("kind", kind), ("name", name), ("days", days), ("reason", reason)];
        self.send(Request::post("/exemptions"), "jo", &form).await
    }

    fn records(&self) -> Vec<Value> {
        std::fs::read_to_string(&self.log).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The reference of the last block.
    fn reference(&self) -> String {
        let records = self.records();
        records.iter().rfind(|record| record["event"] == "reset_blocked").unwrap()["id"].as_str().unwrap().to_owned()
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn a_block_is_found_by_its_reference_understood_and_lifted() {
    let desk = Desk::open().await;
    assert_eq!(desk.stage.ask_reset("a@lapsed.com").await, 403);
    let reference = desk.reference();
    let found = desk.get(&format!("/search?q=%20{reference}%20")).await;
    assert_eq!(
        (found.status, found.headers[LOCATION].to_str().unwrap()),
        (StatusCode::SEE_OTHER, format!("/records/{reference}").as_str())
    );
    let record = desk.get(&format!("/records/{reference}")).await;
    assert_eq!(record.status, 200);
    record.has(&["reset blocked", "domain_redemption", "The registration was deleted", "a@lapsed.com", "POST /password-reset"]);
    record.has(&["/domains/lapsed.com", "2020-01-01T00:00:00Z", "name=\"kind\" value=\"id\"", "name=\"kind\" value=\"domain\""]);

    let exempted = desk.exempt(&record.token(), "domain", "lapsed.com", "7", "they called, and we knew their voice").await;
    assert_eq!(exempted.status, StatusCode::SEE_OTHER, "{}", exempted.text);
    assert_eq!(desk.stage.ask_reset("a@lapsed.com").await, 200);
    let record = desk.records().pop().unwrap();
    assert_eq!((&record["verdict"], &record["exemption"]["by"]), (&"allow".into(), &"jo".into()));
    assert_eq!((&record["exemption"]["domain"], &record["exemption"]["until"]), (&"lapsed.com".into(), &"2026-02-07T12:00:00Z".into()));
    let used = desk.get(&format!("/records/{}", record["id"].as_str().unwrap())).await;
    used.has(&["let through by an exemption", "which jo gave", "they called, and we knew their voice"]);

    let id = record["exemption"]["id"].as_str().unwrap();
    let listed = desk.get("/exemptions").await;
    listed.has(&["domain lapsed.com", "in force", "Take back"]);
    let removed = desk.send(Request::post(format!("/exemptions/{id}/remove")), "jo", &[("token", &listed.token())]).await;
    assert_eq!(removed.status, StatusCode::SEE_OTHER);
    assert_eq!(desk.stage.ask_reset("a@lapsed.com").await, 403);
    desk.get("/exemptions").await.has(&["taken back 2026-01-31T12:00:00Z by jo"]);
}

#[tokio::test]
async fn an_account_alone_is_exempted_by_its_address_or_its_id() {
    let desk = Desk::open().await;
    let token = desk.get("/exemptions").await.token();
    assert_eq!(desk.exempt(&token, "account", "A@lapsed.com", "1", "why").await.status, StatusCode::SEE_OTHER);
    assert_eq!((desk.stage.ask_reset("a@lapsed.com").await, desk.stage.ask_reset("b@lapsed.com").await), (200, 403));
    let unknown = desk.exempt(&token, "account", "nobody@lapsed.com", "1", "why").await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
    unknown.has(&["there is no account nobody@lapsed.com"]);
    for (kind, name, days, reason, told) in [
        ("domain", "example.com", "91", "why", "more than 90 days"),
        ("domain", "example.com", "0", "why", "over already"),
        ("domain", "example.com", "soon", "why", "the number of days is none"),
        ("domain", "example.com", "1", " ", "the reason is missing"),
        ("domain", "com", "1", "why", "no registrable domain"),
        ("all", "example.com", "1", "why", "choose a domain or an account"),
    ] {
        let page = desk.exempt(&token, kind, name, days, reason).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        page.has(&[told, &format!("value=\"{name}\"")]);
    }
    assert_eq!(desk.state.all_exemptions().await.unwrap().len(), 1);
}

/// A browser sends the login along with whatever another site makes it send.
#[tokio::test]
async fn a_form_that_another_site_sends_does_nothing() {
    let desk = Desk::open().await;
    let token = desk.get("/exemptions").await.token();
    let others = desk.send(Request::get("/exemptions"), "mo", &[]).await.token();
    let given = desk.state.exempt(
        NewExemption {
            exempt: Exempt::domain("lapsed.com").unwrap(),
            until: time("2026-02-10T00:00:00Z"),
            reason: "why".into(),
            by: "jo".into(),
        },
        time(NOW),
    );
    let remove = format!("/exemptions/{}/remove", given.await.unwrap().id);
    let form = |token| [("token", token), ("kind", "domain"), ("name", "example.com"), ("days", "7"), ("reason", "why")];
    for path in ["/exemptions", &remove] {
        for (token, header) in [
            ("", None),
            ("0", None),
            (others.as_str(), None),
            (&token, Some(("sec-fetch-site", "cross-site"))),
            (&token, Some(("sec-fetch-site", "same-site"))),
            (&token, Some((ORIGIN.as_str(), "http://evil.example"))),
            (&token, Some((ORIGIN.as_str(), "http://127.0.0.1:9091"))),
            (&token, Some((ORIGIN.as_str(), "null"))),
        ] {
            let request = header.into_iter().fold(Request::post(path), |request, (name, value)| request.header(name, value));
            let page = desk.send(request, "jo", &form(token)).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{path} {token} {header:?}");
        }
    }
    assert_eq!(desk.state.exemptions(time(NOW)).await.unwrap().len(), 1, "none was given or taken back");
    for (name, value) in [("sec-fetch-site", "same-origin"), (ORIGIN.as_str(), "http://127.0.0.1:9090")] {
        let page = desk.send(Request::post("/exemptions").header(name, value), "jo", &form(&token)).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn without_the_login_there_is_no_page_and_without_a_log_no_console() {
    let desk = Desk::open().await;
    for path in ["/", "/search?q=a", "/records/1", "/domains/lapsed.com", "/exemptions", "/console.css"] {
        let answer = desk.app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(desk.get(path).await.status != StatusCode::UNAUTHORIZED);
    }
    for path in ["/records/1", "/records/0190b0a0-0000-7000-8000-000000000000", "/domains/com", "/domains/a%20b"] {
        let page = desk.get(path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        page.has(&["<h1>Not found</h1>"]);
    }
    let bare = Admin::new(desk.stage.gatekeeper.clone()).token(TOKEN).unwrap().router();
    let answer = bare.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

/// Whoever edits a page, or comes from a bookmark of an older version, is answered by a page.
#[tokio::test]
async fn a_request_that_can_not_be_read_is_answered_by_a_page() {
    let desk = Desk::open().await;
    let token = desk.get("/exemptions").await.token();
    let long = "x".repeat(20_000);
    let form = |reason| [("token", token.as_str()), ("kind", "domain"), ("name", "example.com"), ("days", "7"), ("reason", reason)];
    for (path, body, status) in [
        ("/exemptions", &form("why")[..4], 422),
        ("/exemptions", &form(&long)[..], 413),
        ("/exemptions", &[form("why"), form("why")].concat(), 422),
        ("/exemptions/019c1443-0000-7000-8000-000000000001/remove", &[], 422),
        ("/exemptions/1/remove", &form("why")[..1], 404),
    ] {
        let page = desk.send(Request::post(path), "jo", body).await;
        assert_eq!(page.status, status, "{path}: {}", page.text);
        page.has(&["<!doctype html>", "<h1>"]);
        assert!(page.headers[CONTENT_TYPE].to_str().unwrap().starts_with("text/html"), "{path}");
    }
    for (path, status) in [("/search?q=a&q=b", 400), ("/records/%FF", 404), ("/domains/%FF", 404)] {
        let page = desk.get(path).await;
        assert_eq!(page.status, status, "{path}");
        page.has(&["<!doctype html>", "<h1>"]);
    }
    assert!(desk.state.all_exemptions().await.unwrap().is_empty());
}

/// As a machine writes them whose clock jumps, or another that shares the log.
#[tokio::test]
async fn records_of_a_wrong_clock_hide_none_before_them() {
    let desk = Desk::open().await;
    for _ in 0..2 {
        assert_eq!(desk.stage.ask_reset("a@lapsed.com").await, 403);
    }
    let mut records = desk.records();
    let reference = records[0]["id"].as_str().unwrap().to_owned();
    let overview = desk.get("/").await;
    for (number, time) in ["1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "2025-12-24T00:00:00Z"].into_iter().enumerate() {
        let mut stray = records[0].clone();
        stray["id"] = format!("00000000-0000-7000-8000-00000000000{number}").into();
        stray["time"] = time.into();
        records.push(stray);
    }
    std::fs::write(&desk.log, records.iter().map(|record| format!("{record}\n")).collect::<String>()).unwrap();
    desk.get("/").await.has(&["2026-01-31: 0 let through, 2 blocked"]);
    overview.has(&["2026-01-31: 0 let through, 2 blocked"]);
    assert_eq!(desk.get(&format!("/records/{reference}")).await.status, 200);
}

const EVIL: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>";

#[tokio::test]
async fn what_comes_from_outside_is_shown_as_text() {
    let desk = Desk::open().await;
    assert_eq!(desk.stage.ask_reset("a@lapsed.com").await, 403);
    let mut record = desk.records().pop().unwrap();
    record["account"]["email"] = EVIL.into();
    record["account"]["id"] = EVIL.into();
    record["domain"]["name"] = EVIL.into();
    record["domain"]["source"] = EVIL.into();
    record["request"]["path"] = EVIL.into();
    record["request"]["trace_id"] = EVIL.into();
    record["exemption"] = json!({ "id": record["id"], "account": EVIL, "until": "2026-02-10T00:00:00Z", "reason": EVIL, "by": EVIL, "given_at": "2026-01-31T00:00:00Z" });
    std::fs::write(&desk.log, format!("{record}\n")).unwrap();
    let evil = encoded(EVIL);
    let given = desk.state.exempt(
        NewExemption { exempt: Exempt::Account(EVIL.into()), until: time("2026-02-10T00:00:00Z"), reason: EVIL.into(), by: EVIL.into() },
        time(NOW),
    );
    given.await.unwrap();
    let token = desk.get("/exemptions").await.token();
    let record = format!("/records/{}", record["id"].as_str().unwrap());
    let mut pages = Vec::new();
    for path in ["/", &record, &format!("/search?q={evil}"), &format!("/domains/{evil}"), "/exemptions"] {
        pages.push((path.to_owned(), desk.get(path).await));
    }
    pages.push(("the form".to_owned(), desk.exempt(&token, "account", EVIL, EVIL, EVIL).await));
    for (path, page) in pages {
        assert!(!page.text.contains("<script") && !page.text.contains("<img"), "{path}: {}", page.text);
        if !path.starts_with("/domains") {
            page.has(&["alert(1)"]);
        }
        assert!(!page.text.contains(" style=") && !page.text.contains("<style"), "{path}");
        let policy = page.headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'self'") && !policy.contains("unsafe"), "{policy}");
    }
}

#[tokio::test]
async fn the_overview_tells_what_happened_and_what_is_about_to() {
    let desk = Desk::open().await;
    let registered = time("2009-01-01T00:00:00Z");
    desk.stage.registry.register("soon.com", registered, time("2026-02-20T00:00:00Z"));
    for email in ["1@soon.com", "2@soon.com"] {
        desk.stage.accounts.insert(email, true, Some(VERIFIED));
    }
    let empty = desk.get("/").await;
    empty.has(&["None in this time.", "No sweep has gone through all accounts yet"]);
    desk.stage.clock.advance(Duration::from_secs(1));
    let mut settings = SweepSettings::default();
    settings.rate = None;
    desk.stage.gatekeeper.sweep().settings(settings).await.unwrap();
    for (email, status) in [("a@example.com", 200), ("a@example.com", 200), ("a@lapsed.com", 403)] {
        assert_eq!(desk.stage.ask_reset(email).await, status);
    }
    let overview = desk.get("/").await;
    overview.has(&["2026-01-31: 2 let through, 1 blocked", "2026-01-18: 0 let through, 0 blocked"]);
    overview.has(&["All 5 accounts were last gone through", "/domains/soon.com", "2026-02-20", "a@lapsed.com"]);
    let row = overview.text.split_once("/domains/soon.com").unwrap().1;
    assert!(row.split_once("</tr>").unwrap().0.contains("<td data-label=\"Accounts\">2</td>"), "{row}");
}

#[tokio::test]
async fn a_domains_page_is_its_timeline_and_an_address_leads_to_its_records() {
    let desk = Desk::open().await;
    assert_eq!(desk.stage.ask_reset("a@lapsed.com").await, 403);
    let found = desk.get("/search?q=www.Lapsed.com").await;
    assert_eq!(found.headers[LOCATION], "/domains/lapsed.com");
    let domain = desk.get("/domains/lapsed.com").await;
    domain.has(&[
        "<h1>lapsed.com</h1>",
        "redemption",
        "first seen",
        "last seen lapsed",
        "reset blocked: domain_redemption",
        "address lost its verification",
    ]);
    assert_eq!(desk.get("/domains/www.lapsed.com").await.headers[LOCATION], "/domains/lapsed.com");
    let token = domain.token();
    assert_eq!(desk.exempt(&token, "domain", "lapsed.com", "7", "why").await.status, StatusCode::SEE_OTHER);
    desk.get("/domains/lapsed.com").await.has(&["Exempt until <time>2026-02-07T12:00:00Z</time> by jo: why", "Take it back"]);

    let records = desk.get("/search?q=A%40LAPSED.com").await;
    records.has(&[&format!("/records/{}", desk.reference()), "The timeline of lapsed.com"]);
    desk.get("/search?q=b%40lapsed.com").await.has(&["There are none"]);
}

/// The sidecar, with everything as its user has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_sidecar_serves_the_console() {
    let place = Place::open().await;
    let sidecar = place.serve_with(&[("GATEKEEPER__ADMIN", "127.0.0.1:0"), ("GATEKEEPER_ADMIN_TOKEN", TOKEN)]).await;
    assert_eq!(sidecar.reset("lapsed@lapsed.com").await, 403);
    let get = async |path: &str| {
        let answer = sidecar.http.get(format!("{}{path}", sidecar.admin)).basic_auth("jo", Some(TOKEN)).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    let (status, overview) = get("/").await;
    assert!(status == 200 && overview.contains("lapsed@lapsed.com") && overview.contains("rdap"), "{overview}");
    let reference = place.records().pop().unwrap()["id"].as_str().unwrap().to_owned();
    let (_, record) = get(&format!("/search?q={reference}")).await;
    let token = record.split_once("name=\"token\" value=\"").unwrap().1.split_once('"').unwrap().0;
    let form = [("token", token), ("kind", "account"), ("name", "lapsed@lapsed.com"), ("days", "7"), ("reason", "they called")];
    let answer = sidecar.http.post(format!("{}/exemptions", sidecar.admin)).basic_auth("jo", Some(TOKEN)).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(sidecar.reset("lapsed@lapsed.com").await, 200);
    assert_eq!(place.records().pop().unwrap()["exemption"]["account"], "2");
}
