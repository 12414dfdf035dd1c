//! What is known of a domain, from an earlier look or from a reset, serves for as long as it is evidence.

use std::time::Duration;

use reset_gatekeeper::testing::{DnsFault, Fault, Phase, time};

use super::{DAY, HOUR, Yard};

#[tokio::test]
async fn what_a_reset_learned_is_not_asked_again() {
    let yard = Yard::open().await;
    yard.healthy_account("a@example.com");
    // As the registry has it.
    yard.names.delegate("example.com", ["ns1.example.com"]);
    yard.registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2026-03-31T12:00:00Z"));
    yard.swept().await;
    // It is renewed and a reset sees that, before the sweep would have asked.
    yard.registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2027-03-31T12:00:00Z"));
    yard.clock.advance(10 * DAY);
    assert!(yard.gatekeeper.assess("a@example.com").await.unwrap().is_allowed());
    for _ in 0..90 {
        yard.clock.advance(DAY);
        yard.swept().await;
    }
    assert_eq!(yard.registry.questions("example.com"), 2);
    assert_eq!(yard.changes(), [] as [String; 0]);
}

#[tokio::test]
async fn what_was_seen_before_a_verification_has_the_registry_asked_again() {
    let yard = Yard::open().await;
    yard.healthy_account("a@example.com");
    yard.swept().await;
    yard.clock.advance(5 * DAY);
    yard.accounts.insert("a@example.com", true, Some("2026-02-05T00:00:00Z"));
    yard.swept().await;
    assert_eq!(yard.registry.questions("example.com"), 1, "nothing is due");
    yard.clock.advance(10 * DAY);
    assert_eq!(yard.swept().await.asked, 1);
    yard.clock.advance(15 * DAY);
    assert_eq!(yard.swept().await.asked, 0);
    assert_eq!(yard.changes(), [] as [String; 0]);
}

#[tokio::test]
async fn a_lapse_that_a_reset_saw_is_acted_on_while_nobody_can_tell() {
    let yard = Yard::open().await;
    yard.healthy_account("a@lapsed.com");
    yard.healthy_account("b@lapsed.com");
    yard.swept().await;
    yard.registry.put("lapsed.com", Phase::Redemption);
    yard.clock.advance(2 * HOUR);
    assert!(!yard.gatekeeper.assess("a@lapsed.com").await.unwrap().is_allowed());
    assert!(yard.is_verified("b@lapsed.com").await);
    yard.names.fault(DnsFault::ServFail);
    yard.registry.fault(Fault::Status(500, None));
    yard.clock.advance(Duration::from_secs(60));
    yard.swept().await;
    assert!(!yard.is_verified("b@lapsed.com").await);
}
