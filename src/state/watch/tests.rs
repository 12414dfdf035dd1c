use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::domain::{History, Report};
use crate::state::Discovered;
use crate::state::place::{MINUTE, Place, at, discover, discovered, domain, promised_of_both};

promised_of_both! {
    all_that_happens_at_once_waits_for_nobody_in_a_circle,
    what_a_look_finds_is_kept_and_when_to_look_next,
    workers_lease_different_domains,
    a_lease_that_ran_out_is_due_again,
    who_lost_the_lease_keeps_what_the_sources_said_and_nothing_else,
    what_was_found_is_listed_page_by_page,
    a_lapse_that_a_reset_came_upon_makes_the_domain_due,
    what_is_no_registrable_domain_any_more_is_left_alone,
    of_two_looks_at_a_domain_the_last_counts,
}

fn remembered(report: Report, checked_at: SystemTime) -> Remembered {
    let history = Arc::new(History::beginning(&report, checked_at));
    Remembered { report: Arc::new(report), history, checked_at, confirmed_at: None }
}

/// Of one that was leased for the first time.
fn looked(watched: Watched, due_at: SystemTime, remembered: Option<Remembered>) -> Looked {
    Looked { watched, leased_registry_at: SystemTime::UNIX_EPOCH, due_at, remembered }
}

fn names(leased: &[Watched]) -> BTreeSet<&str> {
    leased.iter().map(|watched| watched.domain.as_str()).collect()
}

async fn what_a_look_finds_is_kept_and_when_to_look_next(place: Place) {
    let state = place.state().await;
    let worker = Uuid::now_v7();
    discover(&state, &[discovered("a.com", 3, Some(1)), discovered("b.com", 4, None)], 0).await;
    let mut leased = state.lease(worker, 10, at(0), at(0), MINUTE).await.unwrap();
    leased.sort_by(|one, other| one.domain.as_str().cmp(other.domain.as_str()));
    let new = Watched {
        domain: domain("a.com"),
        accounts: 3,
        verified_from: Some(at(1)),
        undated: 0,
        registry_at: SystemTime::UNIX_EPOCH,
        polled_at: None,
        operators: String::new(),
        failures: 0,
        told: String::new(),
        found: None,
    };
    assert_eq!(leased, [new.clone(), Watched { domain: domain("b.com"), accounts: 4, verified_from: None, ..new.clone() }]);
    let outlook = Outlook { domains: 2, accounts: 7, leased: 2, ..Outlook::default() };
    assert_eq!(state.outlook(at(1), at(1)).await.unwrap(), outlook);

    let a = Watched {
        registry_at: at(900),
        polled_at: Some(at(2)),
        operators: "ns.example \"x\" ü".to_owned(),
        told: "domain_expired".to_owned(),
        found: Some(Reason::DomainExpired),
        ..new.clone()
    };
    let b = Watched { failures: 2, ..leased[1].clone() };
    let said = remembered(Report::registered("rdap"), at(2));
    let kept = state.looked(worker, &[looked(b.clone(), at(500), None), looked(a.clone(), at(300), Some(said.clone()))]).await.unwrap();
    assert_eq!(kept, [(domain("a.com"), said.clone())]);
    assert_eq!(state.domain(&domain("a.com")).await.unwrap(), Some(said));
    let outlook = Outlook { domains: 2, accounts: 7, failing: 1, retried: 1, found: 1, found_accounts: 3, ..Outlook::default() };
    assert_eq!(state.outlook(at(3), at(3)).await.unwrap(), outlook);
    assert_eq!(state.next_due_at(at(3)).await.unwrap(), Some(at(300)));
    assert!(state.is_open(at(3), at(460)).await.unwrap(), "a look failed, and is tried again");
    assert_eq!(state.lease(worker, 10, at(299), at(299), MINUTE).await.unwrap(), []);
    assert_eq!(state.lease(worker, 10, at(300), at(300), MINUTE).await.unwrap(), [a]);
    assert_eq!(state.lease(worker, 10, at(500), at(500), Duration::ZERO).await.unwrap().len(), 2);
    state.give_back(worker, &[domain("b.com")], at(400)).await.unwrap();
    assert_eq!(state.lease(worker, 10, at(400), at(400), MINUTE).await.unwrap(), [b]);
}

async fn workers_lease_different_domains(place: Place) {
    let found: Vec<_> = (0..500).map(|number| discovered(&format!("a{number}.com"), 1, None)).collect();
    let state = place.state().await;
    discover(&state, &found, 0).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let state = place.state().await;
        tasks.spawn(async move {
            let (worker, mut mine) = (Uuid::now_v7(), Vec::new());
            loop {
                let leased = state.lease(worker, 7, at(1), at(1), MINUTE).await.unwrap();
                assert!(leased.len() <= 7);
                if leased.is_empty() {
                    return mine;
                }
                mine.extend(leased);
            }
        });
    }
    let leased: Vec<Watched> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!((leased.len(), names(&leased).len()), (500, 500));
}

async fn a_lease_that_ran_out_is_due_again(place: Place) {
    let state = place.state().await;
    discover(&state, &[discovered("a.com", 1, None)], 0).await;
    let (dead, alive) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(state.lease(dead, 10, at(0), at(0), MINUTE).await.unwrap().len(), 1);
    assert_eq!(state.lease(alive, 10, at(59), at(59), MINUTE).await.unwrap(), []);
    assert_eq!(state.outlook(at(60), at(60)).await.unwrap().due, 1);
    assert_eq!(names(&state.lease(alive, 10, at(60), at(60), MINUTE).await.unwrap()), ["a.com"].into());
}

async fn who_lost_the_lease_keeps_what_the_sources_said_and_nothing_else(place: Place) {
    let state = place.state().await;
    discover(&state, &[discovered("a.com", 1, None)], 0).await;
    let (slow, other) = (Uuid::now_v7(), Uuid::now_v7());
    let watched = state.lease(slow, 10, at(0), at(0), MINUTE).await.unwrap().remove(0);
    let leased = state.lease(other, 10, at(60), at(60), MINUTE).await.unwrap();
    let said = remembered(Report::registered("rdap"), at(50));
    let found = Watched { found: Some(Reason::DomainExpired), ..watched };
    let kept = state.looked(slow, &[looked(found, at(1000), Some(said.clone()))]).await.unwrap();
    assert_eq!(kept, [(domain("a.com"), said)]);
    state.give_back(slow, &[domain("a.com")], at(61)).await.unwrap();
    assert_eq!(state.lease(slow, 10, at(119), at(119), MINUTE).await.unwrap(), []);
    assert_eq!(state.lease(slow, 10, at(120), at(120), MINUTE).await.unwrap(), leased);
}

async fn what_was_found_is_listed_page_by_page(place: Place) {
    let state = place.state().await;
    let worker = Uuid::now_v7();
    let found: Vec<_> = ["e.com", "b.com", "d.com", "a.com", "c.com"].map(|name| discovered(name, 1, None)).into();
    discover(&state, &found, 0).await;
    let leased = state.lease(worker, 10, at(0), at(0), MINUTE).await.unwrap();
    let reason = |name: &str| (name != "c.com").then_some(Reason::DomainRedemption);
    let all: Vec<_> = leased.into_iter().map(|watched| Watched { found: reason(watched.domain.as_str()), ..watched }).collect();
    let all: Vec<_> = all.into_iter().map(|watched| looked(watched, at(100), None)).collect();
    state.looked(worker, &all).await.unwrap();
    let page = async |after: Option<&str>| {
        let page = state.found(after.map(domain).as_ref(), 2).await.unwrap();
        page.into_iter().map(|(domain, reason)| format!("{domain} {reason}")).collect::<Vec<_>>()
    };
    assert_eq!(page(None).await, ["a.com domain_redemption", "b.com domain_redemption"]);
    assert_eq!(page(Some("b.com")).await, ["d.com domain_redemption", "e.com domain_redemption"]);
    assert_eq!(page(Some("e.com")).await, [""; 0]);

    // A later version's reason is one all the same. A name that is a public suffix by now is left alone.
    place.run("UPDATE gatekeeper_watched SET found = 'unheard_of' WHERE name = 'a.com'").await;
    place.run("UPDATE gatekeeper_watched SET name = 'co.uk' WHERE name = 'd.com'").await;
    assert_eq!(page(None).await, ["a.com domain_unregistered", "b.com domain_redemption"]);
    assert_eq!(page(Some("b.com")).await, ["e.com domain_redemption"]);
    assert_eq!(state.outlook(at(99), at(99)).await.unwrap().found, 3);
    let leased = state.lease(worker, 10, at(100), at(100), MINUTE).await.unwrap();
    assert!(leased.iter().any(|watched| watched.found == Some(Reason::DomainUnregistered)), "and it is kept as one");
    assert_eq!(names(&leased), ["a.com", "b.com", "c.com", "e.com"].into());
}

async fn what_is_no_registrable_domain_any_more_is_left_alone(place: Place) {
    let state = place.state().await;
    let worker = Uuid::now_v7();
    discover(&state, &[discovered("a.com", 1, None), discovered("b.com", 1, None)], 0).await;
    place.run("UPDATE gatekeeper_watched SET name = 'co.uk' WHERE name = 'a.com'").await;
    assert_eq!(names(&state.lease(worker, 1, at(0), at(0), MINUTE).await.unwrap()), ["b.com"].into());
    state.give_back(worker, &[domain("b.com")], at(0)).await.unwrap();
    assert_eq!(names(&state.lease(worker, 10, at(0), at(0), MINUTE).await.unwrap()), ["b.com"].into());
    let outlook = state.outlook(at(1), at(1)).await.unwrap();
    assert_eq!((outlook.domains, outlook.leased, outlook.due), (1, 1, 0));
    place.run("DELETE FROM gatekeeper_watched WHERE name = 'b.com'").await;
    assert!(!state.is_open(at(90), at(90)).await.unwrap());
}

async fn of_two_looks_at_a_domain_the_last_counts(place: Place) {
    let state = place.state().await;
    let worker = Uuid::now_v7();
    discover(&state, &[discovered("a.com", 1, None)], 0).await;
    let leased = state.lease(worker, 10, at(0), at(0), MINUTE).await.unwrap().remove(0);
    let [first, last] = [1, 2].map(|second| remembered(Report::registered("rdap"), at(second)));
    let failed = Watched { failures: 1, ..leased.clone() };
    let all = [looked(failed, at(100), Some(first)), looked(leased.clone(), at(200), Some(last.clone()))];
    assert_eq!(state.looked(worker, &all).await.unwrap(), [(domain("a.com"), last)]);
    assert_eq!(state.next_due_at(at(3)).await.unwrap(), Some(at(200)));
    assert_eq!(state.lease(worker, 10, at(200), at(200), MINUTE).await.unwrap(), [leased]);
}

async fn a_lapse_that_a_reset_came_upon_makes_the_domain_due(place: Place) {
    let state = place.state().await;
    let worker = Uuid::now_v7();
    discover(&state, &[discovered("a.com", 2, None), discovered("b.com", 2, None)], 0).await;
    let leased = state.lease(worker, 10, at(0), at(0), MINUTE).await.unwrap();
    let leased: Vec<_> = leased.into_iter().map(|watched| Watched { registry_at: at(900), ..watched }).collect();
    state.looked(worker, &leased.iter().map(|watched| looked(watched.clone(), at(500), None)).collect::<Vec<_>>()).await.unwrap();

    state.keep_domain(&domain("a.com"), &remembered(Report::registered("rdap"), at(1))).await.unwrap();
    assert_eq!(state.outlook(at(2), at(2)).await.unwrap().due, 0);
    state.keep_domain(&domain("a.com"), &remembered(Report::unregistered("rdap"), at(3))).await.unwrap();
    let due = state.lease(worker, 10, at(4), at(4), MINUTE).await.unwrap();
    assert_eq!(names(&due), ["a.com"].into());
    assert_eq!(due[0].registry_at, SystemTime::UNIX_EPOCH);

    // While somebody looks at it, he is left to it, and it is due once that is settled: he may not have seen the lapse.
    state.keep_domain(&domain("a.com"), &remembered(Report::unregistered("rdap"), at(5))).await.unwrap();
    assert_eq!(state.lease(worker, 10, at(6), at(6), MINUTE).await.unwrap(), []);
    let after = |watched: &Watched| Watched { registry_at: at(900), ..watched.clone() };
    state.looked(worker, &[looked(after(&due[0]), at(500), None)]).await.unwrap();
    let due = state.lease(worker, 10, at(7), at(7), MINUTE).await.unwrap();
    assert_eq!((names(&due), due[0].registry_at), (["a.com"].into(), SystemTime::UNIX_EPOCH));
    state.looked(worker, &[looked(after(&due[0]), at(500), None)]).await.unwrap();
    assert_eq!(state.lease(worker, 10, at(8), at(8), MINUTE).await.unwrap(), []);

    // Where that was to be left to the DNS for long, too.
    let due = state.lease(worker, 10, at(500), at(500), MINUTE).await.unwrap();
    state.keep_domain(&domain("b.com"), &remembered(Report::unregistered("rdap"), at(501))).await.unwrap();
    let polled = due.into_iter().map(|watched| Looked { leased_registry_at: at(900), ..looked(watched, at(800), None) });
    state.looked(worker, &polled.collect::<Vec<_>>()).await.unwrap();
    let due = state.lease(worker, 10, at(502), at(502), MINUTE).await.unwrap();
    assert_eq!((names(&due), due[0].registry_at), (["b.com"].into(), SystemTime::UNIX_EPOCH));
}

/// Statements of several rows, in batches that overlap: each in its own order, two of them would wait for each other.
async fn all_that_happens_at_once_waits_for_nobody_in_a_circle(place: Place) {
    let found: Arc<Vec<_>> = Arc::new((0..200).map(|number| discovered(&format!("a{number}.com"), 1, Some(number % 7))).collect());
    let state = place.state().await;
    discover(&state, &found, 0).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let state = place.state().await;
        tasks.spawn(async move {
            for round in 1..20 {
                let worker = Uuid::now_v7();
                // So short that several have the same at once.
                let leased = state.lease(worker, 50, at(round), at(round), Duration::ZERO).await.unwrap();
                let lapse = remembered(Report::unregistered("rdap"), at(round));
                let all: Vec<_> = leased.into_iter().rev().map(|watched| looked(watched, at(round), Some(lapse.clone()))).collect();
                assert_eq!(state.looked(worker, &all).await.unwrap().len(), all.len());
            }
        });
    }
    let (other, backwards) = (place.state().await, found.iter().rev().cloned().collect::<Vec<_>>());
    tasks.spawn(async move {
        for round in 1..6 {
            discover(&other, &backwards, round).await;
        }
    });
    tasks.spawn(async move {
        for Discovered { domain, .. } in found.iter().take(50) {
            state.keep_domain(domain, &remembered(Report::unregistered("rdap"), at(20))).await.unwrap();
        }
    });
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}
