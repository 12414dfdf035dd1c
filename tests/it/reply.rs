//! What a blocked caller sees: a decoy is the application's own answer to a stranger, byte for byte.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use reset_gatekeeper::account::{Account, AccountId, Directory, DirectoryError};
use reset_gatekeeper::audit::Decision;
use reset_gatekeeper::testing::{Registry, SetClock, time};
use reset_gatekeeper::{Decode, Gatekeeper, GatekeeperLayer, Guard, Identifier, Identifies, Limit, Reason, Reply, Target};

use crate::stage::{NOW, Recorder, VERIFIED};

/// A request as it reached the application: head, headers and body.
#[derive(Debug, Clone)]
struct Seen {
    uri: String,
    headers: HeaderMap,
    body: String,
}

/// Accounts that have a username, a number and a token beside their address.
#[derive(Debug, Clone, Default)]
struct People(Arc<Mutex<Vec<Person>>>);

#[derive(Debug, Clone)]
struct Person {
    id: &'static str,
    username: &'static str,
    token: &'static str,
    email: &'static str,
    verified: bool,
}

#[async_trait::async_trait]
impl Directory for People {
    async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        let spellings = identifier.spellings();
        let is_named = |person: &&Person| {
            let name = match identifier.kind() {
                Identifies::Email => person.email,
                Identifies::Username => person.username,
                Identifies::Id => person.id,
                Identifies::Token => person.token,
            };
            spellings.iter().any(|spelling| spelling.eq_ignore_ascii_case(name))
        };
        let account = |person: &Person| Account {
            id: person.id.into(),
            email: person.email.to_owned(),
            verified: person.verified,
            verified_at: Some(time(VERIFIED)),
        };
        Ok(self.0.lock().unwrap().iter().filter(is_named).map(account).collect())
    }

    async fn page(&self, _: Option<&AccountId>, _: usize) -> Result<Vec<Account>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn unverify(&self, account: &Account, _: Reason) -> Result<bool, DirectoryError> {
        let mut people = self.0.lock().unwrap();
        let person = people.iter_mut().find(|person| account.id.as_str() == person.id && person.verified);
        Ok(person.map(|person| person.verified = false).is_some())
    }
}

struct Site {
    base: String,
    http: reqwest::Client,
    audit: Arc<Recorder>,
    clock: SetClock,
    seen: Arc<Mutex<Vec<Seen>>>,
}

const HEALTHY: &str = "somebody.in.good.standing@example.com";
const LAPSED: &str = "Somebody.Whose.Domain.Lapsed@Lapsed.com";
const STRANGER: &str = "Somebody.Whom.Nobody.Knowsx@Strange.com";

/// An application that answers alike for everybody, as it should, and shows the name that it was given.
async fn application(State(seen): State<Arc<Mutex<Vec<Seen>>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    seen.lock().unwrap().push(Seen { uri: parts.uri.to_string(), headers: parts.headers.clone(), body: body.clone() });
    match parts.uri.path() {
        "/redirect" => (StatusCode::FOUND, [(LOCATION, format!("/sent?{body}"))]).into_response(),
        "/chunked" => {
            let pieces = [Ok::<_, std::convert::Infallible>("<p>".to_owned()), Ok(body)];
            ([(CONTENT_TYPE, "text/html")], Body::from_stream(futures_util::stream::iter(pieces))).into_response()
        }
        "/json" => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        _ => ([(CONTENT_TYPE, "text/html; charset=utf-8")], format!("<p>{} {body}</p>", parts.uri)).into_response(),
    }
}

impl Site {
    async fn open(reply: Reply) -> Self {
        let registry = Registry::start().await.unwrap();
        for domain in ["example.com", "lapsed.com"] {
            registry.register(domain, time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
        }
        registry.lapse("lapsed.com");
        let people = People::default();
        people.0.lock().unwrap().extend([
            Person { id: "41", username: "good", token: "AAAA-bbbb-0000-cccc", email: HEALTHY, verified: true },
            Person { id: "42", username: "Lapsed.One", token: "ABCD-efgh-1234-ijkl", email: LAPSED, verified: true },
        ]);
        let (clock, audit) = (SetClock::at(NOW), Arc::<Recorder>::default());
        let gatekeeper = Gatekeeper::builder()
            .directory(people)
            .domains(registry.rdap().await.unwrap())
            .audit(Arc::clone(&audit))
            .clock(clock.clone())
            .build()
            .unwrap();
        // Kept alive as long as the application is.
        let registry = Arc::new(registry);
        let decode = |steps: &str| steps.parse::<Decode>().unwrap();
        let layer = GatekeeperLayer::new(gatekeeper, reply)
            .around_router()
            .guard(Guard::post("/form").target(Target::form("email")))
            .guard(Guard::post("/redirect").target(Target::form("email")))
            .guard(Guard::post("/chunked").target(Target::form("email")))
            .guard(Guard::post("/json").target(Target::json("/user/email")))
            .guard(Guard::post("/query").target(Target::query("email")))
            .guard(Guard::post("/header").target(Target::header("x-email".parse().unwrap())))
            .guard(Guard::post("/path/{email}/reset").target(Target::path("email")))
            .guard(Guard::post("/all/{*email}").target(Target::path("email")))
            .guard(Guard::post("/username").target(Target::form("login")).identifies(Identifies::Username))
            .guard(Guard::post("/id").target(Target::json("/user/id")).identifies(Identifies::Id))
            .guard(
                Guard::path("/confirm/{uid}/{token}")
                    .methods([Method::GET])
                    .target(Target::path("uid"))
                    .identifies(Identifies::Id)
                    .decode(decode("base64url")),
            )
            .guard(
                Guard::path("/key/{uid}-set")
                    .methods([Method::GET])
                    .target(Target::path("uid"))
                    .identifies(Identifies::Id)
                    .decode(decode("base36")),
            )
            .guard(Guard::path("/token").methods([Method::GET]).target(Target::query("token")).identifies(Identifies::Token))
            .guard(Guard::post("/limited").target(Target::form("email")).limit("2/h".parse::<Limit>().unwrap()))
            .guard(Guard::post("/pinned").target(Target::form("email")).host("example.org".parse().unwrap()));
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let app = Router::new().fallback(application).with_state(Arc::clone(&seen)).layer(layer);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let _registry = registry;
            axum::serve(listener, app).await
        });
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base, http, audit, clock, seen }
    }

    async fn decoys() -> Self {
        Self::open(Reply::decoy().floor(Duration::ZERO)).await
    }

    /// Sends `request` with `name` in the place of `NAME`, and gives what was answered, with `NAME` in the place of `name` again.
    async fn ask(&self, request: &Ask, name: &str) -> (StatusCode, Vec<(String, String)>, String) {
        let fill = |text: &str, name: &str| text.replace("NAME", name);
        let written = (request.written)(name);
        let mut sent = self.http.request(request.method.clone(), format!("{}{}", self.base, fill(request.path, &written)));
        sent = sent.header(ACCEPT_ENCODING, "gzip");
        for (header, value) in request.headers {
            sent = sent.header(*header, fill(value, &written));
        }
        let answer = sent.body(fill(request.body, &written)).send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.text().await.unwrap();
        let unnamed = |text: &str| text.replace(&written, "NAME").replace(name, "NAME");
        let headers = headers.iter().filter(|(header, _)| *header != "date");
        let headers = headers.map(|(header, value)| (header.to_string(), unnamed(value.to_str().unwrap()))).collect();
        (status, headers, unnamed(&body))
    }

    fn last_seen(&self) -> Option<Seen> {
        self.seen.lock().unwrap().pop()
    }
}

/// A request in which `NAME` stands for the name as it is written there.
struct Ask {
    method: Method,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    written: fn(&str) -> String,
}

const FORM: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];

fn percent(name: &str) -> String {
    name.replace('@', "%40")
}

fn post(path: &'static str, headers: &'static [(&'static str, &'static str)], body: &'static str) -> Ask {
    Ask { method: Method::POST, path, headers, body, written: str::to_owned }
}

fn asks_by_address() -> Vec<Ask> {
    let multipart = "--XX\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\nx\r\n--XX\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nNAME\r\n--XX--\r\n";
    vec![
        Ask { written: percent, ..post("/form", FORM, "csrf=a%20b+c&email=NAME&next=%2F") },
        Ask { written: percent, ..post("/form?email=NAME", FORM, "email=NAME") },
        Ask { written: percent, ..post("/redirect", FORM, "email=NAME") },
        Ask { written: percent, ..post("/chunked", FORM, "email=NAME") },
        post("/form", FORM, "csrf=a%20b+c&email=NAME"),
        post("/query?a=1&email=NAME", &[], ""),
        post("/path/NAME/reset", &[], ""),
        post("/form", &[("content-type", "multipart/form-data; boundary=XX")], multipart),
        post("/json", &[("content-type", "application/json")], " {\"a\": [1, 2],\n \"user\": {\"email\" : \"NAME\", \"x\": null}}\n"),
        Ask { written: percent, ..post("/query?a=1&email=NAME&b=%20", &[], "") },
        post("/header", &[("x-email", "NAME")], ""),
        Ask { written: percent, ..post("/path/NAME/reset?x=1", &[], "") },
    ]
}

/// INTERFACE §5: the application itself answers just as it does for an unknown account.
#[tokio::test]
async fn a_blocked_caller_sees_what_a_stranger_sees() {
    let site = Site::decoys().await;
    for ask in asks_by_address() {
        let stranger = site.ask(&ask, STRANGER).await;
        assert!(site.last_seen().is_some());
        let blocked = site.ask(&ask, LAPSED).await;
        assert_eq!(blocked, stranger, "{} {}", ask.path, ask.body);
        assert!(stranger.0.is_success() || stranger.0.is_redirection());
        assert_eq!(site.audit.last().verdict, Decision::Block);
    }
}

/// INTERFACE §5: every requested address is replaced by one that no account can have; every other byte is kept.
#[tokio::test]
async fn the_application_sees_an_address_that_nobody_has() {
    let site = Site::decoys().await;
    for ask in asks_by_address() {
        site.ask(&ask, LAPSED).await;
        let seen = site.last_seen().unwrap();
        let written = (ask.written)(LAPSED);
        let whole = format!("{} {} {}", seen.uri, seen.headers.get("x-email").map_or("", |value| value.to_str().unwrap()), seen.body);
        assert!(!whole.to_lowercase().contains("lapsed"), "{whole}");
        let domain = whole.to_lowercase().find("gatekeeper.invalid").unwrap();
        let decoy_end = domain + "gatekeeper.invalid".len();
        let decoy = &whole[decoy_end - written.len()..decoy_end];
        // Every other byte stands where it stood: put the address back, and the request is the one that was sent.
        assert_eq!(seen.body.replace(decoy, "NAME"), ask.body);
        assert_eq!(seen.uri.replace(decoy, "NAME"), ask.path);
        let stated = seen.headers.get(CONTENT_LENGTH).map_or("0", |length| length.to_str().unwrap());
        assert_eq!(stated, seen.body.len().to_string());
        assert!(!seen.headers.contains_key(ACCEPT_ENCODING));
        site.ask(&ask, LAPSED).await;
        let again = site.last_seen().unwrap();
        assert!(!format!("{again:?}").contains(decoy), "a fresh one each time");
    }
}

/// A short address has no decoy of its length, and the lengths that the request states are those of what it holds.
#[tokio::test]
async fn stated_lengths_follow_a_longer_address() {
    let site = Site::decoys().await;
    let multipart = "--XX\r\nContent-Disposition: form-data; name=\"email\"\r\nContent-Length: 12\r\n\r\nNAME\r\n--XX--\r\n";
    site.ask(&post("/form", &[("content-type", "multipart/form-data; boundary=XX")], multipart), "x@lapsed.com").await;
    assert_eq!(site.audit.last().verdict, Decision::Allow, "nobody has that address");
    assert_eq!(site.last_seen().unwrap().body, multipart.replace("NAME", "x@lapsed.com"));

    let limited = Ask { written: percent, ..post("/limited", FORM, "email=NAME") };
    for _ in 0..3 {
        site.ask(&limited, "x@lapsed.com").await;
    }
    let seen = site.last_seen().unwrap();
    assert_eq!(seen.headers[CONTENT_LENGTH].to_str().unwrap(), seen.body.len().to_string());
    assert_eq!(seen.body.len(), "email=12345678%40gatekeeper.invalid".len());
}

/// INTERFACE §5: a username, token or id is replaced by one of the same form that nobody has.
#[tokio::test]
async fn other_names_are_replaced_by_their_like() {
    let site = Site::decoys().await;
    let get = |path| Ask { method: Method::GET, path, headers: &[], body: "", written: str::to_owned };
    let base64 = |name: &str| if name == "42" { "NDI".to_owned() } else { "OTk".to_owned() };
    let base36 = |name: &str| if name == "42" { "16".to_owned() } else { "2r".to_owned() };
    for (ask, blocked, stranger) in [
        (post("/username", FORM, "login=NAME"), "lapsed.one", "nobody.one"),
        (post("/id", &[("content-type", "application/json")], r#"{"user":{"id":NAME}}"#), "42", "99"),
        (post("/id", &[("content-type", "application/json")], r#"{"user":{"id":"NAME"}}"#), "42", "99"),
        (Ask { written: base64, ..get("/confirm/NAME/abc-def") }, "42", "99"),
        (Ask { written: base36, ..get("/key/NAME-set") }, "42", "99"),
        (get("/token?token=NAME"), "ABCD-efgh-1234-ijkl", "ZZZZ-efgh-1234-ijkl"),
    ] {
        let expected = site.ask(&ask, stranger).await;
        assert_eq!(expected.0, 200, "{}", ask.path);
        site.last_seen().unwrap();
        let answer = site.ask(&ask, blocked).await;
        assert_eq!(site.audit.last().verdict, Decision::Block, "{}", ask.path);
        assert_eq!(answer, expected, "{}", ask.path);
        let seen = site.last_seen().unwrap();
        let sent = (ask.path.replace("NAME", &(ask.written)(blocked)), ask.body.replace("NAME", blocked));
        assert_ne!((seen.uri, seen.body), sent);
    }
}

/// INTERFACE §5: malformed requests are refused in both modes, and so is what could not be replaced: blocked or not, all the same.
#[tokio::test]
async fn what_cannot_be_read_or_replaced_is_refused_for_everybody() {
    let site = Site::decoys().await;
    for (ask, status) in [
        (post("/form", FORM, "email=NAME&email=NAME"), 400),
        (post("/form", FORM, "mail=NAME"), 400),
        (post("/form", &[("content-type", "text/plain")], "email=NAME"), 415),
        (post("/form", FORM, "email=NAME,x"), 403),
        (post("/path/NAME//reset", &[], ""), 400),
        (Ask { method: Method::GET, path: "/confirm/NAME!/x", headers: &[], body: "", written: str::to_owned }, 400),
    ] {
        for name in [LAPSED, STRANGER, HEALTHY] {
            let (found, _, body) = site.ask(&ask, name).await;
            assert_eq!(found, status, "{} {name}: {body}", ask.path);
        }
    }
    assert!(site.last_seen().is_none());
}

/// Django reads `4_2` and digits of every script as 42, Rails, PHP and MySQL `42-x`, JavaScript `0x2a`.
#[tokio::test]
async fn a_key_in_which_laxer_programs_read_an_accounts_is_refused() {
    for reply in [Reply::refuse(), Reply::decoy().floor(Duration::ZERO)] {
        let site = Site::open(reply).await;
        let confirm = Ask { method: Method::GET, path: "/confirm/NAME/x", headers: &[], body: "", written: str::to_owned };
        let json = post("/id", &[("content-type", "application/json")], r#"{"user":{"id":"NAME"}}"#);
        for (ask, name) in [(&confirm, "NF8y"), (&confirm, "2aTZog"), (&json, "042"), (&json, "42-x"), (&json, "0x2a"), (&json, "٤٢")] {
            assert_eq!(site.ask(ask, name).await.0, 403, "{name}");
            assert_eq!(site.audit.last().reasons, [Reason::TargetInvalid], "{name}");
            assert!(site.last_seen().is_none(), "{name}");
        }
        assert_eq!(site.ask(&json, "99-x").await.0, 200, "nobody has this key, however it is read");
    }
}

/// INTERFACE §2 `limit`: recovery requests for one account, whatever its spelling, and equal in its answer for every kind of account.
#[tokio::test]
async fn more_requests_than_the_limit_are_blocked_for_every_kind_of_account() {
    let site = Site::open(Reply::refuse()).await;
    let ask = Ask { written: percent, ..post("/limited", FORM, "email=NAME") };
    for (one, other, allowed) in
        [(HEALTHY, "SOMEBODY.in.good.standing@Example.com", 200), (STRANGER, "SOMEBODY.Whom.Nobody.Knowsx@strange.com", 200)]
    {
        assert_eq!(site.ask(&ask, one).await.0, allowed);
        assert_eq!(site.ask(&ask, other).await.0, allowed);
        assert_eq!(site.ask(&ask, one).await.0, 403);
        assert_eq!(site.audit.last().reasons, [Reason::TooManyRequests]);
    }
    assert_eq!(site.ask(&ask, LAPSED).await.0, 403);
    site.clock.advance(Duration::from_secs(1800));
    assert_eq!(site.ask(&ask, HEALTHY).await.0, 200);
    assert_eq!(site.ask(&ask, HEALTHY).await.0, 403);
    assert_eq!(site.ask(&ask, STRANGER).await.0, 200);
}

/// A caller's `Host` would stand in the links that are mailed.
#[tokio::test]
async fn a_pinned_host_is_what_the_application_sees() {
    for reply in [Reply::decoy().floor(Duration::ZERO), Reply::observe()] {
        let site = Site::open(reply).await;
        const HEADERS: &[(&str, &str)] = &[
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", "evil.example"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "host=evil.example"),
        ];
        for name in [HEALTHY, LAPSED] {
            site.ask(&post("/pinned", HEADERS, "email=NAME"), name).await;
            let seen = site.last_seen().unwrap();
            assert_eq!(seen.headers[HOST], "example.org");
            assert!(!format!("{:?}", seen.headers).contains("evil"), "{:?}", seen.headers);
            site.ask(&post("/other", HEADERS, "email=NAME"), name).await;
            assert_eq!(site.last_seen().unwrap().headers[HOST], "evil.example", "elsewhere it is left alone");
        }
    }
}

/// INTERFACE §2 `floor`: no answer on a guarded path leaves sooner.
#[tokio::test]
async fn no_answer_on_a_guarded_path_leaves_before_the_floor() {
    let floor = Duration::from_millis(120);
    let site = Site::open(Reply::decoy().floor(floor)).await;
    for (body, name) in [("email=NAME", HEALTHY), ("email=NAME", LAPSED), ("email=NAME", STRANGER), ("x=NAME", STRANGER)] {
        let asked_at = tokio::time::Instant::now();
        site.ask(&post("/form", FORM, body), name).await;
        assert!(asked_at.elapsed() >= floor, "{name}");
    }
}

/// INTERFACE §2 `support_url`, §5 `refuse`.
#[tokio::test]
async fn a_refused_caller_is_told_where_to_find_help() {
    let site = Site::open(Reply::refuse().support_url("https://example.org/help?a=1&b=2")).await;
    let form = post("/form", FORM, "email=NAME");
    let (status, _, body) = site.ask(&form, LAPSED).await;
    assert_eq!(status, 403);
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["support"], "https://example.org/help?a=1&b=2");
    let page = Ask { headers: &[("content-type", "application/x-www-form-urlencoded"), ("accept", "text/html")], ..form };
    let (_, _, body) = site.ask(&page, LAPSED).await;
    assert!(body.contains("<a href=\"https://example.org/help?a=1&amp;b=2\">"), "{body}");
}

/// A guard that could never match guards nothing, and is told as a mistake.
#[test]
fn a_path_that_no_request_has_is_no_guard() {
    for path in ["reset", "/r%C3%A9set", "/reset?step=1", "/reset#x", "//reset", "/a/./reset", "/a/../reset", "/reset ", "/re\\set"] {
        assert!(Guard::new(path).is_err(), "{path}");
    }
    for path in ["/reset/", "/Reset", "/réset", "/a.b/{id}/reset", "/x/{*rest}"] {
        assert!(Guard::new(path).is_ok(), "{path}");
    }
}

/// What takes a live check longer, or the caller longer to send the body, tells nothing: the application is asked when the floor has passed.
#[tokio::test]
async fn the_floor_counts_from_the_whole_request() {
    let floor = Duration::from_millis(120);
    let site = Site::open(Reply::decoy().floor(floor)).await;
    let (sender, body) = tokio::sync::mpsc::channel::<Result<&'static str, std::convert::Infallible>>(2);
    let body = futures_util::stream::unfold(body, |mut body| async { body.recv().await.map(|piece| (piece, body)) });
    let url = format!("{}/form", site.base);
    let request = site.http.post(url).header(CONTENT_TYPE, FORM[0].1).body(reqwest::Body::wrap_stream(body));
    let answer = tokio::spawn(request.send());
    sender.send(Ok("email=")).await.unwrap();
    tokio::time::sleep(floor).await;
    let completed_at = tokio::time::Instant::now();
    sender.send(Ok("x%40strange.com")).await.unwrap();
    drop(sender);
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    assert!(completed_at.elapsed() >= floor);
}

/// The catch-all and a format behind a parameter name their account as any other path does.
#[tokio::test]
async fn every_way_to_write_a_parameter_names_its_account() {
    let site = Site::decoys().await;
    for path in ["/all/NAME", "/path/NAME/reset.json"] {
        let ask = Ask { written: percent, ..post(path, &[], "") };
        let stranger = site.ask(&ask, STRANGER).await;
        assert_eq!(site.ask(&ask, LAPSED).await.0, stranger.0, "{path}");
        assert_eq!(site.audit.last().verdict, Decision::Block, "{path}");
        assert!(!format!("{:?}", site.seen.lock().unwrap()).to_lowercase().contains("lapsed"), "{path}");
    }
}
