//! The one way past a block: for an account or a domain, until a day, in SQLite and in PostgreSQL.

mod command;

use std::time::Duration;

use futures_util::future::join_all;
use reset_gatekeeper::account::{Account, MemoryDirectory};
use reset_gatekeeper::audit::{Decision, Event, Record};
use reset_gatekeeper::testing::time;
use reset_gatekeeper::{
    Exempt, Exemption, ExemptionError, GatekeeperBuilder, GatekeeperLayer, Guard, Limit, NewExemption, RegistrableDomain, Reply, State,
    SweepSettings, Target,
};

use crate::stage::{NOW, Stage, VERIFIED};
use crate::state::{Place, promised_of_both};

const DAY: Duration = Duration::from_secs(86_400);

promised_of_both! {
    an_exempt_domain_passes_until_its_day,
    an_exempt_account_passes_and_no_other_on_its_domain,
    what_is_given_or_taken_back_holds_at_once_at_every_replica,
    of_two_exemptions_the_one_that_ends_last_is_used,
    another_exemption_takes_the_place_of_the_one_before,
    a_lapsed_domain_takes_the_verification_of_an_exempt_address_all_the_same,
    an_exemption_is_for_who_held_the_domain_when_it_was_given,
    a_sweep_goes_on_to_un_verify_what_is_exempt,
    a_reset_passes_in_every_mode_and_its_record_says_so,
    an_application_that_asks_by_itself_is_let_through_too,
    what_is_wrong_with_the_request_stays_blocked,
    a_use_is_recorded_even_where_what_is_let_through_is_not,
    of_several_accounts_each_exemption_that_was_needed_is_recorded,
    while_one_account_is_blocked_no_exemption_of_another_is_used,
    a_state_that_can_not_tell_exempts_nobody,
    what_is_over_is_kept_for_a_year,
    only_a_short_and_explained_exemption_is_given,
    only_what_is_in_force_is_taken_back,
}

fn domain(name: &str) -> Exempt {
    Exempt::Domain(RegistrableDomain::of(name).unwrap())
}

fn account(id: &str) -> Exempt {
    Exempt::Account(id.into())
}

fn wanted(exempt: Exempt, until: &str) -> NewExemption {
    NewExemption { exempt, until: time(until), reason: "the holder called".to_owned(), by: "jo".to_owned() }
}

async fn give(state: &State, exempt: Exempt) -> Exemption {
    state.exempt(wanted(exempt, "2026-02-10T00:00:00Z"), time(NOW)).await.unwrap()
}

/// A guarded application over `state`, with `a@lapsed.com` and `b@lapsed.com` on a domain that has lapsed.
async fn stage_with(state: State, reply: Reply, settings: impl FnOnce(GatekeeperBuilder) -> GatekeeperBuilder) -> Stage {
    let stage = Stage::with(reply, |builder| settings(builder.state(state))).await;
    for email in ["a@lapsed.com", "b@lapsed.com", "a@example.com"] {
        stage.healthy_account(email);
    }
    stage.registry.lapse("lapsed.com");
    stage
}

async fn stage(state: State) -> Stage {
    stage_with(state, Reply::refuse(), |builder| builder).await
}

fn is_used(record: &Record, exemption: &Exemption) -> bool {
    record.event == Event::ResetAllowed
        && record.verdict == Decision::Allow
        && record.exemption.as_ref() == Some(exemption)
        && !record.reasons.is_empty()
}

async fn an_exempt_domain_passes_until_its_day(place: Place) {
    let state = place.state().await;
    let stage = stage(state.clone()).await;
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 403);
    let exemption = give(&state, domain("lapsed.com")).await;
    assert_eq!(exemption.given_at, time(NOW));
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 200);
    assert!(is_used(&stage.audit.last(), &exemption), "{:?}", stage.audit.last());
    assert_eq!(stage.last_reasons(), ["email_unverified", "domain_redemption"]);
    assert_eq!(stage.ask_reset("b@lapsed.com").await, 200);
    assert_eq!(stage.last_reasons(), ["domain_redemption"]);
    let seen = stage.seen().pop().unwrap();
    assert_eq!(seen.body, "email=b%40lapsed.com");
    assert_eq!(seen.verdict.unwrap().exemption(), Some(&exemption));

    assert_eq!(stage.ask_reset("a@example.com").await, 200);
    assert_eq!(stage.audit.last().exemption, None, "who needs no exemption uses none");
    stage.clock.advance(time("2026-02-10T00:00:00Z").duration_since(time(NOW)).unwrap() - Duration::from_secs(1));
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 200);
    stage.clock.advance(Duration::from_secs(1));
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 403);
    assert_eq!(stage.audit.last().exemption, None);
}

async fn an_exempt_account_passes_and_no_other_on_its_domain(place: Place) {
    let state = place.state().await;
    let stage = stage(state.clone()).await;
    let exemption = give(&state, account("a@lapsed.com")).await;
    give(&state, domain("another.com")).await;
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 200);
    assert!(is_used(&stage.audit.last(), &exemption));
    assert_eq!(stage.ask_reset("b@lapsed.com").await, 403);

    stage.accounts.insert("c@example.com", false, None);
    assert_eq!(stage.ask_reset("c@example.com").await, 403);
    give(&state, account("c@example.com")).await;
    assert_eq!(stage.ask_reset("C@Example.com").await, 200);
    assert_eq!(stage.last_reasons(), ["email_unverified"]);
}

/// Whoever registers an exempt domain after it was dropped is not who was exempted.
async fn an_exemption_is_for_who_held_the_domain_when_it_was_given(place: Place) {
    let state = place.state().await;
    let stage = stage(state.clone()).await;
    give(&state, domain("lapsed.com")).await;
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 200);
    stage.clock.advance(5 * DAY);
    stage.registry.register("lapsed.com", time("2026-02-03T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    // One address lost its verification meanwhile, the other has it still.
    for email in ["a@lapsed.com", "b@lapsed.com"] {
        assert_eq!(stage.ask_reset(email).await, 403, "{email}");
        assert!(stage.last_reasons().contains(&"domain_reregistered"), "{email}: {:?}", stage.last_reasons());
    }
    state.exempt(wanted(domain("lapsed.com"), "2026-02-10T00:00:00Z"), time("2026-02-05T12:00:00Z")).await.unwrap();
    assert_eq!(stage.ask_reset("b@lapsed.com").await, 200, "the new holder may be exempted, too");
}

async fn what_is_given_or_taken_back_holds_at_once_at_every_replica(place: Place) {
    let (here, there) = (place.state().await, place.state().await);
    let stage = stage(here.clone()).await;
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 403);
    let exemption = give(&there, domain("lapsed.com")).await;
    assert_eq!(here.exemptions(time(NOW)).await.unwrap(), std::slice::from_ref(&exemption));
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 200);
    assert!(there.remove_exemption(exemption.id, "mo", time(NOW)).await.unwrap());
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 403);
    assert_eq!(here.exemptions(time(NOW)).await.unwrap(), []);
    let kept = here.all_exemptions().await.unwrap();
    assert_eq!((kept[0].removed_at, kept[0].removed_by.as_deref()), (Some(time(NOW)), Some("mo")));
    assert_eq!(kept[0].exemption, exemption);
}

async fn of_two_exemptions_the_one_that_ends_last_is_used(place: Place) {
    let state = place.state().await;
    let stage = stage(state.clone()).await;
    let give = async |exempt, until| state.exempt(wanted(exempt, until), time(NOW)).await.unwrap();
    let of_domain = give(domain("lapsed.com"), "2026-02-10T00:00:00Z").await;
    let of_account = give(account("a@lapsed.com"), "2026-02-20T00:00:00Z").await;
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 200);
    assert_eq!(stage.audit.last().exemption, Some(of_account));
    assert_eq!(stage.ask_reset("b@lapsed.com").await, 200);
    assert_eq!(stage.audit.last().exemption, Some(of_domain));
}

/// So that what was said last is what holds, for as long as it said.
async fn another_exemption_takes_the_place_of_the_one_before(place: Place) {
    let state = place.state().await;
    let stage = stage(state.clone()).await;
    let of_account = give(&state, account("b@lapsed.com")).await;
    let first = give(&state, domain("lapsed.com")).await;
    let (noon, shorter) = (time("2026-02-01T12:00:00Z"), wanted(domain("lapsed.com"), "2026-02-03T00:00:00Z"));
    let second = state.exempt(NewExemption { by: "mo".to_owned(), ..shorter }, noon).await.unwrap();
    assert_eq!(state.exemptions(noon).await.unwrap(), [second.clone(), of_account.clone()], "one for each");
    let kept = state.all_exemptions().await.unwrap();
    let replaced = kept.iter().find(|kept| kept.exemption == first).unwrap();
    assert_eq!((replaced.removed_at, replaced.removed_by.as_deref()), (Some(noon), Some("mo")), "who gave the other");
    stage.clock.advance(2 * DAY);
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 200);
    assert_eq!(stage.audit.last().exemption, Some(second));
    stage.clock.advance(DAY);
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 403, "the one before doesn't come back");
    assert_eq!(stage.ask_reset("b@lapsed.com").await, 200, "that of an account is another");

    // One that is over is as it was.
    let over = state.all_exemptions().await.unwrap();
    let third = state.exempt(wanted(domain("lapsed.com"), "2026-02-10T00:00:00Z"), time("2026-02-04T00:00:00Z")).await.unwrap();
    let kept = state.all_exemptions().await.unwrap();
    assert_eq!((kept[0].exemption.id, &kept[1..]), (third.id, &over[..]));
}

async fn a_lapsed_domain_takes_the_verification_of_an_exempt_address_all_the_same(place: Place) {
    let state = place.state().await;
    let stage = stage(state.clone()).await;
    let exemption = give(&state, domain("lapsed.com")).await;
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 200);
    assert!(!stage.accounts.is_verified("a@lapsed.com").await);
    let [unverified, allowed] = stage.audit.records().try_into().unwrap();
    assert_eq!(unverified.event, Event::EmailUnverified);
    assert!(is_used(&allowed, &exemption));
    assert!(state.remove_exemption(exemption.id, "jo", time(NOW)).await.unwrap());
    stage.healthy_account("z@lapsed.com");
    stage.clock.advance(30 * DAY);
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 403, "whatever became of the domain");
}

async fn a_sweep_goes_on_to_un_verify_what_is_exempt(place: Place) {
    let state = place.state().await;
    let stage = stage(state.clone()).await;
    give(&state, domain("lapsed.com")).await;
    give(&state, account("b@lapsed.com")).await;
    stage.clock.advance(Duration::from_secs(1));
    let mut settings = SweepSettings::default();
    settings.rate = None;
    stage.gatekeeper.sweep().settings(settings).await.unwrap();
    for email in ["a@lapsed.com", "b@lapsed.com"] {
        assert!(!stage.accounts.is_verified(email).await, "{email}");
        assert_eq!(stage.ask_reset(email).await, 200);
    }
}

async fn a_reset_passes_in_every_mode_and_its_record_says_so(place: Place) {
    let state = place.state().await;
    let exemption = give(&state, domain("lapsed.com")).await;
    for (reply, enforced) in [(Reply::refuse(), true), (Reply::decoy(), true), (Reply::observe(), false)] {
        let stage = stage_with(state.clone(), reply.clone(), |builder| builder).await;
        assert_eq!(stage.ask_reset("a@lapsed.com").await, 200);
        assert_eq!(stage.seen()[0].body, "email=a%40lapsed.com", "{reply:?}");
        let record = stage.audit.last();
        assert!(is_used(&record, &exemption), "{reply:?}: {record:?}");
        assert_eq!(record.enforced, enforced);
    }
}

async fn an_application_that_asks_by_itself_is_let_through_too(place: Place) {
    let state = place.state().await;
    let stage = stage(state.clone()).await;
    assert!(!stage.gatekeeper.assess("b@lapsed.com").await.unwrap().is_allowed());
    let exemption = give(&state, domain("lapsed.com")).await;
    let verdict = stage.gatekeeper.assess("b@lapsed.com").await.unwrap();
    assert!(verdict.is_allowed());
    assert_eq!((verdict.as_str(), verdict.exemption()), ("allow", Some(&exemption)));
    assert_eq!(verdict.reference(), Some(stage.audit.last().id));
    assert!(is_used(&stage.audit.last(), &exemption));
}

async fn what_is_wrong_with_the_request_stays_blocked(place: Place) {
    let state = place.state().await;
    let stage = stage(state.clone()).await;
    give(&state, domain("lapsed.com")).await;
    give(&state, account("a@lapsed.com")).await;
    for (body, status) in [("email=a@lapsed.com&email=b@lapsed.com", 400), ("name=a@lapsed.com", 400), ("email=a@", 403)] {
        let request = stage.http.post(stage.url("/password-reset")).header("content-type", "application/x-www-form-urlencoded");
        assert_eq!(request.body(body).send().await.unwrap().status(), status, "{body}");
    }
    let layer = GatekeeperLayer::new(stage.gatekeeper.clone(), Reply::refuse())
        .guard(Guard::post("/limited/{email}").target(Target::path("email")).limit("2/h".parse::<Limit>().unwrap()));
    let app = axum::Router::new().fallback(|| async {}).layer(layer);
    for status in [200, 200, 403] {
        let request = http::Request::post("/limited/a@lapsed.com").body(axum::body::Body::empty()).unwrap();
        assert_eq!(tower::ServiceExt::oneshot(app.clone(), request).await.unwrap().status(), status);
    }
    assert_eq!(stage.last_reasons(), ["email_unverified", "domain_redemption", "too_many_requests"]);
    assert_eq!(stage.audit.last().exemption, None);
}

async fn a_use_is_recorded_even_where_what_is_let_through_is_not(place: Place) {
    let state = place.state().await;
    let stage = stage_with(state.clone(), Reply::refuse(), |builder| builder.record_allowed(false)).await;
    let exemption = give(&state, account("c@example.com")).await;
    stage.accounts.insert("c@example.com", false, None);
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
    assert_eq!(stage.audit.records(), []);
    assert_eq!(stage.ask_reset("c@example.com").await, 200);
    assert!(is_used(&stage.audit.last(), &exemption));
}

/// Three accounts with one address: the first verified, the others not.
fn namesakes() -> MemoryDirectory {
    let row =
        |id: &str, verified| Account { id: id.into(), email: "a@example.com".to_owned(), verified, verified_at: Some(time(VERIFIED)) };
    MemoryDirectory::from_iter([row("1", true), row("2", false), row("3", false)])
}

async fn of_several_accounts_each_exemption_that_was_needed_is_recorded(place: Place) {
    let state = place.state().await;
    let stage = stage_with(state.clone(), Reply::refuse(), |builder| builder.directory(namesakes())).await;
    let (two, three) = (give(&state, account("2")).await, give(&state, account("3")).await);
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
    let [one, other] = stage.audit.records().try_into().unwrap();
    assert!(is_used(&one, &three) && is_used(&other, &two), "{one:?} {other:?}");
    assert_eq!(stage.seen()[0].verdict.as_ref().unwrap().reference(), Some(other.id));
}

async fn while_one_account_is_blocked_no_exemption_of_another_is_used(place: Place) {
    let state = place.state().await;
    let stage = stage_with(state.clone(), Reply::refuse(), |builder| builder.directory(namesakes())).await;
    give(&state, account("2")).await;
    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    let [blocked] = stage.audit.records().try_into().unwrap();
    assert_eq!((blocked.event, blocked.exemption, blocked.account.unwrap().id), (Event::ResetBlocked, None, "3".into()));
}

async fn a_state_that_can_not_tell_exempts_nobody(mut place: Place) {
    let state = place.state().await;
    let stage = stage(state.clone()).await;
    give(&state, domain("lapsed.com")).await;
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 200);
    place.run("DROP TABLE gatekeeper_exemptions").await;
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 403);
    assert_eq!(stage.audit.last().event, Event::ResetBlocked);
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
    assert!(matches!(state.exempt(wanted(domain("example.com"), "2026-02-10T00:00:00Z"), time(NOW)).await, Err(ExemptionError::State(_))));
}

/// The table is locked, so whoever asks waits.
#[tokio::test]
async fn a_request_that_nothing_blocks_asks_for_no_exemption() {
    let mut place = Place::database().await;
    let state = place.state().await;
    let stage = stage(state.clone()).await;
    give(&state, domain("lapsed.com")).await;
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
    place.run("BEGIN; LOCK TABLE gatekeeper_exemptions IN ACCESS EXCLUSIVE MODE").await;
    let passing = join_all((0..20).map(|_| stage.ask_reset("a@example.com")));
    let statuses = tokio::time::timeout(Duration::from_secs(2), passing).await.unwrap();
    assert_eq!(statuses, [200; 20]);
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 403, "it could not be told in time");
    place.run("COMMIT").await;
    assert_eq!(stage.ask_reset("a@lapsed.com").await, 200);
}

async fn what_is_over_is_kept_for_a_year(place: Place) {
    let state = place.state().await;
    let names =
        async || -> Vec<String> { state.all_exemptions().await.unwrap().iter().map(|kept| kept.exemption.exempt.to_string()).collect() };
    give(&state, domain("one.com")).await;
    let second = state.exempt(wanted(account("2"), "2026-03-01T00:00:00Z"), time("2026-02-01T00:00:00Z")).await.unwrap();
    assert!(state.remove_exemption(second.id, "jo", time("2026-02-02T00:00:00Z")).await.unwrap());
    state.exempt(wanted(domain("three.com"), "2027-03-01T00:00:00Z"), time("2027-02-09T23:59:59Z")).await.unwrap();
    assert_eq!(names().await, ["domain three.com", "account 2", "domain one.com"]);
    state.exempt(wanted(domain("four.com"), "2027-03-01T00:00:00Z"), time("2027-02-10T00:00:01Z")).await.unwrap();
    assert_eq!(names().await, ["domain four.com", "domain three.com", "account 2"]);
    let kept = state.all_exemptions().await.unwrap();
    let holding: Vec<bool> = kept.iter().map(|kept| kept.holds(time("2027-02-10T00:00:01Z"))).collect();
    assert_eq!(holding, [true, true, false]);
}

async fn only_a_short_and_explained_exemption_is_given(place: Place) {
    let state = place.state().await;
    let given = async |until: &str, reason: &str, by: &str, exempt: Exempt| {
        let wanted = NewExemption { exempt, until: time(until), reason: reason.to_owned(), by: by.to_owned() };
        state.exempt(wanted, time(NOW)).await.map_err(|error| error.to_string())
    };
    let ninety = "2026-05-01T12:00:00Z";
    for (until, reason, by, exempt, error) in [
        (NOW, "why", "jo", account("1"), "it would be over already"),
        ("2026-01-31T11:59:59Z", "why", "jo", account("1"), "it would be over already"),
        ("2026-05-01T12:00:01Z", "why", "jo", account("1"), "it would last for more than 90 days"),
        (ninety, " ", "jo", account("1"), "the reason is missing"),
        (ninety, "why\nnot", "jo", account("1"), "the reason has more than one line, or characters that can't be seen"),
        (ninety, "\u{202e}why", "jo", account("1"), "the reason has more than one line, or characters that can't be seen"),
        (ninety, &"w".repeat(501), "jo", account("1"), "the reason is too long"),
        (ninety, "why", "", account("1"), "the name of who does it is missing"),
        (ninety, "why", "\u{7}jo", account("1"), "the name of who does it has more than one line, or characters that can't be seen"),
        (ninety, "why", &"j".repeat(101), account("1"), "the name of who does it is too long"),
        (ninety, "why", "jo", account(""), "the account has no key"),
    ] {
        assert_eq!(given(until, reason, by, exempt).await.unwrap_err(), error);
    }
    assert_eq!(state.all_exemptions().await.unwrap(), []);
    let given = given(ninety, &" ä".repeat(250), " jo ", account("1")).await.unwrap();
    assert_eq!((given.reason.chars().count(), given.by.as_str()), (499, "jo"));
}

async fn only_what_is_in_force_is_taken_back(place: Place) {
    let state = place.state().await;
    let exemption = give(&state, domain("lapsed.com")).await;
    assert!(!state.remove_exemption(uuid::Uuid::nil(), "jo", time(NOW)).await.unwrap());
    assert!(!state.remove_exemption(exemption.id, "jo", time("2026-02-10T00:00:00Z")).await.unwrap(), "it is over");
    assert!(state.remove_exemption(exemption.id, "jo", time("2026-02-09T00:00:00Z")).await.unwrap());
    assert!(!state.remove_exemption(exemption.id, "mo", time("2026-02-09T00:00:00Z")).await.unwrap(), "once is enough");
    assert!(matches!(state.remove_exemption(exemption.id, " ", time(NOW)).await, Err(ExemptionError::Text { .. })));
}
