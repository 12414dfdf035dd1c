//! A small site with accounts, whose "forgot your password" page and API are guarded.
//!
//! ```text
//! cargo run --example axum                  offline, asking a simulated registry
//! cargo run --example axum -- --live        asking the real registries
//! ```
//!
//! Open the page that it names, ask for a reset for some of the accounts, and see which are blocked. The mails that went out stand below, and the audit
//! log, at `/audit`, says why the others did not.
//!
//! `--listen ADDRESS` serves at another address, and `--data FOLDER` keeps accounts and audit log there from one start to the next.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, Form, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use reset_gatekeeper::account::SqliteDirectory;
use reset_gatekeeper::audit::JsonLines;
use reset_gatekeeper::domain::rdap::Rdap;
use reset_gatekeeper::testing::{Phase, Registry, time};
use reset_gatekeeper::{Client, Clock, Gatekeeper, GatekeeperLayer, Guard, Reply, SystemClock, Target};
use serde::Deserialize;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = std::iter::successors(error.source(), |error| error.source());
            eprintln!("{}", causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}")));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| arguments.iter().position(|one| one == name).and_then(|at| arguments.get(at + 1));
    let listen = value("--listen").map_or("127.0.0.1:3003", String::as_str);
    let temporary = tempfile::tempdir()?;
    let folder = value("--data").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    std::fs::create_dir_all(&folder)?;

    let site = Site::open(&folder).await?;
    let registry = sample_registry().await?;
    let rdap = if arguments.iter().any(|one| one == "--live") { Rdap::iana().await? } else { registry.rdap().await? };
    let app = site.app(rdap, SystemClock).await?;

    let listener = tokio::net::TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    println!("A site with a few accounts: http://{address}/\n");
    println!("Ask for resets there, or from here:");
    for (email, what) in [("alice@example.com", "a mail goes out"), ("figlief@figlief.com", "blocked: its domain has another owner now")] {
        println!("  curl -i http://{address}/password-reset -d email={email}     # {what}");
    }
    println!("  curl -i http://{address}/api/password-reset --json '{{\"email\":\"bob@lapsed-shop.com\"}}'     # blocked: lapsed");
    println!("\nWhy: http://{address}/audit, or {}", site.audit_log().display());
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) }).await?;
    Ok(())
}

/// The application: its accounts, the mails that it sent, and where its audit log is.
#[derive(Clone)]
pub(crate) struct Site {
    accounts: SqlitePool,
    outbox: Arc<Mutex<Vec<String>>>,
    folder: PathBuf,
}

impl Site {
    /// Opens the site's database in `folder`, with the sample accounts where it has none.
    pub(crate) async fn open(folder: &Path) -> Result<Self, Failure> {
        let options = SqliteConnectOptions::new().filename(folder.join("accounts.db")).create_if_missing(true);
        let accounts = SqlitePool::connect_with(options).await?;
        let directory = SqliteDirectory::from_pool(accounts.clone()).await?;
        if sqlx::query("SELECT 1 FROM accounts").fetch_optional(&accounts).await?.is_none() {
            for (email, verified_at) in SAMPLE_ACCOUNTS {
                directory.insert(email, verified_at.is_some(), verified_at.map(time)).await?;
            }
        }
        Ok(Self { accounts, outbox: Arc::default(), folder: folder.to_owned() })
    }

    /// The site with its recovery endpoints guarded.
    pub(crate) async fn app(&self, rdap: Rdap, clock: impl Clock) -> Result<Router, Failure> {
        let gatekeeper = Gatekeeper::builder()
            .directory(SqliteDirectory::from_pool(self.accounts.clone()).await?)
            .domains(rdap)
            .audit(JsonLines::open(self.audit_log()).await?)
            .clock(clock)
            .build()?;
        let guarded = GatekeeperLayer::new(gatekeeper, Reply::refuse())
            .guard(Guard::post("/password-reset").target(Target::form("email")))
            .guard(Guard::post("/api/password-reset").target(Target::json("/email")));
        Ok(Router::new()
            .route("/", get(front_page))
            .route("/accounts", post(sign_up))
            .route("/password-reset", get(forgot_page).post(forgot_form))
            .route("/api/password-reset", post(forgot_api))
            .route("/audit", get(audit_page))
            .with_state(self.clone())
            .layer(guarded)
            .layer(middleware::map_request(tell_client)))
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.jsonl")
    }

    /// The addresses to which reset mails went out.
    pub(crate) fn outbox(&self) -> Vec<String> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What every application does here: look the account up, and mail it a link.
    async fn mail_reset(&self, email: &str) -> Result<(), Problem> {
        let query = sqlx::query_scalar("SELECT email FROM accounts WHERE lower(email) = lower($1)");
        let stored: Vec<String> = query.bind(email.trim()).fetch_all(&self.accounts).await?;
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner).extend(stored);
        Ok(())
    }
}

/// Addresses, and when they were verified.
const SAMPLE_ACCOUNTS: [(&str, Option<&str>); 8] = [
    ("alice@example.com", Some("2019-03-01T09:00:00Z")),
    ("figlief@figlief.com", Some("2014-12-19T09:00:00Z")),
    ("bob@lapsed-shop.com", Some("2020-06-15T09:00:00Z")),
    ("carol@expiring-club.org", Some("2021-01-07T09:00:00Z")),
    ("dave@example.com", None),
    ("erin@gone-startup.io", Some("2018-10-30T09:00:00Z")),
    ("frank@held-domain.net", Some("2022-02-22T09:00:00Z")),
    ("grace@late-payer.com", Some("2017-08-08T09:00:00Z")),
];

/// The registry of the sample accounts' domains.
async fn sample_registry() -> Result<Registry, Failure> {
    let registry = Registry::start().await?;
    let now = SystemClock.now();
    let days = |days: u64| Duration::from_secs(days * 86_400);
    registry.register("example.com", time("1995-08-14T04:00:00Z"), now + days(300));
    // The domain of the Python package ctx's owner, as it was on the day of the hijack.
    registry.register("figlief.com", time("2022-05-14T18:40:05Z"), now + days(200));
    for (domain, phase) in [
        ("lapsed-shop.com", Phase::Redemption),
        ("expiring-club.org", Phase::Until(now + days(3))),
        ("gone-startup.io", Phase::Unregistered),
        ("held-domain.net", Phase::ClientHold),
        ("late-payer.com", Phase::Until(now - days(2))),
    ] {
        registry.register(domain, time("2010-05-20T12:00:00Z"), now + days(100));
        registry.put(domain, phase);
    }
    Ok(registry)
}

/// Tells the gatekeeper who asks, for the audit log.
async fn tell_client(mut request: Request) -> Request {
    let client = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| Client(address.ip()));
    if let Some(client) = client {
        request.extensions_mut().insert(client);
    }
    request
}

#[derive(Deserialize)]
struct Address {
    email: String,
}

async fn forgot_form(State(site): State<Site>, Form(address): Form<Address>) -> Result<Html<String>, Problem> {
    site.mail_reset(&address.email).await?;
    Ok(page("<p>If there is an account for that address, a mail is on its way. <a href=/>Back</a></p>"))
}

async fn forgot_api(State(site): State<Site>, Json(address): Json<Address>) -> Result<StatusCode, Problem> {
    site.mail_reset(&address.email).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn sign_up(State(site): State<Site>, Form(address): Form<Address>) -> Result<Redirect, Problem> {
    let directory = SqliteDirectory::from_pool(site.accounts.clone()).await?;
    directory.insert(address.email.trim(), true, Some(SystemClock.now())).await?;
    Ok(Redirect::to("/"))
}

async fn forgot_page() -> Html<String> {
    page(
        "<h1>Forgot your password?</h1><form method=post><input name=email type=email required placeholder=E-mail> <button>Send me a link</button></form>",
    )
}

async fn front_page(State(site): State<Site>) -> Result<Html<String>, Problem> {
    let accounts: Vec<(String, bool)> =
        sqlx::query_as("SELECT email, verified FROM accounts ORDER BY id").fetch_all(&site.accounts).await?;
    let row = |(email, verified): &(String, bool)| {
        let (email, verified) = (escaped(email), if *verified { "verified" } else { "not verified" });
        format!(
            "<tr><td>{email}<td>{verified}<td><form method=post action=/password-reset><button name=email value=\"{email}\">Forgot password</button></form>"
        )
    };
    let rows: String = accounts.iter().map(row).collect();
    let mails: String = site.outbox().iter().map(|email| format!("<li>{}", escaped(email))).collect();
    Ok(page(&format!(
        "<h1>Accounts</h1><table>{rows}</table>\
         <form method=post action=/accounts><input name=email type=email required placeholder=E-mail> <button>Sign up</button></form>\
         <h2>Reset mails that went out</h2><ol>{mails}</ol><p><a href=/audit>The audit log</a></p>"
    )))
}

async fn audit_page(State(site): State<Site>) -> Result<impl IntoResponse, Problem> {
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], tokio::fs::read_to_string(site.audit_log()).await?))
}

fn page(content: &str) -> Html<String> {
    const STYLE: &str = "body{font:1rem/1.6 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}td{padding:.2rem 1.5rem .2rem 0}form{margin:0}";
    Html(format!("<!doctype html><html lang=en><meta charset=utf-8><title>A site</title><style>{STYLE}</style>{content}"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// An error that is the site's own.
struct Problem(Failure);

impl<E: Into<Failure>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        eprintln!("{}", self.0);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
