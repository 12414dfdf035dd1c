//! What is known of a domain beyond one answer: over time, from several sources, and while they fail.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reset_gatekeeper::domain::{DomainSource, Mail, Report, SourceError, Sources, Status};
use reset_gatekeeper::testing::{Fault, Phase, Registry, SetClock, time};
use reset_gatekeeper::{Gatekeeper, OnUnknown, Policy, RegistrableDomain, Reply};

use crate::stage::{Accounts, NOW, Recorder, Stage, VERIFIED};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A source that says what it is told to.
#[derive(Default)]
struct Told {
    reports: Mutex<HashMap<String, Report>>,
    hosts: Mutex<HashMap<String, Mail>>,
    questions: AtomicUsize,
}

impl Told {
    fn tell(&self, domain: &str, report: Report) {
        self.reports.lock().unwrap().insert(domain.to_owned(), report);
    }
}

fn failure(url: &str) -> SourceError {
    SourceError::Unusable { url: url.to_owned(), what: "nothing was told" }
}

#[async_trait]
impl DomainSource for Told {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        self.reports.lock().unwrap().get(domain.as_str()).cloned().ok_or_else(|| failure(domain.as_str()))
    }

    async fn mail(&self, host: &str) -> Result<Option<Mail>, SourceError> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        self.hosts.lock().unwrap().get(host).copied().map(Some).ok_or_else(|| failure(host))
    }
}

/// A gatekeeper over a source that is told what to say.
struct Scene {
    told: Arc<Told>,
    clock: SetClock,
    accounts: Arc<Accounts>,
    audit: Arc<Recorder>,
    gatekeeper: Gatekeeper,
}

impl Scene {
    fn open() -> Self {
        let (told, clock) = (Arc::<Told>::default(), SetClock::at(NOW));
        let (accounts, audit) = (Arc::<Accounts>::default(), Arc::<Recorder>::default());
        let builder = Gatekeeper::builder().directory(Arc::clone(&accounts)).domains(Arc::clone(&told)).audit(Arc::clone(&audit));
        let gatekeeper = builder.clock(clock.clone()).build().unwrap();
        Self { told, clock, accounts, audit, gatekeeper }
    }

    /// The reasons of a block; none for a reset that is let through.
    async fn reasons(&self, address: &str) -> Vec<&'static str> {
        let verdict = self.gatekeeper.assess(address).await.unwrap();
        verdict.reasons().iter().map(|reason| reason.as_str()).collect()
    }

    fn notices(&self) -> Vec<&'static str> {
        self.audit.last().notices.iter().map(|notice| notice.as_str()).collect()
    }
}

fn run_by(registrar: &str, name_server: &str, mail_server: &str) -> Report {
    let mut report = Report::registered("test");
    report.registrar = Some(registrar.to_owned());
    (report.name_servers, report.mail_servers) = (vec![name_server.to_owned()], vec![mail_server.to_owned()]);
    report.mail = Some(Mail::Accepted);
    report
}

/// Registrars sell expired names before they are deleted, and some registries publish no dates.
#[tokio::test]
async fn a_domain_whose_registrar_name_servers_and_mail_servers_all_changed_is_blocked() {
    let scene = Scene::open();
    scene.accounts.insert("a@example.zz", true, Some(VERIFIED));
    scene.told.tell("example.zz", run_by("292", "ns.old.net", "mx.old.net"));
    assert_eq!(scene.reasons("a@example.zz").await, [""; 0]);
    scene.clock.advance(30 * DAY);
    scene.told.tell("example.zz", run_by("146", "ns.new.net", "mx.new.net"));
    assert_eq!(scene.reasons("a@example.zz").await, ["domain_changed_hands"]);
    assert!(scene.accounts.is_verified("a@example.zz").await, "what is only weighed takes nothing away for good");
    scene.clock.advance(365 * DAY);
    assert_eq!(scene.reasons("a@example.zz").await, ["domain_changed_hands"], "and it stays so");
}

#[tokio::test]
async fn a_move_to_another_mail_provider_is_only_noticed() {
    let scene = Scene::open();
    scene.accounts.insert("a@example.zz", true, Some(VERIFIED));
    scene.told.tell("example.zz", run_by("292", "ns.old.net", "mx.old.net"));
    assert_eq!(scene.reasons("a@example.zz").await, [""; 0]);
    for (registrar, name_server, mail_server) in [("292", "ns.old.net", "mx.new.net"), ("292", "ns.new.net", "mx.other.net")] {
        scene.clock.advance(30 * DAY);
        scene.told.tell("example.zz", run_by(registrar, name_server, mail_server));
        assert_eq!(scene.reasons("a@example.zz").await, [""; 0]);
        assert_eq!(scene.notices(), ["domain_moved"]);
    }
}

#[tokio::test]
async fn what_changed_before_a_recorded_verification_is_no_evidence_and_what_changed_after_it_is() {
    let scene = Scene::open();
    scene.accounts.insert("a@example.zz", true, Some(VERIFIED));
    scene.told.tell("example.zz", run_by("292", "ns.old.net", "mx.old.net"));
    assert_eq!(scene.reasons("a@example.zz").await, [""; 0]);
    scene.clock.advance(DAY);
    scene.told.tell("example.zz", run_by("146", "ns.new.net", "mx.new.net"));
    assert_eq!(scene.reasons("a@example.zz").await, ["domain_changed_hands"]);

    // The new holder's own account.
    scene.clock.advance(DAY);
    scene.gatekeeper.record_verification("b@example.zz").await.unwrap();
    scene.accounts.insert("b@example.zz", true, Some("2026-02-02T12:00:00Z"));
    assert_eq!(scene.reasons("b@example.zz").await, [""; 0]);
    assert_eq!(scene.reasons("a@example.zz").await, ["domain_changed_hands"]);
    // Nobody asked for a reset before the domain changed hands again.
    scene.clock.advance(20 * DAY);
    scene.told.tell("example.zz", run_by("9", "ns.third.net", "mx.third.net"));
    assert_eq!(scene.reasons("b@example.zz").await, ["domain_changed_hands"]);

    assert!(scene.gatekeeper.record_verification("no address").await.is_err());
    assert!(scene.gatekeeper.record_verification("a@silent.zz").await.is_err(), "nobody could tell how it looks");
}

#[tokio::test]
async fn a_domain_that_was_seen_lapsed_is_blocked_when_it_is_back() {
    let stage = Stage::open().await;
    stage.healthy_account("a@example.com");
    stage.healthy_account("b@example.com");
    stage.registry.lapse("example.com");
    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    stage.clock.advance(DAY);
    stage.registry.put("example.com", Phase::Active);
    assert_eq!(stage.ask_reset("b@example.com").await, 403);
    assert_eq!(stage.last_reasons(), ["domain_changed_hands"]);
    assert!(!stage.accounts.is_verified("b@example.com").await);
    // Verified after that lapse.
    stage.accounts.insert("c@example.com", true, Some("2026-02-01T00:00:00Z"));
    assert_eq!(stage.ask_reset("c@example.com").await, 200);
}

#[tokio::test]
async fn mail_is_looked_for_at_the_addresss_own_host() {
    let scene = Scene::open();
    let mut refuses = run_by("292", "ns.old.net", "mx.old.net");
    refuses.mail = Some(Mail::Refused);
    scene.told.tell("example.zz", refuses);
    scene.told.hosts.lock().unwrap().insert("mail.example.zz".to_owned(), Mail::Accepted);
    scene.told.hosts.lock().unwrap().insert("gone.example.zz".to_owned(), Mail::NoHost);
    for (address, expected) in [
        ("a@example.zz", vec!["domain_unresolvable"]),
        ("a@mail.example.zz", vec![]),
        ("a@gone.example.zz", vec!["domain_unresolvable"]),
        ("a@untold.example.zz", vec![]),
    ] {
        scene.accounts.insert(address, true, Some(VERIFIED));
        assert_eq!(scene.reasons(address).await, expected, "{address}");
    }
    let asked = scene.told.questions.load(Ordering::SeqCst);
    assert_eq!(asked, 4, "one about the domain, one about each host below it");
    scene.reasons("a@mail.example.zz").await;
    assert_eq!(scene.told.questions.load(Ordering::SeqCst), asked);
}

/// Every use of the last quarter of a report's freshness has it asked for anew, and waits for nothing.
#[tokio::test]
async fn a_domain_in_use_is_asked_for_anew_before_its_report_runs_out() {
    let scene = Scene::open();
    scene.accounts.insert("a@example.zz", true, Some(VERIFIED));
    scene.told.tell("example.zz", run_by("292", "ns.old.net", "mx.old.net"));
    scene.reasons("a@example.zz").await;
    scene.clock.advance(HOUR * 3 / 4);
    assert_eq!(scene.told.questions.load(Ordering::SeqCst), 1);
    scene.reasons("a@example.zz").await;
    assert!(scene.audit.last().domain.unwrap().cached);
    while scene.told.questions.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    scene.clock.advance(HOUR / 2);
    scene.reasons("a@example.zz").await;
    let seen = scene.audit.last().domain.unwrap();
    assert!(seen.cached && !seen.stale);
    assert_eq!(scene.told.questions.load(Ordering::SeqCst), 2);
}

/// Resolvers have hiccups, and whoever is blocked by one need not wait for an hour.
#[tokio::test]
async fn that_no_mail_gets_through_is_asked_again_after_a_minute() {
    let scene = Scene::open();
    scene.accounts.insert("a@example.zz", true, Some(VERIFIED));
    let mut report = run_by("292", "ns.old.net", "mx.old.net");
    report.mail = Some(Mail::NoHost);
    scene.told.tell("example.zz", report);
    assert_eq!(scene.reasons("a@example.zz").await, ["domain_unresolvable"]);
    scene.told.tell("example.zz", run_by("292", "ns.old.net", "mx.old.net"));
    assert_eq!(scene.reasons("a@example.zz").await, ["domain_unresolvable"]);
    scene.clock.advance(Duration::from_secs(60));
    assert_eq!(scene.reasons("a@example.zz").await, [""; 0]);
}

/// Also where the policy lets through what nobody can tell.
#[tokio::test]
async fn a_known_lapse_blocks_however_old_it_is() {
    let mut policy = Policy::default();
    policy.on_unknown = OnUnknown::Allow;
    let stage = Stage::with(Reply::refuse(), |builder| builder.policy(policy)).await;
    stage.healthy_account("a@example.com");
    stage.healthy_account("b@example.com");
    stage.healthy_account("a@example.org");
    stage.registry.lapse("example.com");
    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    assert_eq!(stage.ask_reset("a@example.org").await, 200);
    stage.registry.fault(Fault::Close);
    stage.clock.advance(30 * DAY);
    assert_eq!(stage.ask_reset("b@example.com").await, 403);
    assert_eq!(stage.last_reasons(), ["domain_redemption"]);
    assert!(stage.accounts.is_verified("b@example.com").await, "but takes nothing away");
    assert_eq!(stage.ask_reset("a@example.org").await, 200, "nobody can tell");
}

/// A status service is quick, and sees less than the registry.
#[tokio::test]
async fn the_registrys_answer_is_waited_for_longer_than_another_answer() {
    /// Answers when everybody else has.
    struct Slow;
    #[async_trait]
    impl DomainSource for Slow {
        async fn report(&self, _: &RegistrableDomain) -> Result<Report, SourceError> {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(Report::unregistered("rdap"))
        }
    }
    let service = Arc::<Told>::default();
    service.tell("example.com", Report::registered("fastly"));
    let sources =
        |patience| Sources::new().registry(Slow).registration("fastly", Arc::clone(&service)).patience(Duration::from_millis(patience));
    let example = RegistrableDomain::of("example.com").unwrap();
    assert_eq!(sources(200).report(&example).await.unwrap().registered, Some(false));
    assert_eq!(sources(20).report(&example).await.unwrap().registered, Some(true), "but not without end");
}

/// Most accounts are at one of a few providers, and a registry that is slow says nothing about them.
#[tokio::test]
async fn a_mailbox_providers_reset_does_not_wait_for_a_registry_that_hangs() {
    let stage = Stage::with(Reply::refuse(), |builder| builder.timeout(20 * HOUR)).await;
    stage.healthy_account("a@gmail.com");
    assert_eq!(stage.ask_reset("a@gmail.com").await, 200);
    stage.registry.fault(Fault::Hang);
    stage.clock.advance(6 * DAY);
    assert_eq!(stage.ask_reset("a@gmail.com").await, 200);
    assert!(stage.audit.last().domain.unwrap().stale);
    stage.clock.advance(DAY + Duration::from_secs(1));
    let waiting = tokio::time::timeout(Duration::from_millis(100), stage.ask_reset("a@gmail.com"));
    assert!(waiting.await.is_err(), "once nothing may stand in, it waits like all others");
}

/// While the registry fails, the DNS can add doubt to what stands in.
#[tokio::test]
async fn what_stands_in_for_a_registry_that_fails_is_doubted_by_the_dns() {
    let (registry, dns) = (Arc::<Told>::default(), Arc::<Told>::default());
    let sources = Sources::new().registry(Arc::clone(&registry)).dns(Arc::clone(&dns));
    let (clock, accounts, audit) = (SetClock::at(NOW), Arc::<Accounts>::default(), Arc::<Recorder>::default());
    let builder = Gatekeeper::builder().directory(Arc::clone(&accounts)).domains(sources).audit(Arc::clone(&audit));
    let gatekeeper = builder.clock(clock.clone()).build().unwrap();
    accounts.insert("a@example.com", true, Some(VERIFIED));
    let in_dns = |is_there: bool| {
        let mail = Some(if is_there { Mail::Accepted } else { Mail::NoHost });
        let mut report = Report::about_nothing("dns");
        (report.in_dns, report.mail) = (Some(is_there), mail);
        report
    };
    registry.tell("example.com", Report::registered("rdap"));
    dns.tell("example.com", in_dns(true));
    assert!(gatekeeper.assess("a@example.com").await.unwrap().is_allowed());

    registry.reports.lock().unwrap().clear();
    clock.advance(DAY);
    assert!(gatekeeper.assess("a@example.com").await.unwrap().is_allowed(), "the last answer stands in");
    dns.tell("example.com", in_dns(false));
    clock.advance(DAY);
    let verdict = gatekeeper.assess("a@example.com").await.unwrap();
    assert_eq!(verdict.reasons().iter().map(|reason| reason.as_str()).collect::<Vec<_>>(), ["domain_unresolvable"]);
    assert!(audit.last().domain.unwrap().stale);
}

/// A source that never answers holds nobody up who has the registry's word.
#[tokio::test]
async fn the_registrys_answer_is_not_held_back_for_a_source_that_is_silent() {
    struct Silent;
    #[async_trait]
    impl DomainSource for Silent {
        async fn report(&self, _: &RegistrableDomain) -> Result<Report, SourceError> {
            std::future::pending().await
        }
    }
    let registry = Arc::<Told>::default();
    registry.tell("example.com", Report::registered("rdap"));
    let sources = Sources::new().registry(registry).registration("silent", Silent).dns(Silent).patience(Duration::from_millis(50));
    let report = sources.report(&RegistrableDomain::of("example.com").unwrap()).await.unwrap();
    let said: Vec<_> = report.statements.iter().map(|statement| (statement.source.to_string(), statement.said.is_ok())).collect();
    assert_eq!(said, [("rdap".to_owned(), true), ("silent".to_owned(), false), ("dns".to_owned(), false)]);
}

#[tokio::test]
async fn a_patience_without_end_is_no_defect() {
    let registry = Arc::<Told>::default();
    registry.tell("example.com", Report::registered("rdap"));
    let sources = Sources::new().registry(registry).patience(Duration::MAX);
    assert!(sources.report(&RegistrableDomain::of("example.com").unwrap()).await.is_ok());
}

/// The registry told when the domain was registered, and fails by the time that another account is asked for.
#[tokio::test]
async fn a_known_reregistration_is_not_forgotten_when_only_a_dateless_source_answers() {
    let (registry, service) = (Arc::<Told>::default(), Arc::<Told>::default());
    let mut dated = Report::registered("rdap");
    dated.registered_at = Some(time("2025-06-01T00:00:00Z"));
    registry.tell("example.com", dated);
    service.tell("example.com", Report::registered("fastly"));
    let sources = Sources::new().registry(Arc::clone(&registry)).registration("fastly", service);
    let (accounts, audit, clock) = (Arc::<Accounts>::default(), Arc::<Recorder>::default(), SetClock::at(NOW));
    accounts.insert("a@example.com", true, Some(VERIFIED));
    accounts.insert("b@example.com", true, Some(VERIFIED));
    let builder = Gatekeeper::builder().directory(Arc::clone(&accounts)).domains(sources).audit(Arc::clone(&audit));
    let gatekeeper = builder.clock(clock.clone()).build().unwrap();
    assert!(!gatekeeper.assess("a@example.com").await.unwrap().is_allowed());
    registry.reports.lock().unwrap().clear();
    clock.advance(2 * HOUR);
    let verdict = gatekeeper.assess("b@example.com").await.unwrap();
    assert_eq!(verdict.reasons().iter().map(|reason| reason.as_str()).collect::<Vec<_>>(), ["domain_reregistered"]);
}

/// The rightful owners of healthy domains are not blocked while their registry is down, and nobody gets in by it.
#[tokio::test]
async fn an_outage_of_twelve_hours_blocks_nobody_who_was_seen_and_lets_nobody_in() {
    const ACCOUNTS: usize = 10_000;
    let registry = Registry::start().await.unwrap();
    let (clock, accounts, audit) = (SetClock::at(NOW), Arc::<Accounts>::default(), Arc::<Recorder>::default());
    let start = time(NOW);
    let phase = |number: usize| match number % 100 {
        0 => Phase::Redemption,
        1 => Phase::ClientHold,
        // Its end, which the registry may or may not have put off, falls into the outage.
        2 => Phase::Until(start + 7 * HOUR),
        _ => Phase::Active,
    };
    for number in 0..ACCOUNTS {
        let domain = format!("domain-{number}.com");
        registry.register(&domain, time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
        registry.put(&domain, phase(number));
        accounts.insert(&format!("a@{domain}"), true, Some(VERIFIED));
    }
    let builder = Gatekeeper::builder().directory(Arc::clone(&accounts)).domains(registry.rdap().await.unwrap()).audit(Arc::clone(&audit));
    let mut policy = Policy::default();
    policy.expiring_within = Duration::ZERO;
    let gatekeeper = builder.clock(clock.clone()).policy(policy).build().unwrap();
    let allowed = async |accounts| {
        let mut allowed = Vec::new();
        for number in 0..accounts {
            crate::faults::pass(Duration::from_millis(100)).await; // the pace at which a registry is asked
            allowed.push(gatekeeper.assess(&format!("a@domain-{number}.com")).await.unwrap().is_allowed());
        }
        allowed
    };
    let before = allowed(ACCOUNTS).await;
    let is_healthy = |number: usize| !matches!(number % 100, 0 | 1);
    assert!(before.iter().enumerate().all(|(number, allowed)| *allowed == is_healthy(number)));
    assert_eq!(registry.all_questions(), ACCOUNTS);

    registry.fault(Fault::Close);
    clock.advance(6 * HOUR);
    let early = allowed(ACCOUNTS / 10).await;
    assert!(early.iter().enumerate().all(|(number, allowed)| *allowed == is_healthy(number)));
    clock.advance(6 * HOUR);
    let late = allowed(ACCOUNTS).await;
    assert!(late.iter().enumerate().all(|(number, allowed)| *allowed == (is_healthy(number) && number % 100 != 2)));
    clock.advance(7 * DAY);
    assert!(allowed(ACCOUNTS / 10).await.iter().all(|allowed| !allowed), "and nobody past `stale_for`");
    assert!(accounts.is_verified("a@domain-2.com").await, "what only may have expired takes nothing away");
}

/// Whoever can disturb a source's answers for a moment gains no verdict that lasts.
#[tokio::test]
async fn a_status_that_only_one_of_two_sources_sees_blocks() {
    let (registry, service) = (Arc::<Told>::default(), Arc::<Told>::default());
    registry.tell("example.com", Report::registered("rdap"));
    let mut lapsed = Report::registered("fastly");
    lapsed.statuses = vec![Status::RedemptionPeriod];
    service.tell("example.com", lapsed);
    let sources = Sources::new().registry(registry).registration("fastly", service);
    let (accounts, audit) = (Arc::<Accounts>::default(), Arc::<Recorder>::default());
    accounts.insert("a@example.com", true, Some(VERIFIED));
    let builder = Gatekeeper::builder().directory(Arc::clone(&accounts)).domains(sources).audit(Arc::clone(&audit));
    let gatekeeper = builder.clock(SetClock::at(NOW)).build().unwrap();
    let verdict = gatekeeper.assess("a@example.com").await.unwrap();
    assert_eq!(verdict.reasons().iter().map(|reason| reason.as_str()).collect::<Vec<_>>(), ["domain_redemption"]);
    assert_eq!(audit.last().notices.iter().map(|notice| notice.as_str()).collect::<Vec<_>>(), ["sources_disagree"]);
}
