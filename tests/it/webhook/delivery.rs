//! Each record at least once and in order, whatever fails in between.

use std::sync::Arc;
use std::time::Duration;

use reset_gatekeeper::audit::{AuditSink, Format, JsonLines, Webhook, WebhookError, WebhookSecret, verify};
use serde_json::Value;

use super::scene::{Place, Receiver, SECRET, is_in_order, records, webhook};
use crate::formats::native_of;

#[tokio::test]
async fn every_record_arrives_signed_and_those_of_an_account_in_order() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    log.record(records(300, 7)).await.unwrap();
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    receiver.until_taken(300).await;
    log.record(records(300, 7)).await.unwrap();
    assert_eq!(receiver.until_taken(600).await.len(), 600, "none twice");
    let received = receiver.received();
    assert!(is_in_order(&received));
    let (lines, first) = (std::fs::read_to_string(&place.file).unwrap(), &received[0]);
    assert!(lines.lines().any(|line| line == first.body), "as it stands in the log");
    assert_eq!(first.headers["webhook-id"], first.record()["id"].as_str().unwrap());
    assert_eq!(first.headers["content-type"], "application/json");
    assert!(first.headers["webhook-timestamp"].to_str().unwrap().parse::<u64>().is_ok());
    assert!(first.headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
}

#[tokio::test]
async fn an_outage_loses_nothing() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    log.record(records(20, 3)).await.unwrap();
    receiver.until_taken(20).await;
    let (address, inbox) = (receiver.address, Arc::clone(&receiver.inbox));
    drop(receiver);
    tokio::time::sleep(Duration::from_millis(50)).await;
    log.record(records(200, 3)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let receiver = Receiver::at(address, inbox).await;
    receiver.until_taken(220).await;
    assert!(is_in_order(&receiver.received()));
}

#[tokio::test]
async fn after_a_restart_it_goes_on_where_it_was() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    for round in 1..=3 {
        let delivering = place.deliver(&log, webhook(&receiver.url()));
        log.record(records(50, 5)).await.unwrap();
        receiver.until_taken(50 * round).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(delivering);
        log.record(records(0, 1)).await.unwrap();
    }
    assert_eq!(receiver.settled().await.len(), 150, "none twice, since each was kept as taken");
    // Another webhook has a position of its own.
    let other = Receiver::start().await;
    let _delivering = place.deliver(&log, webhook(&other.url()));
    other.until_taken(150).await;
}

#[tokio::test]
async fn a_record_that_is_refused_is_sent_again_and_not_overtaken() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    receiver.answer([(500, "x-nothing", ""), (302, "location", "/elsewhere"), (400, "x-nothing", ""), (429, "retry-after", "1")]);
    log.record(records(5, 1)).await.unwrap();
    let began = tokio::time::Instant::now();
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    assert_eq!(receiver.until_taken(5).await, [1, 2, 3, 4, 5]);
    assert!(began.elapsed() > Duration::from_secs(1), "it was asked for a second of patience");
    let received = receiver.received();
    assert_eq!(received.len(), 9);
    assert!(received.iter().all(|one| one.path == "/hook"), "redirects are not followed");
    assert!(received[..5].iter().all(|one| one.headers["webhook-id"] == received[0].headers["webhook-id"]), "the same one again");
}

/// Standard Webhooks, "Delivery and retries": 410 disables the endpoint.
#[tokio::test]
async fn a_receiver_that_is_gone_is_left_alone_until_the_next_start() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    receiver.answer([(204, "x-nothing", ""), (410, "x-nothing", "")]);
    log.record(records(9, 1)).await.unwrap();
    let delivering = place.deliver(&log, webhook(&receiver.url()));
    receiver.until_taken(1).await;
    assert_eq!(receiver.settled().await, [1]);
    assert_eq!(receiver.received().len(), 2);
    drop(delivering);
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    assert_eq!(receiver.until_taken(9).await[1..], [1, 2, 3, 4, 5, 6, 7, 8, 9], "what was under way is sent again");
}

#[tokio::test]
async fn of_two_that_write_one_log_one_delivers_and_the_other_takes_over() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let logs = [place.log().await, place.log().await];
    let [one, other] = logs.each_ref().map(|log| place.deliver(log, webhook(&receiver.url())));
    for log in &logs {
        log.record(records(20, 3)).await.unwrap();
    }
    receiver.until_taken(40).await;
    assert_eq!(receiver.settled().await.len(), 40, "none twice");
    drop(one);
    logs[1].record(records(20, 3)).await.unwrap();
    receiver.until_taken(60).await;
    drop(other);
}

#[tokio::test]
async fn a_webhook_has_a_format_of_its_own() {
    for (of_log, of_webhook) in [(Format::Native, Format::Ocsf), (Format::Ocsf, Format::CloudEvents), (Format::CloudEvents, Format::Native)]
    {
        let (place, receiver) = (Place::open().await, Receiver::start().await);
        let log = JsonLines::builder(&place.file).format(of_log).open().await.unwrap();
        log.record(records(3, 3)).await.unwrap();
        let to = Webhook::new(&receiver.url(), WebhookSecret::parse(SECRET).unwrap(), of_webhook).unwrap();
        let _delivering = place.deliver(&log, to);
        receiver.until_taken(3).await;
        let mut bodies: Vec<_> = receiver.received().into_iter().map(|one| one.body).collect();
        bodies.sort();
        let member = match of_webhook {
            Format::Ocsf => Some("unmapped"),
            Format::CloudEvents => Some("data"),
            _ => None,
        };
        let lines = std::fs::read_to_string(&place.file).unwrap();
        for (body, line) in bodies.iter().zip(lines.lines()) {
            assert_eq!(native_of(body), native_of(line), "with its place in the chain");
            let body: Value = serde_json::from_str(body).unwrap();
            assert!(member.is_none_or(|member| body[member].is_object()) && (member.is_some() || body["hash"].is_string()), "{body}");
        }
    }
}

/// Of one account, whose records come in their order.
#[tokio::test]
async fn what_was_received_of_a_native_log_is_a_log_that_proves_to_be_whole() {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    log.record(records(20, 1)).await.unwrap();
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    receiver.until_taken(20).await;
    let copy = place.file.with_file_name("copy.jsonl");
    std::fs::write(&copy, receiver.received().iter().map(|one| one.body.clone() + "\n").collect::<String>()).unwrap();
    assert_eq!(verify(&copy).unwrap(), 20);
}

#[tokio::test]
async fn nothing_is_sent_over_the_network_in_the_clear() {
    let secret = || WebhookSecret::parse(SECRET).unwrap();
    for url in ["http://example.com/hook", "http://192.0.2.1/hook", "http://localhost.example.com/", "http://[2001:db8::1]/"] {
        assert!(matches!(Webhook::new(url, secret(), Format::Native), Err(WebhookError::Insecure)), "{url}");
    }
    for url in ["", "example.com", "ftp://example.com/", "mailto:a@example.com"] {
        assert!(matches!(Webhook::new(url, secret(), Format::Native), Err(WebhookError::NotUrl)), "{url}");
    }
    for url in ["https://example.com/hook", "http://127.0.0.1:1/hook", "http://[::1]:1/hook", "http://localhost:1/hook"] {
        assert!(Webhook::new(url, secret(), Format::Native).is_ok(), "{url}");
    }
}
