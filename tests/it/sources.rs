//! How domains become known: the registry's answers, its faults, and what is remembered of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use reset_gatekeeper::RegistrableDomain;
use reset_gatekeeper::domain::cache::{Cache, CacheSettings};
use reset_gatekeeper::domain::fastly::Fastly;
use reset_gatekeeper::domain::rdap::Rdap;
use reset_gatekeeper::domain::{Delegation, DomainSource, Report, SourceError, Sources, Status};
use reset_gatekeeper::testing::{Fault, NameServer, Phase, Registry, SetClock, time};
use serde_json::Value;

use crate::faults::pass;
use crate::stage::{NOW, Stage};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn domain(name: &str) -> RegistrableDomain {
    RegistrableDomain::of(name).unwrap()
}

async fn registry() -> Registry {
    let registry = Registry::start().await.unwrap();
    registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    registry
}

async fn cache(registry: &Registry, change: impl FnOnce(&mut CacheSettings)) -> (Cache, SetClock) {
    let clock = SetClock::at(NOW);
    let mut settings = CacheSettings::default();
    change(&mut settings);
    (Cache::new(Arc::new(registry.rdap().await.unwrap()), Arc::new(clock.clone()), settings), clock)
}

/// The recorded answers are not part of the repository: `GATEKEEPER_CORPUS` names their folder.
#[tokio::test]
#[ignore = "needs the folder of recorded answers in GATEKEEPER_CORPUS"]
async fn every_recorded_answer_is_read_as_its_label_says() {
    let folder = std::path::PathBuf::from(std::env::var("GATEKEEPER_CORPUS").unwrap()).join("rdap");
    let labels: Vec<Value> = serde_json::from_slice(&std::fs::read(folder.join("LABELS.json")).unwrap()).unwrap();
    assert!(labels.len() > 50);
    let registry = Registry::start().await.unwrap();
    // All suffixes must be known before the bootstrap file is loaded.
    for label in &labels {
        if let Some(name) = label["query_domain"].as_str() {
            registry.register(name, time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
        }
    }
    let rdap = registry.rdap().await.unwrap();
    for label in &labels {
        let file = label["file"].as_str().unwrap();
        let body = std::fs::read(folder.join(file)).unwrap();
        let name = domain(label["query_domain"].as_str().unwrap_or("example.com"));
        let status = label["http_status"].as_u64().map_or(200, |status| u16::try_from(status).unwrap());
        registry.answer(name.as_str(), status, "application/rdap+json", body.clone());
        let report = rdap.report(&name).await;
        match label["kind"].as_str().unwrap() {
            "domain" if label["query_domain"].as_str().unwrap().ends_with(".arpa") => {
                // Reverse zones: never the domain of a mailbox, and here not the registrable one.
                assert!(matches!(report, Err(SourceError::Unusable { what: "about another name", .. })), "{file}: {report:?}");
            }
            "domain" => assert_is_as_labelled(&report.unwrap(), label, file),
            "error" if status == 404 => assert_eq!(report.unwrap(), Report::unregistered("rdap"), "{file}"),
            "error" => {
                assert!(report.is_err(), "{file}: {report:?}");
                registry.answer(name.as_str(), 200, "application/rdap+json", body);
                assert!(rdap.report(&name).await.is_err(), "{file}: an error object is no domain, whatever the status");
            }
            kind => panic!("{file}: {kind}"),
        }
    }
}

fn assert_is_as_labelled(report: &Report, label: &Value, file: &str) {
    let moment = |member: &str| label[member].as_str().map(time);
    let texts = |member: &str| label[member].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let statuses: Vec<Status> = texts("statuses").iter().map(|status| Status::from(status.as_str())).collect();
    assert_eq!(report.statuses, statuses, "{file}");
    assert_eq!(report.registered_at, moment("registration"), "{file}");
    assert_eq!(report.reregistered_at, moment("reregistration"), "{file}");
    assert_eq!(report.expires_at, moment("expiration"), "{file}");
    assert_eq!(report.registrar_expires_at, moment("registrar_expiration"), "{file}");
    assert_eq!(report.transferred_at, moment("transfer"), "{file}");
    assert_eq!(report.changed_at, moment("last_changed"), "{file}");
    if let Some(id) = label["registrar_iana_id"].as_str() {
        assert_eq!(report.registrar.as_deref(), Some(id), "{file}");
    }
    assert_eq!(report.handle.as_deref(), label["handle"].as_str(), "{file}");
    let mut name_servers = texts("nameservers");
    name_servers.sort_unstable();
    assert_eq!(report.name_servers, name_servers, "{file}");
    assert_eq!(report.delegation_signed, label["secure_dns_signed"].as_bool(), "{file}");
}

/// RFC 7480 §5.3, and what is none: only the authoritative server's own word takes a name away.
#[tokio::test]
async fn only_an_rdap_404_says_that_a_name_is_not_registered() {
    let registry = registry().await;
    let rdap = registry.rdap().await.unwrap();
    let name = domain("example.com");
    for body in ["", r#"{"errorCode":404,"title":"x"}"#, r#"{"errorCode":"404"}"#] {
        registry.answer("example.com", 404, "application/rdap+json", body);
        assert_eq!(rdap.report(&name).await.unwrap().registered, Some(false), "{body}");
    }
    for (status, body) in
        [(404, "<html>Not Found</html>"), (404, "{}"), (404, r#"{"errorCode":500}"#), (400, ""), (403, ""), (500, ""), (501, ""), (200, "")]
    {
        registry.answer("example.com", status, "text/html", body);
        assert!(rdap.report(&name).await.is_err(), "{status} {body}");
    }
}

#[tokio::test]
async fn no_fault_of_a_registry_is_an_answer() {
    let registry = registry().await;
    let loops = format!("{}domain/example.com", registry.bootstrap_url().replace("dns.json", ""));
    for fault in [
        Fault::Status(500, None),
        Fault::Status(429, Some(17)),
        Fault::Close,
        Fault::Garbage,
        Fault::TooLong,
        Fault::Redirect(loops),
        Fault::Redirect("ftp://127.0.0.1/".to_owned()),
        Fault::Redirect("http://[".to_owned()),
    ] {
        registry.fault(fault.clone());
        let rdap = registry.rdap().await.unwrap(); // one that does not leave the server alone for what came before
        let error = rdap.report(&domain("example.com")).await.unwrap_err();
        let is_throttled = fault == Fault::Status(429, Some(17));
        assert_eq!(error.retry_after(), is_throttled.then_some(Duration::from_secs(17)), "{fault:?}");
    }
    assert!(registry.all_questions() < 20, "redirects are bounded: {}", registry.all_questions());
    let rdap = registry.rdap().await.unwrap();
    registry.fault(None);
    assert_eq!(rdap.report(&domain("example.com")).await.unwrap().registered, Some(true));
    assert!(matches!(rdap.report(&domain("example.zz")).await, Err(SourceError::NoService { .. })));
}

/// RDAP servers are https on public addresses unless `allow_insecure`.
#[tokio::test]
async fn servers_without_https_or_on_loopback_are_not_asked() {
    let registry = registry().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), registry.bootstrap_file()).unwrap();
    let location = file.path().display().to_string();
    let strict = Rdap::builder().bootstrap(&location).build().await.unwrap();
    assert!(strict.report(&domain("example.com")).await.is_err());
    assert_eq!(registry.all_questions(), 0);
    assert!(Rdap::builder().bootstrap(registry.bootstrap_url()).build().await.is_err());
    let base = registry.bootstrap_url().replace("dns.json", "");
    assert!(Rdap::builder().bootstrap(&location).server("com", &base).build().await.is_err());

    let lenient = Rdap::builder().bootstrap(&location).server("zz", &base).allow_insecure(true).build().await.unwrap();
    assert_eq!(lenient.report(&domain("example.com")).await.unwrap().registered, Some(true));
    assert_eq!(
        lenient.report(&domain("example.zz")).await.unwrap().registered,
        Some(false),
        "an override names servers that the file lacks"
    );
    assert!(Rdap::builder().bootstrap("/no/such/file").build().await.is_err());
    std::fs::write(file.path(), "{}").unwrap();
    assert!(Rdap::builder().bootstrap(&location).build().await.is_err());
}

/// RFC 9224 §4: the URLs of an entry are alternatives.
#[tokio::test]
async fn a_server_that_cannot_be_reached_calls_for_the_next() {
    let registry = registry().await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let base = registry.bootstrap_url().replace("dns.json", "");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!(r#"{{"services":[[["com"],["http://{nobody}/","{base}"]]]}}"#)).unwrap();
    let rdap = Rdap::builder().bootstrap(file.path().display().to_string()).allow_insecure(true).build().await.unwrap();
    assert_eq!(rdap.report(&domain("example.com")).await.unwrap().registered, Some(true));
}

/// A name is checked where it is resolved for the connection.
#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_not_connected_to() {
    let registry = registry().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), registry.bootstrap_file()).unwrap();
    let rdap = Rdap::builder().bootstrap(file.path().display().to_string()).server("com", base).build().await.unwrap();
    assert!(matches!(rdap.report(&domain("example.com")).await, Err(SourceError::Transport { .. })));
    assert!(futures_util::FutureExt::now_or_never(listener.accept()).is_none());
}

#[tokio::test]
async fn a_thousand_resets_for_one_domain_make_one_question() {
    let stage = Arc::new(Stage::open().await);
    stage.healthy_account("a@example.com");
    stage.registry.fault(Fault::Slow(Duration::from_millis(200)));
    let statuses = join_all((0..1000).map(|_| stage.ask_reset("a@example.com"))).await;
    assert!(statuses.iter().all(|status| *status == 200));
    assert_eq!(stage.registry.questions("example.com"), 1);
    assert_eq!(stage.seen().len(), 1000);
    join_all(
        (0..100).map(|number| stage.http.post(stage.url("/password-reset")).form(&[("email", format!("{number}@unknown.org"))]).send()),
    )
    .await;
    assert_eq!(stage.registry.all_questions(), 1, "unknown accounts make none");
}

#[tokio::test]
async fn a_fresh_report_is_not_asked_for_again_and_an_old_one_is() {
    let registry = registry().await;
    let (cache, clock) = cache(&registry, |_| {}).await;
    let example = domain("example.com");
    assert!(!cache.sighting(&example, SystemTime::UNIX_EPOCH).await.unwrap().cached);
    clock.advance(HOUR * 3 / 4 - Duration::from_secs(1));
    assert!(cache.sighting(&example, SystemTime::UNIX_EPOCH).await.unwrap().cached);
    assert_eq!(registry.all_questions(), 1);
    clock.advance(HOUR / 4 + Duration::from_secs(1));
    let sighting = cache.sighting(&example, SystemTime::UNIX_EPOCH).await.unwrap();
    assert!(!sighting.cached);
    assert_eq!(sighting.history.first_seen_at(), time(NOW));
    assert_eq!(registry.all_questions(), 2);
}

/// An answer that is older than the address's verification is no evidence about it.
#[tokio::test]
async fn an_answer_older_than_the_verification_is_asked_for_again() {
    let registry = registry().await;
    let (cache, clock) = cache(&registry, |_| {}).await;
    let example = domain("example.com");
    cache.sighting(&example, SystemTime::UNIX_EPOCH).await.unwrap();
    clock.advance(Duration::from_secs(60));
    let since = time(NOW) + Duration::from_secs(30);
    assert!(!cache.sighting(&example, since).await.unwrap().cached);
    assert_eq!(registry.all_questions(), 2);
    registry.fault(Fault::Status(500, None));
    clock.advance(Duration::from_secs(60));
    assert!(cache.sighting(&example, time(NOW) + Duration::from_secs(90)).await.is_err(), "nor may it stand in");
}

/// The registry may have renewed the domain at its end.
#[tokio::test]
async fn a_report_is_not_used_past_the_end_that_it_states() {
    let registry = registry().await;
    registry.put("example.com", Phase::Until(time(NOW) + Duration::from_secs(600)));
    let (cache, clock) = cache(&registry, |_| {}).await;
    let example = domain("example.com");
    cache.sighting(&example, SystemTime::UNIX_EPOCH).await.unwrap();
    clock.advance(Duration::from_secs(600));
    registry.fault(Fault::Status(500, None));
    assert!(cache.sighting(&example, SystemTime::UNIX_EPOCH).await.is_err(), "it may not stand in either");
    registry.fault(None);
    registry.put("example.com", Phase::Active);
    clock.advance(Duration::from_secs(2));
    assert_eq!(cache.sighting(&example, SystemTime::UNIX_EPOCH).await.unwrap().report.expires_at, Some(time("2030-01-01T00:00:00Z")));
}

/// The rightful owner is not blocked while a registry is down, once its domain has been seen.
#[tokio::test]
async fn a_seen_domain_stands_while_its_registry_is_down() {
    let stage = Stage::open().await;
    stage.healthy_account("a@example.com");
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
    for fault in [Fault::Status(500, None), Fault::Close, Fault::Garbage] {
        stage.registry.fault(fault);
        stage.clock.advance(DAY);
        assert_eq!(stage.ask_reset("a@example.com").await, 200);
        let seen = stage.audit.last().domain.unwrap();
        assert!(seen.cached && seen.stale);
        assert_eq!(seen.checked_at, Some(time(NOW)));
    }
    stage.clock.advance(4 * DAY);
    assert_eq!(stage.ask_reset("a@example.com").await, 200, "seven days");
    stage.clock.advance(Duration::from_secs(2));
    assert_eq!(stage.ask_reset("a@example.com").await, 403, "and no longer");
    assert_eq!(stage.last_reasons(), ["domain_unknown"]);
}

#[tokio::test]
async fn a_known_lapse_stands_while_its_registry_is_down() {
    let stage = Stage::open().await;
    stage.healthy_account("a@example.com");
    stage.healthy_account("b@example.com");
    stage.registry.lapse("example.com");
    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    stage.registry.fault(Fault::Close);
    stage.clock.advance(DAY);
    assert_eq!(stage.ask_reset("b@example.com").await, 403);
    assert_eq!(stage.last_reasons(), ["domain_redemption"]);
    assert!(stage.accounts.is_verified("b@example.com").await, "only a live report takes a verification away");
}

/// The whole live check has a limit, and the lookup finishes behind it.
#[tokio::test]
async fn a_slow_registry_is_waited_for_no_longer_than_the_limit() {
    let registry = registry().await;
    let (cache, _clock) = cache(&registry, |settings| settings.timeout = Duration::from_millis(100)).await;
    let example = domain("example.com");
    registry.fault(Fault::Slow(Duration::from_millis(300)));
    let error = cache.sighting(&example, SystemTime::UNIX_EPOCH).await.unwrap_err();
    assert!(matches!(*error, SourceError::Timeout { .. }));
    let mut tries = 0;
    while cache.known(&example).is_none() {
        drop(cache.sighting(&example, SystemTime::UNIX_EPOCH).await);
        tries += 1;
        assert!(tries < 50);
    }
    assert_eq!(registry.all_questions(), 1, "the waiters that gave up did not cancel it");
}

/// A source that counts, holds its answers back until told, and may panic.
struct Counting {
    questions: AtomicUsize,
    gate: tokio::sync::Semaphore,
    panics: bool,
}

#[async_trait::async_trait]
impl DomainSource for Counting {
    async fn report(&self, _: &RegistrableDomain) -> Result<Report, SourceError> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        assert!(!self.panics, "it is meant to");
        Ok(Report::registered("test"))
    }
}

fn counting(permits: usize, panics: bool, capacity: usize) -> (Arc<Counting>, Cache) {
    let source = Arc::new(Counting { questions: AtomicUsize::new(0), gate: tokio::sync::Semaphore::new(permits), panics });
    let mut settings = CacheSettings::default();
    settings.capacity = capacity;
    let cache = Cache::new(Arc::clone(&source) as Arc<dyn DomainSource>, Arc::new(SetClock::at(NOW)), settings);
    (source, cache)
}

#[tokio::test]
async fn a_waiter_that_gives_up_does_not_cancel_the_others() {
    let (source, cache) = counting(0, false, 10);
    let example = domain("example.com");
    let ask = || {
        let (cache, example) = (cache.clone(), example.clone());
        tokio::spawn(async move { cache.sighting(&example, SystemTime::UNIX_EPOCH).await })
    };
    let first = ask();
    while source.questions.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = (0..10).map(|_| ask()).collect();
    first.abort();
    tokio::task::yield_now().await;
    source.gate.add_permits(1);
    for other in others {
        assert!(other.await.unwrap().is_ok());
    }
    assert_eq!(source.questions.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_source_that_panics_is_asked_again_next_time() {
    let (source, cache) = counting(2, true, 10);
    for asked in 1..=2 {
        let error = cache.sighting(&domain("example.com"), SystemTime::UNIX_EPOCH).await.unwrap_err();
        assert!(matches!(*error, SourceError::BrokeOff { .. }));
        assert_eq!(source.questions.load(Ordering::SeqCst), asked);
    }
}

#[tokio::test]
async fn a_hundred_thousand_domains_do_not_grow_the_cache_past_its_bound() {
    let (source, cache) = counting(200_000, false, 1000);
    let kept = domain("kept.com");
    for number in 0..100_000 {
        cache.sighting(&domain(&format!("d{number}.com")), SystemTime::UNIX_EPOCH).await.unwrap();
        assert!(cache.len() <= 1001);
        if number % 500 == 0 {
            cache.sighting(&kept, SystemTime::UNIX_EPOCH).await.unwrap();
        }
    }
    assert_eq!(cache.len(), 1000);
    assert_eq!(source.questions.load(Ordering::SeqCst), 100_001, "one that is in use stays");
}

#[tokio::test]
async fn a_failed_source_is_left_alone_for_as_long_as_it_says() {
    let registry = registry().await;
    let (cache, clock) = cache(&registry, |_| {}).await;
    let example = domain("example.com");
    registry.fault(Fault::Status(429, Some(30)));
    for _ in 0..10 {
        assert!(cache.sighting(&example, SystemTime::UNIX_EPOCH).await.is_err());
    }
    assert_eq!(registry.all_questions(), 1);
    registry.fault(None);
    clock.advance(Duration::from_secs(30));
    pass(Duration::from_secs(30)).await;
    assert!(cache.sighting(&example, SystemTime::UNIX_EPOCH).await.is_ok());
}

/// One server that hangs keeps nobody from asking the others.
#[tokio::test]
async fn a_server_that_hangs_holds_nobody_else_up() {
    let (hanging, healthy) = (registry().await, registry().await);
    healthy.register("example.org", time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    hanging.fault(Fault::Hang);
    let base = |registry: &Registry| registry.bootstrap_url().replace("dns.json", "");
    let rdap = Rdap::builder().bootstrap(healthy.bootstrap_url()).server("com", base(&hanging)).allow_insecure(true).build().await.unwrap();
    let rdap = Arc::new(rdap);
    let hung: Vec<_> = (0..100)
        .map(|number| {
            let rdap = Arc::clone(&rdap);
            tokio::spawn(async move { rdap.report(&domain(&format!("d{number}.com"))).await })
        })
        .collect();
    while hanging.all_questions() < 8 {
        tokio::task::yield_now().await;
    }
    let report = tokio::time::timeout(Duration::from_secs(5), rdap.report(&domain("example.org"))).await;
    assert_eq!(report.unwrap().unwrap().registered, Some(true));
    assert_eq!(hanging.all_questions(), 8);
    hung.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_clock_that_is_put_back_makes_nothing_fresh() {
    let registry = registry().await;
    let (cache, clock) = cache(&registry, |_| {}).await;
    let example = domain("example.com");
    clock.advance(365 * DAY);
    cache.sighting(&example, SystemTime::UNIX_EPOCH).await.unwrap();
    clock.set(time(NOW));
    assert!(!cache.sighting(&example, SystemTime::UNIX_EPOCH).await.unwrap().cached);
    assert_eq!(registry.all_questions(), 2);
}

#[tokio::test]
async fn a_failed_source_is_left_alone_for_a_second_and_never_for_longer_than_five_minutes() {
    /// Refuses the first question.
    struct Refusing(AtomicUsize, Option<Duration>);
    #[async_trait::async_trait]
    impl DomainSource for Refusing {
        async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Err(SourceError::Refused { url: domain.to_string(), status: 503, retry_after: self.1 }),
                _ => Ok(Report::registered("test")),
            }
        }
    }
    for (retry_after, rest) in [(None, 1), (Some(Duration::from_secs(86_400)), 300)] {
        let (source, clock) = (Arc::new(Refusing(AtomicUsize::new(0), retry_after)), SetClock::at(NOW));
        let cache = Cache::new(Arc::clone(&source) as Arc<dyn DomainSource>, Arc::new(clock.clone()), CacheSettings::default());
        let example = domain("example.com");
        for _ in 0..3 {
            assert!(cache.sighting(&example, SystemTime::UNIX_EPOCH).await.is_err());
        }
        assert_eq!(source.0.load(Ordering::SeqCst), 1);
        clock.advance(Duration::from_secs(rest));
        assert!(cache.sighting(&example, SystemTime::UNIX_EPOCH).await.is_ok(), "{retry_after:?}");
    }
}

#[tokio::test]
async fn a_clock_that_is_put_back_makes_no_rest_longer() {
    let registry = registry().await;
    let (cache, clock) = cache(&registry, |_| {}).await;
    clock.advance(365 * DAY);
    registry.fault(Fault::Status(503, None));
    assert!(cache.sighting(&domain("example.com"), SystemTime::UNIX_EPOCH).await.is_err());
    registry.fault(None);
    clock.set(time(NOW));
    assert!(cache.sighting(&domain("example.com"), SystemTime::UNIX_EPOCH).await.is_ok());
}

/// A lookup that was under way before the address was verified is no evidence about it.
#[tokio::test]
async fn who_joins_a_lookup_from_before_the_verification_asks_anew() {
    let source = Arc::new(Counting { questions: AtomicUsize::new(0), gate: tokio::sync::Semaphore::new(0), panics: false });
    let clock = SetClock::at(NOW);
    let cache = Cache::new(Arc::clone(&source) as Arc<dyn DomainSource>, Arc::new(clock.clone()), CacheSettings::default());
    let ask = |since| {
        let cache = cache.clone();
        tokio::spawn(async move { cache.sighting(&domain("example.com"), since).await.unwrap() })
    };
    let earlier = ask(SystemTime::UNIX_EPOCH);
    while source.questions.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(60));
    let since = time(NOW) + Duration::from_secs(30);
    let later = ask(since);
    tokio::task::yield_now().await;
    source.gate.add_permits(2);
    assert_eq!(earlier.await.unwrap().checked_at, time(NOW));
    assert!(later.await.unwrap().checked_at >= since);
    assert_eq!(source.questions.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_report_is_as_old_as_its_question() {
    /// Takes five seconds to answer.
    struct Slow(SetClock);
    #[async_trait::async_trait]
    impl DomainSource for Slow {
        async fn report(&self, _: &RegistrableDomain) -> Result<Report, SourceError> {
            self.0.advance(Duration::from_secs(5));
            Ok(Report::registered("test"))
        }
    }
    let clock = SetClock::at(NOW);
    let cache = Cache::new(Arc::new(Slow(clock.clone())), Arc::new(clock), CacheSettings::default());
    assert_eq!(cache.sighting(&domain("example.com"), SystemTime::UNIX_EPOCH).await.unwrap().checked_at, time(NOW));
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_never_ends_is_given_up_and_tried_again() {
    let source = Arc::new(Counting { questions: AtomicUsize::new(0), gate: tokio::sync::Semaphore::new(0), panics: false });
    let clock = SetClock::at(NOW);
    let cache = Cache::new(Arc::clone(&source) as Arc<dyn DomainSource>, Arc::new(clock.clone()), CacheSettings::default());
    assert!(cache.sighting(&domain("example.com"), SystemTime::UNIX_EPOCH).await.is_err());
    tokio::time::sleep(Duration::from_secs(30)).await; // on the paused clock
    clock.advance(Duration::from_secs(2));
    source.gate.add_permits(1);
    assert!(cache.sighting(&domain("example.com"), SystemTime::UNIX_EPOCH).await.is_ok());
    assert_eq!(source.questions.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn several_sources_have_the_servers_of_all_but_the_dns_which_tells_where_it_leads() {
    let (registry, resolver) = (registry().await, NameServer::start().await.unwrap());
    resolver.delegate("example.com", ["ns1.host.net"]);
    let fastly = |url: &str| Fastly::new("key").unwrap().endpoint(url).unwrap();
    let own = format!("{}status", registry.base_url());
    let sources = Sources::new()
        .registration("fastly", fastly("http://127.0.0.1:9/status"))
        .registry(registry.rdap().await.unwrap())
        .registration("domainr", fastly(&own));
    let example = domain("example.com");
    assert_eq!(sources.delegation(&example).await.unwrap(), None);
    let servers = ["http://127.0.0.1:9", registry.base_url().trim_end_matches('/')].map(ToOwned::to_owned);
    let sorted = |mut servers: Vec<String>| {
        servers.sort_unstable();
        servers
    };
    assert_eq!(sources.servers(&example), sorted(servers.to_vec()));
    assert_eq!(sources.clone().dns(fastly("http://127.0.0.1:10/")).servers(&example), sorted(servers.to_vec()), "nobody counts in the DNS");
    let sources: Arc<dyn DomainSource> = Arc::new(sources.dns(resolver.dns().unwrap()));
    assert_eq!(sources.delegation(&example).await.unwrap(), Some(Delegation::To(vec!["ns1.host.net".to_owned()])));
    assert_eq!(Arc::new(sources).delegation(&domain("gone.com")).await.unwrap(), Some(Delegation::Absent));
}

/// RFC 9224 §4: only a server that can't be reached calls for the next.
#[tokio::test]
async fn a_server_that_refuses_does_not_call_for_the_next_and_one_that_may_not_be_asked_does() {
    let (refusing, healthy) = (registry().await, registry().await);
    refusing.fault(Fault::Status(500, None));
    let base = |registry: &Registry| registry.bootstrap_url().replace("dns.json", "");
    for (first, is_known) in [(base(&refusing), false), ("ftp://rdap.example/".to_owned(), true)] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!(r#"{{"services":[[["com"],["{first}","{}"]]]}}"#, base(&healthy))).unwrap();
        let rdap = Rdap::builder().bootstrap(file.path().display().to_string()).allow_insecure(true).build().await.unwrap();
        assert_eq!(rdap.report(&domain("example.com")).await.is_ok(), is_known, "{first}");
    }
}

#[tokio::test]
async fn an_override_names_the_server_whatever_the_bootstrap_file_says() {
    let (listed, named) = (registry().await, Registry::start().await.unwrap());
    let base = named.bootstrap_url().replace("dns.json", "");
    let rdap = Rdap::builder().bootstrap(listed.bootstrap_url()).server("com", base).allow_insecure(true).build().await.unwrap();
    assert_eq!(rdap.report(&domain("example.com")).await.unwrap().registered, Some(false));
    assert_eq!((listed.all_questions(), named.all_questions()), (0, 1));
}

#[tokio::test]
async fn three_redirects_are_followed_and_none_to_where_nobody_may_be_asked() {
    let registry = registry().await;
    let rdap = registry.rdap().await.unwrap();
    registry.fault(Fault::Redirect(format!("{}domain/example.com", registry.bootstrap_url().replace("dns.json", ""))));
    assert!(rdap.report(&domain("example.com")).await.is_err());
    assert_eq!(registry.all_questions(), 4);
    registry.fault(Fault::Redirect("ftp://127.0.0.1/".to_owned()));
    let error = rdap.report(&domain("example.com")).await.unwrap_err();
    assert!(format!("{error:?}").contains("redirected to a server"), "{error:?}");
}
