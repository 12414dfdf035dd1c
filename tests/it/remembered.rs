//! What the state keeps of domains, for itself and for the replicas that share it: in SQLite, and in PostgreSQL.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use reset_gatekeeper::domain::cache::Remembered;
use reset_gatekeeper::domain::{History, Report, Signal};
use reset_gatekeeper::testing::{Fault, Registry, SetClock, time};
use reset_gatekeeper::{Clock, Gatekeeper, Policy, Reason, RegistrableDomain, State, StateError};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use crate::postgres;
use crate::stage::{Accounts, NOW, Recorder, VERIFIED};
use crate::state::{Place, promised_of_both};

const DAY: Duration = Duration::from_secs(86_400);
const FIRST: &str = "2026-01-01T12:00:00Z";
const THEN: &str = "2026-01-31T12:00:00Z";
const LATER: &str = "2026-02-10T12:00:00.123456Z";

promised_of_both! {
    a_report_that_the_dns_confirmed_stands_in_for_longer,
    a_report_that_the_dns_confirmed_is_no_fresher_for_it,
    a_confirmation_is_younger_than_the_report,
    a_domain_is_kept_and_shared,
    the_later_report_and_both_histories_stay,
    nothing_is_lost_when_many_write_at_once,
    a_damaged_report_is_none_and_its_history_stays,
    a_damaged_history_is_an_error_and_is_left_alone,
}

fn domain(name: &str) -> RegistrableDomain {
    RegistrableDomain::of(name).unwrap()
}

/// Registered, with this registrar.
fn registered(registrar: &str) -> Report {
    let mut report = Report::registered("rdap");
    report.registrar = Some(registrar.to_owned());
    report.expires_at = Some(time("2027-01-01T00:00:00Z"));
    report
}

/// What is remembered after these reports.
fn remembered(reports: &[(Report, &str)]) -> Remembered {
    let [(first, at), rest @ ..] = reports else { unreachable!("no report") };
    let mut history = History::beginning(first, time(at));
    for (report, at) in rest {
        history = history.after(report, time(at));
    }
    let (report, at) = reports.last().unwrap();
    Remembered { report: Arc::new(report.clone()), history: Arc::new(history), checked_at: time(at), confirmed_at: None }
}

fn lapsed(at: &str) -> Remembered {
    remembered(&[(Report::unregistered("rdap"), at)])
}

async fn next(news: &mut Receiver<RegistrableDomain>) -> RegistrableDomain {
    timeout(Duration::from_secs(20), news.recv()).await.expect("news come at once").unwrap()
}

async fn a_domain_is_kept_and_shared(place: Place) {
    let (one, other) = (place.state().await, place.state().await);
    let name = domain("bücher.example.co.uk");
    assert_eq!(other.domain(&name).await.unwrap(), None);
    let found_out = remembered(&[(registered("1"), FIRST), (registered("2"), LATER)]);
    assert_eq!(one.keep_domain(&name, &found_out).await.unwrap(), found_out);
    assert_eq!(one.keep_domain(&name, &found_out).await.unwrap(), found_out, "nothing is added twice");
    assert_eq!(other.domain(&name).await.unwrap(), Some(found_out.clone()));
    assert_eq!(other.domain(&domain("example.com")).await.unwrap(), None);
    drop((one, other));
    assert_eq!(place.state().await.domain(&name).await.unwrap(), Some(found_out));
}

async fn the_later_report_and_both_histories_stay(place: Place) {
    let name = domain("example.com");
    let early = remembered(&[(Report::unregistered("rdap"), FIRST), (registered("1"), THEN)]);
    let late = remembered(&[(registered("1"), THEN), (registered("2"), LATER)]);
    for (round, order) in [[&early, &late], [&late, &early]].into_iter().enumerate() {
        let name = domain(&format!("round{round}.com"));
        for (state, found_out) in [place.state().await, place.state().await].iter().zip(order) {
            state.keep_domain(&name, found_out).await.unwrap();
        }
        let kept = place.state().await.domain(&name).await.unwrap().unwrap();
        assert_eq!((&kept.report, kept.checked_at), (&late.report, time(LATER)), "{round}");
        assert_eq!(kept.history.first_seen_at(), time(FIRST), "{round}");
        assert_eq!(kept.history.lapsed_at(), Some(time(FIRST)), "{round}");
        assert_eq!(kept.history.changes().len(), 1, "{round}");
        assert_eq!(*kept.history, late.history.merged(&early.history), "{round}");
    }
    assert_eq!(place.state().await.domain(&name).await.unwrap(), None);
}

async fn nothing_is_lost_when_many_write_at_once(place: Place) {
    let states = [place.state().await, place.state().await];
    for name in [domain("one.com"), domain("other.com")] {
        // Twelve saw a change each, the others a lapse each.
        let written = (0..20).map(|call| {
            let at = format!("2026-02-{:02}T12:00:00Z", call + 1);
            let found_out = match call {
                0..12 => remembered(&[(registered("1"), FIRST), (registered(&format!("after {call}")), &at)]),
                _ => lapsed(&at),
            };
            let (state, name) = (states[call % 2].clone(), name.clone());
            tokio::spawn(async move { state.keep_domain(&name, &found_out).await.unwrap() })
        });
        for written in join_all(written).await {
            written.unwrap();
        }
        let kept = states[0].domain(&name).await.unwrap().unwrap();
        let days: Vec<_> = kept.history.changes().iter().filter_map(|change| change.at).collect();
        let expected: Vec<_> = (1..=12).map(|day| time(&format!("2026-02-{day:02}T12:00:00Z"))).collect();
        assert_eq!(days, expected);
        assert!(kept.history.changes().iter().all(|change| change.signal == Signal::Registrar));
        assert_eq!(kept.history.lapsed_at(), Some(time("2026-02-20T12:00:00Z")));
        assert_eq!((kept.report.registered, kept.checked_at), (Some(false), time("2026-02-20T12:00:00Z")));
    }
}

/// A later version's, or damaged.
async fn a_damaged_report_is_none_and_its_history_stays(mut place: Place) {
    let (state, name) = (place.state().await, domain("example.com"));
    let lapse = lapsed(LATER);
    state.keep_domain(&name, &lapse).await.unwrap();
    for damage in ["", "{}", "{\"source\":"] {
        place.run(&format!("UPDATE gatekeeper_domains SET report = '{damage}'")).await;
        assert_eq!(state.domain(&name).await.unwrap(), None, "{damage}");
        // Also where it is older than what can't be read.
        let found_out = remembered(&[(registered("1"), THEN)]);
        let kept = state.keep_domain(&name, &found_out).await.unwrap();
        assert_eq!((&kept.report, kept.checked_at), (&found_out.report, time(THEN)), "{damage}");
        assert_eq!(kept.history.lapsed_at(), lapse.history.lapsed_at(), "{damage}");
        assert_eq!(state.domain(&name).await.unwrap(), Some(kept), "{damage}");
    }
}

async fn a_damaged_history_is_an_error_and_is_left_alone(mut place: Place) {
    let (state, name) = (place.state().await, domain("example.com"));
    state.keep_domain(&name, &lapsed(FIRST)).await.unwrap();
    place.run("UPDATE gatekeeper_domains SET history = '{\"lapsed_at\":0}'").await;
    for _ in 0..2 {
        let error = state.domain(&name).await.unwrap_err();
        assert!(matches!(&error, StateError::Unreadable { domain, .. } if *domain == name), "{error:?}");
        let kept = state.keep_domain(&name, &remembered(&[(registered("1"), LATER)])).await;
        assert!(matches!(kept, Err(StateError::Unreadable { .. })), "{kept:?}");
    }
    state.keep_domain(&domain("example.org"), &lapsed(FIRST)).await.unwrap();
}

/// Writes that the DNS was seen at this moment to lead where it did, as the sweep of any process does.
async fn confirm(place: &mut Place, name: &str, at: SystemTime) {
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
    place
        .run(&format!(
            "DELETE FROM gatekeeper_watched WHERE name = '{name}'; \
             INSERT INTO gatekeeper_watched (name, accounts, undated, due_at, registry_at, polled_at, operators, failures, told) \
             VALUES ('{name}', 1, 0, 0, 0, {at}, '', 0, '')"
        ))
        .await;
}

async fn a_report_that_the_dns_confirmed_stands_in_for_longer(mut place: Place) {
    let (registry, clock, audit) = (Registry::start().await.unwrap(), SetClock::at(NOW), Arc::<Recorder>::default());
    registry.register("example.com", time("2009-01-01T00:00:00Z"), time(NOW) + 60 * DAY);
    let accounts = Arc::<Accounts>::default();
    accounts.insert("a@example.com", true, Some(VERIFIED));
    let builder = Gatekeeper::builder().directory(Arc::clone(&accounts)).domains(registry.rdap().await.unwrap());
    let mut policy = Policy::default();
    policy.expiring_within = DAY;
    let builder = builder.audit(Arc::clone(&audit)).clock(clock.clone()).state(place.state().await).policy(policy);
    let gatekeeper = builder.build().unwrap();
    let reasons = async || {
        // Whoever failed is left alone for a second.
        clock.advance(Duration::from_secs(2));
        gatekeeper.assess("a@example.com").await.unwrap().reasons().to_vec()
    };
    assert_eq!(reasons().await, []);
    registry.fault(Fault::Status(500, None));

    clock.advance(20 * DAY);
    assert_eq!(reasons().await, [Reason::DomainUnknown]);
    confirm(&mut place, "example.com", clock.now() - 16 * DAY).await;
    assert_eq!(reasons().await, [Reason::DomainUnknown], "that is too long ago as well");
    confirm(&mut place, "example.com", clock.now() + DAY).await;
    assert_eq!(reasons().await, [Reason::DomainUnknown], "nobody knows when that was");
    confirm(&mut place, "example.com", clock.now() - DAY).await;
    assert_eq!(reasons().await, []);
    assert!(audit.last().domain.unwrap().stale);
    clock.advance(5 * DAY);
    assert_eq!(reasons().await, [], "memory knows of it by now");
    clock.advance(10 * DAY);
    assert_eq!(reasons().await, [Reason::DomainUnknown]);

    // Never past the end that the report states.
    clock.set(time(NOW) + 58 * DAY);
    confirm(&mut place, "example.com", clock.now() - DAY).await;
    assert_eq!(reasons().await, []);
    clock.set(time(NOW) + 60 * DAY);
    confirm(&mut place, "example.com", clock.now() - DAY).await;
    assert_eq!(reasons().await, [Reason::DomainExpired]);
}

async fn a_report_that_the_dns_confirmed_is_no_fresher_for_it(mut place: Place) {
    let (registry, clock) = (Registry::start().await.unwrap(), SetClock::at(NOW));
    registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    let accounts = Arc::<Accounts>::default();
    accounts.insert("a@example.com", true, Some(VERIFIED));
    let builder = Gatekeeper::builder().directory(accounts).domains(registry.rdap().await.unwrap());
    let gatekeeper = builder.audit(Arc::<Recorder>::default()).clock(clock.clone()).state(place.state().await).build().unwrap();
    assert!(gatekeeper.assess("a@example.com").await.unwrap().is_allowed());
    clock.advance(DAY);
    confirm(&mut place, "example.com", clock.now()).await;
    registry.lapse("example.com");
    assert_eq!(gatekeeper.assess("a@example.com").await.unwrap().reasons(), [Reason::DomainRedemption]);
}

async fn a_confirmation_is_younger_than_the_report(mut place: Place) {
    let (state, name) = (place.state().await, domain("example.com"));
    let found_out = remembered(&[(registered("1"), THEN)]);
    state.keep_domain(&name, &found_out).await.unwrap();
    for (at, is_one) in [(FIRST, false), (THEN, false), (LATER, true)] {
        confirm(&mut place, "example.com", time(at)).await;
        let confirmed_at = is_one.then(|| time(at));
        assert_eq!(state.domain(&name).await.unwrap(), Some(Remembered { confirmed_at, ..found_out.clone() }), "{at}");
    }
    assert_eq!(state.domain(&domain("example.org")).await.unwrap(), None);
    // The report that it was about is none any more.
    let later = remembered(&[(registered("2"), "2026-02-11T12:00:00Z")]);
    state.keep_domain(&name, &later).await.unwrap();
    assert_eq!(state.domain(&name).await.unwrap().unwrap().confirmed_at, None);
}

/// A database of its own, and so a channel of its own.
struct Database {
    name: String,
    url: String,
}

impl Database {
    async fn create(name: &str) -> Self {
        let name = format!("gatekeeper_{name}_{}", std::process::id());
        let server = postgres::server();
        let (rest, query) = server.split_once('?').map_or((server.as_str(), String::new()), |(rest, query)| (rest, format!("?{query}")));
        let url = format!("{}/{name}{query}", rest.rsplit_once('/').unwrap().0);
        let database = Self { name, url };
        database.administer(&format!("DROP DATABASE IF EXISTS {}", database.name)).await;
        database.administer(&format!("CREATE DATABASE {}", database.name)).await;
        database
    }

    async fn administer(&self, sql: &str) {
        let server = postgres::server();
        let mut connection = PgConnection::connect(&server).await.unwrap_or_else(|error| panic!("no PostgreSQL at {server}: {error}"));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }

    async fn drop(self) {
        self.administer(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

#[tokio::test]
async fn a_lapse_is_told_to_the_others_that_share_a_database() {
    let database = Database::create("news").await;
    let (one, other) = (State::connect(&database.url).await.unwrap(), State::connect(&database.url).await.unwrap());
    let (mut ones, mut others) = (one.news(), other.news());
    // Neither what is no lapse, nor what is known, nor one's own.
    let healthy = remembered(&[(registered("1"), FIRST), (registered("2"), THEN)]);
    one.keep_domain(&domain("healthy.com"), &healthy).await.unwrap();
    one.keep_domain(&domain("lapsed.com"), &lapsed(FIRST)).await.unwrap();
    assert_eq!(next(&mut others).await, domain("lapsed.com"));
    let restored = remembered(&[(Report::unregistered("rdap"), FIRST), (registered("1"), THEN)]);
    one.keep_domain(&domain("lapsed.com"), &restored).await.unwrap();
    // A lapse of the past is one, if nobody knew.
    one.keep_domain(&domain("restored.com"), &restored).await.unwrap();
    assert_eq!(next(&mut others).await, domain("restored.com"));
    one.keep_domain(&domain("healthy.com"), &restored).await.unwrap();
    assert_eq!(next(&mut others).await, domain("healthy.com"));
    other.keep_domain(&domain("back.com"), &lapsed(THEN)).await.unwrap();
    assert_eq!(next(&mut ones).await, domain("back.com"));
    assert!(others.try_recv().is_err());
    // Nothing that was not committed is told.
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("UPDATE gatekeeper_domains SET history = '' WHERE name = 'lapsed.com'").execute(&mut connection).await.unwrap();
    assert!(one.keep_domain(&domain("lapsed.com"), &lapsed(LATER)).await.is_err());
    // Who says what is no news is not listened to.
    sqlx::raw_sql("NOTIFY gatekeeper_domains, 'nonsense'; NOTIFY gatekeeper_domains, 'x co.uk'").execute(&mut connection).await.unwrap();
    one.keep_domain(&domain("last.com"), &lapsed(LATER)).await.unwrap();
    assert_eq!(next(&mut others).await, domain("last.com"));
    drop(other);
    assert_eq!(timeout(Duration::from_secs(20), others.recv()).await.unwrap(), Err(RecvError::Closed));
    database.drop().await;
}

#[tokio::test]
async fn news_are_heard_again_after_the_connection_broke() {
    let database = Database::create("broken").await;
    let (one, other) = (State::connect(&database.url).await.unwrap(), State::connect(&database.url).await.unwrap());
    let mut news = other.news();
    one.keep_domain(&domain("before.com"), &lapsed(FIRST)).await.unwrap();
    assert_eq!(next(&mut news).await, domain("before.com"));
    let name = &database.name;
    database
        .administer(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND query LIKE 'LISTEN%'"))
        .await;
    let heard = async {
        // Lost where nobody listens yet.
        while timeout(Duration::from_millis(100), news.recv()).await.is_err() {
            one.keep_domain(&domain("after.com"), &lapsed(THEN)).await.unwrap();
        }
    };
    timeout(Duration::from_secs(20), heard).await.expect("it listens again");
    drop((one, other));
    database.drop().await;
}

/// Who shares a file reads it.
#[tokio::test]
async fn a_file_brings_no_news() {
    let place = Place::file();
    let (one, other) = (place.state().await, place.state().await);
    let mut news = other.news();
    one.keep_domain(&domain("example.com"), &lapsed(FIRST)).await.unwrap();
    drop(other);
    assert_eq!(news.recv().await, Err(RecvError::Closed));
}

/// For those who ask the database themselves.
#[tokio::test]
async fn the_columns_say_what_the_report_says() {
    let Place::Database(mut schema) = Place::database().await else { unreachable!("a database") };
    let state = State::connect(&schema.url).await.unwrap();
    state.keep_domain(&domain("bücher.com"), &remembered(&[(registered("1"), LATER)])).await.unwrap();
    let query = sqlx::query_as("SELECT name, standing, checked_at, expires_at FROM gatekeeper_domains");
    let row: (String, String, i64, Option<i64>) = query.fetch_one(&mut schema.connection).await.unwrap();
    assert_eq!(row, ("xn--bcher-kva.com".to_owned(), "active".to_owned(), 1_770_724_800_123_456, Some(1_798_761_600_000_000)));
    state.keep_domain(&domain("bücher.com"), &lapsed("2026-02-11T00:00:00Z")).await.unwrap();
    let row: (String, Option<i64>) =
        sqlx::query_as("SELECT standing, expires_at FROM gatekeeper_domains").fetch_one(&mut schema.connection).await.unwrap();
    assert_eq!(row, ("unregistered".to_owned(), None));
}
