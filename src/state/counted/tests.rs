use super::*;
use crate::account::AccountId;
use crate::state::place::{MINUTE, Place, at, discover, discovered, domain, promised_of_both};
use crate::state::{Begun, Progress};

promised_of_both! {
    no_transaction_goes_over_more_domains_than_it_may_however_the_batches_lie,
    an_address_that_lost_its_verification_during_a_discovery_is_not_counted_by_it,
    what_was_counted_in_vain_is_thrown_away,
}

async fn begin(state: &State, now: u64) -> u64 {
    match state.begin_pass(Pass::Discovery, at(now), at(now), MINUTE).await.unwrap() {
        Begun::Mine { number, after: None, .. } => number,
        begun => panic!("{begun:?}"),
    }
}

async fn advance(state: &State, number: u64, found: &[Discovered], now: u64) {
    let after = AccountId::from("1");
    let progress = Progress { found, after: &after, accounts: 0 };
    assert!(state.advance(Pass::Discovery, number, &progress, at(now), MINUTE).await.unwrap());
}

async fn counts(state: &State, now: u64) -> (u64, u64, u64) {
    let outlook = state.outlook(at(now), at(now)).await.unwrap();
    (outlook.domains, outlook.accounts, outlook.due)
}

async fn no_transaction_goes_over_more_domains_than_it_may_however_the_batches_lie(place: Place) {
    let state = place.state().await;
    let number = begin(&state, 0).await;
    // Each batch has names from the first to the last, and half of them are in the next one too.
    let found: Vec<_> = (0..1_000).map(|number| discovered(&format!("a{:04}.com", number * 37 % 1_000), 1, None)).collect();
    for batch in 0..50 {
        let mut batch: Vec<_> = found.iter().cycle().skip(batch * 20).take(40).cloned().collect();
        batch.sort_by(|one, other| one.domain.cmp(&other.domain));
        advance(&state, number, &batch, 0).await;
    }
    let (mut after, mut before, mut transactions) = (String::new(), 0, 0);
    loop {
        let mut transaction = state.pool.begin().await.unwrap();
        let settled = settle(&mut transaction, number, &after, 60).await.unwrap();
        transaction.commit().await.unwrap();
        let (domains, ..) = counts(&state, 1).await;
        assert!(domains - before <= 60, "{before} and then {domains}");
        (before, transactions) = (domains, transactions + 1);
        match settled.next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(counts(&state, 1).await, (1_000, 2_000, 1_000));
    assert!(transactions < 80, "{transactions}");
}

async fn an_address_that_lost_its_verification_during_a_discovery_is_not_counted_by_it(place: Place) {
    let (state, other) = (place.state().await, place.state().await);
    let found = [discovered("a.com", 3, Some(1)), discovered("b.com", 1, Some(1)), discovered("c.com", 2, Some(1))];
    discover(&state, &found, 0).await;
    let number = begin(&state, 10).await;
    advance(&state, number, &found[..2], 10).await;
    let began = other.begin_pass(Pass::Unverification, at(11), at(11), MINUTE).await.unwrap();
    assert_eq!(began, Begun::Mine { number: 1, after: None, accounts: 0 });
    assert!(other.end_unverification(1, &[domain("a.com"), domain("c.com")], || at(11), MINUTE).await.unwrap());
    assert_eq!(state.end_discovery(number, || at(12), MINUTE).await.unwrap(), Some(0));
    assert_eq!(counts(&state, 12).await, (1, 1, 1));
    // The next one counts what is there by then.
    assert_eq!(discover(&state, &[discovered("a.com", 1, Some(13)), discovered("b.com", 1, Some(1))], 20).await, 1);
    assert_eq!(counts(&state, 21).await, (2, 2, 2));
}

async fn what_was_counted_in_vain_is_thrown_away(place: Place) {
    let state = place.state().await;
    let number = begin(&state, 0).await;
    advance(&state, number, &[discovered("a.com", 3, None)], 0).await;
    state.give_up_pass(Pass::Discovery, number).await.unwrap();
    let kept = async || {
        let rows: i64 =
            with!(&state.pool, |pool| sqlx::query_scalar("SELECT count(*) FROM gatekeeper_counted").fetch_one(pool).await).unwrap();
        rows
    };
    assert_eq!(kept().await, 1);
    let number = begin(&state, 1).await;
    assert_eq!(kept().await, 0);
    advance(&state, number, &[discovered("a.com", 3, None), discovered("b.com", 3, None)], 1).await;
    assert_eq!(kept().await, 1);
    state.end_discovery(number, || at(2), MINUTE).await.unwrap();
    assert_eq!(kept().await, 0);
}
