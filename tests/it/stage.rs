//! A guarded application on a real server, with a simulated registry, accounts in memory, and a clock to set.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri};
use reset_gatekeeper::account::{Account, AccountId, Directory, DirectoryError, MemoryDirectory};
use reset_gatekeeper::audit::{AuditError, AuditSink, Record};
use reset_gatekeeper::testing::{Registry, SetClock, time};
use reset_gatekeeper::{
    Gatekeeper, GatekeeperBuilder, GatekeeperLayer, Guard, Identifier, Identifies, Mailbox, Missing, Reason, Reply, Target, Verdict,
};
use tokio::time::Instant;

pub(crate) const NOW: &str = "2026-01-31T12:00:00Z";
pub(crate) const VERIFIED: &str = "2020-01-01T00:00:00Z";

/// A request as the application saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) verdict: Option<Verdict>,
}

pub(crate) struct Stage {
    pub(crate) registry: Registry,
    pub(crate) clock: SetClock,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) audit: Arc<Recorder>,
    pub(crate) gatekeeper: Gatekeeper,
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Stage {
    pub(crate) async fn open() -> Self {
        Self::with(Reply::refuse(), |builder| builder).await
    }

    pub(crate) async fn with(reply: Reply, settings: impl FnOnce(GatekeeperBuilder) -> GatekeeperBuilder) -> Self {
        let registry = Registry::start().await.unwrap();
        let (clock, accounts, audit) = (SetClock::at(NOW), Arc::<Accounts>::default(), Arc::<Recorder>::default());
        let builder = Gatekeeper::builder()
            .directory(Arc::clone(&accounts))
            .domains(registry.rdap().await.unwrap())
            .audit(Arc::clone(&audit))
            .clock(clock.clone());
        let gatekeeper = settings(builder).build().unwrap();
        let layer = GatekeeperLayer::new(gatekeeper.clone(), reply)
            .around_router()
            .guard(Guard::post("/password-reset").target(Target::form("email")).body_limit(1024))
            .guard(Guard::post("/nested").target(Target::form("user[email]")))
            .guard(Guard::post("/api/password-reset").target(Target::json("/user/email")))
            .guard(Guard::path("/by-query").target(Target::query("email")))
            .guard(Guard::post("/by-path/{email}/reset").target(Target::path("email")))
            .guard(Guard::post("/by-header").target(Target::header("x-email".parse().unwrap())))
            .guard(Guard::path("/anyhow").target(Target::form("email")).target(Target::json("/email")).target(Target::query("email")))
            .guard(Guard::post("/graphql").target(Target::json("/email")).missing(Missing::Pass))
            .guard(Guard::path("/put-only").methods([Method::PUT]).target(Target::form("email")));
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let app = Router::new().fallback(application).with_state(Arc::clone(&seen)).layer(layer);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { registry, clock, accounts, audit, gatekeeper, http: client(), base, seen }
    }

    /// Registers the domain of `email`, long ago and for years to come, and gives it an account verified since.
    pub(crate) fn healthy_account(&self, email: &str) {
        let mailbox = Mailbox::parse(email).unwrap();
        self.registry.register(mailbox.domain().as_str(), time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
        self.accounts.insert(email, true, Some(VERIFIED));
    }

    /// Asks for a reset by the form, and gives the status.
    pub(crate) async fn ask_reset(&self, email: &str) -> u16 {
        self.http.post(self.url("/password-reset")).form(&[("email", email)]).send().await.unwrap().status().as_u16()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// What reached the application.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn clear_seen(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// The codes of the reasons of the last record about a reset.
    pub(crate) fn last_reasons(&self) -> Vec<&'static str> {
        self.audit.last().reasons.iter().map(|reason| reason.as_str()).collect()
    }
}

/// A client that neither follows a proxy of the machine's nor waits for ever.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap()
}

/// A number for each time that something is killed: two hundred within a minute, or as many as `GATEKEEPER_KILLS` says for as long as that takes.
pub(crate) fn many_kills() -> impl Iterator<Item = usize> {
    let wanted: Option<usize> = std::env::var("GATEKEEPER_KILLS").ok().map(|kills| kills.parse().unwrap());
    let start = Instant::now();
    (0..wanted.unwrap_or(200)).take_while(move |_| wanted.is_some() || start.elapsed() < Duration::from_secs(60))
}

async fn application(State(seen): State<Arc<Mutex<Vec<Seen>>>>, request: Request) -> &'static str {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let verdict = parts.extensions.get().cloned();
    seen.lock().unwrap().push(Seen { method: parts.method, uri: parts.uri, headers: parts.headers, body, verdict });
    "the application's answer"
}

/// Accounts in memory, which can be made to fail.
#[derive(Default)]
pub(crate) struct Accounts {
    directory: MemoryDirectory,
    pub(crate) fails: AtomicBool,
}

impl Accounts {
    pub(crate) fn insert(&self, email: &str, verified: bool, verified_at: Option<&str>) {
        let id = email.to_lowercase();
        self.directory.insert(Account { id: id.into(), email: email.to_owned(), verified, verified_at: verified_at.map(time) });
    }

    pub(crate) async fn is_verified(&self, email: &str) -> bool {
        let rows = self.directory.find(&Identifier::parse(Identifies::Email, email).unwrap()).await.unwrap();
        rows.iter().all(|account| account.verified)
    }

    fn check(&self) -> Result<(), DirectoryError> {
        if self.fails.load(Ordering::SeqCst) { Err(DirectoryError::unavailable("finding accounts", "it is meant to fail")) } else { Ok(()) }
    }
}

#[async_trait]
impl Directory for Accounts {
    async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        self.check()?;
        self.directory.find(identifier).await
    }

    async fn page(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, DirectoryError> {
        self.check()?;
        self.directory.page(after, limit).await
    }

    async fn unverify(&self, account: &Account, reason: Reason) -> Result<bool, DirectoryError> {
        self.check()?;
        self.directory.unverify(account, reason).await
    }
}

/// An audit log in memory, which can be made to fail.
#[derive(Default)]
pub(crate) struct Recorder {
    records: Mutex<Vec<Record>>,
    pub(crate) fails: AtomicBool,
}

impl Recorder {
    pub(crate) fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Record {
        self.records().pop().unwrap()
    }
}

#[async_trait]
impl AuditSink for Recorder {
    async fn record(&self, records: Vec<Record>) -> Result<(), AuditError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(AuditError::Closed);
        }
        self.records.lock().unwrap().extend(records);
        Ok(())
    }
}
