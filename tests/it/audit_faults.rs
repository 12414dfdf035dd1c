//! The audit log of a running sidecar on a disk that is full or read-only, without permission, under a file that is moved or deleted, and killed again and again.

use std::fs::Permissions;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use reset_gatekeeper::audit::{Intact, Verifier, log_files, verify};
use serde_json::Value;

use crate::serve::{COLUMNS, Place, Sidecar};
use crate::stage::{client, many_kills};

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

/// Says what can't be tested here, and that also where what tests print is held back.
#[expect(clippy::explicit_write, reason = "what the macro prints is what is held back")]
fn untested(what: &str) {
    writeln!(std::io::stderr(), "NOT TESTED, for want of rights or programs: {what}").unwrap();
}

/// A sidecar with a disk of its own at `disk`, for which `mount` is run, in namespaces of its own. `None` where nobody may.
async fn serve_on_a_disk(place: &Place, namespaces: &[&str], mount: &str) -> Option<(Sidecar, Disk)> {
    let path = place.path("disk");
    std::fs::create_dir(&path).unwrap();
    let sh = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(namespaces).args(["sh", "-c", script]).arg(&path);
        command
    };
    if !sh(mount).status().is_ok_and(|status| status.success()) {
        return None;
    }
    let serve = place.command(&["serve"]);
    let mut command = sh(&format!("{mount} && exec \"$@\""));
    command.arg(serve.get_program()).args(serve.get_args()).env_remove("RUST_LOG").env("GATEKEEPER__ADMIN", "127.0.0.1:0");
    let sidecar = place.start(command).await;
    let process = sidecar.child.id();
    // It is nowhere but where the sidecar sees it.
    let seen = PathBuf::from(format!("/proc/{process}/root{}", path.display()));
    Some((sidecar, Disk { process, path, seen }))
}

/// The disk of a sidecar.
struct Disk {
    process: u32,
    path: PathBuf,
    /// Where others see it.
    seen: PathBuf,
}

impl Disk {
    /// Runs `script` where the disk is its `$0`.
    fn run(&self, script: &str) {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.process.to_string(), "sh", "-c", script]).arg(&self.path);
        assert!(command.status().unwrap().success(), "{script}");
    }
}

/// Waits until /readyz says so, which gives an answer again for a second. Nobody else asks for anything meanwhile.
async fn until_ready(sidecar: &Sidecar, is_ready: bool) {
    for _ in 0..200 {
        let answer = sidecar.http.get(format!("{}/readyz", sidecar.admin)).send().await.unwrap();
        if answer.status().is_success() == is_ready {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never {}ready", if is_ready { "" } else { "un" });
}

/// Whatever is to be recorded is refused, and nothing else.
async fn assert_nothing_is_recorded(sidecar: &Sidecar) {
    // Together and alone, known and unknown, blocked and allowed.
    for emails in [vec!["good@healthy.com"; 8], vec!["unverified@healthy.com"], vec!["nobody@healthy.com", "unverified@healthy.com"]] {
        let statuses = join_all(emails.into_iter().map(|email| sidecar.reset(email))).await;
        assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
    }
    assert_eq!(sidecar.page().await.0, 200, "only guarded requests");
    until_ready(sidecar, false).await;
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
    let namespaces = ["--user", "--map-root-user", "--mount"];
    let Some((sidecar, disk)) = serve_on_a_disk(&place, &namespaces, "mount -t tmpfs -o size=256k none \"$0\"").await else {
        return untested("a full disk");
    };
    let (disk, file) = (disk.seen.clone(), disk.seen.join("audit.jsonl"));
    let (mut passed, mut blocked) = (0, 0);
    for round in 0..3 {
        fill(&disk);
        passed += let_through_until_full(&sidecar).await;
        assert_nothing_is_recorded(&sidecar).await;
        assert_eq!(prove(&["--archived"], &file), Some(0), "round {round}");

        if round == 1 {
            // Somebody makes room in a hurry.
            std::fs::remove_file(&file).unwrap();
        }
        std::fs::remove_file(disk.join("filler")).unwrap();
        until_ready(&sidecar, true).await;
        assert!(!disk.join("audit.jsonl.probe").exists());
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

/// As ext4 makes itself after an error of its disk, until somebody puts a sound one in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_file_system_that_became_read_only_answers_503_until_it_is_replaced() {
    let place = place("disk/audit.jsonl", "").await;
    let (image, copy) = (place.path("image"), place.path("copy"));
    std::fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    let is_made = Command::new("mkfs.ext4").arg("-q").arg(&image).status().is_ok_and(|status| status.success());
    let mount = format!("mount -o loop {} \"$0\"", image.display());
    let served = if is_made { serve_on_a_disk(&place, &["--mount"], &mount).await } else { None };
    let Some((sidecar, disk)) = served else { return untested("a file system that becomes read-only") };
    let file = disk.seen.join("audit.jsonl");
    assert_eq!(sidecar.reset("good@healthy.com").await, 200);
    assert_eq!(sidecar.reset("unverified@healthy.com").await, 403);
    disk.run("mount -o remount,abort \"$0\"");
    assert_nothing_is_recorded(&sidecar).await;
    assert_eq!(prove(&[], &file), Some(0));

    std::fs::copy(&image, &copy).unwrap();
    disk.run(&format!("umount --lazy \"$0\" && mount -o loop {} \"$0\"", copy.display()));
    until_ready(&sidecar, true).await;
    assert_eq!(sidecar.reset("good@healthy.com").await, 200);
    assert_eq!(sidecar.reset("unverified@healthy.com").await, 403);
    assert_eq!(verify(&file).unwrap(), 4);
    assert_eq!(place.mailed().len(), 2);
}

/// Nobody may do there what the sidecar has to. Without privileges, since root may do everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn permissions_that_are_lost_answer_503_until_they_are_back() {
    let place = place("log/audit.jsonl", "").await;
    let (folder, file, moved) = (place.path("log"), place.path("log/audit.jsonl"), place.path("moved.jsonl"));
    std::fs::create_dir(&folder).unwrap();
    let permit = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    if !Command::new("unshare").args(["--user", "true"]).status().is_ok_and(|status| status.success()) {
        return untested("permissions that are lost");
    }
    let serve = place.command(&["serve"]);
    let mut command = Command::new("unshare");
    command.arg("--user").arg(serve.get_program()).args(serve.get_args()).env_remove("RUST_LOG").env("GATEKEEPER__ADMIN", "127.0.0.1:0");
    let sidecar = place.start(command).await;
    assert_eq!(sidecar.reset("good@healthy.com").await, 200);

    // The file is open, so it goes on.
    permit(&file, 0o000);
    assert_eq!(sidecar.reset("good@healthy.com").await, 200);
    until_ready(&sidecar, true).await;
    permit(&file, 0o600);

    // Whether the log is still at its path can't be seen.
    permit(&folder, 0o000);
    assert_nothing_is_recorded(&sidecar).await;
    permit(&folder, 0o755);
    until_ready(&sidecar, true).await;
    assert_eq!(sidecar.reset("good@healthy.com").await, 200);

    // Somebody moves the log, and no other can be made.
    std::fs::rename(&file, &moved).unwrap();
    permit(&folder, 0o555);
    assert_nothing_is_recorded(&sidecar).await;
    permit(&folder, 0o755);
    until_ready(&sidecar, true).await;
    assert_eq!(sidecar.reset("unverified@healthy.com").await, 403);
    assert_eq!(place.mailed().len(), 3);
    let chains: Result<Vec<_>, _> = Verifier::new().verify(&[&file, &moved]).into_iter().collect();
    assert_eq!(chains.unwrap().iter().map(Intact::records).collect::<Vec<_>>(), [4]);
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

/// Under load and with a log that is rotated all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "takes a minute"]
async fn whenever_it_is_killed_each_answered_block_is_recorded_and_the_chain_is_whole() {
    let place = place("audit.jsonl", "rotate_size = \"64KiB\"\n").await;
    let file = place.path("audit.jsonl");
    let (http, mut kills, mut told, mut torn) = (client(), 0, Vec::new(), 0);
    for kill in many_kills() {
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
        tokio::time::sleep(Duration::from_micros(RandomState::new().hash_one(kill) % 150_000)).await;
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
