//! A receiver on a real socket, and a log that is delivered to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use reset_gatekeeper::State;
use reset_gatekeeper::audit::{Delivering, Format, JsonLines, Record, Webhook, WebhookSecret};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::formats::{native_of, record};

pub(super) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A request, as the receiver saw it.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    pub(super) status: u16,
}

#[derive(Default)]
pub(super) struct Inbox {
    pub(super) received: Mutex<Vec<Received>>,
    /// What is answered next: 204 where nothing stands here.
    answers: Mutex<VecDeque<(u16, &'static str, &'static str)>>,
    /// What is refused instead, and how.
    refusal: Mutex<Option<Refusal>>,
}

type Refusal = Box<dyn Fn(&str) -> Option<(u16, &'static str)> + Send>;

/// A web server that takes records.
pub(super) struct Receiver {
    pub(super) inbox: Arc<Inbox>,
    pub(super) address: SocketAddr,
    serving: JoinHandle<()>,
}

async fn receive(Shared(inbox): Shared<Arc<Inbox>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    let (status, name, value) = inbox.answers.lock().unwrap().pop_front().unwrap_or((204, "x-nothing", ""));
    let refused = inbox.refusal.lock().unwrap().as_ref().and_then(|refusal| refusal(&body));
    let (status, answer) = refused.unwrap_or((status, ""));
    inbox.received.lock().unwrap().push(Received { path: parts.uri.path().to_owned(), headers: parts.headers, body, status });
    (StatusCode::from_u16(status).unwrap(), [(name, value)], answer).into_response()
}

impl Receiver {
    pub(super) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), Arc::default()).await
    }

    pub(super) async fn at(address: SocketAddr, inbox: Arc<Inbox>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(receive).with_state(Arc::clone(&inbox));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { inbox, address, serving }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(super) fn answer(&self, answers: impl IntoIterator<Item = (u16, &'static str, &'static str)>) {
        self.inbox.answers.lock().unwrap().extend(answers);
    }

    /// From now on, what `refusal` finds in a body is answered that, and with those words.
    pub(super) fn refuse(&self, refusal: impl Fn(&str) -> Option<(u16, &'static str)> + Send + 'static) {
        *self.inbox.refusal.lock().unwrap() = Some(Box::new(refusal));
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.inbox.received.lock().unwrap().clone()
    }

    /// The records that were taken, by their numbers.
    pub(super) fn taken(&self) -> Vec<u64> {
        let received = self.received();
        received.iter().filter(|one| one.status < 300).map(|one| one.record()["seq"].as_u64().unwrap()).collect()
    }

    pub(super) async fn until_taken(&self, count: usize) -> Vec<u64> {
        for _ in 0..1_500 {
            let taken = self.taken();
            if taken.iter().collect::<BTreeSet<_>>().len() >= count {
                return taken;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("only {:?} of {count} were taken", self.taken());
    }

    /// Waits until so many more requests have come.
    pub(super) async fn asked_again(&self, more: usize) {
        let enough = self.received().len() + more;
        for _ in 0..1_000 {
            if self.received().len() >= enough {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("only {} of {enough} requests came", self.received().len());
    }

    /// Waits until each that has come so far has come twice more.
    pub(super) async fn all_asked_again(&self) {
        let before = self.times();
        for _ in 0..1_000 {
            let now = self.times();
            if before.iter().all(|(body, times)| now[body] >= times + 2) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("some did not come again of {before:?}");
    }

    /// How often each came.
    fn times(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for one in self.received() {
            *times.entry(one.body).or_default() += 1;
        }
        times
    }

    /// All that comes within half a second more.
    pub(super) async fn settled(&self) -> Vec<u64> {
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
    pub(super) fn record(&self) -> Value {
        native_of(&self.body)
    }
}

/// A log, and the state that knows how far it was delivered.
pub(super) struct Place {
    _folder: tempfile::TempDir,
    pub(super) file: PathBuf,
    pub(super) state: State,
}

impl Place {
    pub(super) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path().join("state.db")).await.unwrap();
        Self { file: folder.path().join("audit.jsonl"), state, _folder: folder }
    }

    pub(super) async fn log(&self) -> JsonLines {
        JsonLines::open(&self.file).await.unwrap()
    }

    pub(super) fn deliver(&self, log: &JsonLines, webhook: Webhook) -> Delivering {
        webhook.start(&self.file, log.heads(), self.state.clone()).unwrap()
    }
}

pub(super) fn webhook(url: &str) -> Webhook {
    Webhook::new(url, WebhookSecret::parse(SECRET).unwrap(), Format::Native).unwrap()
}

/// So many records, about `accounts` accounts in turn.
pub(super) fn records(count: usize, accounts: usize) -> Vec<Record> {
    let about = |number: usize| {
        let id = (number % accounts).to_string();
        let account = json!({"id": id, "email": format!("a{id}@example.com"), "verified": false, "verified_at": null});
        record(&json!({"id": format!("019c1443-0000-7000-8000-{number:012}"), "account": account}))
    };
    (0..count).map(about).collect()
}

/// Whether the records of each account first came in their order.
pub(super) fn is_in_order(received: &[Received]) -> bool {
    overtaken(received) == 0
}

/// How many records first came after a later one of their account.
pub(super) fn overtaken(received: &[Received]) -> usize {
    let mut firsts = BTreeMap::<String, Vec<u64>>::new();
    for one in received.iter().filter(|one| one.status < 300) {
        let record = one.record();
        let of_account = firsts.entry(record["account"]["id"].to_string()).or_default();
        let seq = record["seq"].as_u64().unwrap();
        if !of_account.contains(&seq) {
            of_account.push(seq);
        }
    }
    firsts.values().flat_map(|seqs| seqs.windows(2)).filter(|two| two[0] > two[1]).count()
}

/// A log elsewhere, whose heads never tell of anything.
pub(super) async fn silent() -> (tempfile::TempDir, JsonLines) {
    let folder = tempfile::tempdir().unwrap();
    let log = JsonLines::open(folder.path().join("other.jsonl")).await.unwrap();
    (folder, log)
}

pub(super) fn append(file: &Path, text: &str) {
    std::fs::OpenOptions::new().append(true).open(file).and_then(|mut file| file.write_all(text.as_bytes())).unwrap();
}
