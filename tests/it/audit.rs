//! The audit log in a file: what was answered as blocked is in it, whatever happens, and no change to it goes unseen.

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use reset_gatekeeper::account::{Account, MemoryDirectory};
use reset_gatekeeper::audit::{AuditError, JsonLines, VerifyError, read_log, verify};
use reset_gatekeeper::testing::{Registry, SetClock, time};
use reset_gatekeeper::{AssessError, Client, Gatekeeper, GatekeeperLayer, Guard, Reply, Target};
use serde_json::Value;

use crate::stage::{NOW, Stage, client};

/// A gatekeeper that logs to `file`, and blocks a@example.com.
async fn gatekeeper(registry: &Registry, file: &Path) -> Gatekeeper {
    gatekeeper_with(registry, JsonLines::open(file).await.unwrap()).await
}

async fn gatekeeper_with(registry: &Registry, log: JsonLines) -> Gatekeeper {
    let account =
        Account { id: "42".into(), email: "a@example.com".into(), verified: false, verified_at: Some(time("2021-05-04T00:00:00Z")) };
    Gatekeeper::builder()
        .directory(MemoryDirectory::from_iter([account]))
        .domains(registry.rdap().await.unwrap())
        .audit(log)
        .clock(SetClock::at(NOW))
        .build()
        .unwrap()
}

fn lines(file: &Path) -> Vec<Value> {
    std::fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_record_has_the_members_that_outsiders_rely_on() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await.unwrap());
    let file = folder.path().join("audit.jsonl");
    let layer = GatekeeperLayer::new(gatekeeper(&registry, &file).await, Reply::refuse())
        .guard(Guard::post("/reset/{email}").target(Target::path("email")));
    let app = axum::Router::new().fallback(|| async {}).layer(layer);
    let mut request = http::Request::post("/reset/a@example.com?x=1").body(axum::body::Body::empty()).unwrap();
    request.extensions_mut().insert(Client(IpAddr::from([203, 0, 113, 7])));
    let response = tower::ServiceExt::oneshot(app, request).await.unwrap();
    assert_eq!(response.status(), 403);

    let text = std::fs::read_to_string(&file).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    assert!(text.starts_with(r#"{"id":"01"#) && text.ends_with("\"}\n"));
    assert_eq!(record["time"], "2026-01-31T12:00:00Z");
    assert_eq!(record["event"], "reset_blocked");
    assert_eq!(record["verdict"], "block");
    assert_eq!(record["enforced"], true);
    assert_eq!(record["reasons"], serde_json::json!(["email_unverified"]));
    let account = serde_json::json!({"id": "42", "email": "a@example.com", "verified": false, "verified_at": "2021-05-04T00:00:00Z"});
    assert_eq!(record["account"], account);
    assert_eq!(record["domain"], Value::Null);
    let request = serde_json::json!({"method": "POST", "path": "/reset/a@example.com", "client": "203.0.113.7", "trace_id": null});
    assert_eq!(record["request"], request);
    assert_eq!(record["seq"], 1);
    assert_eq!(record["prev"], "0".repeat(64));
    assert_eq!(record["hash"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn the_chain_goes_on_after_a_restart_and_after_a_torn_last_line() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await.unwrap());
    let file = folder.path().join("audit.jsonl");
    for (round, torn) in ["", "{\"id\":\"0", "{", "\0\0\0\0"].into_iter().enumerate() {
        std::fs::OpenOptions::new().append(true).create(true).open(&file).unwrap().write_all(torn.as_bytes()).unwrap();
        let gatekeeper = gatekeeper(&registry, &file).await;
        join_all((0..10).map(|_| gatekeeper.assess("a@example.com"))).await;
        drop(gatekeeper);
        assert_eq!(verify(&file).unwrap(), 10 * (round as u64 + 1));
    }
    let seqs: Vec<u64> = lines(&file).iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=40).collect::<Vec<_>>());
}

fn append(file: &Path, bytes: &[u8]) {
    std::fs::OpenOptions::new().append(true).open(file).unwrap().write_all(bytes).unwrap();
}

/// A file is locked for each open handle, so two logs in one process are as two processes.
#[tokio::test]
async fn several_writers_of_one_file_make_one_chain() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await.unwrap());
    let file = folder.path().join("audit.jsonl");
    let logs = [JsonLines::open(&file).await.unwrap(), JsonLines::open(&file).await.unwrap()];
    let heads = logs.each_ref().map(JsonLines::heads);
    let writers = logs.map(async |log| {
        let gatekeeper = gatekeeper_with(&registry, log).await;
        for _ in 0..100 {
            for outcome in join_all((0..20).map(|_| gatekeeper.assess("a@example.com"))).await {
                assert!(!outcome.unwrap().is_allowed());
            }
        }
    });
    join_all(writers).await;
    assert_eq!(verify(&file).unwrap(), 4_000);
    let mut ends = heads.map(|head| head.borrow().seq);
    ends.sort_unstable();
    assert!(ends[0] > 2_000 && ends[1] == 4_000, "each goes on after what the other wrote: {ends:?}");
}

#[tokio::test]
async fn a_log_is_intact_while_others_write_it() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await.unwrap());
    let file = folder.path().join("audit.jsonl");
    let gatekeeper = gatekeeper(&registry, &file).await;
    let writes = tokio::spawn(async move {
        for _ in 0..20 {
            for outcome in join_all((0..50).map(|_| gatekeeper.assess("a@example.com"))).await {
                outcome.unwrap();
            }
        }
    });
    let mut looks = 0;
    while !writes.is_finished() {
        verify(&file).unwrap();
        looks += 1;
        tokio::task::yield_now().await;
    }
    writes.await.unwrap();
    assert!(looks > 10, "{looks}");
    assert_eq!(verify(&file).unwrap(), 1_000);
}

/// A writer that is slow: it holds the file locked in the middle of each line.
#[tokio::test]
async fn a_line_that_is_half_written_is_none_that_is_torn() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await.unwrap());
    let (file, slow) = (folder.path().join("audit.jsonl"), folder.path().join("slow.jsonl"));
    let gatekeeper = gatekeeper(&registry, &file).await;
    join_all((0..100).map(|_| gatekeeper.assess("a@example.com"))).await;
    std::fs::write(&slow, "").unwrap();
    let writes = std::thread::spawn({
        let (slow, whole) = (slow.clone(), std::fs::read(&file).unwrap());
        move || {
            let mut out = std::fs::OpenOptions::new().append(true).open(slow).unwrap();
            for line in whole.split_inclusive(|byte| *byte == b'\n') {
                out.lock().unwrap();
                for half in line.chunks(line.len() / 2 + 1) {
                    out.write_all(half).unwrap();
                    std::thread::sleep(Duration::from_millis(2));
                }
                out.unlock().unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    while !writes.is_finished() {
        verify(&slow).unwrap();
        assert!(read_log(&slow).unwrap().lines().all(|line| line.unwrap().ends_with('}')));
    }
    writes.join().unwrap();
    assert_eq!(verify(&slow).unwrap(), 100);
    append(&slow, b"{\"id\":\"0");
    assert!(matches!(verify(&slow), Err(VerifyError::Broken { line: 101, .. })), "nobody writes that line any more");
}

/// A log that is unpacked on its way has no length.
#[tokio::test]
async fn a_log_is_read_from_a_pipe() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await.unwrap());
    let (file, pipe) = (folder.path().join("audit.jsonl"), folder.path().join("pipe"));
    gatekeeper(&registry, &file).await.assess("a@example.com").await.unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writes = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::write(pipe, std::fs::read(file).unwrap()).unwrap()
    });
    assert_eq!(verify(&pipe).unwrap(), 1);
    writes.join().unwrap();
}

#[tokio::test]
async fn a_line_that_a_killed_writer_left_in_its_middle_is_repaired_by_the_next() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await.unwrap());
    let file = folder.path().join("audit.jsonl");
    let writers = [gatekeeper(&registry, &file).await, gatekeeper(&registry, &file).await];
    let mut kept = 0;
    for torn in ["", "{\"id\":\"0", "{", "\0\0"] {
        for writer in &writers {
            append(&file, torn.as_bytes());
            writer.assess("a@example.com").await.unwrap();
            kept += 1;
            assert_eq!(verify(&file).unwrap(), kept, "{torn}");
        }
    }
}

/// Nothing is added to what is no longer the log that it was.
#[tokio::test]
async fn a_log_that_others_damaged_keeps_nothing_until_it_is_whole_again() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await.unwrap());
    let (file, other) = (folder.path().join("audit.jsonl"), folder.path().join("other.jsonl"));
    let (gatekeeper, another) = (gatekeeper(&registry, &file).await, gatekeeper(&registry, &other).await);
    for _ in 0..3 {
        gatekeeper.assess("a@example.com").await.unwrap();
        join_all((0..4).map(|_| another.assess("a@example.com"))).await;
    }
    let (whole, longer) = (std::fs::read(&file).unwrap(), std::fs::read(&other).unwrap());
    let cut = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    let with = |end: &[u8]| [whole.as_slice(), end].concat();
    let half = with(&longer[..longer.len() / 2]);
    for damaged in [vec![], whole[..cut].to_vec(), longer, half, with(b"these are notes"), with(b"these are notes\n"), with(b"{\"a\":1}\n")]
    {
        std::fs::write(&file, &damaged).unwrap();
        let error = gatekeeper.assess("a@example.com").await.unwrap_err();
        assert!(matches!(error, AssessError::Audit(AuditError::Damaged { .. })), "{error:?}");
        assert_eq!(std::fs::read(&file).unwrap(), damaged);
    }
    std::fs::write(&file, &whole).unwrap();
    gatekeeper.assess("a@example.com").await.unwrap();
    assert_eq!(verify(&file).unwrap(), 4);
}

#[tokio::test]
async fn who_never_gets_the_file_keeps_nothing_and_says_so() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await.unwrap());
    let file = folder.path().join("audit.jsonl");
    let gatekeeper = gatekeeper(&registry, &file).await;
    let stuck = std::fs::File::open(&file).unwrap();
    stuck.lock().unwrap();
    let (opened, assessed) = futures_util::join!(JsonLines::open(&file), gatekeeper.assess("a@example.com"));
    assert!(matches!(opened, Err(AuditError::Io { .. })));
    assert!(matches!(assessed, Err(AssessError::Audit(AuditError::Io { .. }))), "{assessed:?}");
    drop(stuck);
    gatekeeper.assess("a@example.com").await.unwrap();
    assert_eq!(verify(&file).unwrap(), 1);
}

#[tokio::test]
async fn one_changed_byte_anywhere_shows() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await.unwrap());
    let file = folder.path().join("audit.jsonl");
    let gatekeeper = gatekeeper(&registry, &file).await;
    for _ in 0..3 {
        gatekeeper.assess("a@example.com").await.unwrap();
    }
    let intact = std::fs::read(&file).unwrap();
    let altered = folder.path().join("altered.jsonl");
    for at in 0..intact.len() {
        let mut bytes = intact.clone();
        bytes[at] ^= 1;
        std::fs::write(&altered, &bytes).unwrap();
        let line = 1 + intact[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        match verify(&altered) {
            Err(VerifyError::Broken { line: found, .. }) => assert!(found == line || found == line + 1, "byte {at}: {found}"),
            other => panic!("byte {at} of line {line}: {other:?}"),
        }
    }
    let lines: Vec<&[u8]> = intact.split_inclusive(|byte| *byte == b'\n').collect();
    for (order, bad) in [(vec![0, 2], 2), (vec![1, 0, 2], 1), (vec![0, 1, 1, 2], 3), (vec![1, 2], 1)] {
        std::fs::write(&altered, order.iter().map(|line| lines[*line]).collect::<Vec<_>>().concat()).unwrap();
        assert!(matches!(verify(&altered), Err(VerifyError::Broken { line, .. }) if line == bad), "{order:?}");
    }
    assert_eq!(verify(&file).unwrap(), 3);
    assert!(matches!(verify(folder.path().join("none")), Err(VerifyError::Unreadable { .. })));
}

#[tokio::test]
async fn a_file_that_is_no_audit_log_is_an_error_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    for text in ["these are notes", "these are notes\n", "{\"a\":1}\n", "{\"id\":\"1\",\"hash\":\"00\"}\n{\"id\":"] {
        std::fs::write(&file, text).unwrap();
        assert!(matches!(JsonLines::open(&file).await, Err(AuditError::Damaged { .. })), "{text}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
    assert!(JsonLines::open(folder.path()).await.is_err());
}

/// The example site as a process of its own.
struct Site {
    process: Child,
    /// Held open, or what the site prints would break it.
    _stdout: BufReader<ChildStdout>,
    base: String,
}

impl Site {
    fn start(data: &Path) -> Self {
        Self::run(Command::new(Self::example()), data)
    }

    /// Starts the site where no file may grow past `kibibytes`: writes fail as on a full disk.
    fn start_limited(data: &Path, kibibytes: u32) -> Self {
        let mut shell = Command::new("bash");
        shell.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {kibibytes}; exec \"$0\" \"$@\"")).arg(Self::example());
        Self::run(shell, data)
    }

    fn example() -> PathBuf {
        std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/axum")
    }

    fn run(mut command: Command, data: &Path) -> Self {
        command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("`cargo test` without a selection builds the example that this test runs");
        let (mut stdout, mut first) = (BufReader::new(process.stdout.take().unwrap()), String::new());
        stdout.read_line(&mut first).unwrap();
        let base = first.trim().rsplit(' ').next().unwrap().trim_end_matches('/').to_owned();
        Self { process, _stdout: stdout, base }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// kill -9 under load, while another process writes the same log: every caller that saw a block finds its record, and the chain is intact.
#[tokio::test]
async fn whoever_was_told_of_a_block_finds_its_record_after_a_kill() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await.unwrap());
    let file = folder.path().join("audit.jsonl");
    let other = gatekeeper(&registry, &file).await;
    let others = tokio::spawn(async move {
        for count in 1_u64.. {
            other.assess("a@example.com").await.unwrap();
            OTHERS.store(count, Ordering::SeqCst);
        }
    });
    static OTHERS: AtomicU64 = AtomicU64::new(0);
    let mut told = Vec::new();
    for round in 0..5 {
        let mut site = Site::start(folder.path());
        let blocked = Arc::new(tokio::sync::Semaphore::new(0));
        let callers: Vec<_> = (0..16)
            .map(|_| {
                let (http, url, blocked) = (client(), format!("{}/password-reset", site.base), Arc::clone(&blocked));
                tokio::spawn(async move {
                    let mut references = Vec::new();
                    while let Ok(response) = http.post(&url).form(&[("email", "bob@lapsed-shop.com")]).send().await {
                        assert_eq!(response.status(), 403);
                        let Ok(problem) = response.json::<Value>().await else { break };
                        references.push(problem["id"].as_str().unwrap().to_owned());
                        blocked.add_permits(1);
                    }
                    references
                })
            })
            .collect();
        let enough = tokio::time::timeout(Duration::from_secs(60), blocked.acquire_many(100 + 37 * round)).await;
        enough.expect("the site blocks nobody").unwrap().forget();
        site.process.kill().unwrap(); // SIGKILL
        for caller in callers {
            told.extend(caller.await.unwrap());
        }
        drop(site);
    }
    assert!(!others.is_finished(), "it was kept from writing");
    others.abort();
    let others = OTHERS.load(Ordering::SeqCst);
    drop(JsonLines::open(&file).await.unwrap()); // repairs a torn last line, as a restart does
    let records = lines(&file);
    assert!(others > 100 && records.iter().filter(|record| record["request"].is_null()).count() as u64 >= others);
    assert_eq!(verify(&file).unwrap(), records.len() as u64);
    let ids: std::collections::HashSet<&str> = records.iter().map(|record| record["id"].as_str().unwrap()).collect();
    assert!(told.len() > 500);
    assert!(told.iter().all(|reference| ids.contains(reference.as_str())), "{} told, {} recorded", told.len(), ids.len());
}

/// An audit write that fails blocks the reset, tears nothing, and is over when there is room again.
#[tokio::test]
async fn a_full_disk_lets_nothing_through_and_tears_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let ask = |site: &Site, email: &'static str| {
        let request = client().post(format!("{}/password-reset", site.base)).form(&[("email", email)]);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let site = Site::start_limited(folder.path(), 128);
    let mut statuses = Vec::new();
    while !statuses.contains(&503) {
        statuses.extend(join_all((0..32).map(|_| ask(&site, "bob@lapsed-shop.com"))).await);
        assert!(statuses.len() < 2000, "the limit never showed");
    }
    // A single record may still fit where a group did not. What can't be recorded is not let through either.
    statuses.push(ask(&site, "alice@example.com").await);
    while statuses.last() != Some(&503) {
        statuses.push(ask(&site, "alice@example.com").await);
        assert!(statuses.len() < 2500, "the limit never showed");
    }
    let told = statuses.iter().filter(|status| **status != 503).count();
    drop(site);
    let kept = verify(&file).unwrap();
    assert!(kept >= told as u64, "{told} were told, {kept} are recorded");

    let site = Site::start(folder.path());
    assert_eq!(ask(&site, "alice@example.com").await, 200);
    assert_eq!(ask(&site, "bob@lapsed-shop.com").await, 403);
    drop(site);
    assert_eq!(verify(&file).unwrap(), kept + 2);
}

/// A stranger chooses how long a path is, and no line may be so long that it can't be read back.
#[tokio::test]
async fn of_a_long_path_the_beginning_is_recorded() {
    let stage = Stage::open().await;
    let path = format!("/password-reset;{}", "@".repeat(10_000));
    let status = stage.http.post(stage.url(&path)).form(&[("email", "a@example.com")]).send().await.unwrap().status();
    let recorded = stage.audit.last().request.unwrap().path;
    assert!(recorded.len() < 2100 && recorded.starts_with("/password-reset;@") && recorded.ends_with('…'), "{status}: {recorded}");
}
