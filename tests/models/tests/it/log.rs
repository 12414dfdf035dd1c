//! The audit log: who is told that a record is kept finds it in the file, and who is told that it isn't, doesn't.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use reset_gatekeeper::audit::{AuditError, AuditSink, JsonLines, Record, log_files, still_holds, verify};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::check;

/// A folder in memory, where syncing costs nothing.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// A record that is told from others by `number`.
fn record(number: u64) -> Record {
    let record = json!({
        "id": format!("01920000-0000-7000-8000-{number:012}"), "time": "2026-01-31T12:00:00Z", "event": "reset_blocked", "verdict": "block",
        "enforced": true, "reasons": [], "account": null, "domain": null, "request": null,
    });
    serde_json::from_value(record).unwrap()
}

/// The numbers of the records in all files of the log, as they stand there.
fn numbers(file: &Path) -> Vec<u64> {
    let mut text = String::new();
    for file in log_files(file).unwrap() {
        File::open(file.path()).unwrap().read_to_string(&mut text).unwrap();
    }
    text.lines().map(|line| line[31..43].parse().unwrap()).collect()
}

/// Has `records` kept beside all others.
fn keep(log: &JsonLines, records: Vec<Record>) -> JoinHandle<Result<(), AuditError>> {
    let log = log.clone();
    tokio::spawn(async move { log.record(records).await })
}

fn run<F: Future<Output = ()>>(model: impl FnOnce(PathBuf) -> F) {
    let folder = folder();
    shuttle::future::block_on(model(folder.path().join("audit.jsonl")));
}

#[test]
fn a_record_is_in_the_file_when_its_caller_is_told_so_and_a_callers_records_stay_in_their_order() {
    check(|| {
        run(async |file| {
            let log = JsonLines::open(&file).await.unwrap();
            let writers = [1, 10, 20].map(|first| {
                let (log, file) = (log.clone(), file.clone());
                tokio::spawn(async move {
                    for number in [first, first + 2] {
                        log.record(vec![record(number), record(number + 1)]).await.unwrap();
                        let numbers = numbers(&file);
                        let place = numbers.iter().position(|kept| *kept == number).unwrap();
                        assert_eq!(numbers.get(place + 1), Some(&(number + 1)));
                        assert!(numbers.iter().position(|kept| *kept == first).unwrap() <= place);
                    }
                })
            });
            join_all(writers).await.into_iter().for_each(Result::unwrap);
            assert_eq!(verify(&file).unwrap(), 12);
        });
    });
}

#[test]
fn a_caller_who_gives_up_loses_no_record_of_others() {
    check(|| {
        run(async |file| {
            let log = JsonLines::open(&file).await.unwrap();
            let (gone, stays) = (keep(&log, vec![record(1)]), keep(&log, vec![record(2)]));
            let too = keep(&log, vec![record(3)]);
            gone.abort();
            tokio::task::yield_now().await;
            too.abort();
            stays.await.unwrap().unwrap();
            keep(&log, vec![record(4)]).await.unwrap().unwrap();
            let mut numbers = numbers(&file);
            assert_eq!(verify(&file).unwrap(), numbers.len() as u64);
            numbers.retain(|number| [2, 4].contains(number));
            assert_eq!(numbers, [2, 4]);
        });
    });
}

/// Whether each of `records` is in the file exactly where its caller was told so.
fn assert_told(file: &Path, told: &[(u64, Result<(), AuditError>)]) {
    let numbers = numbers(file);
    for (number, outcome) in told {
        let times = numbers.iter().filter(|kept| *kept == number).count();
        assert_eq!(times, usize::from(outcome.is_ok()), "record {number}, of which was told {outcome:?}");
    }
}

#[test]
fn a_group_that_fails_is_told_so_as_a_whole_and_no_other_is() {
    check(|| {
        run(async |file| {
            let log = JsonLines::open(&file).await.unwrap();
            let writers = [1, 2, 3, 4].map(|number| keep(&log, vec![record(number)]));
            let (away, foreign) = (file.with_extension("away"), file.clone());
            // For a while there is a file in its place to which nothing may be added.
            let meddler = tokio::spawn(async move {
                std::fs::rename(&foreign, &away).unwrap();
                std::fs::write(&foreign, "of another program\n").unwrap();
                tokio::task::yield_now().await;
                std::fs::rename(&away, &foreign).unwrap();
            });
            let mut told: Vec<_> = [1, 2, 3, 4].into_iter().zip(join_all(writers).await.into_iter().map(Result::unwrap)).collect();
            meddler.await.unwrap();
            told.push((5, keep(&log, vec![record(5)]).await.unwrap()));
            assert!(told[4].1.is_ok(), "it is over by itself");
            assert_told(&file, &told);
            assert_eq!(verify(&file).unwrap(), told.iter().filter(|(_, outcome)| outcome.is_ok()).count() as u64);
        });
    });
}

#[test]
fn a_write_that_fails_leaves_nothing_and_is_told_to_all_whose_records_were_in_it() {
    check(|| {
        run(async |file| {
            // A file that can be kept from growing at any moment.
            let memory = rustix::fs::memfd_create("audit", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
            let number = std::os::fd::AsRawFd::as_raw_fd(&memory);
            std::os::unix::fs::symlink(format!("/proc/self/fd/{number}"), &file).unwrap();
            let log = JsonLines::open(&file).await.unwrap();
            let writers = [1, 2, 3, 4].map(|number| keep(&log, vec![record(number)]));
            tokio::task::yield_now().await;
            rustix::fs::fcntl_add_seals(&memory, rustix::fs::SealFlags::GROW).unwrap();
            let mut told: Vec<_> = [1, 2, 3, 4].into_iter().zip(join_all(writers).await.into_iter().map(Result::unwrap)).collect();
            told.push((5, keep(&log, vec![record(5)]).await.unwrap()));
            assert!(matches!(&told[4].1, Err(AuditError::Io { .. })), "{told:?}");
            assert_told(&file, &told);
            assert_eq!(verify(&file).unwrap_or_default(), numbers(&file).len() as u64);
        });
    });
}

#[test]
fn two_who_write_one_log_keep_one_chain_through_all_its_files() {
    check(|| {
        run(async |file| {
            let builder = JsonLines::builder(&file).rotate_at(700);
            let logs = [builder.clone().open().await.unwrap(), builder.open().await.unwrap()];
            let writers = (1..=6).map(|number| keep(&logs[number as usize % 2], vec![record(number)]));
            join_all(writers.collect::<Vec<_>>()).await.into_iter().for_each(|told| told.unwrap().unwrap());
            assert_eq!(verify(&file).unwrap(), 6);
            let mut numbers = numbers(&file);
            numbers.sort_unstable();
            assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
        });
    });
}

#[test]
fn a_head_that_is_told_is_one_that_the_file_has() {
    check(|| {
        run(async |file| {
            let log = JsonLines::open(&file).await.unwrap();
            let mut heads = log.heads();
            let writers = [1, 2, 3].map(|number| keep(&log, vec![record(number)]));
            drop(log);
            let told = file.clone();
            let reader = tokio::spawn(async move {
                // Until the last who writes is gone.
                while heads.changed().await.is_ok() {
                    assert!(still_holds(&told, &heads.borrow_and_update().clone()).unwrap());
                }
                let last = heads.borrow().clone();
                assert!(still_holds(&told, &last).unwrap());
                last
            });
            join_all(writers).await.into_iter().for_each(|told| told.unwrap().unwrap());
            assert_eq!(reader.await.unwrap().seq, 3);
            assert_eq!(verify(&file).unwrap(), 3);
        });
    });
}
