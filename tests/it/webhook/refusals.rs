//! Records that the receiver refuses, and lines that nobody here can read: passed over in the end, and told, so that they hold up no others for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use reset_gatekeeper::audit::{AuditSink, Format, JsonLines, Webhook, WebhookSecret};
use reset_gatekeeper::testing::SetClock;
use serde_json::{Value, json};

use super::scene::{Place, Receiver, SECRET, is_in_order, records, webhook};
use super::tokens::risc;
use crate::formats::{native_of, record};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn seq(body: &str) -> u64 {
    native_of(body)["seq"].as_u64().unwrap()
}

/// Of four accounts, whose first records are refused, each in a way of its own.
#[tokio::test]
async fn what_is_refused_for_a_day_is_passed_over_however_often_the_delivery_began_anew() {
    let (place, receiver, clock) = (Place::open().await, Receiver::start().await, SetClock::at("2026-01-31T12:00:00Z"));
    receiver.refuse(|body| [413, 422, 413, 422].get(seq(body) as usize - 1).map(|status| (*status, "")));
    let log = place.log().await;
    log.record(records(12, 4)).await.unwrap();
    let deliver = || place.deliver(&log, webhook(&receiver.url()).clock(clock.clone()));
    let delivering = deliver();
    receiver.asked_again(8).await;
    drop(delivering);
    clock.advance(DAY - Duration::from_secs(1));
    let delivering = deliver();
    receiver.all_asked_again().await;
    assert!(receiver.taken().is_empty(), "nothing overtakes what may still be taken");
    clock.advance(Duration::from_secs(1));
    assert_eq!(receiver.until_taken(8).await.into_iter().collect::<BTreeSet<_>>(), (5..=12).collect());
    assert!(is_in_order(&receiver.received()));
    // What comes next has a day of its own.
    receiver.refuse(|body| (seq(body) == 13).then_some((422, "")));
    tokio::time::sleep(Duration::from_millis(100)).await;
    log.record(records(8, 1)).await.unwrap();
    receiver.asked_again(3).await;
    assert!(!receiver.taken().contains(&14));
    clock.advance(DAY);
    receiver.until_taken(15).await;
    drop(delivering);
}

/// A wrong secret, a wrong address, a server that is down: none of it is the record's fault.
#[tokio::test]
async fn what_a_receiver_can_not_take_now_is_never_passed_over() {
    let (place, receiver, clock) = (Place::open().await, Receiver::start().await, SetClock::at("2026-01-31T12:00:00Z"));
    const STATUSES: [u16; 15] = [301, 400, 401, 403, 404, 405, 406, 408, 409, 415, 425, 429, 500, 501, 503];
    receiver.refuse(|body| STATUSES.get(seq(body) as usize - 1).map(|status| (*status, "")));
    let log = place.log().await;
    log.record(records(STATUSES.len(), STATUSES.len())).await.unwrap();
    let _delivering = place.deliver(&log, webhook(&receiver.url()).clock(clock.clone()));
    receiver.asked_again(STATUSES.len()).await;
    clock.advance(DAY * 30);
    receiver.all_asked_again().await;
    receiver.refuse(|_| None);
    receiver.until_taken(STATUSES.len()).await;
}

/// RFC 8935 §2.4: of the errors, one is about the token; the others are about keys, parties and rights.
#[tokio::test]
async fn a_security_event_token_is_passed_over_only_where_it_is_refused_itself() {
    let answers = [
        (r#"{"err":"invalid_request","description":"unknown event"}"#, true),
        ("what is this?", false),
        (r#"{"err":"invalid_key"}"#, false),
        (r#"{"err":"invalid_issuer"}"#, false),
        (r#"{"err":"invalid_audience"}"#, false),
        (r#"{"err":"authentication_failed"}"#, false),
        (r#"{"err":"access_denied"}"#, false),
    ];
    let passed_over = join_all(answers.map(|(answer, _)| passes_over(answer))).await;
    assert_eq!(passed_over, answers.map(|(_, is_passed_over)| is_passed_over));
}

/// Whether a token that is refused with `answer` for a day makes room for the next.
async fn passes_over(answer: &'static str) -> bool {
    let (place, receiver, clock) = (Place::open().await, Receiver::start().await, SetClock::at("2026-01-31T12:00:00Z"));
    let email = |token: &str| {
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice::<Value>(&claims).unwrap()["sub_id"]["email"].as_str().unwrap().to_owned()
    };
    receiver.refuse(move |token| (email(token) == "bad@example.com").then_some((400, answer)));
    let about = |email: &str| {
        let account = json!({"id": email, "email": email, "verified": true, "verified_at": null});
        record(&json!({"event": "email_unverified", "account": account}))
    };
    let log = place.log().await;
    log.record(vec![about("bad@example.com")]).await.unwrap();
    let _delivering = place.deliver(&log, risc(&receiver.url(), &rcgen::KeyPair::generate().unwrap()).clock(clock.clone()));
    receiver.asked_again(1).await;
    log.record(vec![about("good@example.com")]).await.unwrap();
    clock.advance(DAY + Duration::from_secs(1));
    // Refused five times in all, and the next.
    receiver.asked_again(5).await;
    receiver.received().iter().any(|one| one.status == 204)
}

/// A log of five records about one account, whose third a later version wrote.
async fn later(place: &Place, format: Format) -> (JsonLines, Vec<String>) {
    let log = JsonLines::builder(&place.file).format(format).open().await.unwrap();
    log.record(records(5, 1)).await.unwrap();
    let text = std::fs::read_to_string(&place.file).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[2] = lines[2].replace(r#""event":"reset_blocked","verdict":"block""#, r#""event":"moon_landed","verdict":{"score":7}"#);
    assert!(lines[2].contains("moon_landed"));
    std::fs::write(&place.file, lines.join("\n") + "\n").unwrap();
    (log, lines)
}

#[tokio::test]
async fn a_line_that_a_later_version_wrote_is_sent_as_it_stands() {
    for (of_log, of_webhook) in [
        (Format::Native, Format::Native),
        (Format::Ocsf, Format::Ocsf),
        (Format::CloudEvents, Format::CloudEvents),
        (Format::Ocsf, Format::Native),
    ] {
        let (place, receiver) = (Place::open().await, Receiver::start().await);
        let (log, lines) = later(&place, of_log).await;
        let to = Webhook::new(&receiver.url(), WebhookSecret::parse(SECRET).unwrap(), of_webhook).unwrap();
        let _delivering = place.deliver(&log, to);
        assert_eq!(receiver.until_taken(5).await, [1, 2, 3, 4, 5], "in its place");
        let third = receiver.received()[2].clone();
        assert_eq!(native_of(&third.body), native_of(&lines[2]));
        assert!(of_log != of_webhook || third.body == lines[2]);
        assert_eq!(third.headers["webhook-id"], third.record()["id"].as_str().unwrap());
    }
}

#[tokio::test]
async fn where_its_format_is_to_be_made_it_is_passed_over() {
    for of_webhook in [Format::Ocsf, Format::CloudEvents] {
        let (place, receiver) = (Place::open().await, Receiver::start().await);
        let (log, _) = later(&place, Format::Native).await;
        let to = Webhook::new(&receiver.url(), WebhookSecret::parse(SECRET).unwrap(), of_webhook).unwrap();
        let _delivering = place.deliver(&log, to);
        receiver.until_taken(4).await;
        assert_eq!(receiver.settled().await, [1, 2, 4, 5]);
    }
}
