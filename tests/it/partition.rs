//! A replica that is cut off from the database in silence, as where packets are dropped on the way: nobody is told that a connection is gone.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reset_gatekeeper::audit::Event;
use reset_gatekeeper::testing::{Fault, Registry, SetClock, time};
use reset_gatekeeper::{Gatekeeper, State};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::postgres::{Schema, server};
use crate::serve::Sidecar;
use crate::stage::{Accounts, NOW, Recorder, VERIFIED, client};

/// How long a guarded request may take: the five seconds that are given to a directory, and what a busy machine adds.
const LIMIT: Duration = Duration::from_secs(8);

/// The way to the database. What was open when it is cut stays silent for ever, as where a router forgot it, and so does what is opened until it is mended.
struct Wire {
    port: u16,
    /// How often it was cut and mended: cut where that is odd.
    turns: watch::Sender<u32>,
}

impl Wire {
    async fn lay() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, (turns, turn)) = (listener.local_addr().unwrap().port(), watch::channel(0));
        tokio::spawn(pass_on(listener, turn));
        Self { port, turns }
    }

    fn turn(&self) {
        self.turns.send_modify(|turns| *turns += 1);
    }

    /// `url` by this way.
    fn url(&self, url: &str) -> String {
        let (rest, path) = url.split_once("@").unwrap();
        let (host, path) = path.split_once('/').unwrap();
        assert!(host.starts_with("127.0.0.1"), "the tests' server is on loopback: {host}");
        format!("{rest}@127.0.0.1:{}/{path}", self.port)
    }
}

/// The host and port in `url`.
fn address(url: &str) -> String {
    let host = url.split_once('@').unwrap().1.split(['/', '?']).next().unwrap();
    if host.contains(':') { host.to_owned() } else { format!("{host}:5432") }
}

async fn pass_on(listener: TcpListener, turns: watch::Receiver<u32>) {
    let address = address(&server());
    while let Ok((mut client, _)) = listener.accept().await {
        let (mut turns, address) = (turns.clone(), address.clone());
        tokio::spawn(async move {
            let turn = *turns.borrow_and_update();
            if turn % 2 == 0 {
                let mut server = TcpStream::connect(address).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                    _ = turns.changed() => {}
                }
                // Both ends stay open.
                std::future::pending::<()>().await;
            }
            std::future::pending::<()>().await;
        });
    }
}

/// An application with accounts in PostgreSQL, and a registry.
struct Site {
    registry: Registry,
    schema: Schema,
    folder: tempfile::TempDir,
    upstream: String,
}

impl Site {
    async fn open() -> Self {
        let (registry, mut schema) = (Registry::start().await.unwrap(), Schema::create().await);
        for domain in ["healthy.com", "lapsed.com", "lapses.com"] {
            registry.register(domain, time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
        }
        registry.lapse("lapsed.com");
        schema.run("CREATE TABLE users (id int PRIMARY KEY, email text, verified bool, verified_at timestamptz)").await;
        for (id, (email, verified)) in [
            ("good@healthy.com", true),
            ("again@healthy.com", false),
            ("a@lapsed.com", true),
            ("a@lapses.com", true),
            ("b@lapses.com", true),
        ]
        .into_iter()
        .enumerate()
        {
            schema.run(&format!("INSERT INTO users VALUES ({id}, '{email}', {verified}, '2020-01-01')")).await;
        }
        let app = axum::Router::new().fallback(|| async { "the application's answer" });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { registry, schema, folder: tempfile::tempdir().unwrap(), upstream }
    }

    /// A replica of which the directory and the state are at these addresses.
    async fn serve(&self, name: &str, directory: &str, state: &str) -> Replica {
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("dns.json"), self.registry.bootstrap_file()).unwrap();
        let config = format!(
            r#"
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
upstream = "{}"
[reply]
mode = "refuse"
[[guard]]
path = "/reset"
target = "form:email"
[directory]
url = "{directory}"
unverify = "UPDATE users SET verified = false WHERE id = $1"
[directory.lookup]
email = "SELECT id, email, verified, verified_at FROM users WHERE lower(email) = lower($1)"
[state]
url = "{state}"
[domains]
sources = ["rdap"]
[domains.rdap]
bootstrap = "dns.json"
allow_insecure = true
"#,
            self.upstream
        );
        std::fs::write(folder.join("gatekeeper.toml"), config).unwrap();
        let sidecar = Sidecar::start(command(&folder, &["serve"]), &folder.join("serve.log")).await;
        Replica { sidecar }
    }

    async fn verified(&self, name: &str, email: &str) {
        let mut command = command(&self.folder.path().join(name), &["verified", email]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
    command.args(arguments).arg("--config").arg(folder.join("gatekeeper.toml")).env_remove("RUST_LOG");
    command
}

struct Replica {
    sidecar: Sidecar,
}

impl Replica {
    /// The answers to resets that are asked for at once, none of which takes longer than it may.
    async fn resets<const N: usize>(&self, emails: [&str; N]) -> [u16; N] {
        let timed = emails.map(|email| async move {
            let start = Instant::now();
            let status = self.sidecar.reset(email).await;
            assert!(start.elapsed() < LIMIT, "{email}: {:?}", start.elapsed());
            status
        });
        join_all(timed).await.try_into().unwrap()
    }

    async fn is_ready(&self) -> bool {
        client().get(format!("{}/readyz", self.sidecar.admin)).send().await.unwrap().status().is_success()
    }

    /// How long it takes until the answer to a reset is `status`, at most `limit`.
    async fn until(&self, email: &str, status: u16, limit: Duration) -> Duration {
        let start = Instant::now();
        loop {
            let [answer] = self.resets([email]).await;
            if answer == status {
                return start.elapsed();
            }
            assert!(start.elapsed() < limit, "{email}: still {answer} after {:?}", start.elapsed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "takes a minute and a half: as long as a connection may be silent before it is tried"]
async fn a_replica_that_is_cut_off_lets_nobody_in_keeps_nobody_waiting_and_comes_back_by_itself() {
    let (mut site, wire) = (Site::open().await, Wire::lay().await);
    let url = site.schema.url.clone();
    let cut = site.serve("cut", &wire.url(&url), &wire.url(&url)).await;
    let well = site.serve("well", &url, &url).await;
    // All connections are in use, and what is known is in memory.
    assert_eq!(cut.resets(["good@healthy.com"; 16]).await, [200; 16]);
    assert_eq!(cut.resets(["a@lapses.com", "again@healthy.com"]).await, [200, 403]);
    assert_eq!(well.resets(["good@healthy.com", "a@lapses.com"]).await, [200, 200]);
    assert!(cut.is_ready().await && well.is_ready().await);

    wire.turn();
    let cut_at = Instant::now();
    let (there, here) = tokio::join!(
        cut.resets(["good@healthy.com", "a@lapsed.com", "a@lapses.com", "again@healthy.com", "nobody@healthy.com"]),
        well.resets(["good@healthy.com", "a@lapsed.com", "again@healthy.com", "nobody@healthy.com"]),
    );
    assert_eq!(there, [503; 5], "nobody knows whose account it is");
    assert_eq!(here, [200, 403, 403, 200], "the other one notices nothing");
    assert_eq!(cut.sidecar.page().await, (200, "the application's answer".to_owned()), "only guarded requests");
    assert!(!cut.is_ready().await && well.is_ready().await);

    // Meanwhile the other one finds a lapse, and is told of a verification.
    site.registry.lapse("lapses.com");
    site.verified("well", "a@lapses.com").await;
    well.until("a@lapses.com", 403, LIMIT).await;
    site.schema.run("UPDATE users SET verified = true, verified_at = now() WHERE email = 'again@healthy.com'").await;
    site.verified("well", "again@healthy.com").await;
    assert_eq!(well.resets(["again@healthy.com"]).await, [200]);

    wire.turn();
    let back = cut.until("good@healthy.com", 200, Duration::from_secs(10)).await;
    eprintln!("answers again {back:?} after the cut was mended");
    assert!(cut.is_ready().await);
    assert_eq!(cut.resets(["a@lapsed.com", "again@healthy.com"]).await, [403, 200], "what the other one did holds here");
    // It remembers that domain as healthy for an hour, but for the news that it missed.
    let caught_up = cut.until("b@lapses.com", 403, Duration::from_secs(80)).await;
    eprintln!("caught up with what it missed {caught_up:?} after it answered again, {:?} after the cut", cut_at.elapsed());
}

#[tokio::test]
async fn what_a_replica_looked_at_when_it_was_cut_off_another_looks_at_once_the_lease_is_over() {
    let (schema, wire, registry) = (Schema::create().await, Wire::lay().await, Registry::start().await.unwrap());
    let (clock, accounts, audit) = (SetClock::at(NOW), Arc::<Accounts>::default(), Arc::<Recorder>::default());
    registry.register("lapsed.com", time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    registry.lapse("lapsed.com");
    accounts.insert("a@lapsed.com", true, Some(VERIFIED));
    let replica = async |url: &str| {
        let builder = Gatekeeper::builder().directory(Arc::clone(&accounts)).domains(registry.rdap().await.unwrap());
        builder.audit(Arc::clone(&audit)).clock(clock.clone()).state(State::connect(url).await.unwrap()).build().unwrap()
    };
    let (cut, well) = (replica(&wire.url(&schema.url)).await, replica(&schema.url).await);

    registry.fault(Fault::Hang);
    let sweeping = tokio::spawn(async move { cut.sweep().await });
    while registry.questions("lapsed.com") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    wire.turn();
    registry.fault(None);
    let start = Instant::now();
    clock.advance(Duration::from_secs(61));
    let summary = tokio::time::timeout(Duration::from_secs(20), async { well.sweep().await }).await.unwrap().unwrap();
    eprintln!("the other one was done after {:?}", start.elapsed());
    assert_eq!((summary.domains, summary.unverified), (1, 1), "{summary:?}");
    assert!(!accounts.is_verified("a@lapsed.com").await);

    let ended = tokio::time::timeout(Duration::from_secs(90), sweeping).await.unwrap().unwrap();
    eprintln!("the one that was cut off gave up after {:?}", start.elapsed());
    assert!(ended.is_err(), "{ended:?}");
    let records = audit.records();
    assert_eq!(records.iter().filter(|record| record.event == Event::EmailUnverified).count(), 1);
}
