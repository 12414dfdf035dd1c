//! The sidecar, run as its user runs it: a configuration, an application with tables of its own, and a port.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{get, post};
use reset_gatekeeper::testing::{Fault, Registry, time};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use crate::stage::client;

const TABLES: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT, email TEXT, verified INTEGER, verified_at TEXT, why TEXT);
    INSERT INTO users VALUES
        (1, 'good', 'Good@Healthy.com', 1, '2020-01-01 00:00:00', NULL),
        (2, 'lapsed', 'lapsed@lapsed.com', 1, '2020-01-01 00:00:00', NULL),
        (3, 'unverified', 'unverified@healthy.com', 0, NULL, NULL),
        (4, 'again', 'again@again.com', 1, '2020-01-01 00:00:00', NULL);
";

pub(crate) const COLUMNS: &str = "SELECT id, email, verified, verified_at FROM users WHERE";

/// A site on disk: the application's database, the gate's configuration, and a registry that it asks.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    upstream: String,
    mailed: Arc<Mutex<Vec<String>>>,
    pub(crate) registry: Registry,
}

/// The sidecar, running. Killed when dropped.
pub(crate) struct Sidecar {
    pub(crate) child: Child,
    pub(crate) base: String,
    /// Where its admin listener is, if it has one.
    pub(crate) admin: String,
    pub(crate) http: reqwest::Client,
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn mail(State(mailed): State<Arc<Mutex<Vec<String>>>>, request: Request) -> String {
    let body = String::from_utf8(axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap();
    mailed.lock().unwrap().push(body.clone());
    format!("sent: {body}")
}

impl Place {
    pub(crate) async fn open() -> Self {
        let registry = Registry::start().await.unwrap();
        for domain in ["healthy.com", "lapsed.com"] {
            registry.register(domain, time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
        }
        registry.lapse("lapsed.com");
        registry.register("again.com", time("2024-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
        let mailed = Arc::<Mutex<Vec<String>>>::default();
        let app = Router::new().route("/reset", post(mail)).route("/page", get(|| async { "a page" })).with_state(Arc::clone(&mailed));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await });
        let place = Self { folder: tempfile::tempdir().unwrap(), upstream, mailed, registry };
        std::fs::write(place.path("dns.json"), place.registry.bootstrap_file()).unwrap();
        sqlx::raw_sql(TABLES).execute(&place.database().await).await.unwrap();
        place.configure(
            &format!("email = \"{COLUMNS} lower(email) = lower($1)\""),
            "unverify = \"UPDATE users SET verified = 0, why = $2 WHERE id = $1\"",
            "",
        );
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn database(&self) -> SqlitePool {
        let options = SqliteConnectOptions::new().filename(self.path("app.db")).create_if_missing(true);
        SqlitePool::connect_with(options).await.unwrap()
    }

    pub(crate) fn configure(&self, lookup: &str, directory: &str, more: &str) {
        let text = format!(
            r#"
listen = "127.0.0.1:0"
upstream = "{}"
timeout = "2s"
[reply]
mode = "refuse"
[[guard]]
path = "/reset"
target = "form:email"
[directory]
url = "sqlite:app.db"
{directory}
[directory.lookup]
{lookup}
[state]
url = "sqlite:state.db"
[domains]
sources = ["rdap"]
[domains.rdap]
bootstrap = "dns.json"
allow_insecure = true
{more}
"#,
            self.upstream
        );
        std::fs::write(self.path("gatekeeper.toml"), text).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
        command.args(arguments).arg("--config").arg(self.path("gatekeeper.toml")).env_remove("RUST_LOG");
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    pub(crate) async fn serve(&self) -> Sidecar {
        self.start(self.command(&["serve"])).await
    }

    pub(crate) async fn serve_with(&self, variables: &[(&str, &str)]) -> Sidecar {
        let mut command = self.command(&["serve"]);
        command.envs(variables.iter().copied());
        self.start(command).await
    }

    /// Starts `command`, which is to serve.
    pub(crate) async fn start(&self, command: Command) -> Sidecar {
        Sidecar::start(command, &self.path("serve.log")).await
    }

    pub(crate) fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("audit.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) async fn verified(&self, id: i64) -> i64 {
        sqlx::query_scalar("SELECT verified FROM users WHERE id = $1").bind(id).fetch_one(&self.database().await).await.unwrap()
    }

    pub(crate) fn mailed(&self) -> Vec<String> {
        std::mem::take(&mut *self.mailed.lock().unwrap())
    }
}

impl Sidecar {
    /// Starts `command`, which is to serve and to write its log to `log`, and waits until it listens.
    pub(crate) async fn start(mut command: Command, log: &Path) -> Self {
        let child = command.stderr(std::fs::File::create(log).unwrap()).stdout(Stdio::null()).spawn().unwrap();
        let mut sidecar = Self { child, base: String::new(), admin: String::new(), http: client() };
        for _ in 0..400 {
            let text = std::fs::read_to_string(log).unwrap();
            let told =
                |prefix: &str| text.split_inclusive('\n').find_map(|line| line.strip_prefix(prefix)?.strip_suffix('\n')).map(str::to_owned);
            if let Some(address) = told("listening on ") {
                sidecar.base = address;
                sidecar.admin = told("reset-gatekeeper: admin at ").unwrap_or_default();
                return sidecar;
            }
            assert!(sidecar.child.try_wait().unwrap().is_none(), "{text}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        unreachable!("it never listened: {}", std::fs::read_to_string(log).unwrap());
    }

    pub(crate) async fn reset(&self, email: &str) -> u16 {
        self.http.post(format!("{}/reset", self.base)).form(&[("email", email)]).send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn page(&self) -> (u16, String) {
        let answer = self.http.get(format!("{}/page", self.base)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_site_is_guarded_by_a_configuration_and_its_own_tables() {
    let place = Place::open().await;
    let sidecar = place.serve().await;
    assert_eq!(sidecar.page().await, (200, "a page".to_owned()));
    for (email, status) in [
        ("good@healthy.com", 200),
        ("nobody@healthy.com", 200),
        ("lapsed@lapsed.com", 403),
        ("unverified@healthy.com", 403),
        ("again@again.com", 403),
    ] {
        assert_eq!(sidecar.reset(email).await, status, "{email}");
    }
    assert_eq!(place.mailed(), ["email=good%40healthy.com", "email=nobody%40healthy.com"]);
    let reasons: Vec<_> = place.records().iter().map(|record| record["reasons"][0].as_str().unwrap_or("-").to_owned()).collect();
    assert_eq!(
        reasons,
        ["-", "-", "domain_redemption", "domain_redemption", "email_unverified", "domain_reregistered", "domain_reregistered"]
    );
    assert_eq!(place.records()[0]["request"]["client"], "127.0.0.1");
    // The application's own table says so, for good, and why.
    assert_eq!([place.verified(1).await, place.verified(2).await, place.verified(4).await], [1, 0, 0]);
    let why: String = sqlx::query_scalar("SELECT why FROM users WHERE id = 2").fetch_one(&place.database().await).await.unwrap();
    assert_eq!(why, "domain_redemption");
}

/// Applications without a flag of their own, or with one that also locks people out of logging in.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_a_query_an_un_verification_is_kept_in_the_state() {
    let place = Place::open().await;
    place.configure(&format!("email = \"{COLUMNS} lower(email) = lower($1)\""), "", "");
    let sidecar = place.serve().await;
    assert_eq!(sidecar.reset("lapsed@lapsed.com").await, 403);
    assert_eq!(place.verified(2).await, 1, "the application's table is left alone");
    drop(sidecar);

    // The domain is renewed, but whoever holds it now has to verify the address again.
    place.registry.register("lapsed.com", time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
    let sidecar = place.serve().await;
    assert_eq!(sidecar.reset("lapsed@lapsed.com").await, 403);
    assert_eq!(place.records().last().unwrap()["reasons"][0], "email_unverified");

    let output = place.run(&["verified", "LAPSED@lapsed.com"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "LAPSED@lapsed.com is verified as of now\n");
    assert_eq!(sidecar.reset("lapsed@lapsed.com").await, 200);
    let output = place.run(&["verified", "unverified@healthy.com"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("the directory itself says that it is not: resets stay blocked until it says so"), "{told}");
    assert_eq!(sidecar.reset("unverified@healthy.com").await, 403);
    assert_eq!(place.run(&["verified", "nobody@lapsed.com"]).await.status.code(), Some(1));
    assert_eq!(place.run(&["verified", "no address"]).await.status.code(), Some(2));
}

/// What is wrong shows before the port opens, and says where.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_directory_that_cannot_work_is_told_before_the_port_opens() {
    let place = Place::open().await;
    let good = format!("email = \"{COLUMNS} lower(email) = lower($1)\"");
    let page = "page = \"SELECT id, email, verified, verified_at FROM users WHERE id > $1 ORDER BY id LIMIT $2\"";
    for (lookup, directory, told) in [
        ("email = \"SELEC id FROM users\"", "", "lookup.email"),
        ("email = \"SELECT id, email, verified, verified_at FROM nowhere WHERE email = $1\"", "", "lookup.email"),
        ("email = \"SELECT id, email, verified FROM users WHERE email = $1\"", "", "verified_at"),
        ("email = \"SELECT id, email, verified, verified_at FROM users\"", "", "lookup.email"),
        (good.as_str(), "unverify = \"UPDATE users SET verified = 0\"", "unverify"),
        (good.as_str(), "page = \"SELECT id FROM users WHERE id > $1 LIMIT $2\"", "page"),
    ] {
        place.configure(lookup, directory, "");
        let output = place.run(&["serve"]).await;
        assert_eq!(output.status.code(), Some(2), "{lookup} {directory}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(told) && !said.contains("listening"), "{told}: {said}");
        assert!(said.contains("gatekeeper.toml:1") && said.contains("`directory."), "with file, line and key: {said}");
    }
    sqlx::query("UPDATE users SET verified_at = 'yesterday' WHERE id = 1").execute(&place.database().await).await.unwrap();
    place.configure(&good, page, "");
    let said = place.run(&["serve"]).await;
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&said.stderr).contains("column `verified_at`"), "{said:?}");

    std::fs::remove_file(place.path("app.db")).unwrap();
    place.configure(&good, "", "");
    assert_eq!(place.run(&["serve"]).await.status.code(), Some(2));
    assert!(!Path::new(&place.path("app.db")).exists(), "an application's database is never created");
}

/// Directory failing: 503 with problem details for guarded requests, others untouched.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_directory_that_fails_later_stops_guarded_requests_only() {
    let place = Place::open().await;
    let sidecar = place.serve().await;
    sqlx::query("ALTER TABLE users RENAME TO people").execute(&place.database().await).await.unwrap();
    let answer = sidecar.http.post(format!("{}/reset", sidecar.base)).form(&[("email", "good@healthy.com")]).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(sidecar.page().await.0, 200);
    assert!(place.mailed().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_application_that_is_gone_is_told_as_such() {
    let place = Place::open().await;
    place.configure(&format!("email = \"{COLUMNS} lower(email) = lower($1)\""), "", "");
    let text = std::fs::read_to_string(place.path("gatekeeper.toml")).unwrap();
    std::fs::write(place.path("gatekeeper.toml"), text.replace(&place.upstream, "http://127.0.0.1:1")).unwrap();
    let sidecar = place.serve().await;
    let answer = sidecar.http.get(format!("{}/page", sidecar.base)).send().await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
}

/// INTERFACE §1: drains and stops on SIGTERM, with exit status 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn it_stops_when_it_is_told_to() {
    let place = Place::open().await;
    for signal in ["-TERM", "-INT"] {
        let mut sidecar = place.serve().await;
        assert_eq!(sidecar.page().await.0, 200);
        let kill = Command::new("kill").args([signal, &sidecar.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let status = tokio::task::spawn_blocking(move || sidecar.child.wait().unwrap()).await.unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_log_is_read_back() {
    let place = Place::open().await;
    let sidecar = place.serve().await;
    for email in ["good@healthy.com", "lapsed@lapsed.com", "unverified@healthy.com"] {
        sidecar.reset(email).await;
    }
    let log = place.path("audit.jsonl").display().to_string();
    let show = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper")).args(["audit", "show", &log]).args(more).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(show(&[]).lines().count(), 4);
    assert_eq!(show(&["--account", "GOOD@healthy.com"]).lines().count(), 1);
    assert_eq!(show(&["--account", "2"]).lines().count(), 2);
    assert!(show(&["--domain", "lapsed.com"]).lines().all(|line| line.contains("domain_redemption")));
    assert_eq!(show(&["--since", "2099-01-01T00:00:00Z"]), "");
    let records = std::fs::read_to_string(&log).unwrap();
    assert_eq!(show(&["--json"]), records);

    let verify = |file: &str| Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper")).args(["audit", "verify", file]).output().unwrap();
    assert_eq!(verify(&log).status.code(), Some(0));
    let forged = place.path("forged.jsonl").display().to_string();
    std::fs::write(&forged, records.replacen("Good", "Evil", 1)).unwrap();
    let output = verify(&forged);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("forged.jsonl:1: "), "{output:?}");
    assert_eq!(verify("nowhere.jsonl").status.code(), Some(2));
}

/// INTERFACE §1: cutting whole lines off the end shows by the head that `[state]` keeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn lines_cut_off_the_end_of_the_log_show() {
    let place = Place::open().await;
    let mut sidecar = place.serve().await;
    for email in ["good@healthy.com", "nobody@healthy.com", "unverified@healthy.com"] {
        sidecar.reset(email).await;
    }
    assert!(Command::new("kill").arg(sidecar.child.id().to_string()).status().unwrap().success());
    tokio::task::spawn_blocking(move || sidecar.child.wait().unwrap()).await.unwrap();
    let log = place.path("audit.jsonl").display().to_string();
    assert_eq!(place.run(&["audit", "verify", &log]).await.status.code(), Some(0));

    let records = std::fs::read_to_string(&log).unwrap();
    let cut = records.trim_end().rfind('\n').unwrap() + 1;
    std::fs::write(&log, &records[..cut]).unwrap();
    for _ in 0..2 {
        let output = place.run(&["audit", "verify", &log]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("audit.jsonl:3: records are missing"), "{output:?}");
        // It still shows after the next start.
        drop(place.serve().await);
    }
    assert!(std::fs::read_to_string(place.path("serve.log")).unwrap().contains("records are missing"));
}

/// Programs read ` 42`, `042`, `4_2` and `４２` as 42; the gate must not take them for nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_in_another_form_than_the_directorys_is_refused() {
    let place = Place::open().await;
    let lookups = format!("email = \"{COLUMNS} email = $1\"\nid = \"{COLUMNS} id = $1\"");
    place.configure(&lookups, "", "[[guard]]\npath = \"/confirm\"\ntarget = \"query:uid\"\nidentifies = \"id\"\nmethods = [\"GET\"]\n");
    let sidecar = place.serve().await;
    let confirm = async |id: &str| {
        let answer = sidecar.http.get(format!("{}/confirm?uid={id}", sidecar.base)).send().await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(confirm("1").await, 404, "the application has no such page, and was asked");
    assert_eq!(confirm("99").await, 404);
    assert_eq!(confirm("2").await, 403);
    for id in ["02", "%2B2", "0_2", "%EF%BC%92", "2.0", "0x2", "x"] {
        assert_eq!(confirm(id).await, 403, "{id}");
        assert_eq!(place.records().last().unwrap()["reasons"][0], "target_invalid");
    }
}

/// A whole site must not be down because the list of registries can't be had: only who can't be judged is blocked, and not for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn it_starts_without_the_list_of_registries() {
    let place = Place::open().await;
    place.registry.fault(Fault::Status(503, None));
    let text = std::fs::read_to_string(place.path("gatekeeper.toml")).unwrap();
    let text = text.replace("\"dns.json\"", &format!("\"{}\"", place.registry.bootstrap_url()));
    std::fs::write(place.path("gatekeeper.toml"), text).unwrap();
    let sidecar = place.serve().await;
    assert_eq!(sidecar.page().await.0, 200);
    assert_eq!(sidecar.reset("good@healthy.com").await, 403);
    assert_eq!(place.records().last().unwrap()["reasons"][0], "domain_unknown");
    place.registry.fault(None);
    for _ in 0..300 {
        if sidecar.reset("good@healthy.com").await == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    unreachable!("it never looked again");
}
