//! One SQLite file that holds the application's accounts and the state: swept by one process while the sidecar, another, answers resets by it.
//!
//! `GATEKEEPER_FILE_ACCOUNTS` sets how many accounts there are.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use reset_gatekeeper::account::SqliteDirectory;
use reset_gatekeeper::testing::{Phase, Registry, time};
use serde_json::Value;
use sqlx::sqlite::SqlitePool;
use tokio::time::Instant;

use crate::serve::Sidecar;
use crate::stage::client;

/// How many accounts there are for each domain.
const ON_EACH: usize = 6;

/// Every hundredth domain has lapsed.
const LAPSED: usize = 100;

fn name(number: usize) -> String {
    format!("name{number}.com")
}

/// The registry that knows so many domains.
async fn registry(domains: usize) -> Registry {
    let registry = Registry::start().await.unwrap();
    for number in 0..domains {
        registry.register(&name(number), time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
        if number % LAPSED == 0 {
            registry.put(&name(number), Phase::Redemption);
        }
    }
    registry
}

/// Account number `a` is `u<a>@name<d>.com`, the accounts being dealt to the domains in turn.
async fn fill(file: &Path, accounts: usize, domains: usize) -> SqlitePool {
    drop(SqliteDirectory::open(file).await.unwrap());
    let pool = SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let rows = "WITH RECURSIVE n(number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM n WHERE number < $1 - 1) \
         INSERT INTO accounts (email, verified, verified_at) SELECT 'u' || number || '@name' || (number % $2) || '.com', 1, '2020-01-01' FROM n";
    let (accounts, domains) = (i64::try_from(accounts).unwrap(), i64::try_from(domains).unwrap());
    sqlx::query(rows).bind(accounts).bind(domains).execute(&pool).await.unwrap();
    pool
}

async fn application() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, Router::new().route("/reset", post(|| async { "sent" }))).await });
    base
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
    command.args(arguments).env("RUST_LOG", "warn");
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_are_answered_while_the_file_that_they_are_judged_by_is_swept() {
    let accounts: usize = std::env::var("GATEKEEPER_FILE_ACCOUNTS").map_or(20_000, |text| text.parse().unwrap());
    let domains = accounts / ON_EACH;
    let folder = tempfile::tempdir().unwrap();
    let (registry, upstream) = (registry(domains).await, application().await);
    let rows = fill(&folder.path().join("app.db"), accounts, domains).await;
    std::fs::write(folder.path().join("dns.json"), registry.bootstrap_file()).unwrap();
    let file = "[directory]\nurl = \"sqlite:app.db\"\n[state]\nurl = \"sqlite:app.db\"\n";
    let domain = "[domains]\nsources = [\"rdap\"]\n[domains.rdap]\nbootstrap = \"dns.json\"\nallow_insecure = true\n";
    let site = format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"{upstream}\"\n[reply]\nmode = \"refuse\"\n[[guard]]\npath = \"/reset\"\ntarget = \"form:email\"\n"
    );
    std::fs::write(folder.path().join("serve.toml"), format!("{site}{file}{domain}")).unwrap();
    std::fs::write(folder.path().join("sweep.toml"), format!("{file}{domain}[sweep]\nrate = \"100000/s\"\n")).unwrap();
    let config = |name: &str| folder.path().join(name).display().to_string();

    let serve = Sidecar::start(command(&["serve", "--config", &config("serve.toml")]), &folder.path().join("serve.log")).await;
    let base = serve.base.clone();
    let began = Instant::now();
    let log = std::fs::File::create(folder.path().join("sweep.log")).unwrap();
    let sweep = command(&["sweep", "--json", "--config", &config("sweep.toml")]).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut sweeping = tokio::task::spawn_blocking(move || sweep.wait_with_output().unwrap());

    let (http, mut resets, mut slowest) = (client(), 0, Duration::ZERO);
    let output = loop {
        // Each about another account, all over the file, the lapsed ones among them.
        let number = resets * 7_919 % accounts;
        let (email, asked) = (format!("u{number}@{}", name(number % domains)), Instant::now());
        let answer = http.post(format!("{base}/reset")).form(&[("email", &email)]).send().await.unwrap();
        let expected = if (number % domains).is_multiple_of(LAPSED) { 403 } else { 200 };
        assert_eq!(answer.status().as_u16(), expected, "{email}, the reset number {resets}");
        (resets, slowest) = (resets + 1, slowest.max(asked.elapsed()));
        if sweeping.is_finished() {
            break (&mut sweeping).await.unwrap();
        }
    };
    let took = began.elapsed();
    let logs = ["serve.log", "sweep.log"].map(|log| std::fs::read_to_string(folder.path().join(log)).unwrap());
    assert_eq!(output.status.code(), Some(0), "{output:?} {logs:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["accounts"], &told["domains"], &told["failed"]), (&accounts.into(), &domains.into(), &0.into()), "{told}");
    for log in &logs {
        assert!(!log.contains("locked") && !log.contains("busy"), "{log}");
    }
    // What a reset learned is kept in memory alone where the file is not to be had within half a second.
    let unkept = logs.concat().matches("is not kept").count();
    let of_lapsed = (0..accounts).filter(|number| (number % domains).is_multiple_of(LAPSED)).count();
    let unverified: i64 = sqlx::query_scalar("SELECT count(*) FROM accounts WHERE NOT verified").fetch_one(&rows).await.unwrap();
    assert_eq!(usize::try_from(unverified).unwrap(), of_lapsed);
    drop(serve);
    eprintln!(
        "{accounts} accounts on {domains} domains swept in {took:?}, {resets} resets meanwhile, the slowest in {slowest:?}, {unkept} of what they learned not kept; {told}"
    );
}
