//! Records pushed to a receiver on a real socket: each at least once and in order, whatever fails in between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reset_gatekeeper::State;
use reset_gatekeeper::audit::{
    AuditSink, Delivering, Format, JsonLines, Record, Risc, Webhook, WebhookError, WebhookSecret, segments, verify,
};
use reset_gatekeeper::testing::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::formats::{KEY, consumers, native_of, record};
use crate::serve::Sidecar;
use crate::stage::client;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A request, as the receiver saw it.
#[derive(Debug, Clone)]
struct Received {
    path: String,
    headers: HeaderMap,
    body: String,
    status: u16,
}

#[derive(Default)]
struct Inbox {
    received: Mutex<Vec<Received>>,
    /// What is answered next: 204 where nothing stands here.
    answers: Mutex<VecDeque<(u16, &'static str, &'static str)>>,
}

/// A web server that takes records.
struct Receiver {
    inbox: Arc<Inbox>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

async fn receive(Shared(inbox): Shared<Arc<Inbox>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    let (status, name, value) = inbox.answers.lock().unwrap().pop_front().unwrap_or((204, "x-nothing", ""));
    inbox.received.lock().unwrap().push(Received { path: parts.uri.path().to_owned(), headers: parts.headers, body, status });
    (StatusCode::from_u16(status).unwrap(), [(name, value)]).into_response()
}

impl Receiver {
    async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), Arc::default()).await
    }

    async fn at(address: SocketAddr, inbox: Arc<Inbox>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(receive).with_state(Arc::clone(&inbox));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { inbox, address, serving }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn answer(&self, answers: impl IntoIterator<Item = (u16, &'static str, &'static str)>) {
        self.inbox.answers.lock().unwrap().extend(answers);
    }

    fn received(&self) -> Vec<Received> {
        self.inbox.received.lock().unwrap().clone()
    }

    /// The records that were taken, by their numbers.
    fn taken(&self) -> Vec<u64> {
        let received = self.received();
        received.iter().filter(|one| one.status < 300).map(|one| one.record()["seq"].as_u64().unwrap()).collect()
    }

    async fn until_taken(&self, count: usize) -> Vec<u64> {
        for _ in 0..1_500 {
            let taken = self.taken();
            if taken.iter().collect::<BTreeSet<_>>().len() >= count {
                return taken;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("only {:?} of {count} were taken", self.taken());
    }

    /// All that comes within half a second more.
    async fn settled(&self) -> Vec<u64> {
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.taken()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Received {
    fn record(&self) -> Value {
        native_of(&self.body)
    }
}

/// A log, and the state that knows how far it was delivered.
struct Place {
    _folder: tempfile::TempDir,
    file: PathBuf,
    state: State,
}

impl Place {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path().join("state.db")).await.unwrap();
        Self { file: folder.path().join("audit.jsonl"), state, _folder: folder }
    }

    async fn log(&self) -> JsonLines {
        JsonLines::open(&self.file).await.unwrap()
    }

    fn deliver(&self, log: &JsonLines, webhook: Webhook) -> Delivering {
        webhook.start(&self.file, log.heads(), self.state.clone()).unwrap()
    }
}

fn webhook(url: &str) -> Webhook {
    Webhook::new(url, WebhookSecret::parse(SECRET).unwrap(), Format::Native).unwrap()
}

/// So many records, about `accounts` accounts in turn.
fn records(count: usize, accounts: usize) -> Vec<Record> {
    let about = |number: usize| {
        let id = (number % accounts).to_string();
        let account = json!({"id": id, "email": format!("a{id}@example.com"), "verified": false, "verified_at": null});
        record(&json!({"id": format!("019c1443-0000-7000-8000-{number:012}"), "account": account}))
    };
    (0..count).map(about).collect()
}

/// Whether the records of each account first came in their order.
fn is_in_order(received: &[Received]) -> bool {
    let mut firsts = BTreeMap::<String, Vec<u64>>::new();
    for one in received.iter().filter(|one| one.status < 300) {
        let record = one.record();
        let of_account = firsts.entry(record["account"]["id"].to_string()).or_default();
        let seq = record["seq"].as_u64().unwrap();
        if !of_account.contains(&seq) {
            of_account.push(seq);
        }
    }
    firsts.values().all(|seqs| seqs.is_sorted())
}

#[tokio::test]
async fn every_record_arrives_signed_and_those_of_an_account_in_order() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    log.record(records(300, 7)).await.unwrap();
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    receiver.until_taken(300).await;
    log.record(records(300, 7)).await.unwrap();
    assert_eq!(receiver.until_taken(600).await.len(), 600, "none twice");
    let received = receiver.received();
    assert!(is_in_order(&received));
    let (lines, first) = (std::fs::read_to_string(&place.file).unwrap(), &received[0]);
    assert!(lines.lines().any(|line| line == first.body), "as it stands in the log");
    assert_eq!(first.headers["webhook-id"], first.record()["id"].as_str().unwrap());
    assert_eq!(first.headers["content-type"], "application/json");
    assert!(first.headers["webhook-timestamp"].to_str().unwrap().parse::<u64>().is_ok());
    assert!(first.headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
}

#[tokio::test]
async fn an_outage_loses_nothing() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    log.record(records(20, 3)).await.unwrap();
    receiver.until_taken(20).await;
    let (address, inbox) = (receiver.address, Arc::clone(&receiver.inbox));
    drop(receiver);
    tokio::time::sleep(Duration::from_millis(50)).await;
    log.record(records(200, 3)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let receiver = Receiver::at(address, inbox).await;
    receiver.until_taken(220).await;
    assert!(is_in_order(&receiver.received()));
}

#[tokio::test]
async fn after_a_restart_it_goes_on_where_it_was() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    for round in 1..=3 {
        let delivering = place.deliver(&log, webhook(&receiver.url()));
        log.record(records(50, 5)).await.unwrap();
        receiver.until_taken(50 * round).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(delivering);
        log.record(records(0, 1)).await.unwrap();
    }
    assert_eq!(receiver.settled().await.len(), 150, "none twice, since each was kept as taken");
    // Another webhook has a position of its own.
    let other = Receiver::start().await;
    let _delivering = place.deliver(&log, webhook(&other.url()));
    other.until_taken(150).await;
}

#[tokio::test]
async fn a_record_that_is_refused_is_sent_again_and_not_overtaken() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    receiver.answer([(500, "x-nothing", ""), (302, "location", "/elsewhere"), (400, "x-nothing", ""), (429, "retry-after", "1")]);
    log.record(records(5, 1)).await.unwrap();
    let began = tokio::time::Instant::now();
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    assert_eq!(receiver.until_taken(5).await, [1, 2, 3, 4, 5]);
    assert!(began.elapsed() > Duration::from_secs(1), "it was asked for a second of patience");
    let received = receiver.received();
    assert_eq!(received.len(), 9);
    assert!(received.iter().all(|one| one.path == "/hook"), "redirects are not followed");
    assert!(received[..5].iter().all(|one| one.headers["webhook-id"] == received[0].headers["webhook-id"]), "the same one again");
}

/// Standard Webhooks, "Delivery and retries": 410 disables the endpoint.
#[tokio::test]
async fn a_receiver_that_is_gone_is_left_alone_until_the_next_start() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    receiver.answer([(204, "x-nothing", ""), (410, "x-nothing", "")]);
    log.record(records(9, 1)).await.unwrap();
    let delivering = place.deliver(&log, webhook(&receiver.url()));
    receiver.until_taken(1).await;
    assert_eq!(receiver.settled().await, [1]);
    assert_eq!(receiver.received().len(), 2);
    drop(delivering);
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    assert_eq!(receiver.until_taken(9).await[1..], [1, 2, 3, 4, 5, 6, 7, 8, 9], "what was under way is sent again");
}

/// A log of `count` records, in pieces that begin with these numbers, the last of which is the one that is written.
async fn rotated(place: &Place, count: usize, firsts: &[usize]) -> Vec<(PathBuf, String)> {
    place.log().await.record(records(count, 3)).await.unwrap();
    let text = std::fs::read_to_string(&place.file).unwrap();
    std::fs::remove_file(&place.file).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let pieces = firsts.iter().enumerate().map(|(at, first)| {
        let end = firsts.get(at + 1).map_or(count, |next| next - 1);
        let name = if end == count { place.file.clone() } else { PathBuf::from(format!("{}.{first:020}", place.file.display())) };
        (name, lines[first - 1..end].concat())
    });
    pieces.collect()
}

fn put(pieces: &[(PathBuf, String)]) {
    for (name, text) in pieces {
        std::fs::write(name, text).unwrap();
    }
}

/// A log elsewhere, whose heads never tell of anything.
async fn silent() -> (tempfile::TempDir, JsonLines) {
    let folder = tempfile::tempdir().unwrap();
    let log = JsonLines::open(folder.path().join("other.jsonl")).await.unwrap();
    (folder, log)
}

#[tokio::test]
async fn files_that_were_rotated_out_are_delivered_first_and_while_they_are_rotated() {
    let (place, receiver, (_folder, other)) = (Place::open().await, Receiver::start().await, silent().await);
    let pieces = rotated(&place, 40, &[1, 11, 21, 31]).await;
    put(&pieces[..2]);
    // The third is still the one that is written.
    std::fs::write(&place.file, &pieces[2].1[..pieces[2].1.find('\n').unwrap() + 1]).unwrap();
    let _delivering = place.deliver(&other, webhook(&receiver.url()));
    receiver.until_taken(21).await;
    append(&place.file, &pieces[2].1[pieces[2].1.find('\n').unwrap() + 1..]);
    std::fs::rename(&place.file, &pieces[2].0).unwrap();
    put(&pieces[3..]);
    assert_eq!(receiver.until_taken(40).await.len(), 40);
    assert!(is_in_order(&receiver.received()));
}

#[tokio::test]
async fn a_log_that_is_rotated_all_the_time_is_delivered_whole() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = JsonLines::builder(&place.file).rotate_at(5_000).open().await.unwrap();
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    for _ in 0..100 {
        log.record(records(10, 3)).await.unwrap();
    }
    assert_eq!(receiver.until_taken(1_000).await.len(), 1_000);
    assert!(is_in_order(&receiver.received()));
    assert!(segments(&place.file).unwrap().len() > 50);
}

#[tokio::test]
async fn what_was_moved_away_before_it_was_delivered_is_passed_over() {
    let (place, receiver, (_folder, other)) = (Place::open().await, Receiver::start().await, silent().await);
    let pieces = rotated(&place, 40, &[1, 11, 21, 31]).await;
    std::fs::write(&place.file, &pieces[0].1).unwrap();
    let delivering = place.deliver(&other, webhook(&receiver.url()));
    receiver.until_taken(10).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(delivering);
    std::fs::remove_file(&place.file).unwrap();
    put(&pieces[2..]);
    let _delivering = place.deliver(&other, webhook(&receiver.url()));
    let taken = receiver.until_taken(30).await;
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), (1..=10).chain(21..=40).collect());
}

#[tokio::test]
async fn a_log_that_begins_anew_is_delivered_from_its_beginning() {
    for count in [5, 30] {
        let (place, receiver) = (Place::open().await, Receiver::start().await);
        let log = place.log().await;
        log.record(records(20, 3)).await.unwrap();
        let delivering = place.deliver(&log, webhook(&receiver.url()));
        receiver.until_taken(20).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop((delivering, log));
        std::fs::remove_file(&place.file).unwrap();
        let log = place.log().await;
        log.record(records(count, 2)).await.unwrap();
        receiver.inbox.received.lock().unwrap().clear();
        let _delivering = place.deliver(&log, webhook(&receiver.url()));
        let taken = receiver.until_taken(count).await;
        assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), (1..=count as u64).collect(), "it is shorter or longer than the old one");
    }
}

#[tokio::test]
async fn of_two_that_write_one_log_one_delivers_and_the_other_takes_over() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let logs = [place.log().await, place.log().await];
    let [one, other] = logs.each_ref().map(|log| place.deliver(log, webhook(&receiver.url())));
    for log in &logs {
        log.record(records(20, 3)).await.unwrap();
    }
    receiver.until_taken(40).await;
    assert_eq!(receiver.settled().await.len(), 40, "none twice");
    drop(one);
    logs[1].record(records(20, 3)).await.unwrap();
    receiver.until_taken(60).await;
    drop(other);
}

#[tokio::test]
async fn a_webhook_has_a_format_of_its_own() {
    for (of_log, of_webhook) in [(Format::Native, Format::Ocsf), (Format::Ocsf, Format::CloudEvents), (Format::CloudEvents, Format::Native)]
    {
        let (place, receiver) = (Place::open().await, Receiver::start().await);
        let log = JsonLines::builder(&place.file).format(of_log).open().await.unwrap();
        log.record(records(3, 3)).await.unwrap();
        let to = Webhook::new(&receiver.url(), WebhookSecret::parse(SECRET).unwrap(), of_webhook).unwrap();
        let _delivering = place.deliver(&log, to);
        receiver.until_taken(3).await;
        let mut bodies: Vec<_> = receiver.received().into_iter().map(|one| one.body).collect();
        bodies.sort();
        let member = match of_webhook {
            Format::Ocsf => Some("unmapped"),
            Format::CloudEvents => Some("data"),
            _ => None,
        };
        let lines = std::fs::read_to_string(&place.file).unwrap();
        for (body, line) in bodies.iter().zip(lines.lines()) {
            assert_eq!(native_of(body), native_of(line), "with its place in the chain");
            let body: Value = serde_json::from_str(body).unwrap();
            assert!(member.is_none_or(|member| body[member].is_object()) && (member.is_some() || body["hash"].is_string()), "{body}");
        }
    }
}

/// Of one account, whose records come in their order.
#[tokio::test]
async fn what_was_received_of_a_native_log_is_a_log_that_proves_to_be_whole() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    log.record(records(20, 1)).await.unwrap();
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    receiver.until_taken(20).await;
    let copy = place.file.with_file_name("copy.jsonl");
    std::fs::write(&copy, receiver.received().iter().map(|one| one.body.clone() + "\n").collect::<String>()).unwrap();
    assert_eq!(verify(&copy).unwrap(), 20);
}

fn append(file: &Path, text: &str) {
    std::fs::OpenOptions::new().append(true).open(file).and_then(|mut file| file.write_all(text.as_bytes())).unwrap();
}

/// What a killed writer left is cut off by the next, and was never a record.
#[tokio::test]
async fn a_partial_line_is_waited_for_and_not_delivered() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    for (round, torn) in ["{", "{\"id\":\"019c1443", "{\"id\":\"0\",\"seq\":1,\"prev\":\"\",\"hash\":\""].into_iter().enumerate() {
        append(&place.file, torn);
        receiver.settled().await;
        log.record(records(5, 1)).await.unwrap();
        receiver.until_taken(5 * (round + 1)).await;
    }
    assert_eq!(receiver.settled().await, (1..=15).collect::<Vec<_>>());
}

/// As a log that is put back from elsewhere while it is delivered.
#[tokio::test]
async fn a_log_that_is_replaced_meanwhile_is_delivered_from_its_beginning() {
    for (kept, count) in [(20, 5), (20, 30), (5, 30)] {
        let (place, receiver, (_folder, other)) = (Place::open().await, Receiver::start().await, silent().await);
        place.log().await.record(records(kept, 2)).await.unwrap();
        let _delivering = place.deliver(&other, webhook(&receiver.url()));
        receiver.until_taken(kept).await;
        receiver.inbox.received.lock().unwrap().clear();
        std::fs::remove_file(&place.file).unwrap();
        JsonLines::builder(place.file.with_file_name("new.jsonl")).open().await.unwrap().record(records(count, 3)).await.unwrap();
        std::fs::rename(place.file.with_file_name("new.jsonl"), &place.file).unwrap();
        let taken = receiver.until_taken(count).await;
        assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), (1..=count as u64).collect(), "{kept}, {count}");
    }
}

/// A line that is there twice is no reason to begin anew for ever.
#[tokio::test]
async fn a_log_whose_chain_is_broken_is_delivered_once() {
    let (place, receiver, (_folder, other)) = (Place::open().await, Receiver::start().await, silent().await);
    place.log().await.record(records(10, 1)).await.unwrap();
    let text = std::fs::read_to_string(&place.file).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let broken = [&lines[..5], &lines[2..4], &["these are notes\n"], &lines[6..]].concat().concat();
    std::fs::write(&place.file, broken).unwrap();
    let _delivering = place.deliver(&other, webhook(&receiver.url()));
    receiver.until_taken(9).await;
    assert_eq!(receiver.settled().await, [1, 2, 3, 4, 5, 7, 8, 9, 10]);
}

#[tokio::test]
async fn nothing_is_sent_over_the_network_in_the_clear() {
    let secret = || WebhookSecret::parse(SECRET).unwrap();
    for url in ["http://example.com/hook", "http://192.0.2.1/hook", "http://localhost.example.com/", "http://[2001:db8::1]/"] {
        assert!(matches!(Webhook::new(url, secret(), Format::Native), Err(WebhookError::Insecure)), "{url}");
    }
    for url in ["", "example.com", "ftp://example.com/", "mailto:a@example.com"] {
        assert!(matches!(Webhook::new(url, secret(), Format::Native), Err(WebhookError::NotUrl)), "{url}");
    }
    for url in ["https://example.com/hook", "http://127.0.0.1:1/hook", "http://[::1]:1/hook", "http://localhost:1/hook"] {
        assert!(Webhook::new(url, secret(), Format::Native).is_ok(), "{url}");
    }
}

/// One record for each row of the table in the module's header.
fn told() -> Vec<Record> {
    [
        json!({"event": "reset_blocked"}),
        json!({"event": "reset_blocked", "enforced": false}),
        json!({"event": "reset_allowed", "verdict": "allow", "reasons": []}),
        json!({"event": "email_unverified"}),
        json!({"event": "email_unverified", "enforced": false}),
        json!({"event": "email_unverified", "reasons": ["email_unverified", "domain_changed_hands"]}),
        json!({"event": "domain_changed", "account": null, "reasons": ["domain_reregistered"]}),
        json!({"event": "reset_allowed", "verdict": "allow", "reasons": [], "account": null}),
    ]
    .iter()
    .map(record)
    .collect()
}

fn risc(url: &str, key: &rcgen::KeyPair) -> Webhook {
    let risc = Risc::new("https://example.com", "https://receiver.example", &key.serialize_pem()).unwrap();
    assert!(!format!("{risc:?}").contains("PRIVATE"), "{risc:?}");
    Webhook::risc(url, risc).unwrap()
}

/// Delivers `told()` as tokens.
async fn tokens(key: &rcgen::KeyPair) -> Vec<Received> {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    log.record(told()).await.unwrap();
    let _delivering = place.deliver(&log, risc(&receiver.url(), key));
    for _ in 0..500 {
        if receiver.received().len() == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    receiver.received()
}

/// OpenID RISC profile 1.0 §2, RFC 8417, RFC 8935 §2.1.
#[tokio::test]
async fn a_security_event_token_tells_only_what_the_profile_has_a_word_for() {
    let received = tokens(&rcgen::KeyPair::generate().unwrap()).await;
    assert!(
        received
            .iter()
            .all(|one| one.headers["content-type"] == "application/secevent+jwt" && !one.headers.contains_key("webhook-signature"))
    );
    let part = |token: &str, at: usize| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap()
    };
    let events: Vec<_> =
        received.iter().flat_map(|one| part(&one.body, 1)["events"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()).collect();
    let of = |name: &str| format!("https://schemas.openid.net/secevent/risc/event-type/{name}");
    assert_eq!(
        events,
        ["recovery-activated", "recovery-activated", "recovery-information-changed", "recovery-information-changed", "identifier-recycled"]
            .map(of)
    );
    let (header, claims) = (part(&received[4].body, 0), part(&received[4].body, 1));
    assert_eq!(header, json!({"alg": "ES256", "typ": "secevent+jwt"}));
    assert_eq!(claims["iss"], "https://example.com");
    assert_eq!(claims["aud"], "https://receiver.example");
    assert_eq!(claims["sub_id"], json!({"format": "email", "email": "a@example.com"}));
    assert_eq!(claims["toe"], 1_769_860_800);
    assert!(claims["iat"].is_u64() && claims.get("sub").is_none() && claims.get("exp").is_none());
    let ids: BTreeSet<_> = received.iter().map(|one| part(&one.body, 1)["jti"].to_string()).collect();
    assert_eq!(ids.len(), 3, "the samples share one id, so the events tell them apart: {ids:?}");
}

/// The command, with a site's database, whose accounts are all unverified.
struct Site {
    folder: tempfile::TempDir,
    registry: Registry,
    receiver: String,
}

impl Site {
    async fn open(receiver: &Receiver) -> Self {
        let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await.unwrap());
        let site = Self { folder, registry, receiver: receiver.url() };
        std::fs::write(site.path("dns.json"), site.registry.bootstrap_file()).unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(site.path("accounts.db")).create_if_missing(true);
        let pool = sqlx::sqlite::SqlitePool::connect_with(options).await.unwrap();
        let table = "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, verified INTEGER, verified_at TEXT);
             INSERT INTO users SELECT value, 'a' || value || '@example.com', 0, NULL FROM json_each('[0,1,2,3,4,5,6,7]')";
        sqlx::raw_sql(table).execute(&pool).await.unwrap();
        site.configure("");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, more: &str) {
        let text = format!(
            r#"
listen = "127.0.0.1:0"
upstream = "http://127.0.0.1:9"
[reply]
mode = "refuse"
[[guard]]
path = "/reset"
target = "form:email"
[directory]
url = "sqlite:accounts.db"
unverify = "UPDATE users SET verified = 0 WHERE id = $1"
[directory.lookup]
email = "SELECT id, email, verified, verified_at FROM users WHERE lower(email) = lower($1)"
[state]
url = "sqlite:state.db"
[domains]
sources = ["rdap"]
[domains.rdap]
bootstrap = "dns.json"
allow_insecure = true
[audit]
webhook = "{}"
{more}
"#,
            self.receiver
        );
        std::fs::write(self.path("gatekeeper.toml"), text).unwrap();
    }

    async fn serve(&self) -> Sidecar {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
        command
            .args(["serve", "--config"])
            .arg(self.path("gatekeeper.toml"))
            .env_remove("RUST_LOG")
            .env("GATEKEEPER_WEBHOOK_SECRET", SECRET);
        Sidecar::start(command, &self.path("serve.log")).await
    }
}

/// kill -9 under load, again and again: what is in the log arrives, in order for each account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_each_kill_every_record_arrives() {
    let receiver = Receiver::start().await;
    let site = Site::open(&receiver).await;
    let lines = || std::fs::read_to_string(site.path("audit.jsonl")).unwrap_or_default().lines().count();
    for round in 0..6_u64 {
        let sidecar = site.serve().await;
        let asking: Vec<_> = (0..8)
            .map(|account| {
                let (http, url) = (client(), format!("{}/reset", sidecar.base));
                tokio::spawn(
                    async move { while http.post(&url).form(&[("email", format!("a{account}@example.com"))]).send().await.is_ok() {} },
                )
            })
            .collect();
        let enough = lines() + 40;
        for _ in 0..1_000 {
            if lines() >= enough {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10 + round)).await;
        }
        drop(sidecar);
        for one in asking {
            one.await.unwrap();
        }
    }
    let _sidecar = site.serve().await;
    let count = usize::try_from(verify(site.path("audit.jsonl")).unwrap()).unwrap();
    assert!(count >= 240, "{count}");
    let taken = receiver.until_taken(count).await;
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), (1..=count as u64).collect());
    assert!(is_in_order(&receiver.received()));
}

#[test]
fn what_a_webhook_lacks_is_told_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gatekeeper.toml");
    let check = |audit: &str, state: &str, variables: &[(&str, &str)]| {
        let text = format!(
            "upstream = \"http://127.0.0.1:9\"\n[reply]\nmode = \"refuse\"\n[[guard]]\npath = \"/reset\"\ntarget = \"form:email\"\n[directory]\nurl = \"sqlite:a.db\"\n{state}\n[audit]\n{audit}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
        command.args(["config", "check"]).arg(&file).env_remove("RUST_LOG").envs(variables.iter().copied());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (state, hook) = ("[state]\nurl = \"sqlite:state.db\"", "webhook = \"https://u:hunter2@example.org/hook\"");
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let (secret, key) = (("GATEKEEPER_WEBHOOK_SECRET", SECRET), ("GATEKEEPER_RISC_KEY", key.as_str()));
    let tokens = format!("{hook}\nwebhook_format = \"risc\"\nrisc_issuer = \"https://example.com\"\nrisc_audience = \"r\"");
    for (audit, state, variables, told) in [
        (hook, "", &[secret][..], "`audit.webhook`: `[state]` is missing"),
        (hook, state, &[], "GATEKEEPER_WEBHOOK_SECRET: `audit.webhook` needs this variable"),
        (hook, state, &[("GATEKEEPER_WEBHOOK_SECRET", "hunter2")], "GATEKEEPER_WEBHOOK_SECRET: a secret is `whsec_`"),
        ("webhook = \"http://example.org/\"", state, &[secret], "gatekeeper.toml:12: `audit.webhook`: it is neither https nor on loopback"),
        ("webhook = \"nowhere\"", state, &[secret], "gatekeeper.toml:12: `audit.webhook`: it is no URL"),
        (
            &format!("{hook}\nwebhook_format = \"cef\""),
            state,
            &[secret],
            "gatekeeper.toml:13: `audit.webhook_format`: unknown variant `cef`",
        ),
        (&format!("{hook}\nwebhook_format = \"risc\""), state, &[key], "`audit.risc_issuer` is missing"),
        (&tokens, state, &[], "GATEKEEPER_RISC_KEY: `audit.webhook_format` needs this variable"),
        (&tokens, state, &[("GATEKEEPER_RISC_KEY", "hunter2")], "GATEKEEPER_RISC_KEY: it is no private key"),
        (&format!("{tokens}\nemails = \"hashed\""), state, &[key, ("GATEKEEPER_AUDIT_KEY", KEY)], "`audit.emails` is \"hashed\""),
    ] {
        let (exit, _, said) = check(audit, state, variables);
        assert_eq!(exit, Some(2), "{audit}: {said}");
        assert!(said.contains(told), "{audit}: {said}");
        assert!(!said.replace("holds a password", "").contains("hunter2"), "{said}");
    }
    for (audit, variable) in [(hook, secret), (&tokens, key)] {
        let (exit, printed, said) = check(audit, state, &[variable]);
        assert_eq!(exit, Some(0), "{said}");
        assert!(said.contains("`audit.webhook` holds a password") && !said.contains("not carried out"), "{said}");
        assert!(
            printed.contains("https://***@example.org/***") && !printed.contains("hunter2") && !printed.contains("PRIVATE"),
            "{printed}"
        );
    }
}

/// Programs of others, installed by `.ci/consumers`.
#[tokio::test]
#[ignore = "needs Python and packages of its registry"]
async fn what_is_delivered_is_known_to_be_ours_by_programs_that_are_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    log.record(records(3, 3)).await.unwrap();
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    receiver.until_taken(3).await;
    let mut samples: Vec<_> = receiver.received().iter().map(|one| sample(one, "webhook", SECRET)).collect();
    for key in [rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()] {
        samples.extend(tokens(&key).await.iter().map(|one| sample(one, "risc", &key.public_key_pem())));
    }
    let lines: Vec<_> = samples.iter().map(Value::to_string).collect();
    std::fs::write(folder.path().join("delivered.jsonl"), lines.join("\n")).unwrap();
    consumers(folder.path());
}

fn sample(received: &Received, kind: &str, key: &str) -> Value {
    let headers: BTreeMap<_, _> = received.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    json!({"kind": kind, "key": key, "headers": headers, "body": received.body})
}

/// How fast: `cargo test --test it -- --ignored --nocapture webhook::speed`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn speed() {
    for accounts in [10_000, 1] {
        let (place, receiver) = (Place::open().await, Receiver::start().await);
        let log = place.log().await;
        let count = if accounts == 1 { 4_000 } else { 20_000 };
        log.record(records(count, accounts)).await.unwrap();
        let began = tokio::time::Instant::now();
        let _delivering = place.deliver(&log, webhook(&receiver.url()));
        while receiver.inbox.received.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let rate = count as f64 / began.elapsed().as_secs_f64();
        println!("{accounts} accounts: {rate:.0} records a second");
    }
}
