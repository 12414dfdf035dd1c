//! The command, which delivers what its own gatekeeper records.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use reset_gatekeeper::audit::{AuditSink, JsonLines, segments, verify};
use reset_gatekeeper::testing::Registry;
use serde_json::Value;

use super::scene::{Receiver, SECRET, is_in_order, overtaken, records};
use crate::formats::{KEY, native_of};
use crate::serve::Sidecar;
use crate::stage::{client, many_kills};

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

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
        command.args(["serve", "--config"]).arg(self.path("gatekeeper.toml"));
        command.env_remove("RUST_LOG").env("GATEKEEPER_WEBHOOK_SECRET", SECRET).env("GATEKEEPER__ADMIN", "127.0.0.1:0");
        command
    }

    async fn start(&self, command: Command) -> Sidecar {
        Sidecar::start(command, &self.path("serve.log")).await
    }

    async fn serve(&self) -> Sidecar {
        self.start(self.command()).await
    }
}

/// The day in between passes in the state alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_passed_over_is_told_by_number_and_reference_and_counted() {
    let receiver = Receiver::start().await;
    let site = Site::open(&receiver).await;
    receiver.refuse(|body| (native_of(body)["seq"] == 1).then_some((422, "")));
    let sidecar = site.serve().await;
    assert_eq!(sidecar.reset("a0@example.com").await, 403);
    receiver.asked_again(2).await;
    assert!(std::fs::read_to_string(site.path("serve.log")).unwrap().contains("the webhook refuses a record"));
    drop(sidecar);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(site.path("state.db"));
    let state = sqlx::sqlite::SqlitePool::connect_with(options).await.unwrap();
    let yesterday = "UPDATE gatekeeper_deliveries SET refused_at = refused_at - 86400000000 WHERE refused_at IS NOT NULL";
    assert_eq!(sqlx::query(yesterday).execute(&state).await.unwrap().rows_affected(), 1);
    let sidecar = site.serve().await;
    assert_eq!(sidecar.reset("a0@example.com").await, 403);
    assert_eq!(receiver.until_taken(1).await, [2]);
    let log = std::fs::read_to_string(site.path("serve.log")).unwrap();
    let told = log.lines().find(|line| line.contains("never gets it")).unwrap();
    let reference = receiver.received()[0].record()["id"].as_str().unwrap().to_owned();
    assert!(told.contains("ERROR") && told.contains("seq=1") && told.contains(&reference) && told.contains("422"), "{told}");
    let metrics = sidecar.http.get(format!("{}/metrics", sidecar.admin)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("reset_gatekeeper_webhook_passed_over_total{why=\"refused\"} 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_more_files_than_may_be_open_is_delivered() {
    let receiver = Receiver::start().await;
    let site = Site::open(&receiver).await;
    let log = JsonLines::builder(site.path("audit.jsonl")).rotate_at(1).open().await.unwrap();
    for record in records(400, 5) {
        log.record(vec![record]).await.unwrap();
    }
    assert_eq!(segments(&site.path("audit.jsonl")).unwrap().len(), 400);
    let (serve, mut limited) = (site.command(), Command::new("sh"));
    limited.args(["-c", "ulimit -n 200 && exec \"$0\" \"$@\""]).arg(serve.get_program()).args(serve.get_args());
    limited.env_remove("RUST_LOG").envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let _sidecar = site.start(limited).await;
    receiver.until_taken(400).await;
    assert!(is_in_order(&receiver.received()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_each_kill_every_record_arrives() {
    killed(0..6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn however_often_it_is_killed_every_record_arrives() {
    killed(many_kills()).await;
}

/// kill -9 under load, again and again: what somebody was told of and whatever else is in the log arrives, in order for each account.
async fn killed(kills: impl Iterator<Item = usize>) {
    let receiver = Receiver::start().await;
    let site = Site::open(&receiver).await;
    let (http, mut killed, mut told) = (client(), 0, Vec::new());
    for kill in kills {
        let mut sidecar = site.serve().await;
        let callers: Vec<_> = (0..8).map(|account| tokio::spawn(references(http.clone(), sidecar.base.clone(), account))).collect();
        tokio::time::sleep(Duration::from_micros(RandomState::new().hash_one(kill) % 150_000)).await;
        sidecar.child.kill().unwrap(); // SIGKILL
        for caller in callers {
            told.extend(caller.await.unwrap());
        }
        killed += 1;
    }
    let _sidecar = site.serve().await;
    let count = usize::try_from(verify(site.path("audit.jsonl")).unwrap()).unwrap();
    let taken: BTreeSet<_> = receiver.until_taken(count).await.into_iter().collect();
    let received = receiver.received();
    let arrived: HashSet<_> = received.iter().map(|one| one.record()["id"].as_str().unwrap().to_owned()).collect();
    let (lost, overtaken) = (told.iter().filter(|reference| !arrived.contains(*reference)).count(), overtaken(&received));
    println!(
        "{killed} kills: {} told of a block, {count} recorded, {} delivered by {} requests, {lost} lost, {overtaken} overtaken",
        told.len(),
        taken.len(),
        received.len()
    );
    assert!(told.len() > killed, "hardly anybody was told");
    assert_eq!((lost, overtaken), (0, 0));
    assert_eq!(taken, (1..=count as u64).collect());
}

/// The references that the holder of `account` is told, who asks until nobody answers.
async fn references(http: reqwest::Client, base: String, account: usize) -> Vec<String> {
    let (url, email) = (format!("{base}/reset"), format!("a{account}@example.com"));
    let mut references = Vec::new();
    while let Ok(answer) = http.post(&url).form(&[("email", &email)]).send().await {
        let Ok(problem) = answer.json::<Value>().await else { break };
        references.push(problem["id"].as_str().unwrap().to_owned());
    }
    references
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
