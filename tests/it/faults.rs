//! What each fault of a registry does to a caller, by what is known of the domain; and how a server that fails is spared.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reset_gatekeeper::domain::cache::{Cache, CacheSettings};
use reset_gatekeeper::domain::rdap::Rdap;
use reset_gatekeeper::domain::{DomainSource, Report, SourceError};
use reset_gatekeeper::testing::{Fault, Registry, SetClock, time};
use reset_gatekeeper::{Clock, Evidence, Policy, RegistrableDomain, judge};
use tokio::net::{TcpListener, TcpStream};

use crate::stage::{NOW, VERIFIED};

const NAME: &str = "example.com";
const HOUR: Duration = Duration::from_secs(3_600);
const TIMEOUT: Duration = Duration::from_millis(300);
const MARGIN: Duration = Duration::from_millis(50);

/// How a question about a domain goes wrong.
#[derive(Debug, Clone)]
enum Wrong {
    /// The registry has this fault.
    Faulty(Fault),
    /// It redirects to itself.
    RedirectLoop,
    /// It gives this answer.
    Says(&'static str),
    /// Nothing listens at its address.
    Refused,
    /// It resets every connection.
    Reset,
    /// Its certificate is its own.
    SelfSigned,
    /// There is no server for the bootstrap file.
    NoBootstrap,
    /// The bootstrap file is none.
    BadBootstrap,
}

/// What is known of the domain by then.
#[derive(Debug, Clone, Copy)]
enum Knows {
    Nothing,
    Fresh,
    Stale,
}

const OF_ANOTHER: &str = r#"{"objectClassName":"domain","ldhName":"EXAMPLE.NET","status":["active"]}"#;
const CUT_JSON: &str = r#"{"objectClassName":"domain","ldhName":"EXAMPLE.COM","status":["#;

/// Each fault, and how many questions reach the server where nothing, fresh and stale things are known. Two where the first surely was in vain, four where
/// three redirects are followed.
fn faults() -> [(Wrong, [usize; 3]); 19] {
    use Wrong::*;
    let slow = Duration::from_secs(2);
    [
        (Refused, [0, 0, 0]),
        (Reset, [2, 0, 2]),
        (Faulty(Fault::Close), [2, 0, 2]),
        (Faulty(Fault::Hang), [1, 0, 1]),
        (Faulty(Fault::Slow(slow)), [1, 0, 1]),
        (Faulty(Fault::SlowBody(slow)), [1, 0, 1]),
        (Faulty(Fault::Truncated), [1, 0, 1]),
        (Faulty(Fault::Status(500, None)), [1, 0, 1]),
        (Faulty(Fault::Status(503, None)), [2, 0, 2]),
        (Faulty(Fault::Status(429, None)), [1, 0, 1]),
        (Faulty(Fault::Status(429, Some(30))), [1, 0, 1]),
        (Says(CUT_JSON), [1, 0, 1]),
        (Says(OF_ANOTHER), [1, 0, 1]),
        (Faulty(Fault::TooLong), [1, 0, 1]),
        (Faulty(Fault::Garbage), [1, 0, 1]), // of another content type, too
        (RedirectLoop, [4, 0, 4]),
        (SelfSigned, [1, 0, 1]),
        (NoBootstrap, [0, 0, 0]),
        (BadBootstrap, [0, 0, 0]),
    ]
}

/// The verdict on an account whose domain is healthy, and on one whose domain lapsed: never worse than what is known, nor better.
const fn verdicts(knows: Knows) -> [&'static str; 2] {
    match knows {
        Knows::Nothing => ["block [DomainUnknown]", "block [DomainUnknown]"],
        Knows::Fresh | Knows::Stale => ["allow []", "block [DomainRedemption]"],
    }
}

#[tokio::test]
async fn whatever_fails_nobody_waits_long_and_what_is_known_decides() {
    for (wrong, most) in faults() {
        for (knows, most) in [Knows::Nothing, Knows::Fresh, Knows::Stale].into_iter().zip(most) {
            for (lapsed, expected) in [false, true].into_iter().zip(verdicts(knows)) {
                let cell = format!("{wrong:?}, {knows:?}, lapsed: {lapsed}");
                let mut best = Duration::MAX;
                // The machine may be busy with other tests.
                for _ in 0..3 {
                    let outcome = outcome(&wrong, knows, lapsed).await;
                    assert_eq!(outcome.verdict, expected, "{cell}");
                    assert!(outcome.questions <= most, "{cell}: {} questions", outcome.questions);
                    assert_eq!(outcome.questions == 0, most == 0, "{cell}: the fault was not met");
                    best = best.min(outcome.waited);
                    if best <= TIMEOUT + MARGIN {
                        break;
                    }
                }
                assert!(best <= TIMEOUT + MARGIN, "{cell}: {best:?}");
            }
        }
    }
}

struct Outcome {
    verdict: String,
    questions: usize,
    waited: Duration,
}

async fn outcome(wrong: &Wrong, knows: Knows, lapsed: bool) -> Outcome {
    let registry = registry().await;
    if lapsed {
        registry.lapse(NAME);
    }
    let (clock, switch) = (SetClock::at(NOW), Arc::new(Switch::to(registry.rdap().await.unwrap())));
    let mut settings = CacheSettings::default();
    settings.timeout = TIMEOUT;
    let cache = Cache::new(Arc::clone(&switch) as Arc<dyn DomainSource>, Arc::new(clock.clone()), settings);
    let (name, verified_at) = (domain(NAME), time(VERIFIED));
    match knows {
        Knows::Nothing => {}
        Knows::Fresh | Knows::Stale => drop(cache.sighting(&name, verified_at).await.unwrap()),
    }
    clock.advance(match knows {
        Knows::Nothing => Duration::ZERO,
        Knows::Fresh => HOUR / 2,
        Knows::Stale => 24 * HOUR,
    });
    let connections = Arc::<AtomicUsize>::default();
    *switch.0.lock().unwrap() = Arc::new(source(wrong, &registry, &connections).await);

    let asked = registry.questions(NAME);
    let start = tokio::time::Instant::now();
    let sighting = cache.sighting(&name, verified_at).await.ok();
    let waited = start.elapsed();
    let evidence = Evidence {
        verified: true,
        verified_at: Some(verified_at),
        requested_is_stored: true,
        domain: sighting.as_ref(),
        mail: None,
        over_limit: false,
    };
    let verdict = judge(&Policy::default(), &evidence, clock.now());
    let questions = registry.questions(NAME) - asked + connections.load(Ordering::SeqCst);
    Outcome { verdict: format!("{} {:?}", verdict.as_str(), verdict.reasons()), questions, waited }
}

/// A source to which `wrong` happens. What connects elsewhere than to `registry` is counted in `connections`.
async fn source(wrong: &Wrong, registry: &Registry, connections: &Arc<AtomicUsize>) -> Rdap {
    let base = base(registry);
    let builder = Rdap::builder().bootstrap(registry.bootstrap_url()).allow_insecure(true).starts_without_bootstrap(true);
    let builder = match wrong {
        Wrong::Faulty(_) | Wrong::RedirectLoop | Wrong::Says(_) => builder,
        Wrong::Refused => builder.server("com", format!("http://{}/", nobody().await)),
        Wrong::Reset => builder.server("com", format!("http://{}/", listen(connections, reset).await)),
        Wrong::SelfSigned => builder.server("com", format!("https://{}/", listen(connections, self_signed).await)),
        Wrong::NoBootstrap => builder.bootstrap(format!("http://{}/dns.json", nobody().await)),
        Wrong::BadBootstrap => {
            registry.answer("dns.json", 200, "application/json", r#"{"services":[[["com"],"#);
            builder.bootstrap(format!("{base}domain/dns.json"))
        }
    };
    let rdap = builder.build().await.unwrap();
    match wrong {
        Wrong::Faulty(fault) => registry.fault(fault.clone()),
        Wrong::RedirectLoop => registry.fault(Fault::Redirect(format!("{base}domain/{NAME}"))),
        Wrong::Says(body) => registry.answer(NAME, 200, "application/rdap+json", *body),
        Wrong::Refused | Wrong::Reset | Wrong::SelfSigned | Wrong::NoBootstrap | Wrong::BadBootstrap => {}
    }
    rdap
}

/// An address at which nothing listens.
async fn nobody() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Serves each connection by `serve` for as long as the test runs, and counts them.
async fn listen<F>(connections: &Arc<AtomicUsize>, serve: impl Fn(TcpStream) -> F + Send + 'static) -> std::net::SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::clone(connections));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn reset(stream: TcpStream) {
    stream.readable().await.unwrap();
    stream.set_zero_linger().unwrap();
}

async fn self_signed(stream: TcpStream) {
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::rustls::{ServerConfig, crypto::aws_lc_rs};
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    assert!(tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await.is_err(), "nobody trusts it");
}

/// A source that can be exchanged.
struct Switch(Mutex<Arc<Rdap>>);

impl Switch {
    fn to(rdap: Rdap) -> Self {
        Self(Mutex::new(Arc::new(rdap)))
    }
}

#[async_trait::async_trait]
impl DomainSource for Switch {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        let rdap = Arc::clone(&self.0.lock().unwrap());
        rdap.report(domain).await
    }

    fn servers(&self, domain: &RegistrableDomain) -> Vec<String> {
        self.0.lock().unwrap().servers(domain)
    }
}

fn domain(name: &str) -> RegistrableDomain {
    RegistrableDomain::of(name).unwrap()
}

fn base(registry: &Registry) -> String {
    registry.bootstrap_url().replace("dns.json", "")
}

async fn registry() -> Registry {
    let registry = Registry::start().await.unwrap();
    registry.register(NAME, time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    registry
}

/// Lets tokio's time pass, by which servers are left alone. No socket may be waited for meanwhile.
pub(crate) async fn pass(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

/// RFC 9110 §10.2.3, RFC 7480 §5.5. Unlike a failure, it is about all domains of the server.
#[tokio::test]
async fn a_server_that_says_when_to_come_back_is_asked_about_nothing_before() {
    let wait = Duration::from_secs(30);
    for fault in [Fault::Status(429, Some(30)), Fault::Status(503, Some(30)), Fault::Until(429, wait), Fault::Until(503, wait)] {
        let registry = registry().await;
        let rdap = registry.rdap().await.unwrap();
        registry.fault(fault.clone());
        assert_eq!(rdap.report(&domain("other.com")).await.unwrap_err().retry_after(), Some(wait), "{fault:?}");
        registry.fault(None);
        pass(wait / 2).await;
        let error = rdap.report(&domain(NAME)).await.unwrap_err();
        assert!(matches!(error, SourceError::Refused { status: 429 | 503, .. }), "{error:?}");
        assert!(error.retry_after().is_some_and(|left| left <= wait / 2 && left > wait / 3), "{error:?}");
        assert_eq!(registry.all_questions(), 1, "{fault:?}");
        pass(wait / 2).await;
        assert!(rdap.report(&domain(NAME)).await.is_ok(), "{fault:?}");
    }
}

/// Only where the first surely led to nothing, and once.
#[tokio::test]
async fn a_question_is_asked_again_only_where_that_may_help() {
    for (fault, questions) in [
        (Fault::Close, 2),
        (Fault::Status(502, None), 2),
        (Fault::Status(503, None), 2),
        (Fault::Status(504, None), 2),
        (Fault::Status(503, Some(1)), 1),
        (Fault::Status(500, None), 1),
        (Fault::Status(501, None), 1),
        (Fault::Status(429, None), 1),
        (Fault::Status(403, None), 1),
        (Fault::Truncated, 1),
        (Fault::Garbage, 1),
    ] {
        let registry = registry().await;
        let rdap = registry.rdap().await.unwrap();
        registry.fault(fault.clone());
        assert!(rdap.report(&domain(NAME)).await.is_err());
        assert_eq!(registry.all_questions(), questions, "{fault:?}");
    }
}

#[tokio::test]
async fn a_server_that_fails_five_times_is_left_alone_and_then_tried_by_one_question() {
    let registry = registry().await;
    let rdap = registry.rdap().await.unwrap();
    let ask = async |count: usize| {
        for number in 0..count {
            assert!(rdap.report(&domain(&format!("d{number}.com"))).await.is_err());
        }
        registry.all_questions()
    };
    registry.fault(Fault::Status(403, None));
    assert_eq!(ask(10).await, 10, "a refusal is no failure");
    registry.fault(Fault::Status(500, None));
    assert_eq!(ask(10).await, 15);
    let error = rdap.report(&domain(NAME)).await.unwrap_err();
    assert!(format!("{error:?}").contains("Fails"), "{error:?}");
    pass(Duration::from_secs(5)).await;
    assert_eq!(ask(10).await, 16, "one tries");
    pass(Duration::from_secs(5)).await;
    registry.fault(None);
    assert!(rdap.report(&domain(NAME)).await.is_ok());
    assert!(rdap.report(&domain(NAME)).await.is_ok());
}

/// RFC 9224 §4: the URLs of an entry are alternatives.
#[tokio::test]
async fn while_a_server_is_left_alone_its_alternative_is_asked() {
    let (failing, healthy) = (registry().await, registry().await);
    failing.fault(Fault::Close);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!(r#"{{"services":[[["com"],["{}","{}"]]]}}"#, base(&failing), base(&healthy))).unwrap();
    let rdap = Rdap::builder().bootstrap(file.path().display().to_string()).allow_insecure(true).build().await.unwrap();
    for number in 0..10 {
        let name = format!("d{number}.com");
        healthy.register(&name, time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
        assert_eq!(rdap.report(&domain(&name)).await.unwrap().registered, Some(true));
    }
    assert_eq!(failing.all_questions(), 9, "five questions, each asked again but the last");
}

/// A hundred at once, and then sixteen a second.
#[tokio::test]
async fn a_server_is_asked_no_faster_than_its_pace() {
    let registry = registry().await;
    let rdap = registry.rdap().await.unwrap();
    let names: Vec<_> = (0..115).map(|number| domain(&format!("d{number}.com"))).collect();
    let start = tokio::time::Instant::now();
    let answers = futures_util::future::join_all(names.iter().map(|name| rdap.report(name))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(registry.all_questions(), 115);
    // The bootstrap file was one of the hundred, so the last of these is the sixteenth to wait.
    assert!(start.elapsed() >= Duration::from_millis(990), "{:?}", start.elapsed());
}

/// Of as many questions the default pace would let a hundred through, let 160 wait for ten seconds, and spare the server the rest.
#[tokio::test]
async fn a_server_that_may_be_asked_more_often_is() {
    let registry = registry().await;
    let rdap = Rdap::builder().bootstrap(registry.bootstrap_url()).allow_insecure(true).pace(400.try_into().unwrap());
    let rdap = rdap.build().await.unwrap();
    let names: Vec<_> = (0..1_000).map(|number| domain(&format!("d{number}.com"))).collect();
    let start = tokio::time::Instant::now();
    let answers = futures_util::future::join_all(names.iter().map(|name| rdap.report(name))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(registry.all_questions(), 1_000);
    // Four hundred at once, the bootstrap file among them, and the last of these is the 601st to wait.
    assert!(start.elapsed() >= Duration::from_millis(1_490), "{:?}", start.elapsed());
}

/// A server that begins to answer and breaks off has failed, however its answer began.
#[tokio::test]
async fn a_server_that_breaks_off_its_answers_is_left_alone() {
    let questions = Arc::<AtomicUsize>::default();
    let cut = |mut stream: TcpStream| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/rdap+json\r\ncontent-length: 100\r\n\r\n{").await.unwrap();
    };
    let address = listen(&questions, cut).await;
    let list = registry().await;
    let rdap = Rdap::builder().bootstrap(list.bootstrap_url()).server("com", format!("http://{address}/")).allow_insecure(true);
    let rdap = rdap.build().await.unwrap();
    for number in 0..10 {
        assert!(rdap.report(&domain(&format!("d{number}.com"))).await.is_err());
    }
    assert_eq!(questions.load(Ordering::SeqCst), 5);
}

/// Who has an account at a name on which its registry fails could else shut the registry off for everybody.
#[tokio::test]
async fn one_domain_on_which_a_registry_fails_shuts_off_no_other() {
    let registry = registry().await;
    registry.answer("bad.com", 500, "text/plain", "");
    let rdap = registry.rdap().await.unwrap();
    for _ in 0..10 {
        assert!(rdap.report(&domain("bad.com")).await.is_err());
    }
    assert_eq!(rdap.report(&domain(NAME)).await.unwrap().registered, Some(true));
}

/// Callers that give up on a slow server, as on a registrar after a second, must not keep it from being left alone.
#[tokio::test]
async fn a_server_that_every_caller_gives_up_on_is_left_alone() {
    let registry = registry().await;
    let rdap = registry.rdap().await.unwrap();
    registry.fault(Fault::Hang);
    for number in 0..8 {
        let name = domain(&format!("d{number}.com"));
        drop(tokio::time::timeout(Duration::from_millis(600), rdap.report(&name)).await);
    }
    assert_eq!(registry.all_questions(), 5);
}
