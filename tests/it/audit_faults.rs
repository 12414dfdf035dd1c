//! The audit log of a running sidecar on a disk that is full, under a file that is moved or deleted, and killed again and again.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use reset_gatekeeper::audit::{log_files, verify};
use serde_json::Value;

use crate::serve::{COLUMNS, Place, Sidecar};
use crate::stage::client;

/// A site whose audit log is `file` in its folder.
async fn place(file: &str, more: &str) -> Place {
    let place = Place::open().await;
    let audit = format!("[audit]\nfile = \"{file}\"\n{more}");
    place.configure(&format!("email = \"{COLUMNS} lower(email) = lower($1)\""), "", &audit);
    place
}

fn prove(arguments: &[&str], file: &Path) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
    command.args(["audit", "verify"]).args(arguments).arg(file).output().unwrap().status.code()
}

/// A sidecar with a disk of 256 KiB of its own at `disk`. `None` where nobody may make one.
async fn serve_on_a_small_disk(place: &Place) -> Option<(Sidecar, PathBuf)> {
    let namespace = ["--user", "--map-root-user", "--mount"];
    if !Command::new("unshare").args(namespace).arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("no small disk can be made here");
        return None;
    }
    let disk = place.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let serve = place.command(&["serve"]);
    let mut command = Command::new("unshare");
    command.args(namespace).args(["sh", "-c", "mount -t tmpfs -o size=256k none \"$0\" && exec \"$@\""]).arg(&disk);
    command.arg(serve.get_program()).args(serve.get_args()).env_remove("RUST_LOG");
    let sidecar = place.start(command).await;
    // The disk is nowhere but where the sidecar sees it.
    let disk = PathBuf::from(format!("/proc/{}/root{}", sidecar.child.id(), disk.display()));
    Some((sidecar, disk))
}

/// Fills the disk to its last byte.
fn fill(disk: &Path) {
    let mut filler = std::fs::File::create(disk.join("filler")).unwrap();
    for size in [4096, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
}

/// Asks until not even a short record fits any more, and says how many were let through.
async fn let_through_until_full(sidecar: &Sidecar) -> usize {
    for count in 0..200 {
        match sidecar.reset("nobody@healthy.com").await {
            200 => {}
            503 => return count,
            other => panic!("{other}"),
        }
    }
    panic!("the disk never got full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_full_disk_answers_503_tears_nothing_and_is_over_by_itself() {
    let place = place("disk/audit.jsonl", "").await;
    let Some((sidecar, disk)) = serve_on_a_small_disk(&place).await else { return };
    let file = disk.join("audit.jsonl");
    let (mut passed, mut blocked) = (0, 0);
    for round in 0..3 {
        fill(&disk);
        passed += let_through_until_full(&sidecar).await;
        // Together and alone, known and unknown, blocked and allowed.
        for emails in [vec!["good@healthy.com"; 8], vec!["unverified@healthy.com"], vec!["nobody@healthy.com", "unverified@healthy.com"]] {
            let statuses = join_all(emails.into_iter().map(|email| sidecar.reset(email))).await;
            assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
        }
        assert_eq!(sidecar.page().await.0, 200, "only guarded requests");
        assert_eq!(prove(&["--archived"], &file), Some(0), "round {round}");

        if round == 1 {
            // Somebody makes room in a hurry.
            std::fs::remove_file(&file).unwrap();
        }
        std::fs::remove_file(disk.join("filler")).unwrap();
        assert_eq!(sidecar.reset("good@healthy.com").await, 200);
        assert_eq!(sidecar.reset("unverified@healthy.com").await, 403);
        (passed, blocked) = (passed + 1, blocked + 1);
        assert_eq!(prove(&["--archived"], &file), Some(0), "round {round}");
        assert_eq!(prove(&[], &file), Some(i32::from(round > 0)), "a log that was deleted lacks its beginning");
    }
    assert_eq!(place.mailed().len(), passed);
    let last = std::fs::read_to_string(&file).unwrap().lines().last().map(|line| serde_json::from_str::<Value>(line).unwrap()).unwrap();
    assert!(last["seq"].as_u64().unwrap() >= (passed + blocked) as u64);
}

/// As logrotate does it: move, and tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn at_sighup_the_log_is_opened_again() {
    let place = place("audit.jsonl", "").await;
    let mut sidecar = place.serve().await;
    let (file, moved) = (place.path("audit.jsonl"), place.path("audit.jsonl.1"));
    assert_eq!(sidecar.reset("good@healthy.com").await, 200);
    std::fs::rename(&file, &moved).unwrap();
    assert!(Command::new("kill").args(["-HUP", &sidecar.child.id().to_string()]).status().unwrap().success());
    for _ in 0..400 {
        if file.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(file.exists() && sidecar.child.try_wait().unwrap().is_none());
    assert_eq!(sidecar.reset("good@healthy.com").await, 200);
    let both = place.run(&["audit", "verify", file.to_str().unwrap(), moved.to_str().unwrap()]).await;
    assert_eq!(both.status.code(), Some(0), "{both:?}");
    assert!(String::from_utf8_lossy(&both.stdout).ends_with("audit.jsonl and the file before it: intact, 2 records\n"), "{both:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_log_is_rotated_as_the_configuration_says() {
    let place = place("audit.jsonl", "rotate_size = \"2KiB\"\nrotate_every = \"30d\"\n").await;
    let sidecar = place.serve().await;
    for _ in 0..10 {
        assert_eq!(sidecar.reset("good@healthy.com").await, 200);
    }
    assert!(log_files(&place.path("audit.jsonl")).unwrap().len() > 3);
    assert_eq!(verify(place.path("audit.jsonl")).unwrap(), 10);
}

/// A log that was deleted while nothing had it open can't pass for one that begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_deleted_log_shows_after_the_next_start() {
    let place = place("audit.jsonl", "").await;
    let mut sidecar = place.serve().await;
    assert_eq!(sidecar.reset("good@healthy.com").await, 200);
    assert!(Command::new("kill").arg(sidecar.child.id().to_string()).status().unwrap().success());
    tokio::task::spawn_blocking(move || sidecar.child.wait().unwrap()).await.unwrap();
    let file = place.path("audit.jsonl");
    std::fs::remove_file(&file).unwrap();
    let sidecar = place.serve().await;
    assert!(std::fs::read_to_string(place.path("serve.log")).unwrap().contains("records are missing"));
    assert_eq!(place.run(&["audit", "verify", file.to_str().unwrap()]).await.status.code(), Some(1));
    assert_eq!(sidecar.reset("good@healthy.com").await, 200);
    assert_eq!(place.run(&["audit", "verify", file.to_str().unwrap()]).await.status.code(), Some(1));
}

/// Two hundred times within a minute, or as often as `GATEKEEPER_KILLS` says for as long as that takes, under load and with a log that is rotated all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "takes a minute"]
async fn whenever_it_is_killed_each_answered_block_is_recorded_and_the_chain_is_whole() {
    let place = place("audit.jsonl", "rotate_size = \"64KiB\"\n").await;
    let file = place.path("audit.jsonl");
    let wanted: Option<usize> = std::env::var("GATEKEEPER_KILLS").ok().map(|kills| kills.parse().unwrap());
    let (start, mut kills) = (tokio::time::Instant::now(), 0);
    let (http, mut told, mut torn) = (client(), Vec::new(), 0);
    while kills < wanted.unwrap_or(200) && (wanted.is_some() || start.elapsed() < Duration::from_secs(60)) {
        let mut sidecar = place.serve().await;
        verify(&file).unwrap_or_else(|error| panic!("after {kills} kills: {error}"));
        let callers: Vec<_> = (0..16)
            .map(|_| {
                let (http, url) = (http.clone(), format!("{}/reset", sidecar.base));
                tokio::spawn(async move {
                    let mut references = Vec::new();
                    while let Ok(answer) = http.post(&url).form(&[("email", "unverified@healthy.com")]).send().await {
                        assert_eq!(answer.status(), 403);
                        let Ok(problem) = answer.json::<Value>().await else { break };
                        references.push(problem["id"].as_str().unwrap().to_owned());
                    }
                    references
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_micros(RandomState::new().hash_one(kills) % 150_000)).await;
        sidecar.child.kill().unwrap(); // SIGKILL
        for caller in callers {
            told.extend(caller.await.unwrap());
        }
        drop(sidecar);
        torn += usize::from(verify(&file).is_err());
        kills += 1;
    }
    drop(place.serve().await);
    verify(&file).unwrap();
    let mut recorded = std::collections::HashSet::new();
    for file in log_files(&file).unwrap() {
        for line in std::io::BufRead::lines(file.read().unwrap()) {
            let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
            recorded.insert(record["id"].as_str().unwrap().to_owned());
        }
    }
    let lost = told.iter().filter(|reference| !recorded.contains(*reference)).count();
    println!("{kills} kills: {} told of a block, {} recorded, {torn} lines torn and repaired", told.len(), recorded.len());
    assert!(told.len() > kills, "hardly anybody was told");
    assert_eq!(lost, 0);
}
