//! The sweep: every domain that accounts hang on is watched, and a lapse takes the verification of its addresses away for good.

mod known;

use std::future::pending;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use reset_gatekeeper::account::{Account, MemoryDirectory, SqliteDirectory};
use reset_gatekeeper::audit::{Event, Record};
use reset_gatekeeper::domain::dns::Dns;
use reset_gatekeeper::domain::{Delegation, DomainSource, Report, SourceError, Sources};
use reset_gatekeeper::testing::{DnsFault, Fault, NameServer, Phase, Registry, SetClock, time};
use reset_gatekeeper::{Gatekeeper, RegistrableDomain, State, Sweep, SweepError, SweepEvent, SweepSettings, SweepSummary};

use crate::stage::{Accounts, NOW, Recorder, VERIFIED};
use crate::state::Place;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A directory, its gatekeeper, and all whom that asks.
struct Yard {
    registry: Registry,
    names: NameServer,
    clock: SetClock,
    accounts: Arc<Accounts>,
    audit: Arc<Recorder>,
    state: State,
    gatekeeper: Gatekeeper,
}

impl Yard {
    async fn open() -> Self {
        Self::with(State::memory().await.unwrap()).await
    }

    async fn with(state: State) -> Self {
        let (registry, names) = (Registry::start().await.unwrap(), NameServer::start().await.unwrap());
        let (clock, accounts, audit) = (SetClock::at(NOW), Arc::<Accounts>::default(), Arc::<Recorder>::default());
        let mut yard = Self { gatekeeper: Self::nobody(), registry, names, clock, accounts, audit, state };
        yard.gatekeeper = yard.another(yard.state.clone()).await;
        yard
    }

    fn nobody() -> Gatekeeper {
        Gatekeeper::builder()
            .directory(Arc::<Accounts>::default())
            .domains(Sources::new())
            .audit(Arc::<Recorder>::default())
            .build()
            .unwrap()
    }

    /// Another process's gatekeeper over the same accounts and domains.
    async fn another(&self, state: State) -> Gatekeeper {
        let sources = Sources::new().registry(self.registry.rdap().await.unwrap()).dns(self.names.dns().unwrap()).clock(self.clock.clone());
        let builder = Gatekeeper::builder().directory(Arc::clone(&self.accounts)).domains(sources).audit(Arc::clone(&self.audit));
        builder.clock(self.clock.clone()).state(state).build().unwrap()
    }

    /// An account on a domain that is registered for years to come.
    fn healthy_account(&self, email: &str) {
        self.accounts.insert(email, true, Some(VERIFIED));
        let domain = email.split_once('@').unwrap().1;
        self.registry.register(domain, time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
        self.names.delegate(domain, ["ns1.host.net", "ns2.host.net"]);
        self.names.mail_servers(domain, ["mx.mail.net"]);
    }

    fn sweep(&self) -> Sweep {
        // A discovery that ended at this very moment would be enough.
        self.clock.advance(Duration::from_secs(1));
        self.gatekeeper.sweep().settings(quick())
    }

    async fn swept(&self) -> SweepSummary {
        self.sweep().await.unwrap()
    }

    async fn is_verified(&self, email: &str) -> bool {
        self.accounts.is_verified(email).await
    }

    fn records_of(&self, event: Event) -> Vec<Record> {
        self.audit.records().into_iter().filter(|record| record.event == event).collect()
    }

    /// The codes with which changes of domains were recorded.
    fn changes(&self) -> Vec<String> {
        let codes = |record: &Record| {
            let (reasons, notices) = (record.reasons.iter().map(|code| code.as_str()), record.notices.iter().map(|code| code.as_str()));
            format!("{} {}", record.domain.as_ref().unwrap().name, reasons.chain(notices).collect::<Vec<_>>().join(" "))
        };
        self.records_of(Event::DomainChanged).iter().map(codes).collect()
    }
}

/// Without a rate, since the clock stands still.
fn quick() -> SweepSettings {
    let mut settings = SweepSettings::default();
    settings.rate = None;
    settings
}

#[tokio::test]
async fn every_address_on_a_lapsed_domain_loses_its_verification_and_no_other() {
    let yard = Yard::open().await;
    for email in ["a@lapsed.com", "b@lapsed.com", "c@mail.lapsed.com", "d@healthy.com"] {
        yard.healthy_account(email);
    }
    yard.accounts.insert("old@lapsed.com", false, Some(VERIFIED));
    yard.registry.put("lapsed.com", Phase::Redemption);
    let summary = yard.swept().await;
    assert_eq!((summary.accounts, summary.verified, summary.domains), (5, 4, 2));
    assert_eq!((summary.looked, summary.asked, summary.failed, summary.unverified), (2, 2, 0, 3));
    assert_eq!(summary.found.get("domain_redemption"), Some(&1));
    for (email, expected) in [("a@lapsed.com", false), ("b@lapsed.com", false), ("c@mail.lapsed.com", false), ("d@healthy.com", true)] {
        assert_eq!(yard.is_verified(email).await, expected, "{email}");
    }
    let mut recorded: Vec<_> = yard.records_of(Event::EmailUnverified).into_iter().map(|record| record.account.unwrap().email).collect();
    recorded.sort_unstable();
    assert_eq!(recorded, ["a@lapsed.com", "b@lapsed.com", "c@mail.lapsed.com"]);
    // And there is nothing left to do.
    let again = yard.swept().await;
    assert_eq!((again.domains, again.looked, again.unverified), (1, 0, 0));
}

#[tokio::test]
async fn a_domain_that_was_registered_anew_takes_the_older_verifications_away() {
    let yard = Yard::open().await;
    yard.healthy_account("old@example.com");
    yard.accounts.insert("young@example.com", true, Some("2025-06-01T00:00:00Z"));
    yard.accounts.insert("undated@example.com", true, None);
    yard.registry.register("example.com", time("2025-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    assert_eq!(yard.swept().await.unverified, 1);
    assert!(!yard.is_verified("old@example.com").await);
    assert!(yard.is_verified("young@example.com").await && yard.is_verified("undated@example.com").await);
    let record = yard.records_of(Event::EmailUnverified).pop().unwrap();
    assert_eq!(record.reasons.first().unwrap().as_str(), "domain_reregistered");
    // Who is left is watched on.
    assert_eq!(yard.swept().await.domains, 1);
}

#[tokio::test]
async fn the_record_comes_before_the_verification_is_taken_away() {
    let yard = Yard::open().await;
    yard.healthy_account("a@lapsed.com");
    yard.registry.put("lapsed.com", Phase::PendingDelete);
    yard.audit.fails.store(true, Ordering::SeqCst);
    assert!(matches!(yard.sweep().await, Err(SweepError::Audit(_))));
    assert!(yard.is_verified("a@lapsed.com").await);
    yard.audit.fails.store(false, Ordering::SeqCst);
    yard.clock.advance(HOUR);
    assert_eq!(yard.swept().await.unverified, 1);
}

#[tokio::test]
async fn a_source_that_calls_every_domain_gone_un_verifies_nobody() {
    let yard = Yard::open().await;
    for number in 0..40 {
        yard.healthy_account(&format!("a@example{number}.com"));
        yard.registry.put(&format!("example{number}.com"), Phase::Unregistered);
    }
    let events = Arc::<Mutex<Vec<SweepEvent>>>::default();
    let told = Arc::clone(&events);
    let summary = yard.sweep().told(move |event| told.lock().unwrap().push(event)).await.unwrap();
    assert!(summary.braked);
    assert_eq!((summary.unverified, summary.would_unverify), (0, 40));
    assert!(events.lock().unwrap().iter().any(|event| matches!(event, SweepEvent::Braked { would_unverify: 40, accounts: 40 })));
    assert!(yard.is_verified("a@example7.com").await);
    assert_eq!(yard.records_of(Event::EmailUnverified).len(), 0);
    let mut settings = quick();
    settings.beyond_brake = true;
    let summary = yard.sweep().settings(settings).await.unwrap();
    assert_eq!((summary.looked, summary.unverified, summary.braked), (0, 40, false));
    assert!(!yard.is_verified("a@example7.com").await);
}

#[tokio::test]
async fn a_dry_run_tells_who_would_be_un_verified_and_changes_nothing() {
    let yard = Yard::open().await;
    yard.healthy_account("a@lapsed.com");
    yard.healthy_account("b@healthy.com");
    yard.registry.put("lapsed.com", Phase::Redemption);
    let told = Arc::<Mutex<Vec<String>>>::default();
    let telling = Arc::clone(&told);
    let mut settings = quick();
    settings.dry_run = true;
    let sweep = yard.sweep().settings(settings).told(move |event| {
        if let SweepEvent::Unverified { account, reason, .. } = event {
            telling.lock().unwrap().push(format!("{} {}", account.email, reason.as_str()));
        }
    });
    let summary = sweep.await.unwrap();
    assert_eq!((summary.unverified, summary.would_unverify), (0, 1));
    assert_eq!(*told.lock().unwrap(), ["a@lapsed.com domain_redemption"]);
    assert!(yard.is_verified("a@lapsed.com").await);
    assert_eq!(yard.records_of(Event::EmailUnverified).len(), 0);
    assert_eq!(yard.swept().await.unverified, 1);
}

#[tokio::test]
async fn the_registry_is_asked_at_the_boundaries_of_a_registration_and_the_dns_in_between() {
    let yard = Yard::open().await;
    yard.accounts.insert("a@example.com", true, Some(VERIFIED));
    yard.healthy_account("a@example.com");
    yard.registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2027-01-31T12:00:00Z"));
    let mut asked = Vec::new();
    for day in 0..=340 {
        let summary = yard.swept().await;
        if summary.asked > 0 {
            asked.push(day);
        }
        yard.clock.advance(DAY);
    }
    assert_eq!(asked, [0], "at first sight");
    assert_eq!(yard.registry.questions("example.com"), 1);
    assert_eq!(yard.changes(), ["example.com domain_expires_soon"], "told in time, and once, by what is known");
    // It is renewed, which the look a day after the old end sees... and then nothing is to be asked for long.
    yard.registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2028-01-31T12:00:00Z"));
    for _ in 0..60 {
        yard.swept().await;
        yard.clock.advance(DAY);
    }
    assert_eq!(yard.registry.questions("example.com"), 2);
    assert_eq!(yard.changes()[1..], ["example.com "], "and told when it was well again");
}

#[tokio::test]
async fn a_delegation_that_moves_or_vanishes_has_the_registry_asked() {
    let yard = Yard::open().await;
    yard.healthy_account("a@moved.com");
    yard.healthy_account("b@vanished.com");
    yard.healthy_account("c@still.com");
    yard.swept().await;
    yard.clock.advance(13 * DAY);
    assert_eq!(yard.swept().await.looked, 0, "two weeks have not passed");
    yard.names.delegate("moved.com", ["ns.taker.net"]);
    yard.names.remove("vanished.com");
    yard.registry.put("vanished.com", Phase::Redemption);
    yard.clock.advance(2 * DAY);
    let summary = yard.swept().await;
    assert_eq!((summary.looked, summary.asked, summary.polled), (3, 2, 1));
    assert!(!yard.is_verified("b@vanished.com").await);
    assert!(yard.is_verified("a@moved.com").await && yard.is_verified("c@still.com").await);
}

/// Another server of the same operator is no move.
#[tokio::test]
async fn another_server_of_one_operator_calls_for_no_question() {
    let yard = Yard::open().await;
    yard.healthy_account("a@example.com");
    yard.swept().await;
    yard.names.delegate("example.com", ["ns7.host.net"]);
    yard.clock.advance(15 * DAY);
    let summary = yard.swept().await;
    assert_eq!((summary.asked, summary.polled), (0, 1));
}

#[tokio::test]
async fn while_the_registry_fails_what_it_said_stands_in_as_long_as_the_delegation_is_the_same() {
    let yard = Yard::open().await;
    yard.healthy_account("a@example.com");
    yard.swept().await;
    yard.registry.fault(Fault::Status(500, None));
    // The registry is asked for what it can't tell, and the reset is judged by what it said.
    for _ in 0..4 {
        yard.clock.advance(15 * DAY);
        yard.swept().await;
    }
    assert!(yard.gatekeeper.assess("a@example.com").await.unwrap().is_allowed());
    // Without a poll for longer than they are apart, it is blocked.
    yard.clock.advance(16 * DAY);
    let verdict = yard.gatekeeper.assess("a@example.com").await.unwrap();
    assert_eq!(verdict.reasons().iter().map(|reason| reason.as_str()).collect::<Vec<_>>(), ["domain_unknown"]);
}

#[tokio::test]
async fn a_domain_that_could_not_be_looked_at_is_counted_and_recorded_and_comes_again() {
    let yard = Yard::open().await;
    yard.healthy_account("a@example.com");
    yard.registry.fault(Fault::Status(500, None));
    let summary = yard.swept().await;
    assert_eq!((summary.failed, summary.unverified), (1, 0));
    yard.registry.fault(None);
    yard.clock.advance(HOUR);
    let summary = yard.swept().await;
    assert_eq!((summary.failed, summary.asked), (0, 1));
}

/// A resolver may fail, so what the DNS alone lacks is gone only when it has been for a week.
#[tokio::test]
async fn where_the_dns_alone_tells_a_name_is_gone_after_a_week() {
    let yard = Yard::open().await;
    yard.accounts.insert("a@example.zz", true, Some(VERIFIED));
    yard.names.delegate("example.zz", ["ns1.host.net"]);
    yard.swept().await;
    yard.names.remove("example.zz");
    yard.clock.advance(15 * DAY);
    for day in 0..7 {
        yard.swept().await;
        assert!(yard.is_verified("a@example.zz").await, "{day}");
        yard.clock.advance(DAY);
    }
    assert_eq!(yard.swept().await.unverified, 1);
    assert!(!yard.is_verified("a@example.zz").await);
    assert_eq!(yard.registry.all_questions(), 0);
}

#[tokio::test]
async fn what_a_reset_found_of_one_account_holds_for_all_on_its_domain() {
    let yard = Yard::open().await;
    yard.healthy_account("a@example.com");
    yard.healthy_account("b@example.com");
    yard.swept().await;
    yard.registry.put("example.com", Phase::Redemption);
    yard.clock.advance(2 * HOUR);
    assert!(!yard.gatekeeper.assess("a@example.com").await.unwrap().is_allowed());
    // It was restored meanwhile, which changes nothing.
    yard.registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2031-01-01T00:00:00Z"));
    yard.clock.advance(2 * HOUR);
    assert_eq!(yard.swept().await.unverified, 1);
    assert!(!yard.is_verified("b@example.com").await);
}

#[tokio::test]
async fn what_a_reset_has_just_learned_is_asked_of_nobody_again() {
    let yard = Yard::open().await;
    yard.healthy_account("a@example.com");
    let builder = Gatekeeper::builder().directory(Arc::clone(&yard.accounts)).domains(yard.registry.rdap().await.unwrap());
    let gatekeeper = builder.audit(Arc::clone(&yard.audit)).clock(yard.clock.clone()).state(yard.state.clone()).build().unwrap();
    assert!(gatekeeper.assess("a@example.com").await.unwrap().is_allowed());
    yard.clock.advance(HOUR);
    let summary = gatekeeper.sweep().settings(quick()).await.unwrap();
    assert_eq!((summary.looked, summary.asked, summary.polled), (1, 0, 0));
    assert_eq!(yard.registry.questions("example.com"), 1);
}

#[tokio::test]
async fn a_reset_finds_at_once_what_a_sweep_found() {
    let yard = Yard::open().await;
    yard.healthy_account("a@example.com");
    assert!(yard.gatekeeper.assess("a@example.com").await.unwrap().is_allowed());
    yard.registry.put("example.com", Phase::Redemption);
    let mut settings = quick();
    (settings.dry_run, settings.recheck_after) = (true, Duration::from_secs(60));
    yard.clock.advance(Duration::from_secs(120));
    assert_eq!(yard.sweep().settings(settings).await.unwrap().would_unverify, 1);
    // The report in memory is still fresh, but for what the sweep learned.
    assert!(!yard.gatekeeper.assess("a@example.com").await.unwrap().is_allowed());
}

#[tokio::test]
async fn accounts_that_come_and_go_are_noticed() {
    let yard = Yard::open().await;
    yard.healthy_account("a@one.com");
    assert_eq!(yard.swept().await.domains, 1);
    yard.healthy_account("b@two.com");
    let summary = yard.swept().await;
    assert_eq!((summary.domains, summary.looked, summary.vanished), (2, 1, 0));
    yard.accounts.insert("a@one.com", false, Some(VERIFIED));
    let summary = yard.swept().await;
    assert_eq!((summary.domains, summary.looked, summary.vanished), (1, 0, 1));
}

#[tokio::test]
async fn a_sweep_that_is_stopped_goes_on_where_it_was() {
    let yard = Yard::open().await;
    for number in 0..600 {
        yard.healthy_account(&format!("a@example{number}.com"));
    }
    yard.registry.fault(Fault::Slow(Duration::from_millis(2)));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stop = Mutex::new(Some(stop));
    let sweep = yard.sweep().told(move |event| {
        if let SweepEvent::Looking { looked: 1.., .. } = event
            && let Some(stop) = stop.lock().unwrap().take()
        {
            stop.send(()).unwrap();
        }
    });
    let first = sweep.round(async { drop(stopped.await) }).await.unwrap();
    assert!(first.interrupted && first.looked < 600, "{first:?}");
    let second = yard.sweep().round(pending()).await.unwrap();
    assert!(!second.interrupted);
    assert_eq!(first.looked + second.looked, 600);
    assert_eq!(yard.registry.all_questions(), 600, "none is asked about twice");
}

#[tokio::test]
async fn replicas_share_the_work() {
    for place in [Place::file(), Place::database().await] {
        let yard = Yard::with(place.state().await).await;
        for number in 0..300 {
            yard.healthy_account(&format!("a@example{number}.com"));
        }
        yard.registry.put("example7.com", Phase::Unregistered);
        yard.registry.fault(Fault::Slow(Duration::from_millis(2)));
        let mut sweeps = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let gatekeeper = yard.another(place.state().await).await;
            sweeps.spawn(async move { gatekeeper.sweep().settings(quick()).await.unwrap() });
        }
        let summaries = sweeps.join_all().await;
        assert_eq!(summaries.iter().map(|summary| summary.looked).sum::<u64>(), 300);
        assert_eq!(yard.registry.all_questions(), 300, "none is asked about twice");
        assert_eq!(summaries.iter().map(|summary| summary.unverified).sum::<u64>(), 1);
        assert!(!yard.is_verified("a@example7.com").await);
    }
}

#[tokio::test]
async fn in_the_background_it_goes_on_until_it_is_stopped() {
    let yard = Yard::open().await;
    yard.healthy_account("a@example.com");
    yard.registry.put("example.com", Phase::Redemption);
    let sweeping = yard.sweep().start();
    let limit = Duration::from_secs(10);
    let unverified = async {
        while yard.is_verified("a@example.com").await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(limit, unverified).await.unwrap();
    tokio::time::timeout(limit, sweeping.stop()).await.unwrap();
}

#[tokio::test]
async fn a_sweep_without_a_state_says_so() {
    assert!(matches!(Yard::nobody().sweep().await, Err(SweepError::NoState)));
}

#[tokio::test]
async fn a_discovery_begins_anew_where_the_key_it_had_got_to_is_none_any_more() {
    let yard = Yard::open().await;
    yard.healthy_account("a@one.com");
    let half = yard.sweep().round(std::future::ready(())).await.unwrap();
    assert!(half.interrupted);
    // The application has moved to a table whose keys are integers.
    let folder = tempfile::tempdir().unwrap();
    let directory = SqliteDirectory::open(folder.path().join("accounts.db")).await.unwrap();
    yard.healthy_account("b@two.com");
    directory.insert("b@two.com", true, Some(time(VERIFIED))).await.unwrap();
    let builder = Gatekeeper::builder().directory(directory).domains(yard.registry.rdap().await.unwrap()).audit(Arc::clone(&yard.audit));
    let moved = builder.clock(yard.clock.clone()).state(yard.state.clone()).build().unwrap();
    yard.clock.advance(Duration::from_secs(1));
    let summary = moved.sweep().settings(quick()).await.unwrap();
    assert_eq!((summary.accounts, summary.domains, summary.failed), (1, 1, 0), "{summary:?}");
}

/// An account may have several addresses, a row each, and a page may end among them.
#[tokio::test]
async fn no_row_is_missed_where_a_page_ends_among_several_of_one_key() {
    let yard = Yard::open().await;
    for domain in ["healthy.com", "lapsed.com", "gone.com"] {
        yard.healthy_account(&format!("a@{domain}"));
    }
    yard.registry.put("lapsed.com", Phase::Redemption);
    yard.registry.put("gone.com", Phase::Unregistered);
    let account =
        |id: String, email: &str| Account { id: id.into(), email: email.to_owned(), verified: true, verified_at: Some(time(VERIFIED)) };
    let first = (0..1_999).map(|number| account(format!("{number:04}"), &format!("a{number}@healthy.com")));
    let last = ["z@lapsed.com", "z@gone.com", "z@healthy.com"].map(|email| account("z".to_owned(), email));
    let directory: Arc<MemoryDirectory> = Arc::new(first.chain(last).collect());
    let builder = Gatekeeper::builder().directory(Arc::clone(&directory)).domains(yard.registry.rdap().await.unwrap());
    let gatekeeper = builder.audit(Arc::clone(&yard.audit)).clock(yard.clock.clone()).state(yard.state.clone()).build().unwrap();
    let summary = gatekeeper.sweep().settings(quick()).await.unwrap();
    assert_eq!((summary.accounts, summary.domains, summary.unverified), (2_002, 3, 2), "{summary:?}");
}

#[tokio::test]
async fn a_directory_that_fails_breaks_the_sweep_off_and_the_next_goes_on() {
    let yard = Yard::open().await;
    yard.healthy_account("a@lapsed.com");
    yard.registry.put("lapsed.com", Phase::Redemption);
    yard.accounts.fails.store(true, Ordering::SeqCst);
    assert!(matches!(yard.sweep().await, Err(SweepError::Directory(_))));
    yard.accounts.fails.store(false, Ordering::SeqCst);
    assert_eq!(yard.swept().await.unverified, 1);
}

#[tokio::test]
async fn a_resolver_that_fails_is_no_lapse() {
    let yard = Yard::open().await;
    yard.healthy_account("a@example.com");
    yard.swept().await;
    yard.names.fault(DnsFault::ServFail);
    yard.clock.advance(15 * DAY);
    yard.swept().await;
    assert!(yard.is_verified("a@example.com").await);
    assert_eq!(yard.registry.questions("example.com"), 1, "it was polled two weeks ago");
    yard.clock.advance(16 * DAY);
    yard.swept().await;
    assert_eq!(yard.registry.questions("example.com"), 2, "but not for longer than that");
}

#[tokio::test]
async fn a_report_of_before_the_end_takes_nothing_away_after_it() {
    let yard = Yard::open().await;
    yard.healthy_account("a@example.com");
    yard.registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2026-02-20T12:00:00Z"));
    // As the registry has it.
    yard.names.delegate("example.com", ["ns1.example.com"]);
    assert!(yard.gatekeeper.assess("a@example.com").await.unwrap().is_allowed());
    // Renewed in time.
    yard.registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2027-02-20T12:00:00Z"));
    yard.clock.advance(20 * DAY + 12 * HOUR);
    let summary = yard.swept().await;
    assert!(yard.is_verified("a@example.com").await, "{summary:?} {:?}", yard.registry.questions("example.com"));
}

#[tokio::test]
async fn a_report_does_not_stand_in_once_the_delegation_moved() {
    let yard = Yard::open().await;
    yard.healthy_account("a@example.com");
    yard.swept().await;
    yard.registry.fault(Fault::Status(500, None));
    yard.clock.advance(15 * DAY);
    assert_eq!(yard.swept().await.polled, 1);
    yard.names.delegate("example.com", ["ns.taker.net"]);
    yard.names.mail_servers("example.com", ["mx.taker.net"]);
    yard.clock.advance(14 * DAY + HOUR);
    assert_eq!(yard.swept().await.failed, 1);
    let verdict = yard.gatekeeper.assess("a@example.com").await.unwrap();
    assert!(!verdict.is_allowed(), "{verdict:?}");
}

#[tokio::test]
async fn a_clock_that_was_ahead_for_a_while_stops_nothing() {
    let yard = Yard::open().await;
    yard.healthy_account("a@example.com");
    yard.swept().await;
    yard.clock.advance(300 * DAY);
    yard.swept().await;
    yard.clock.set(time(NOW) + 2 * DAY);
    yard.healthy_account("b@other.com");
    yard.registry.put("other.com", Phase::Redemption);
    let limit = Duration::from_secs(20);
    let summary = tokio::time::timeout(limit, yard.swept()).await;
    assert!(!yard.is_verified("b@other.com").await, "{summary:?}");
}

#[tokio::test]
async fn a_clock_that_was_ahead_for_a_while_stops_no_un_verification() {
    let yard = Yard::open().await;
    for email in ["a@example.com", "b@example.com", "c@other.com"] {
        yard.healthy_account(email);
    }
    yard.swept().await;
    yard.clock.advance(300 * DAY);
    yard.registry.put("other.com", Phase::Redemption);
    yard.names.remove("other.com");
    assert_eq!(yard.swept().await.unverified, 1);
    yard.clock.set(time(NOW) + 2 * DAY);
    yard.registry.put("example.com", Phase::Redemption);
    drop(yard.gatekeeper.assess("a@example.com").await.unwrap());
    let limit = Duration::from_secs(20);
    let summary = tokio::time::timeout(limit, yard.swept()).await;
    assert!(!yard.is_verified("b@example.com").await, "{summary:?}");
}

/// One account with an impossible time of verification makes its whole domain suspect, but not its other accounts.
#[tokio::test]
async fn the_brake_weighs_what_would_be_done() {
    let yard = Yard::open().await;
    for number in 0..60 {
        yard.healthy_account(&format!("a{number}@large.com"));
    }
    yard.accounts.insert("epoch@large.com", true, Some("1970-01-01T00:00:00Z"));
    yard.healthy_account("a@lapsed.com");
    yard.registry.put("lapsed.com", Phase::Redemption);
    let summary = yard.swept().await;
    assert!(!yard.is_verified("a@lapsed.com").await, "{summary:?}");
}

/// A reset finds a lapse while a worker has the domain for a poll.
#[tokio::test]
async fn a_lapse_that_a_reset_finds_during_a_poll_is_not_lost() {
    let yard = Yard::open().await;
    yard.healthy_account("a@example.com");
    yard.healthy_account("b@example.com");
    yard.swept().await;
    yard.clock.advance(15 * DAY);
    let sources = Sources::new().registry(yard.registry.rdap().await.unwrap()).dns(SlowPolls(yard.names.dns().unwrap()));
    let builder = Gatekeeper::builder()
        .directory(Arc::clone(&yard.accounts))
        .domains(sources.clock(yard.clock.clone()))
        .audit(Arc::clone(&yard.audit));
    let slow = builder.clock(yard.clock.clone()).state(yard.state.clone()).build().unwrap();
    let reset = &yard.gatekeeper;
    yard.clock.advance(Duration::from_secs(1));
    let sweep = slow.sweep().settings(quick());
    let sweeping = tokio::spawn(async move { sweep.await.unwrap() });
    tokio::time::sleep(Duration::from_millis(150)).await;
    yard.registry.put("example.com", Phase::Redemption);
    assert!(!reset.assess("a@example.com").await.unwrap().is_allowed());
    let during = sweeping.await.unwrap();
    let after = yard.swept().await;
    assert!(!yard.is_verified("b@example.com").await, "{during:?} {after:?}");
}

/// The DNS, slow to say where it leads.
struct SlowPolls(Dns);

#[async_trait]
impl DomainSource for SlowPolls {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        self.0.report(domain).await
    }

    async fn delegation(&self, domain: &RegistrableDomain) -> Result<Option<Delegation>, SourceError> {
        tokio::time::sleep(Duration::from_millis(700)).await;
        self.0.delegation(domain).await
    }
}
