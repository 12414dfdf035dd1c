//! Security event tokens, and what other programs make of all that is delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reset_gatekeeper::audit::{AuditSink, Record, Risc, Webhook};
use serde_json::{Value, json};

use super::scene::{Place, Received, Receiver, SECRET, records, webhook};
use crate::formats::{consumers, record};

/// One record for each row of the table in the module's header.
fn told() -> Vec<Record> {
    [
        json!({"event": "reset_blocked"}),
        json!({"event": "reset_blocked", "enforced": false}),
        json!({"event": "reset_allowed", "verdict": "allow", "reasons": []}),
        json!({"event": "email_unverified"}),
        json!({"event": "email_unverified", "enforced": false}),
        json!({"event": "email_unverified", "reasons": ["email_unverified", "domain_changed_hands"]}),
        json!({"event": "domain_changed", "account": null, "reasons": ["domain_reregistered"]}),
        json!({"event": "reset_allowed", "verdict": "allow", "reasons": [], "account": null}),
    ]
    .iter()
    .map(record)
    .collect()
}

pub(super) fn risc(url: &str, key: &rcgen::KeyPair) -> Webhook {
    let risc = Risc::new("https://example.com", "https://receiver.example", &key.serialize_pem()).unwrap();
    assert!(!format!("{risc:?}").contains("PRIVATE"), "{risc:?}");
    Webhook::risc(url, risc).unwrap()
}

/// Delivers `told()` as tokens.
async fn tokens(key: &rcgen::KeyPair) -> Vec<Received> {
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    log.record(told()).await.unwrap();
    let _delivering = place.deliver(&log, risc(&receiver.url(), key));
    for _ in 0..500 {
        if receiver.received().len() == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    receiver.received()
}

/// OpenID RISC profile 1.0 §2, RFC 8417, RFC 8935 §2.1.
#[tokio::test]
async fn a_security_event_token_tells_only_what_the_profile_has_a_word_for() {
    let received = tokens(&rcgen::KeyPair::generate().unwrap()).await;
    assert!(
        received
            .iter()
            .all(|one| one.headers["content-type"] == "application/secevent+jwt" && !one.headers.contains_key("webhook-signature"))
    );
    let part = |token: &str, at: usize| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap()
    };
    let events: Vec<_> =
        received.iter().flat_map(|one| part(&one.body, 1)["events"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()).collect();
    let of = |name: &str| format!("https://schemas.openid.net/secevent/risc/event-type/{name}");
    assert_eq!(
        events,
        ["recovery-activated", "recovery-activated", "recovery-information-changed", "recovery-information-changed", "identifier-recycled"]
            .map(of)
    );
    let (header, claims) = (part(&received[4].body, 0), part(&received[4].body, 1));
    assert_eq!(header, json!({"alg": "ES256", "typ": "secevent+jwt"}));
    assert_eq!(claims["iss"], "https://example.com");
    assert_eq!(claims["aud"], "https://receiver.example");
    assert_eq!(claims["sub_id"], json!({"format": "email", "email": "a@example.com"}));
    assert_eq!(claims["toe"], 1_769_860_800);
    assert!(claims["iat"].is_u64() && claims.get("sub").is_none() && claims.get("exp").is_none());
    let ids: BTreeSet<_> = received.iter().map(|one| part(&one.body, 1)["jti"].to_string()).collect();
    assert_eq!(ids.len(), 3, "the samples share one id, so the events tell them apart: {ids:?}");
}

/// Programs of others, installed by `.ci/consumers`.
#[tokio::test]
#[ignore = "needs Python and packages of its registry"]
async fn what_is_delivered_is_known_to_be_ours_by_programs_that_are_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    let (place, receiver) = (Place::open().await, Receiver::start().await);
    let log = place.log().await;
    log.record(records(3, 3)).await.unwrap();
    let _delivering = place.deliver(&log, webhook(&receiver.url()));
    receiver.until_taken(3).await;
    let mut samples: Vec<_> = receiver.received().iter().map(|one| sample(one, "webhook", SECRET)).collect();
    for key in [rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()] {
        samples.extend(tokens(&key).await.iter().map(|one| sample(one, "risc", &key.public_key_pem())));
    }
    let lines: Vec<_> = samples.iter().map(Value::to_string).collect();
    std::fs::write(folder.path().join("delivered.jsonl"), lines.join("\n")).unwrap();
    consumers(folder.path());
}

fn sample(received: &Received, kind: &str, key: &str) -> Value {
    let headers: BTreeMap<_, _> = received.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    json!({"kind": kind, "key": key, "headers": headers, "body": received.body})
}
