//! What the DNS tells about domains: a real authoritative server's answers, and a simulated resolver's faults.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};

use futures_util::future::join_all;
use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::sample::Index;
use reset_gatekeeper::RegistrableDomain;
use reset_gatekeeper::domain::dns::Dns;
use reset_gatekeeper::domain::{Delegation, DomainSource, Mail, Report, SourceError};
use reset_gatekeeper::testing::{DnsFault, NameServer};
use tempfile::TempDir;
use tokio::task::JoinSet;

const SOA: &str = "@ 60 SOA ns1.host.net. hostmaster.host.net. 1 3600 600 86400 60\n@ 60 NS ns1.host.net.\n";
const DIGEST: &str = "2bb183af5f22588179a53b0a98631fad1a292118f2bb183af5f22588179a53b0";

/// A registry's zones and those of its customers, on one server. `many.com` is left to be filled.
const ZONES: [(&str, &str); 9] = [
    (
        "com",
        "healthy NS ns1.host.net.\nhealthy NS NS2.Host.net.\nhealthy DS 12345 13 2 2BB183AF5F22588179A53B0A98631FAD1A292118F2BB183AF5F22588179A53B0\n\
         nullmx NS ns1.host.net.\nimplicit NS ns1.host.net.\nbare NS ns1.host.net.\nmany NS ns1.host.net.\n\
         xn--mnchen-3ya NS ns1.host.net.\nlame NS ns1.elsewhere.net.\n\
         alias CNAME direct\ndangling CNAME gone\nwords TXT \"here\"\nhost.below A 192.0.2.7\ndirect MX 10 mx.host.net.\n",
    ),
    (
        "healthy.com",
        "@ NS NS2.Host.net.\n@ MX 20 mx2.host.net.\n@ MX 10 MX1.Host.net.\nlists MX 0 .\nweb AAAA 2001:db8::1\nempty TXT \"here\"\n\
         there CNAME healthy.com.\nnowhere CNAME gone.healthy.com.\nlonely CNAME empty.healthy.com.\nelsewhere CNAME host.nowhere.net.\n\
         loop CNAME pool\npool CNAME loop\n",
    ),
    ("nullmx.com", "@ MX 0 .\n@ A 192.0.2.1\n"),
    ("implicit.com", "@ A 192.0.2.1\n"),
    ("bare.com", "@ TXT \"here\"\n"),
    ("many.com", ""),
    ("xn--mnchen-3ya.com", "@ MX 10 mx1.host.net.\n@ MX 20 .\n"),
    ("wild", "* A 192.0.2.1\ntaken NS ns1.host.net.\nown MX 10 mx.host.net.\n"),
    ("mailwild", "* CNAME parking\nparking MX 10 mx.host.net.\ndeaf TXT \"here\"\n"),
];

/// A Knot DNS of one's own, ended with the value.
struct Knot {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Knot {
    fn start() -> Self {
        (0..5).find_map(|_| Self::try_start()).expect("Knot DNS does not start")
    }

    /// `None` where its port was taken meanwhile.
    fn try_start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let socket = UdpSocket::bind(address).ok()?;
        let path = folder.path().display();
        let mut config = format!(
            "server:\n  rundir: {path}\n  listen: 127.0.0.1@{}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             database:\n  storage: {path}\nlog:\n  - target: stdout\n    any: info\n\
             template:\n  - id: default\n    storage: {path}\n    file: \"%s.zone\"\nzone:\n",
            address.port()
        );
        for (zone, records) in ZONES {
            let many: String =
                (0..200).filter(|_| zone == "many.com").map(|i| format!("@ MX {i} mx{i:03}.a-long-name-for-a-server.net.\n")).collect();
            std::fs::write(folder.path().join(format!("{zone}.zone")), format!("$TTL 60\n{SOA}{records}{many}")).unwrap();
            config.push_str(&format!("  - domain: {zone}\n"));
        }
        let file = folder.path().join("knot.conf");
        std::fs::write(&file, config).unwrap();
        drop((listener, socket));
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let started = Command::new("knotd").env("PATH", path).arg("-c").arg(&file).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut process = started.expect("no `knotd` to run (Debian's package `knot`)");
        let output = process.stdout.take().unwrap();
        let knot = Self { process, address, _folder: folder };
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let last = lines.find(|line| {
            assert!(!line.contains("error: ["), "{line}");
            line.contains("server started") || line.contains("cannot bind")
        });
        // Read on, lest the server wait for it.
        std::thread::spawn(move || lines.for_each(drop));
        last.is_some_and(|line| line.contains("started")).then_some(knot)
    }

    fn dns(&self) -> Dns {
        Dns::resolver(self.address).unwrap()
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        drop((self.process.kill(), self.process.wait()));
    }
}

fn domain(name: &str) -> RegistrableDomain {
    RegistrableDomain::of(name).unwrap()
}

/// What is said about the name itself: whether it is there, and whether mail reaches it.
fn said(report: &Report) -> (Option<bool>, Option<Mail>) {
    (report.in_dns, report.mail)
}

#[tokio::test]
#[ignore = "needs Knot DNS, which it starts itself"]
async fn a_real_servers_answers_about_domains_are_understood() {
    let knot = Knot::start();
    let dns = knot.dns();
    let healthy = dns.report(&domain("healthy.com")).await.unwrap();
    assert_eq!(healthy.source, "dns");
    assert_eq!(healthy.registered, None, "the DNS does not tell");
    assert_eq!(said(&healthy), (Some(true), Some(Mail::Accepted)));
    assert_eq!(healthy.name_servers, ["ns1.host.net", "ns2.host.net"]);
    assert_eq!(healthy.mail_servers, ["mx1.host.net", "mx2.host.net"]);
    assert_eq!(healthy.ds, Some(vec![DIGEST.to_owned()]));
    for (name, in_dns, mail) in [
        // RFC 8020.
        ("gone.com", Some(false), Some(Mail::NoHost)),
        // RFC 7505 §3; the address that there is makes no difference then.
        ("nullmx.com", Some(true), Some(Mail::Refused)),
        // RFC 5321 §5.1.
        ("implicit.com", Some(true), Some(Mail::Accepted)),
        ("bare.com", Some(true), Some(Mail::NoServer)),
        // RFC 7505 §3: a null MX beside others is none.
        ("xn--mnchen-3ya.com", Some(true), Some(Mail::Accepted)),
        // RFC 2308 §2.2: names that are there without name servers of their own.
        ("words.com", Some(true), Some(Mail::NoServer)),
        ("below.com", Some(true), Some(Mail::NoServer)),
        ("direct.com", Some(true), Some(Mail::Accepted)),
        // RFC 2308 §2.1: an alias is there, whether what it stands for is or not.
        ("alias.com", Some(true), Some(Mail::Accepted)),
        ("dangling.com", Some(true), Some(Mail::NoHost)),
        // What a registry's wildcard answers, and names that don't owe it theirs.
        ("free.wild", None, None),
        ("own.wild", Some(true), Some(Mail::Accepted)),
        ("free.mailwild", None, None),
        ("deaf.mailwild", Some(true), Some(Mail::NoServer)),
    ] {
        let report = dns.report(&domain(name)).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(said(&report), (in_dns, mail), "{name}: {report:?}");
    }
    // A referral, which no resolver gives.
    assert!(matches!(dns.report(&domain("lame.com")).await, Err(SourceError::Dns { .. })));
    assert!(matches!(dns.delegation(&domain("lame.com")).await, Err(SourceError::Dns { .. })));
    let to = |servers: &[&str]| Delegation::To(servers.iter().map(ToString::to_string).collect());
    for (name, delegation) in [
        ("healthy.com", to(&["ns1.host.net", "ns2.host.net"])),
        ("free.wild", to(&[])),
        ("alias.com", to(&[])),
        ("below.com", to(&[])),
        ("gone.com", Delegation::Absent),
    ] {
        assert_eq!(dns.delegation(&domain(name)).await.unwrap(), Some(delegation), "{name}");
    }
}

#[tokio::test]
#[ignore = "needs Knot DNS, which it starts itself"]
async fn a_real_servers_answers_about_mail_hosts_are_understood() {
    let knot = Knot::start();
    let dns = knot.dns();
    for (host, mail) in [
        ("healthy.com", Mail::Accepted),
        ("lists.healthy.com", Mail::Refused),
        ("web.healthy.com", Mail::Accepted),
        ("empty.healthy.com", Mail::NoServer),
        ("gone.healthy.com", Mail::NoHost),
        ("below.web.healthy.com", Mail::NoHost),
        // RFC 5321 §5.1: an alias is mailed as what it stands for.
        ("there.healthy.com", Mail::Accepted),
        ("lonely.healthy.com", Mail::NoServer),
        ("nowhere.healthy.com", Mail::NoHost),
    ] {
        assert_eq!(dns.mail(host).await.unwrap(), Some(mail), "{host}");
    }
    for host in ["loop.healthy.com", "elsewhere.healthy.com", "host.nowhere.net"] {
        assert!(matches!(dns.mail(host).await, Err(SourceError::Dns { .. })), "{host}");
    }
}

#[tokio::test]
#[ignore = "needs Knot DNS, which it starts itself"]
async fn an_answer_too_long_for_a_datagram_comes_over_tcp() {
    let knot = Knot::start();
    let report = knot.dns().report(&domain("many.com")).await.unwrap();
    assert_eq!(said(&report), (Some(true), Some(Mail::Accepted)));
    assert_eq!(report.mail_servers.len(), 32, "no holder makes a report large");
    assert_eq!(report.mail_servers[31], "mx031.a-long-name-for-a-server.net");
}

async fn resolver() -> (NameServer, Dns) {
    let resolver = NameServer::start().await.unwrap();
    resolver.delegate("example.com", ["ns1.host.net"]);
    let dns = resolver.dns().unwrap();
    (resolver, dns)
}

const FAULTS: [DnsFault; 7] = [
    DnsFault::ServFail,
    DnsFault::Refused,
    DnsFault::Timeout,
    DnsFault::Truncate,
    DnsFault::Garbage,
    DnsFault::WrongId,
    DnsFault::Referral,
];

/// RFC 4035 §5.5, RFC 8914: failure, refusal and silence say nothing about the name.
#[tokio::test]
async fn a_resolver_that_cannot_tell_never_says_gone() {
    join_all(FAULTS.map(async |fault| {
        let (resolver, dns) = resolver().await;
        resolver.fault(fault);
        for name in ["example.com", "gone.com"] {
            let report = dns.report(&domain(name)).await;
            assert!(matches!(report, Err(SourceError::Dns { .. })), "{fault:?}: {report:?}");
            let delegation = dns.delegation(&domain(name)).await;
            assert!(matches!(delegation, Err(SourceError::Dns { .. })), "{fault:?}: {delegation:?}");
        }
        assert!(matches!(dns.mail("example.com").await, Err(SourceError::Dns { .. })), "{fault:?}");
        resolver.fault(None);
        assert_eq!(said(&dns.report(&domain("example.com")).await.unwrap()), (Some(true), Some(Mail::Accepted)), "{fault:?}");
        assert_eq!(said(&dns.report(&domain("gone.com")).await.unwrap()), (Some(false), Some(Mail::NoHost)), "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn where_the_dns_leads_is_one_question_and_a_denial_is_asked_about_twice() {
    let (resolver, dns) = resolver().await;
    resolver.delegate("example.com", ["NS2.Host.net", "ns1.host.net"]);
    resolver.mail("direct.com", Mail::Accepted);
    resolver.alias("alias.com", "example.com");
    let to = |servers: &[&str]| Delegation::To(servers.iter().map(ToString::to_string).collect());
    for (name, delegation, questions) in [
        ("example.com", to(&["ns1.host.net", "ns2.host.net"]), 1),
        ("direct.com", to(&[]), 1),
        // RFC 1034 §3.6.2: the name servers at its end are not its own.
        ("alias.com", to(&[]), 1),
        ("gone.com", Delegation::Absent, 2),
    ] {
        assert_eq!(dns.delegation(&domain(name)).await.unwrap(), Some(delegation), "{name}");
        assert_eq!(resolver.questions(name), questions, "{name}");
    }
    assert_eq!(resolver.all_questions(), 5);
}

/// As servers do that know MX records alone.
#[tokio::test]
async fn a_name_that_is_denied_for_want_of_one_kind_of_record_is_there() {
    let (resolver, dns) = resolver().await;
    resolver.fault_for("NS", DnsFault::Deny);
    assert_eq!(dns.delegation(&domain("example.com")).await.unwrap(), Some(Delegation::To(Vec::new())));
    assert_eq!(dns.report(&domain("example.com")).await.unwrap().in_dns, Some(true));
    resolver.fault_for("MX", DnsFault::Deny);
    assert_eq!(dns.delegation(&domain("example.com")).await.unwrap(), Some(Delegation::Absent));
    assert_eq!(dns.report(&domain("example.com")).await.unwrap().in_dns, Some(false));
}

#[tokio::test]
async fn what_cannot_be_told_beside_the_name_servers_is_left_open() {
    let told = async |kind, fault| {
        let (resolver, dns) = resolver().await;
        resolver.sign("example.com", [DIGEST]);
        resolver.delegate("addressless.com", ["ns1.host.net"]);
        resolver.mail("addressless.com", Mail::NoServer);
        resolver.mail("direct.com", Mail::Accepted);
        resolver.fault_for(kind, fault);
        let names = ["example.com", "addressless.com", "direct.com", "gone.com"].map(domain);
        let reports = join_all(names.iter().map(|name| dns.report(name))).await;
        reports.into_iter().map(|report| report.ok().map(|report| (report.in_dns, report.mail, report.ds))).collect::<Vec<_>>()
    };
    let gone = Some((Some(false), Some(Mail::NoHost), None));
    let ds = || Some(vec![DIGEST.to_owned()]);
    join_all(FAULTS.map(async |fault| {
        let (mx, aaaa, ds_) = futures_util::join!(told("MX", fault), told("AAAA", fault), told("DS", fault));
        // That a name without name servers owes its answers to no wildcard can't be told without MX. RFC 8020: a name that isn't there has nothing.
        let unsigned = Some(Vec::new());
        let mail_is_open = Some((Some(true), None, unsigned.clone()));
        assert_eq!(mx, [Some((Some(true), None, ds())), mail_is_open.clone(), None, gone.clone()], "{fault:?}");
        let accepted = Some((Some(true), Some(Mail::Accepted), ds()));
        let direct = |ds| Some((Some(true), Some(Mail::Accepted), ds));
        assert_eq!(aaaa, [accepted, mail_is_open, direct(unsigned), gone.clone()], "{fault:?}");
        let without = |mail| Some((Some(true), Some(mail), None));
        assert_eq!(ds_, [without(Mail::Accepted), without(Mail::NoServer), direct(None), gone.clone()], "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn an_unsigned_domain_is_known_to_be_unsigned() {
    let (resolver, dns) = resolver().await;
    assert_eq!(dns.report(&domain("example.com")).await.unwrap().ds, Some(Vec::new()));
    resolver.sign("example.com", ["ff00", "00ff", "ff00"]);
    assert_eq!(dns.report(&domain("example.com")).await.unwrap().ds, Some(vec!["00ff".to_owned(), "ff00".to_owned()]));
}

#[tokio::test]
async fn addresses_made_up_by_the_resolver_say_nothing() {
    let (resolver, dns) = resolver().await;
    resolver.fault(DnsFault::Rewrite);
    // It is honest about other records, and so is seen through at once.
    assert_eq!(said(&dns.report(&domain("gone.com")).await.unwrap()), (Some(false), Some(Mail::NoHost)));
    resolver.fault(None);
    resolver.mail("*.com", Mail::Accepted);
    assert_eq!(said(&dns.report(&domain("gone.com")).await.unwrap()), (None, None));
    assert_eq!(said(&dns.report(&domain("example.com")).await.unwrap()), (Some(true), Some(Mail::Accepted)));
    resolver.mail("*.com", Mail::NoServer);
    assert_eq!(said(&dns.report(&domain("gone.com")).await.unwrap()), (None, None), "a denial in the form of an empty answer (RFC 9824)");
}

/// A live check must be live: what a resolver says now counts, not what it said before.
#[tokio::test]
async fn nothing_is_remembered() {
    let (resolver, dns) = resolver().await;
    assert_eq!(dns.report(&domain("example.com")).await.unwrap().in_dns, Some(true));
    resolver.remove("example.com");
    assert_eq!(dns.report(&domain("example.com")).await.unwrap().in_dns, Some(false));
    let asked = resolver.questions("example.com");
    dns.mail("example.com").await.unwrap();
    assert_eq!(resolver.questions("example.com"), asked + 1);
    assert_eq!(resolver.all_questions(), asked + 1, "no search list, no name beside it");
}

#[test]
fn the_systems_resolvers_are_those_of_its_file() {
    let file = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(Dns::system().is_ok(), file.lines().any(|line| line.starts_with("nameserver")));
}

#[tokio::test]
async fn names_that_are_none_are_errors() {
    let (resolver, dns) = resolver().await;
    let long = format!("{}.com", "a".repeat(64));
    let longer = format!("{}com", "a.".repeat(126));
    for host in ["", ".", "a..b", "exa mple.com", "b\u{fc}cher.com", &long, &longer] {
        assert!(matches!(dns.mail(host).await, Err(SourceError::Dns { .. })), "{host}");
    }
    assert_eq!(resolver.all_questions(), 0);
    assert_eq!(dns.mail("example.com.").await.unwrap(), Some(Mail::Accepted));
}

/// What becomes of an answer on the way. Neither its identifier, without which nobody would read it, nor its code are touched: the code for "gone" is a word, no
/// garbage.
#[derive(Debug, Clone)]
struct Garbler {
    bytes: Vec<(Index, u8)>,
    cut: Option<Index>,
    replacement: Option<Vec<u8>>,
}

impl Garbler {
    fn garble(&self, answer: &mut Vec<u8>) {
        let code = answer[3] & 0x0f;
        if let Some(replacement) = &self.replacement {
            answer.truncate(4);
            answer.extend(replacement);
        }
        for (index, byte) in &self.bytes {
            let at = 2 + index.index(answer.len() - 2);
            answer[at] = *byte;
        }
        answer[3] = answer[3] & 0xf0 | code;
        if let Some(cut) = self.cut {
            answer.truncate(2 + cut.index(answer.len() - 2));
        }
    }

    /// Stands between `resolver` and whoever asks at the address given back.
    async fn stand_before(self, resolver: SocketAddr, tasks: &mut JoinSet<()>) -> SocketAddr {
        let here = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = here.local_addr().unwrap();
        tasks.spawn(async move {
            let there = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let mut buffer = [0; 4_096];
            loop {
                let (length, client) = here.recv_from(&mut buffer).await.unwrap();
                there.send_to(&buffer[..length], resolver).await.unwrap();
                let length = there.recv(&mut buffer).await.unwrap();
                let mut answer = buffer[..length].to_vec();
                self.garble(&mut answer);
                here.send_to(&answer, client).await.unwrap();
            }
        });
        address
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    /// Many at a time, since many an answer is waited for in vain.
    #[test]
    fn garbage_never_says_gone(garblers in proptest::collection::vec(
        (proptest::collection::vec((any::<Index>(), any::<u8>()), 0..5), any::<Option<Index>>(), any::<Option<Vec<u8>>>()), 150,
    )) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let (resolver, _) = resolver().await;
            let mut tasks = JoinSet::new();
            let mut asked = Vec::new();
            for (bytes, cut, replacement) in garblers {
                let garbler = Garbler { bytes, cut, replacement };
                let dns = Dns::resolver(garbler.clone().stand_before(resolver.address(), &mut tasks).await).unwrap();
                asked.push(async move {
                    let domain = domain("example.com");
                    let (report, mail) = futures_util::join!(dns.report(&domain), dns.mail("example.com"));
                    (report, mail, garbler)
                });
            }
            let mut answers = 0;
            for (report, mail, garbler) in join_all(asked).await {
                answers += usize::from(report.is_ok());
                assert!(!report.as_ref().is_ok_and(|report| report.in_dns == Some(false)), "{report:?}: {garbler:?}");
                assert!(!mail.is_ok_and(|mail| mail == Some(Mail::NoHost)), "{garbler:?}");
            }
            assert!((1..150).contains(&answers), "some must get through, and some not: {answers}");
        });
    }
}
