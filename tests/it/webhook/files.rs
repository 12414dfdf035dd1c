//! A log in many files, which are rotated, moved, replaced and damaged while they are delivered.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use reset_gatekeeper::audit::{AuditSink, JsonLines, segments};

use super::scene::{Place, Receiver, append, is_in_order, records, silent, webhook};

/// A log of `count` records, in pieces that begin with these numbers, the last of which is the one that is written.
async fn rotated(place: &Place, count: usize, firsts: &[usize]) -> Vec<(PathBuf, String)> {
    place.log().await.record(records(count, 3)).await.unwrap();
    let text = std::fs::read_to_string(&place.file).unwrap();
    std::fs::remove_file(&place.file).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let pieces = firsts.iter().enumerate().map(|(at, first)| {
        let end = firsts.get(at + 1).map_or(count, |next| next - 1);
        let name = if end == count { place.file.clone() } else { PathBuf::from(format!("{}.{first:020}", place.file.display())) };
        (name, lines[first - 1..end].concat())
    });
    pieces.collect()
}

fn put(pieces: &[(PathBuf, String)]) {
    for (name, text) in pieces {
        std::fs::write(name, text).unwrap();
    }
}

#[tokio::test]
async fn files_that_were_rotated_out_are_delivered_first_and_while_they_are_rotated() {
    let (place, receiver, (_folder, other)) = (Place::open().await, Receiver::start().await, silent().await);
    let pieces = rotated(&place, 40, &[1, 11, 21, 31]).await;
    put(&pieces[..2]);
    // The third is still the one that is written.
    std::fs::write(&place.file, &pieces[2].1[..pieces[2].1.find('\n').unwrap() + 1]).unwrap();
    let _delivering = place.deliver(&other, webhook(&receiver.url()));
    receiver.until_taken(21).await;
    append(&place.file, &pieces[2].1[pieces[2].1.find('\n').unwrap() + 1..]);
    std::fs::rename(&place.file, &pieces[2].0).unwrap();
    put(&pieces[3..]);
    assert_eq!(receiver.until_taken(40).await.len(), 40);
    assert!(is_in_order(&receiver.received()));
}

#[tokio::test]
async fn a_log_that_is_rotated_all_the_time_is_delivered_whole() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = JsonLines::builder(&place.file).rotate_at(5_000).open().await.unwrap();
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    for _ in 0..100 {
        log.record(records(10, 3)).await.unwrap();
    }
    assert_eq!(receiver.until_taken(1_000).await.len(), 1_000);
    assert!(is_in_order(&receiver.received()));
    assert!(segments(&place.file).unwrap().len() > 50);
}

#[tokio::test]
async fn what_was_moved_away_before_it_was_delivered_is_passed_over() {
    let (place, receiver, (_folder, other)) = (Place::open().await, Receiver::start().await, silent().await);
    let pieces = rotated(&place, 40, &[1, 11, 21, 31]).await;
    std::fs::write(&place.file, &pieces[0].1).unwrap();
    let delivering = place.deliver(&other, webhook(&receiver.url()));
    receiver.until_taken(10).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(delivering);
    std::fs::remove_file(&place.file).unwrap();
    put(&pieces[2..]);
    let _delivering = place.deliver(&other, webhook(&receiver.url()));
    let taken = receiver.until_taken(30).await;
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), (1..=10).chain(21..=40).collect());
}

#[tokio::test]
async fn a_log_that_begins_anew_is_delivered_from_its_beginning() {
    for count in [5, 30] {
        let (place, receiver) = (Place::open().await, Receiver::start().await);
        let log = place.log().await;
        log.record(records(20, 3)).await.unwrap();
        let delivering = place.deliver(&log, webhook(&receiver.url()));
        receiver.until_taken(20).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop((delivering, log));
        std::fs::remove_file(&place.file).unwrap();
        let log = place.log().await;
        log.record(records(count, 2)).await.unwrap();
        receiver.inbox.received.lock().unwrap().clear();
        let _delivering = place.deliver(&log, webhook(&receiver.url()));
        let taken = receiver.until_taken(count).await;
        assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), (1..=count as u64).collect(), "it is shorter or longer than the old one");
    }
}

/// What a killed writer left is cut off by the next, and was never a record.
#[tokio::test]
async fn a_partial_line_is_waited_for_and_not_delivered() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    for (round, torn) in ["{", "{\"id\":\"019c1443", "{\"id\":\"0\",\"seq\":1,\"prev\":\"\",\"hash\":\""].into_iter().enumerate() {
        append(&place.file, torn);
        receiver.settled().await;
        log.record(records(5, 1)).await.unwrap();
        receiver.until_taken(5 * (round + 1)).await;
    }
    assert_eq!(receiver.settled().await, (1..=15).collect::<Vec<_>>());
}

/// As a log that is put back from elsewhere while it is delivered.
#[tokio::test]
async fn a_log_that_is_replaced_meanwhile_is_delivered_from_its_beginning() {
    for (kept, count) in [(20, 5), (20, 30), (5, 30)] {
        let (place, receiver, (_folder, other)) = (Place::open().await, Receiver::start().await, silent().await);
        place.log().await.record(records(kept, 2)).await.unwrap();
        let _delivering = place.deliver(&other, webhook(&receiver.url()));
        receiver.until_taken(kept).await;
        receiver.inbox.received.lock().unwrap().clear();
        std::fs::remove_file(&place.file).unwrap();
        JsonLines::builder(place.file.with_file_name("new.jsonl")).open().await.unwrap().record(records(count, 3)).await.unwrap();
        std::fs::rename(place.file.with_file_name("new.jsonl"), &place.file).unwrap();
        let taken = receiver.until_taken(count).await;
        assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), (1..=count as u64).collect(), "{kept}, {count}");
    }
}

/// A line that is there twice is no reason to begin anew for ever.
#[tokio::test]
async fn a_log_whose_chain_is_broken_is_delivered_once() {
    let (place, receiver, (_folder, other)) = (Place::open().await, Receiver::start().await, silent().await);
    place.log().await.record(records(10, 1)).await.unwrap();
    let text = std::fs::read_to_string(&place.file).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let broken = [&lines[..5], &lines[2..4], &["these are notes\n"], &lines[6..]].concat().concat();
    std::fs::write(&place.file, broken).unwrap();
    let _delivering = place.deliver(&other, webhook(&receiver.url()));
    receiver.until_taken(9).await;
    assert_eq!(receiver.settled().await, [1, 2, 3, 4, 5, 7, 8, 9, 10]);
}
