use super::*;
use crate::state::Looked;
use crate::state::place::{MINUTE, Place, at, discover, discovered, domain, promised_of_both};

promised_of_both! {
    a_discovery_adds_up_what_it_finds_and_replaces_what_the_last_one_found,
    what_a_discovery_counts_counts_when_it_has_seen_all,
    a_discovery_ends_however_many_domains_it_found_or_lost,
    an_earlier_verification_than_was_known_makes_the_domain_due,
    an_abandoned_pass_is_taken_over_where_it_was_left,
    a_pass_that_was_let_go_of_is_gone_on_with_at_once,
    a_pass_that_was_given_up_begins_anew,
    a_pass_is_one_callers_however_many_begin_it,
    an_ended_pass_is_enough_where_it_began_late_enough,
    a_clock_that_was_ahead_holds_up_no_pass,
    domains_without_accounts_are_left_alone_until_one_is_discovered,
    an_unverification_ends_however_many_domains_it_empties,
    an_ending_that_takes_long_keeps_its_lease,
}

async fn begin(state: &State, since: u64, now: u64) -> Begun {
    state.begin_pass(Pass::Discovery, at(since), at(now), MINUTE).await.unwrap()
}

async fn advance(state: &State, number: u64, found: &[Discovered], after: &str, accounts: u64, now: u64) -> bool {
    let after = AccountId::from(after);
    let progress = Progress { found, after: &after, accounts };
    state.advance(Pass::Discovery, number, &progress, at(now), MINUTE).await.unwrap()
}

/// Name, accounts, since when they are verified, and of how many that isn't known.
async fn all(state: &State, now: u64) -> Vec<(String, u64, Option<SystemTime>, u64)> {
    let leased = state.lease(uuid::Uuid::now_v7(), 100, at(now), at(now), Duration::ZERO).await.unwrap();
    let mut all: Vec<_> = leased
        .into_iter()
        .map(|watched| (watched.domain.as_str().to_owned(), watched.accounts, watched.verified_from, watched.undated))
        .collect();
    all.sort();
    all
}

async fn a_discovery_adds_up_what_it_finds_and_replaces_what_the_last_one_found(place: Place) {
    let state = place.state().await;
    assert_eq!(begin(&state, 0, 0).await, Begun::Mine { number: 1, after: None, accounts: 0 });
    let mut undated = discovered("a.com", 3, Some(50));
    undated.count.undated = 2;
    let found = [discovered("c.com", 1, None), undated, discovered("b.com", 7, Some(30))];
    assert!(advance(&state, 1, &found, "10", 11, 0).await);
    let found = [discovered("b.com", 1, None), discovered("a.com", 1, Some(40)), discovered("c.com", 1, Some(20))];
    assert!(advance(&state, 1, &found, "20", 14, 0).await);
    assert_eq!(state.end_discovery(1, || at(1), MINUTE).await.unwrap(), Some(0));
    let expected = [("a.com", 4, Some(40), 2), ("b.com", 8, Some(30), 0), ("c.com", 2, Some(20), 0)];
    assert_eq!(all(&state, 2).await, expected.map(|(name, accounts, from, undated)| (name.to_owned(), accounts, from.map(at), undated)));

    let vanished = discover(&state, &[discovered("a.com", 1, None), discovered("c.com", 5, Some(60))], 10).await;
    assert_eq!(vanished, 1);
    let expected = [("a.com", 1, None, 0), ("c.com", 5, Some(60), 0)];
    assert_eq!(all(&state, 11).await, expected.map(|(name, accounts, from, undated)| (name.to_owned(), accounts, from.map(at), undated)));
    assert_eq!(discover(&state, &[], 20).await, 2);
    assert_eq!(all(&state, 21).await, []);
}

async fn what_a_discovery_counts_counts_when_it_has_seen_all(place: Place) {
    let state = place.state().await;
    discover(&state, &[discovered("a.com", 5, Some(1)), discovered("b.com", 9, Some(1))], 0).await;
    let known = |accounts, from, b| [("a.com".to_owned(), accounts, Some(at(from)), 0), ("b.com".to_owned(), b, Some(at(1)), 0)];
    begin(&state, 10, 10).await;
    assert!(advance(&state, 2, &[discovered("a.com", 1, Some(7)), discovered("new.com", 1, None)], "1", 2, 10).await);
    assert!(advance(&state, 2, &[discovered("b.com", 9, Some(1)), discovered("new.com", 1, None)], "2", 2, 10).await);
    assert_eq!(all(&state, 11).await, known(5, 1, 9));
    assert_eq!(state.outlook(at(11), at(11)).await.unwrap().accounts, 14);
    assert_eq!(state.end_discovery(2, || at(12), MINUTE).await.unwrap(), Some(0));
    let new = ("new.com".to_owned(), 2, None, 0);
    assert_eq!(all(&state, 13).await, [known(1, 7, 9).as_slice(), &[new]].concat());
}

async fn a_discovery_ends_however_many_domains_it_found_or_lost(place: Place) {
    let state = place.state().await;
    let found: Vec<_> = (10_000..22_500).map(|number| discovered(&format!("a{number}.com"), 1, Some(1))).collect();
    begin(&state, 0, 0).await;
    for batch in 0..3 {
        // A third in each, and some in all.
        let found = found.iter().enumerate().filter(|(number, _)| *number < 500 || number % 3 == batch).map(|(_, found)| found.clone());
        assert!(advance(&state, 1, &found.collect::<Vec<_>>(), &batch.to_string(), 0, 0).await);
    }
    assert_eq!(state.end_discovery(1, || at(1), MINUTE).await.unwrap(), Some(0));
    let outlook = state.outlook(at(1), at(1)).await.unwrap();
    assert_eq!((outlook.domains, outlook.accounts), (12_500, 13_500));

    // The same but for two domains and one more.
    let others = [&found[2..], &[discovered("z.com", 4, Some(1))]].concat();
    assert_eq!(discover(&state, &others, 10).await, 2);
    let outlook = state.outlook(at(11), at(11)).await.unwrap();
    assert_eq!((outlook.domains, outlook.accounts), (12_499, 12_502));
    assert_eq!(discover(&state, &others[12_498..], 20).await, 12_498);
    assert_eq!(state.outlook(at(21), at(21)).await.unwrap().domains, 1);
}

async fn an_earlier_verification_than_was_known_makes_the_domain_due(place: Place) {
    let state = place.state().await;
    let worker = uuid::Uuid::now_v7();
    let names = ["dated.com", "known.com", "undated.com"];
    discover(&state, &names.map(|name| discovered(name, 2, Some(5))), 0).await;
    let look = async |now: u64| {
        let leased = state.lease(worker, 10, at(now), at(now), MINUTE).await.unwrap();
        let looked = leased
            .into_iter()
            .map(|watched| Looked { leased_registry_at: watched.registry_at, watched, due_at: at(900), remembered: None })
            .collect::<Vec<_>>();
        state.looked(worker, &looked).await.unwrap();
        looked.len()
    };
    assert_eq!(look(1).await, 3);
    let mut undated = discovered("undated.com", 2, Some(5));
    undated.count.undated = 1;
    discover(&state, &[discovered("dated.com", 2, Some(4)), discovered("known.com", 9, Some(6)), undated], 10).await;
    let due = all(&state, 11).await;
    assert_eq!(due.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["dated.com", "undated.com"]);
    assert_eq!(look(11).await, 2);

    // While somebody looks at it, too: it is due when that is settled.
    let leased = state.lease(worker, 10, at(900), at(900), MINUTE).await.unwrap();
    let mut undated = discovered("undated.com", 2, Some(5));
    undated.count.undated = 1;
    discover(&state, &[discovered("dated.com", 2, Some(4)), discovered("known.com", 9, Some(3)), undated], 901).await;
    assert_eq!(state.outlook(at(902), at(902)).await.unwrap().leased, 3);
    let looked = leased
        .into_iter()
        .map(|watched| Looked { leased_registry_at: watched.registry_at, watched, due_at: at(2_000), remembered: None })
        .collect::<Vec<_>>();
    state.looked(worker, &looked).await.unwrap();
    assert_eq!(all(&state, 902).await, [("known.com".to_owned(), 9, Some(at(3)), 0)]);
}

async fn an_abandoned_pass_is_taken_over_where_it_was_left(place: Place) {
    let (one, other) = (place.state().await, place.state().await);
    let found = [discovered("a.com", 1, None)];
    assert_eq!(begin(&one, 0, 0).await, Begun::Mine { number: 1, after: None, accounts: 0 });
    assert!(advance(&one, 1, &found, "10", 10, 30).await);
    assert_eq!(begin(&other, 0, 89).await, Begun::Others(10));
    assert_eq!(begin(&other, 0, 90).await, Begun::Mine { number: 1, after: Some("10".into()), accounts: 10 });

    assert!(!advance(&one, 1, &found, "20", 20, 91).await);
    assert_eq!(one.end_discovery(1, || at(91), MINUTE).await.unwrap(), None);
    one.leave_pass(Pass::Discovery, 1).await.unwrap();
    assert_eq!(begin(&one, 0, 92).await, Begun::Others(10));

    assert!(advance(&other, 1, &found, "20", 20, 92).await);
    assert_eq!(other.end_discovery(1, || at(93), MINUTE).await.unwrap(), Some(0));
    assert!(!advance(&other, 1, &found, "30", 30, 94).await, "it has ended");
    assert_eq!(all(&other, 95).await, [("a.com".to_owned(), 2, None, 0)]);
}

async fn a_pass_that_was_let_go_of_is_gone_on_with_at_once(place: Place) {
    let (one, other) = (place.state().await, place.state().await);
    begin(&one, 0, 0).await;
    assert!(advance(&one, 1, &[], "10", 10, 0).await);
    one.leave_pass(Pass::Discovery, 1).await.unwrap();
    assert_eq!(begin(&other, 0, 1).await, Begun::Mine { number: 1, after: Some("10".into()), accounts: 10 });
}

async fn a_pass_that_was_given_up_begins_anew(place: Place) {
    let (one, other) = (place.state().await, place.state().await);
    begin(&one, 0, 0).await;
    assert!(advance(&one, 1, &[discovered("a.com", 3, None)], "10", 3, 0).await);
    other.give_up_pass(Pass::Discovery, 1).await.unwrap();
    assert_eq!(begin(&other, 0, 1).await, Begun::Others(3), "it is not that one's to give up");
    one.give_up_pass(Pass::Discovery, 1).await.unwrap();
    assert_eq!(begin(&other, 0, 1).await, Begun::Mine { number: 2, after: None, accounts: 0 });
    assert!(advance(&other, 2, &[discovered("a.com", 3, None)], "10", 3, 1).await);
    assert_eq!(other.end_discovery(2, || at(2), MINUTE).await.unwrap(), Some(0));
    assert_eq!(all(&other, 3).await, [("a.com".to_owned(), 3, None, 0)], "counted once");
}

async fn a_pass_is_one_callers_however_many_begin_it(place: Place) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let state = place.state().await;
        tasks.spawn(async move { begin(&state, 0, 0).await });
    }
    let begun = tasks.join_all().await;
    assert_eq!(begun.iter().filter(|begun| matches!(begun, Begun::Mine { number: 1, .. })).count(), 1, "{begun:?}");
    assert_eq!(begun.iter().filter(|begun| matches!(begun, Begun::Others(0))).count(), 7, "{begun:?}");
}

async fn an_ended_pass_is_enough_where_it_began_late_enough(place: Place) {
    let state = place.state().await;
    begin(&state, 0, 1).await;
    assert!(advance(&state, 1, &[], "10", 10, 1).await);
    state.end_discovery(1, || at(5), MINUTE).await.unwrap();
    assert_eq!(begin(&state, 1, 7).await, Begun::Done(10));
    let unverification = state.begin_pass(Pass::Unverification, at(5), at(7), MINUTE).await.unwrap();
    assert_eq!(unverification, Begun::Mine { number: 1, after: None, accounts: 0 }, "each kind is by itself");
    assert!(state.end_unverification(1, &[], || at(8), MINUTE).await.unwrap());
    assert_eq!(begin(&state, 2, 9).await, Begun::Mine { number: 2, after: None, accounts: 0 }, "it had begun before");
    assert!(!advance(&state, 1, &[], "20", 20, 9).await, "that was the one before");

    // None ever is, for who says so.
    let never = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::MAX / 4);
    let unverification = state.begin_pass(Pass::Unverification, never, at(10), MINUTE).await.unwrap();
    assert_eq!(unverification, Begun::Mine { number: 2, after: None, accounts: 0 });
}

async fn a_clock_that_was_ahead_holds_up_no_pass(place: Place) {
    let (one, other) = (place.state().await, place.state().await);
    begin(&one, 900, 900).await;
    assert!(advance(&one, 1, &[], "10", 10, 900).await);
    assert_eq!(begin(&other, 840, 840).await, Begun::Others(10), "as far ahead as clocks may differ");
    assert_eq!(begin(&other, 0, 0).await, Begun::Mine { number: 1, after: Some("10".into()), accounts: 10 });
    other.end_discovery(1, || at(900), MINUTE).await.unwrap();
    assert_eq!(begin(&one, 0, 1).await, Begun::Mine { number: 2, after: None, accounts: 0 });
}

async fn domains_without_accounts_are_left_alone_until_one_is_discovered(place: Place) {
    let state = place.state().await;
    discover(&state, &[discovered("a.com", 3, Some(1)), discovered("b.com", 4, Some(1))], 0).await;
    assert_eq!(
        state.begin_pass(Pass::Unverification, at(1), at(1), MINUTE).await.unwrap(),
        Begun::Mine { number: 1, after: None, accounts: 0 }
    );
    assert!(state.end_unverification(1, &[domain("a.com"), domain("gone.com")], || at(2), MINUTE).await.unwrap());
    assert_eq!(all(&state, 3).await, [("b.com".to_owned(), 4, Some(at(1)), 0)]);
    let outlook = state.outlook(at(3), at(3)).await.unwrap();
    assert_eq!((outlook.domains, outlook.accounts, outlook.due), (1, 4, 1));

    discover(&state, &[discovered("a.com", 1, Some(4)), discovered("b.com", 4, Some(1))], 5).await;
    assert_eq!(all(&state, 6).await, [("a.com".to_owned(), 1, Some(at(4)), 0), ("b.com".to_owned(), 4, Some(at(1)), 0)]);
}

async fn an_unverification_ends_however_many_domains_it_empties(place: Place) {
    let (state, other) = (place.state().await, place.state().await);
    let found: Vec<_> = (0..4_500).map(|number| discovered(&format!("a{number}.com"), 1, None)).collect();
    discover(&state, &found, 0).await;
    let names: Vec<_> = found.into_iter().map(|found| found.domain).collect();
    let begin = async |state: &State, now| state.begin_pass(Pass::Unverification, at(now), at(now), MINUTE).await.unwrap();
    begin(&state, 1).await;
    begin(&other, 100).await;
    assert!(!state.end_unverification(1, &names, || at(101), MINUTE).await.unwrap(), "another has taken it over");
    assert_eq!(state.outlook(at(101), at(101)).await.unwrap().domains, 4_500);
    assert!(other.end_unverification(1, &names, || at(102), MINUTE).await.unwrap());
    assert_eq!(state.outlook(at(102), at(102)).await.unwrap().domains, 0);
    assert_eq!(begin(&state, 103).await, Begun::Mine { number: 2, after: None, accounts: 0 }, "it has ended");
}

async fn an_ending_that_takes_long_keeps_its_lease(place: Place) {
    let (state, other) = (place.state().await, place.state().await);
    let found: Vec<_> = (0..6_500).map(|number| discovered(&format!("a{number}.com"), 1, None)).collect();
    discover(&state, &found, 0).await;
    let names: Vec<_> = found.into_iter().map(|found| found.domain).collect();
    state.begin_pass(Pass::Unverification, at(1), at(1), MINUTE).await.unwrap();
    // Each stretch takes forty seconds, and in the third of four the process is stopped, having done it or not.
    let (seconds, third) = (std::cell::Cell::new(1), tokio::sync::Notify::new());
    let clock = || {
        seconds.set(seconds.get() + 40);
        if seconds.get() == 121 {
            third.notify_one();
        }
        at(seconds.get())
    };
    tokio::select! {
        biased;
        () = third.notified() => {}
        ended = state.end_unverification(1, &names, clock, MINUTE) => panic!("{ended:?}"),
    }
    let begin = async |now| other.begin_pass(Pass::Unverification, at(now), at(now), MINUTE).await.unwrap();
    assert_eq!(begin(140).await, Begun::Others(0));
    assert_eq!(begin(181).await, Begun::Mine { number: 1, after: None, accounts: 0 });
}
