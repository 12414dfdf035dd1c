//! A directory made of a function: what it finds, what it can't do, and that an overlay does that for it.

use std::io;
use std::sync::{Arc, Mutex};

use reset_gatekeeper::account::{Account, Directory, DirectoryError, Overlay, from_fn};
use reset_gatekeeper::audit::Tracing;
use reset_gatekeeper::testing::{Registry, SetClock, time};
use reset_gatekeeper::{Gatekeeper, Identifier, Identifies, Reason, State};

use crate::stage::NOW;

fn account(id: &str, email: &str) -> Account {
    Account { id: id.into(), email: email.to_owned(), verified: true, verified_at: Some(time("2020-01-01T00:00:00Z")) }
}

fn named(kind: Identifies, name: &str) -> Identifier {
    Identifier::parse(kind, name).unwrap()
}

#[tokio::test]
async fn a_function_is_asked_for_each_spelling_and_finds_an_account_once() {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let asks = Arc::clone(&asked);
    let directory = from_fn(move |email: String| {
        asks.lock().unwrap().push(email);
        async { Ok::<_, io::Error>(Some(account("1", "Jo@bücher.example"))) }
    });
    let found = directory.find(&named(Identifies::Email, "Jo@bücher.example")).await.unwrap();
    assert_eq!(found, [account("1", "Jo@bücher.example")]);
    let asked = asked.lock().unwrap();
    for spelling in ["jo@xn--bcher-kva.example", "jo@bücher.example", "Jo@bücher.example"] {
        assert!(asked.iter().any(|asked| asked == spelling), "{spelling} of {asked:?}");
    }
}

#[tokio::test]
async fn what_a_function_cannot_do_is_an_error_and_never_an_empty_answer() {
    let directory = from_fn(async |_: String| Err::<Vec<_>, _>("the database is away"));
    for kind in [Identifies::Username, Identifies::Id, Identifies::Token] {
        let found = directory.find(&named(kind, "jo")).await;
        assert!(matches!(found, Err(DirectoryError::Unsupported(unsupported)) if unsupported == kind), "{found:?}");
    }
    let found = directory.find(&named(Identifies::Email, "a@example.com")).await;
    assert!(matches!(found, Err(DirectoryError::Unavailable { .. })), "{found:?}");
    assert!(matches!(directory.page(None, 10).await, Err(DirectoryError::NoQuery("page"))));
    let unverified = directory.unverify(&account("1", "a@example.com"), Reason::DomainRedemption).await;
    assert!(matches!(unverified, Err(DirectoryError::NoQuery("unverify"))));
}

#[tokio::test]
async fn over_a_function_the_state_keeps_what_was_taken_away() {
    let registry = Registry::start().await.unwrap();
    let long = (time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    registry.register("example.com", long.0, long.1);
    registry.lapse("example.com");
    let clock = SetClock::at(NOW);
    let directory = from_fn(async |email: String| Ok::<_, io::Error>((email == "a@example.com").then(|| account("1", "a@example.com"))));
    let gatekeeper = Gatekeeper::builder()
        .directory(Overlay::new(directory, State::memory().await.unwrap(), clock.clone(), false))
        .domains(registry.rdap().await.unwrap())
        .audit(Tracing)
        .clock(clock)
        .build()
        .unwrap();
    let reasons = async || gatekeeper.assess("a@example.com").await.unwrap().reasons().to_vec();
    assert_eq!(reasons().await, [Reason::DomainRedemption]);
    registry.register("example.com", long.0, long.1);
    assert_eq!(reasons().await, [Reason::EmailUnverified, Reason::DomainRedemption], "whatever the domain does later");
}
