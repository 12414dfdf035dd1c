//! The files of an audit log: rotated by size and age, moved by others, gone and back; and one chain through all of them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures_util::future::{join, join_all};
use reset_gatekeeper::audit::{AuditError, AuditSink, Head, JsonLines, JsonLinesBuilder, Record, Verifier, VerifyError, segments, verify};
use reset_gatekeeper::testing::time;

use crate::stage::NOW;

const DAY: Duration = Duration::from_secs(86_400);

/// A record of `time`.
pub(crate) fn record(time: SystemTime) -> Record {
    let record = serde_json::json!({
        "id": "019b0000-0000-7000-8000-000000000000", "time": "2026-01-31T12:00:00Z", "event": "reset_blocked", "verdict": "block", "enforced": true,
        "reasons": ["email_unverified"], "account": {"id": "42", "email": "a@example.com", "verified": false, "verified_at": null}, "domain": null,
        "request": {"method": "POST", "path": "/reset", "client": "203.0.113.7", "trace_id": null},
    });
    let mut record: Record = serde_json::from_value(record).unwrap();
    record.time = time;
    record
}

pub(crate) async fn keep(log: &JsonLines, count: usize) {
    for _ in 0..count {
        log.record(vec![record(time(NOW))]).await.unwrap();
    }
}

/// A log in a folder of its own.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path("audit.jsonl")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn log(&self) -> JsonLinesBuilder {
        JsonLines::builder(self.file())
    }

    fn move_to(&self, name: &str) -> PathBuf {
        let away = self.path(name);
        std::fs::rename(self.file(), &away).unwrap();
        away
    }

    fn segments(&self) -> Vec<PathBuf> {
        segments(&self.file()).unwrap()
    }
}

fn seqs(file: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(file).unwrap();
    let seq = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap();
    text.lines().map(seq).collect()
}

/// How many records the chain has that `files` make.
fn proven(files: &[PathBuf]) -> u64 {
    let outcomes = Verifier::new().verify(files);
    let [Ok(intact)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!((intact.first, intact.files.len()), (1, files.len()));
    intact.records()
}

fn is_damaged(kept: &Result<(), AuditError>) -> bool {
    matches!(kept, Err(AuditError::Damaged { .. }))
}

#[tokio::test]
async fn a_file_that_would_grow_too_large_is_rotated_and_the_chain_runs_on() {
    let place = Place::new();
    let log = place.log().rotate_at(2_000).open().await.unwrap();
    keep(&log, 20).await;
    log.record(vec![record(time(NOW)); 10]).await.unwrap();
    keep(&log, 1).await;
    drop(log);
    let log = place.log().rotate_at(2_000).open().await.unwrap();
    keep(&log, 9).await;

    let files = place.segments();
    assert!(files.len() > 8, "{files:?}");
    for file in &files {
        let (seqs, length) = (seqs(file), file.metadata().unwrap().len());
        assert!(length <= 2_000 || seqs == (21..=30).collect::<Vec<_>>(), "what is kept together stays together: {length} {seqs:?}");
        if *file != place.file() {
            assert!(file.to_str().unwrap().ends_with(&format!("audit.jsonl.{:020}", seqs[0])), "{file:?}");
        }
    }
    assert_eq!(verify(place.file()).unwrap(), 40);
    assert_eq!(proven(&files), 40);
}

#[tokio::test]
async fn a_file_whose_first_record_is_too_old_is_rotated() {
    let place = Place::new();
    let start = time(NOW);
    let mut files = Vec::new();
    for at in [start, start + DAY / 2, start + DAY - Duration::from_secs(1), start + DAY, start + DAY / 2, start + DAY * 2, start + DAY * 9]
    {
        // Anew each time: the age is that of the records, not of who writes them.
        let log = place.log().rotate_every(DAY).open().await.unwrap();
        log.record(vec![record(at)]).await.unwrap();
        files.push(place.segments().len());
    }
    assert_eq!(files, [1, 1, 1, 2, 2, 3, 4]);
    assert_eq!(verify(place.file()).unwrap(), 7);
}

/// A file is locked for each open handle, so two logs in one process are as two processes.
#[tokio::test]
async fn several_writers_rotate_one_log_and_it_is_whole_whenever_it_is_read() {
    let place = Place::new();
    let logs = [place.log().rotate_at(4_000).open().await.unwrap(), place.log().rotate_at(9_000).open().await.unwrap()];
    let writes = logs.map(|log| {
        tokio::spawn(async move {
            for _ in 0..60 {
                let kept = join_all((0..5).map(|_| log.record(vec![record(time(NOW)); 2]))).await;
                kept.into_iter().for_each(Result::unwrap);
            }
        })
    });
    let [one, other] = writes;
    let mut looks = 0;
    while !one.is_finished() || !other.is_finished() {
        verify(place.file()).unwrap();
        looks += 1;
        tokio::task::yield_now().await;
    }
    let (one, other) = join(one, other).await;
    one.unwrap();
    other.unwrap();
    assert_eq!(verify(place.file()).unwrap(), 1_200);
    assert!(place.segments().len() > 60 && looks > 5, "{} files, {looks} looks", place.segments().len());
}

#[tokio::test]
async fn a_writer_that_rested_goes_through_all_that_was_rotated_meanwhile() {
    let place = Place::new();
    let resting = place.log().open().await.unwrap();
    keep(&resting, 3).await;
    let busy = place.log().rotate_at(2_000).open().await.unwrap();
    keep(&busy, 30).await;
    keep(&resting, 1).await;
    assert_eq!(resting.heads().borrow().seq, 34);
    keep(&busy, 1).await;
    assert_eq!(verify(place.file()).unwrap(), 35);
}

/// Between the renaming and the first line of the next file there are two moments at which a process may be killed.
#[tokio::test]
async fn a_crash_in_the_middle_of_a_rotation_leaves_the_chain_whole() {
    for is_created in [false, true] {
        let place = Place::new();
        let running = place.log().open().await.unwrap();
        keep(&running, 3).await;
        let away = place.move_to("audit.jsonl.00000000000000000001");
        if is_created {
            std::fs::write(place.file(), "").unwrap();
        }
        assert_eq!(verify(place.file()).unwrap(), 3);
        let log = place.log().open().await.unwrap();
        keep(&log, 2).await;
        keep(&running, 2).await;
        assert_eq!(seqs(&place.file()), [4, 5, 6, 7]);
        assert_eq!(proven(&[away, place.file()]), 7);
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_rotated_grows_on() {
    let place = Place::new();
    std::fs::write(place.path("audit.jsonl.00000000000000000001"), "notes of somebody").unwrap();
    let log = place.log().rotate_at(1_000).open().await;
    assert!(matches!(log, Err(AuditError::Damaged { .. })), "what it goes on after is no record");
    std::fs::remove_file(place.path("audit.jsonl.00000000000000000001")).unwrap();

    let log = place.log().rotate_at(1_000).open().await.unwrap();
    std::fs::write(place.path("audit.jsonl.00000000000000000001"), "notes of somebody").unwrap();
    keep(&log, 5).await;
    assert_eq!(seqs(&place.file()), [1, 2, 3, 4, 5]);
    std::fs::remove_file(place.path("audit.jsonl.00000000000000000001")).unwrap();
    keep(&log, 1).await;
    assert_eq!(seqs(&place.file()), [6]);
    assert_eq!(verify(place.file()).unwrap(), 6);
}

/// By logrotate, or by hand, with any name.
#[tokio::test]
async fn a_file_that_somebody_moves_is_followed_by_a_new_one() {
    let place = Place::new();
    let logs = [place.log().open().await.unwrap(), place.log().open().await.unwrap()];
    let mut moved = Vec::new();
    for name in ["old.2", "old.1"] {
        for log in &logs {
            keep(log, 2).await;
        }
        moved.push(place.move_to(name));
        logs[0].reopen().await.unwrap();
        assert_eq!(place.file().metadata().unwrap().len(), 0, "it is there from when it is opened again");
        logs[1].reopen().await.unwrap();
    }
    for log in &logs {
        keep(log, 1).await;
    }
    moved.push(place.file());
    assert_eq!(proven(&moved), 10);
    assert!(matches!(verify(place.file()), Err(VerifyError::Broken { line: 1, .. })), "by itself it lacks its beginning");
}

/// The first is closed in good order; of the second nobody kept anything.
#[tokio::test]
async fn a_log_goes_on_after_a_restart_from_what_is_known_of_its_end() {
    let place = Place::new();
    let log = place.log().open().await.unwrap();
    keep(&log, 4).await;
    let head = log.heads().borrow().clone();
    drop(log);
    let moved = place.move_to("old");
    let log = place.log().known_head(head).open().await.unwrap();
    keep(&log, 2).await;
    drop(log);
    assert_eq!(proven(&[moved, place.file()]), 6);

    let stale = Head::new(2, "ab".repeat(32));
    let log = place.log().known_head(stale).open().await.unwrap();
    keep(&log, 1).await;
    assert_eq!(seqs(&place.file()), [5, 6, 7], "what stands in the file counts");
}

#[tokio::test]
async fn a_log_that_is_deleted_goes_on_and_shows_that_records_are_missing() {
    let place = Place::new();
    let log = place.log().open().await.unwrap();
    keep(&log, 4).await;
    std::fs::remove_file(place.file()).unwrap();
    keep(&log, 1).await;
    assert_eq!(seqs(&place.file()), [5]);
    assert!(matches!(verify(place.file()), Err(VerifyError::Broken { line: 1, .. })));
}

#[tokio::test]
async fn nothing_is_added_to_another_file_in_the_logs_place() {
    let place = Place::new();
    let log = place.log().open().await.unwrap();
    keep(&log, 4).await;
    let other = JsonLines::open(place.path("other.jsonl")).await.unwrap();
    other.record(vec![record(SystemTime::UNIX_EPOCH); 9]).await.unwrap();
    let whole = place.move_to("whole");
    for foreign in ["these are notes\n".into(), std::fs::read(place.path("other.jsonl")).unwrap()] {
        std::fs::write(place.file(), &foreign).unwrap();
        assert!(is_damaged(&log.record(vec![record(time(NOW))]).await));
        assert!(is_damaged(&log.reopen().await));
        assert_eq!(std::fs::read(place.file()).unwrap(), foreign);
        std::fs::remove_file(place.file()).unwrap();
    }
    // A copy of it, as an editor or a backup leaves it, is the log.
    std::fs::copy(whole, place.file()).unwrap();
    keep(&log, 1).await;
    assert_eq!(verify(place.file()).unwrap(), 5);
}

#[tokio::test]
async fn a_folder_that_is_gone_keeps_nothing_until_it_is_back() {
    let place = Place::new();
    let (folder, away, file) = (place.path("log"), place.path("away"), place.path("log/audit.jsonl"));
    std::fs::create_dir(&folder).unwrap();
    let log = JsonLines::open(&file).await.unwrap();
    keep(&log, 2).await;
    std::fs::rename(&folder, &away).unwrap();
    for _ in 0..2 {
        let kept = log.record(vec![record(time(NOW))]).await;
        assert!(matches!(kept, Err(AuditError::Io { .. })), "{kept:?}");
    }
    std::fs::write(&folder, "no folder").unwrap();
    assert!(log.record(vec![record(time(NOW))]).await.is_err());
    std::fs::remove_file(&folder).unwrap();

    std::fs::rename(&away, &folder).unwrap();
    keep(&log, 1).await;
    assert_eq!(verify(&file).unwrap(), 3);
    std::fs::rename(&folder, &away).unwrap();
    std::fs::create_dir(&folder).unwrap();
    keep(&log, 1).await;
    assert_eq!(proven(&[away.join("audit.jsonl"), file]), 4);
}

/// Its process was killed in the middle of a line, and somebody moved the file before the next began.
#[tokio::test]
async fn a_torn_line_is_repaired_in_a_file_that_was_moved_too() {
    let place = Place::new();
    let log = place.log().open().await.unwrap();
    keep(&log, 2).await;
    let moved = place.move_to("old");
    std::fs::OpenOptions::new().append(true).open(&moved).unwrap().write_all(b"{\"id\":\"0").unwrap();
    keep(&log, 1).await;
    assert_eq!(proven(&[moved, place.file()]), 3);
}
