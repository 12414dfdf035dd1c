//! What the state keeps of the log's end: what was done to the log while nothing ran shows, and goes on to show.

use std::process::Command;

use reset_gatekeeper::audit::{AuditSink, Head, JsonLines, segments, still_holds, verify};
use reset_gatekeeper::testing::time;

use crate::audit_files::{Place, keep, record};
use crate::serve::{self, Sidecar};
use crate::stage::NOW;

async fn stop(mut sidecar: Sidecar) {
    assert!(Command::new("kill").arg(sidecar.child.id().to_string()).status().unwrap().success());
    tokio::task::spawn_blocking(move || sidecar.child.wait().unwrap()).await.unwrap();
}

/// Serves, has `resets` recorded, and says whether the log was missed anything in.
async fn is_alarmed(place: &serve::Place, resets: usize) -> bool {
    let sidecar = place.serve().await;
    for _ in 0..resets {
        assert_eq!(sidecar.reset("good@healthy.com").await, 200);
    }
    stop(sidecar).await;
    std::fs::read_to_string(place.path("serve.log")).unwrap().contains("records are missing")
}

/// How the command exits, and what it says.
async fn proven(place: &serve::Place, arguments: &[&str]) -> (Option<i32>, String) {
    let file = place.path("audit.jsonl");
    let output = place.run(&[&["audit", "verify", file.to_str().unwrap()], arguments].concat()).await;
    (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_log_that_was_rewritten_while_nothing_ran_shows_until_it_is_moved_away() {
    let place = serve::Place::open().await;
    let (file, forged) = (place.path("audit.jsonl"), place.path("forged.jsonl"));
    assert!(!is_alarmed(&place, 3).await);
    keep(&JsonLines::open(&forged).await.unwrap(), 5).await;
    std::fs::rename(&forged, &file).unwrap();
    for _ in 0..2 {
        assert!(is_alarmed(&place, 1).await);
        let (exit, said) = proven(&place, &[]).await;
        assert!(exit == Some(1) && said.ends_with("audit.jsonl:3: it is another record than the one that was kept\n"), "{said}");
    }
    assert_eq!(verify(&file).unwrap(), 7, "nobody is locked out");

    // Whoever looked into it puts it away.
    std::fs::rename(&file, place.path("evidence.jsonl")).unwrap();
    assert!(is_alarmed(&place, 1).await, "the log begins with its fourth record");
    assert!(!is_alarmed(&place, 1).await);
    let (exit, said) = proven(&place, &["--archived"]).await;
    assert!(exit == Some(0) && said.ends_with("audit.jsonl: intact, 2 records from number 4 on\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn lines_that_were_cut_off_show_also_after_the_log_has_grown_again() {
    let place = serve::Place::open().await;
    let file = place.path("audit.jsonl");
    assert!(!is_alarmed(&place, 3).await);
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, whole.split_inclusive('\n').next().unwrap()).unwrap();
    for _ in 0..2 {
        assert!(is_alarmed(&place, 4).await);
        assert_eq!(proven(&place, &[]).await.0, Some(1));
    }
}

/// Also where another wrote the log meanwhile who keeps no state, or the process was killed before the head was kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_log_that_went_on_is_no_alarm() {
    let place = serve::Place::open().await;
    assert!(!is_alarmed(&place, 3).await);
    keep(&JsonLines::builder(place.path("audit.jsonl")).rotate_at(2_000).open().await.unwrap(), 20).await;
    assert!(!is_alarmed(&place, 1).await);
    let (exit, said) = proven(&place, &[]).await;
    assert!(exit == Some(0) && said.ends_with(" files before it: intact, 24 records\n"), "{said}");
}

#[tokio::test]
async fn a_log_still_holds_what_it_ended_in_wherever_that_is_by_now() {
    let place = Place::new();
    let log = place.log().rotate_at(2_000).open().await.unwrap();
    let mut heads = vec![log.heads().borrow().clone()];
    for _ in 0..40 {
        log.record(vec![record(time(NOW))]).await.unwrap();
        heads.push(log.heads().borrow().clone());
    }
    let holds = |head: &Head| still_holds(&place.file(), head).unwrap();
    let other = |head: &Head| Head::new(head.seq, "f".repeat(64));
    for head in &heads {
        assert!(holds(head) && !holds(&other(head)), "{head:?}");
    }
    assert!(!holds(&Head::new(41, "f".repeat(64))), "it ends before");

    // The oldest files are moved elsewhere: what only they could tell is taken for granted.
    let files = segments(&place.file()).unwrap();
    files[..3].iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let name = files[3].to_str().unwrap();
    let first: usize = name[name.len() - 20..].parse().unwrap();
    for head in &heads[..first - 1] {
        assert!(holds(head) && holds(&other(head)), "{head:?}");
    }
    for head in &heads[first - 1..] {
        assert!(holds(head) && !holds(&other(head)), "{head:?}");
    }
    // But not what is missing in the middle.
    std::fs::remove_file(&files[5]).unwrap();
    let name = files[5].to_str().unwrap();
    let missing: usize = name[name.len() - 20..].parse().unwrap();
    assert!(holds(&heads[missing - 1]) && !holds(&heads[missing]));
}
