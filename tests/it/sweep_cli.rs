//! The sweep as its user runs it: by hand, and beside the sidecar.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use reset_gatekeeper::testing::{Fault, Registry, time};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

const DIRECTORY: &str = r#"
url = "sqlite:app.db"
unverify = "UPDATE users SET verified = 0, why = $2 WHERE id = $1"
page = "SELECT id, email, verified, verified_at FROM users WHERE id > $1 ORDER BY id LIMIT $2"
[directory.lookup]
email = "SELECT id, email, verified, verified_at FROM users WHERE lower(email) = lower($1)"
"#;

const STATE: &str = "[state]\nurl = \"sqlite:state.db\"\n";

/// Accounts on disk, and a registry that knows their domains.
struct Yard {
    folder: tempfile::TempDir,
    registry: Registry,
    accounts: SqlitePool,
}

impl Yard {
    async fn open() -> Self {
        let registry = Registry::start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new().filename(folder.path().join("app.db")).create_if_missing(true);
        let accounts = SqlitePool::connect_with(options).await.unwrap();
        let table = "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, verified INTEGER, verified_at TEXT, why TEXT)";
        sqlx::raw_sql(table).execute(&accounts).await.unwrap();
        std::fs::write(folder.path().join("dns.json"), registry.bootstrap_file()).unwrap();
        let yard = Self { folder, registry, accounts };
        yard.configure("", STATE);
        yard
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// No guard, no reply: a sweep needs neither.
    fn configure(&self, first: &str, more: &str) {
        let sources = "[domains]\nsources = [\"rdap\"]\n[domains.rdap]\nbootstrap = \"dns.json\"\nallow_insecure = true\n";
        std::fs::write(self.path("gatekeeper.toml"), format!("{first}\n[directory]{DIRECTORY}{sources}{more}")).unwrap();
    }

    async fn account(&self, email: &str) {
        let domain = email.split_once('@').unwrap().1;
        self.registry.register(domain, time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
        let insert = "INSERT INTO users (email, verified, verified_at) VALUES ($1, 1, '2020-01-01 00:00:00')";
        sqlx::query(insert).bind(email).execute(&self.accounts).await.unwrap();
    }

    async fn lapsed_account(&self, email: &str) {
        self.account(email).await;
        self.registry.lapse(email.split_once('@').unwrap().1);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
        command.args(arguments).arg("--config").arg(self.path("gatekeeper.toml")).env_remove("RUST_LOG");
        command
    }

    async fn sweep(&self, more: &[&str]) -> Output {
        let mut command = self.command(&[&["sweep"], more].concat());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The addresses that are verified.
    async fn verified(&self) -> Vec<String> {
        let query = "SELECT email FROM users WHERE verified = 1 ORDER BY id";
        sqlx::query_scalar(query).fetch_all(&self.accounts).await.unwrap()
    }

    fn records_of(&self, event: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("audit.jsonl")).unwrap_or_default();
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.filter(|record| record["event"] == event).collect()
    }
}

fn summary(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), 1, "one object on one line: {output:?}");
    serde_json::from_str(&text).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("{what}");
}

async fn ended(mut child: Child) -> Option<i32> {
    tokio::task::spawn_blocking(move || child.wait().unwrap().code()).await.unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lapsed_account_is_un_verified_and_recorded() {
    let yard = Yard::open().await;
    yard.account("good@healthy.com").await;
    yard.lapsed_account("bad@lapsed.com").await;
    let output = yard.sweep(&["--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = summary(&output);
    assert_eq!((&told["accounts"], &told["domains"], &told["unverified"], &told["failed"]), (&2.into(), &2.into(), &1.into(), &0.into()));
    assert_eq!(told["found"]["domain_redemption"], 1);
    assert!(told["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(yard.verified().await, ["good@healthy.com"]);
    let why: String = sqlx::query_scalar("SELECT why FROM users WHERE verified = 0").fetch_one(&yard.accounts).await.unwrap();
    assert_eq!(why, "domain_redemption");

    let records = yard.records_of("email_unverified");
    assert_eq!(records.len(), 1);
    assert_eq!((&records[0]["account"]["email"], &records[0]["domain"]["name"]), (&"bad@lapsed.com".into(), &"lapsed.com".into()));
    let log = yard.path("audit.jsonl").display().to_string();
    let verify = yard.command(&["audit", "verify", &log]).output().unwrap();
    assert_eq!(verify.status.code(), Some(0), "{verify:?}");
    assert!(!String::from_utf8_lossy(&verify.stdout).contains("not known from the state"), "its head is kept: {verify:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_second_sweep_asks_nothing() {
    let yard = Yard::open().await;
    yard.account("good@healthy.com").await;
    yard.lapsed_account("bad@lapsed.com").await;
    assert_eq!(yard.sweep(&[]).await.status.code(), Some(0));
    let asked = yard.registry.all_questions();
    let output = yard.sweep(&["--json"]).await;
    assert_eq!((output.status.code(), &summary(&output)["looked"]), (Some(0), &0.into()), "{output:?}");
    assert_eq!(summary(&output)["not_due"], 1, "{output:?}");
    assert_eq!(yard.registry.all_questions(), asked);
    // Without a state, nobody remembers.
    yard.configure("", "");
    let output = yard.sweep(&["--json"]).await;
    assert_eq!((output.status.code(), &summary(&output)["looked"]), (Some(0), &1.into()), "{output:?}");
    assert!(said(&output).contains("without [state]"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_could_not_be_checked_shows_in_the_exit_status() {
    let yard = Yard::open().await;
    yard.account("good@healthy.com").await;
    yard.registry.fault(Fault::Status(500, None));
    let output = yard.sweep(&[]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said(&output).contains("domains that could not be checked: 1"), "{output:?}");
    assert_eq!(yard.records_of("source_failed").len(), 1);
    yard.registry.fault(None);
    assert_eq!(yard.sweep(&[]).await.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dry_run_lists_who_would_be_un_verified_and_un_verifies_nobody() {
    let yard = Yard::open().await;
    yard.account("good@healthy.com").await;
    yard.lapsed_account("bad@lapsed.com").await;
    let output = yard.sweep(&["--dry-run", "--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines: Vec<Value> = String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[1]["looked"], &lines[1]["not_due"]), (&2.into(), &0.into()));
    let row = serde_json::json!({"account": "2", "email": "bad@lapsed.com", "domain": "lapsed.com", "reason": "domain_redemption"});
    assert_eq!((&lines[0], &lines[1]["would_unverify"], &lines[1]["unverified"]), (&row, &1.into(), &0.into()));
    assert_eq!(yard.verified().await.len(), 2);
    assert!(yard.records_of("email_unverified").is_empty());

    let output = yard.sweep(&["--dry-run"]).await;
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.lines().any(|line| line.contains("bad@lapsed.com") && line.contains("domain_redemption")), "{printed}");
    assert!(!printed.contains("good@healthy.com"), "{printed}");
    let row = |name: &str| printed.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim).map(str::to_owned);
    let [looked, not_due] = ["domains looked at", "domains not due yet, judged as last seen"].map(row);
    assert_eq!(
        (looked.as_deref(), not_due.as_deref()),
        (Some("0"), Some("2")),
        "why somebody is listed although nothing was looked at: {printed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_bad_configuration_is_told_with_file_line_and_key() {
    let yard = Yard::open().await;
    yard.account("good@healthy.com").await;
    yard.configure("", "[sweep]\nrate = \"fast\"\n");
    let output = yard.sweep(&[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("gatekeeper.toml:14: `sweep.rate`: `fast`"), "{output:?}");
    // The sweep goes through the accounts by a query that `serve` does without.
    yard.configure("", STATE);
    let text = std::fs::read_to_string(yard.path("gatekeeper.toml")).unwrap();
    std::fs::write(yard.path("gatekeeper.toml"), text.replace("page =", "# page =")).unwrap();
    let output = yard.sweep(&[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("gatekeeper.toml:2: `directory.page` is missing"), "{output:?}");
    assert!(output.stdout.is_empty() && yard.registry.all_questions() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn too_many_lapses_at_once_un_verify_nobody_until_it_is_insisted_on() {
    let yard = Yard::open().await;
    for number in 0..40 {
        yard.lapsed_account(&format!("a@lapsed{number}.com")).await;
    }
    yard.configure("", &format!("{STATE}[sweep]\nrate = \"600/s\"\nbrake = \"90%\"\n"));
    let output = yard.sweep(&["--json"]).await;
    assert_eq!((output.status.code(), &summary(&output)["braked"]), (Some(1), &true.into()), "{output:?}");
    let told = said(&output);
    assert!(told.contains("40 of 40 accounts") && told.contains("90%") && told.contains("--beyond-brake"), "{told}");
    assert!(told.contains("reset-gatekeeper check lapsed"), "{told}");
    assert_eq!(yard.verified().await.len(), 40);
    let output = yard.sweep(&["--json", "--beyond-brake"]).await;
    assert_eq!((output.status.code(), &summary(&output)["unverified"]), (Some(0), &40.into()), "{output:?}");
    assert!(yard.verified().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_sweep_that_is_interrupted_goes_on_the_next_time() {
    let yard = Yard::open().await;
    for number in 0..30 {
        yard.account(&format!("a@healthy{number}.com")).await;
    }
    yard.configure("", &format!("{STATE}[sweep]\nrate = \"5/s\"\n"));
    let mut command = yard.command(&["sweep", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(std::fs::File::create(yard.path("told")).unwrap()).spawn().unwrap();
    until("it never asked", async || yard.registry.all_questions() > 0).await;
    signal(&child, "-INT");
    assert_eq!(ended(child).await, Some(1));
    let told = std::fs::read_to_string(yard.path("told")).unwrap();
    assert!(told.contains("interrupted; the next sweep goes on from here"), "{told}");
    let asked = yard.registry.all_questions();
    assert!(asked < 30, "{asked}");
    yard.configure("", &format!("{STATE}[sweep]\nrate = \"600/s\"\n"));
    let output = yard.sweep(&["--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((yard.registry.all_questions(), &summary(&output)["domains"]), (30, &30.into()), "none is asked about twice");
}

/// INTERFACE §3: `observe` writes records and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_site_that_is_observed_loses_no_verification() {
    let yard = Yard::open().await;
    yard.lapsed_account("bad@lapsed.com").await;
    yard.configure("[reply]\nmode = \"observe\"", STATE);
    let output = yard.sweep(&["--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((&summary(&output)["unverified"], &summary(&output)["would_unverify"]), (&0.into(), &1.into()));
    assert!(said(&output).contains("nobody is un-verified"), "{output:?}");
    assert_eq!(yard.verified().await.len(), 1);
    assert_eq!((yard.records_of("domain_changed").len(), yard.records_of("email_unverified").len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_sidecar_sweeps_in_the_background() {
    let yard = Yard::open().await;
    yard.account("good@healthy.com").await;
    yard.lapsed_account("bad@lapsed.com").await;
    let site = "listen = \"127.0.0.1:0\"\nupstream = \"http://127.0.0.1:9\"\n";
    let guard = "[[guard]]\npath = \"/reset\"\ntarget = \"form:email\"\n";
    let observed = format!("{site}[reply]\nmode = \"observe\"\n{guard}");
    let refused = format!("{site}[reply]\nmode = \"refuse\"\n{guard}");
    let serve = || {
        let told = std::fs::File::create(yard.path("told")).unwrap();
        yard.command(&["serve"]).env("RUST_LOG", "info").stdout(Stdio::null()).stderr(told).spawn().unwrap()
    };
    let told = || std::fs::read_to_string(yard.path("told")).unwrap();

    yard.configure(&observed, &format!("{STATE}[sweep]\n"));
    let child = serve();
    until("it never swept", async || told().contains("a sweep is done")).await;
    signal(&child, "-TERM");
    assert_eq!(ended(child).await, Some(0), "{}", told());
    assert!(told().contains("sweep: every 24h"), "{}", told());
    assert_eq!(yard.verified().await.len(), 2, "who is observed loses nothing");

    // Its state needn't outlive it.
    yard.configure(&refused, "[sweep]\nevery = \"1h\"\n");
    let child = serve();
    until("it never un-verified", async || yard.verified().await == ["good@healthy.com"]).await;
    signal(&child, "-TERM");
    assert_eq!(ended(child).await, Some(0), "{}", told());
    assert_eq!(yard.records_of("email_unverified").len(), 1);

    yard.configure(&refused, "");
    let child = serve();
    until("it never began", async || told().contains("listening")).await;
    assert!(told().contains("sweep: none"), "{}", told());
    signal(&child, "-TERM");
    assert_eq!(ended(child).await, Some(0), "{}", told());
}
