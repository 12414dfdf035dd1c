//! WHOIS, by a server on loopback that writes as each registry does.

use std::time::{Duration, SystemTime};

use reset_gatekeeper::RegistrableDomain;
use reset_gatekeeper::domain::whois::Whois;
use reset_gatekeeper::domain::{DomainSource, Report, SourceError, Status};
use reset_gatekeeper::testing::time;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// What the server was asked, and what came of its answer.
async fn asked(domain: &str, answer: &[u8]) -> (String, Result<Report, SourceError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = answer.to_vec();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut question = String::new();
        stream.read_line(&mut question).await.unwrap();
        stream.write_all(&answer).await.unwrap();
        question
    });
    let domain = RegistrableDomain::of(domain).unwrap();
    let whois = Whois::new().server(domain.top_level(), address.to_string()).allow_insecure(true);
    let report = whois.report(&domain).await;
    (server.await.unwrap(), report)
}

fn moment(text: &str) -> Option<SystemTime> {
    (!text.is_empty()).then(|| time(text))
}

/// A domain, what its registry answers, when it was registered, when it ends, and its statuses.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

const ROWS: [Row; 19] = [
    (
        "example.jp",
        "[Domain Name]                   EXAMPLE.JP\n\n[Created on]                    2001/02/03\n[Expires on]                    2027/01/31\n[Status]                        Active\n",
        "2001-02-02T15:00:00Z",
        "2027-01-31T15:00:00Z",
        &["active"],
    ),
    (
        "example.co.jp",
        "a. [Domain Name]                EXAMPLE.CO.JP\n[State]                         Connected (2027/03/31)\n[Registered Date]               1997/03/04\n",
        "1997-03-03T15:00:00Z",
        "2027-03-31T15:00:00Z",
        &["connected"],
    ),
    (
        "example.cn",
        "Domain Name: example.cn\nDomain Status: clientTransferProhibited\nRegistration Time: 2003-03-17 12:20:05\nExpiration Time: 2027-03-17 12:48:36\n",
        "2003-03-17T04:20:05Z",
        "2027-03-17T04:48:36Z",
        &["client transfer prohibited"],
    ),
    (
        "example.ru",
        "domain:        EXAMPLE.RU\nstate:         REGISTERED, DELEGATED, VERIFIED\ncreated:       1997-09-23T09:45:07Z\npaid-till:     2026-09-30T21:00:00Z\nfree-date:     2026-11-01\n",
        "1997-09-23T09:45:07Z",
        "2026-09-30T21:00:00Z",
        &["registered", "delegated", "verified"],
    ),
    ("example.eu", "Domain: example.eu\n\nRegistrar:\n        Name: Registrar of Examples\n", "", "", &[]),
    (
        "example.it",
        "Domain:             example.it\nStatus:             pendingDelete / redemptionPeriod\nCreated:            1999-12-10 00:00:00\nExpire Date:        2026-01-10\n\nRegistrant\n  Created:          2007-03-01 10:28:08\n",
        "1999-12-09T23:00:00Z",
        "2026-01-10T23:00:00Z",
        &["pending delete", "redemption period"],
    ),
    (
        "example.se",
        "state:            active\ndomain:           example.se\ncreated:          2000-01-02\nexpires:          2027-01-02\nstatus:           ok\n",
        "2000-01-02T00:00:00Z",
        "2027-01-03T00:00:00Z",
        &["active", "ok"],
    ),
    (
        "example.nu",
        "state:            active\ndomain:           example.nu\ncreated:          2000-01-02\nexpires:          2027-01-02\n",
        "2000-01-02T00:00:00Z",
        "2027-01-03T00:00:00Z",
        &["active"],
    ),
    (
        "example.dk",
        "Domain:               example.dk\nRegistered:           1999-01-02\nExpires:              2027-03-31\nStatus:               Active\n",
        "1999-01-01T23:00:00Z",
        "2027-03-31T23:00:00Z",
        &["active"],
    ),
    (
        "example.at",
        "domain:         example.at\nregistrar:      x\nchanged:        20240101 12:00:00\nsource:         AT-DOM\n",
        "",
        "",
        &[],
    ),
    (
        "example.be",
        "Domain:\texample.be\nStatus:\tNOT AVAILABLE\nRegistered:\tTue Dec 12 2000\n",
        "2000-12-11T23:00:00Z",
        "",
        &["not available"],
    ),
    (
        "example.kr",
        "Domain Name                 : example.kr\nRegistered Date             : 2007. 03. 02.\nExpiration Date             : 2027. 03. 02.\n",
        "2007-03-01T15:00:00Z",
        "2027-03-02T15:00:00Z",
        &[],
    ),
    (
        "example.hk",
        "Domain Name:  EXAMPLE.HK \nDomain Status: Active \nDomain Name Commencement Date: 01-04-2005\nExpiry Date: 31-03-2027\n",
        "2005-03-31T16:00:00Z",
        "2027-03-31T16:00:00Z",
        &["active"],
    ),
    (
        "example.com.tr",
        "** Domain Name: example.com.tr\nCreated on..............: 2001-Aug-23.\nExpires on..............: 2027-Aug-22.\n",
        "2001-08-22T21:00:00Z",
        "2027-08-22T21:00:00Z",
        &[],
    ),
    (
        "example.mx",
        "Domain Name:       example.mx\nCreated On:        2009-05-12\nExpiration Date:   2027-05-11\n",
        "2009-05-12T06:00:00Z",
        "2027-05-12T06:00:00Z",
        &[],
    ),
    (
        "example.sk",
        "Domain:                       example.sk\nCreated:                      2003-02-01\nValid Until:                  2027-02-01\nEPP Status:                   ok\n",
        "2003-02-01T00:00:00Z",
        "2027-02-02T00:00:00Z",
        &["ok"],
    ),
    (
        "example.ro",
        "  Domain Name: example.ro\n  Registered On: 2001-06-07\n  Expires On: 2027-06-06\n  Domain Status: OK\n",
        "2001-06-06T22:00:00Z",
        "2027-06-06T22:00:00Z",
        &["ok"],
    ),
    ("example.hu", "domain:         example.hu\nrecord created: 2000-03-25\n", "2000-03-25T00:00:00Z", "", &[]),
    (
        "example.rs",
        "Domain name: example.rs\nDomain status: Active\nRegistration date: 10.03.2008 12:31:19\nExpiration date: 10.03.2027 12:31:19\n",
        "2008-03-10T11:31:19Z",
        "2027-03-10T11:31:19Z",
        &["active"],
    ),
];

#[tokio::test]
async fn each_registrys_dates_and_states_are_read() {
    for (domain, answer, registered_at, expires_at, statuses) in ROWS {
        let (question, report) = asked(domain, answer.as_bytes()).await;
        let report = report.unwrap_or_else(|error| unreachable!("{domain}: {error:?}"));
        assert_eq!(question, format!("{domain}{}\r\n", if domain.ends_with("jp") { "/e" } else { "" }));
        assert_eq!(report.source, "whois");
        assert_eq!(
            (report.registered, report.registered_at, report.expires_at),
            (Some(true), moment(registered_at), moment(expires_at)),
            "{domain}"
        );
        assert_eq!(report.statuses, statuses.iter().map(|status| Status::from(*status)).collect::<Vec<_>>(), "{domain}");
    }
}

/// That nothing was found proves nothing, and so it is with notices and silence.
#[tokio::test]
async fn what_is_no_entry_is_no_answer() {
    for (domain, answer) in [
        ("example.jp", "No match!!\n"),
        ("example.cn", "No matching record.\n"),
        ("example.ru", "No entries found for the selected source(s).\n"),
        ("example.eu", "Domain: example.eu\nStatus: AVAILABLE\n"),
        ("example.it", "Domain:             example.it\nStatus:             AVAILABLE\n"),
        ("example.se", "domain \"example.se\" not found.\n"),
        ("example.dk", "No entries found for the selected source.\n"),
        ("example.dk", "# Too many connections, try again later\n"),
        ("example.at", "% nothing found\n"),
        ("example.be", "Domain:\texample.be\nStatus:\tAVAILABLE\n"),
        ("example.be", "% Maximum queries per hour reached\n"),
        ("example.kr", "The requested domain was not found in the Registry.\nexample.kr\n"),
        ("example.hk", "The domain has not been registered.\n"),
        ("example.com.tr", "No match found for \"example.com.tr\"\n"),
        ("example.hu", "Nincs talalat / No match\n"),
        ("example.rs", "%ERROR:103: Domain is not registered\n"),
        ("example.jp", ""),
        ("example.jp", "[ JPRS database provides information on network administration. ]\n"),
        ("example.jp", "[Domain Name] OTHER.JP\n[Created on] 2001/02/03\n"),
        ("example.jp", "[Domain Name] EXAMPLE.JP\n"),
        ("example.jp", "[Domain Name] EXAMPLE.JP\n[Created on] some day\n[Status] Active\n"),
    ] {
        let (_, report) = asked(domain, answer.as_bytes()).await;
        assert!(report.is_err(), "{answer}: {report:?}");
    }
}

#[tokio::test]
async fn an_answer_in_latin_1_or_of_any_length_is_read_as_far_as_it_goes() {
    let mut answer = b"Domain:               example.dk\nHolder: S\xf8ren\nRegistered:           1999-01-02\n".to_vec();
    let (_, report) = asked("example.dk", &answer).await;
    assert_eq!(report.unwrap().registered_at, moment("1999-01-01T23:00:00Z"));
    answer.extend(std::iter::repeat_n(b' ', 1 << 20));
    assert!(asked("example.dk", &answer).await.1.is_ok());
}

#[test]
fn the_server_that_counts_the_questions_is_the_registrys() {
    let whois = Whois::new().server("eu", "127.0.0.1:9");
    let servers = |name| whois.servers(&RegistrableDomain::of(name).unwrap());
    assert_eq!(servers("example.co.jp"), ["whois://whois.jprs.jp:43"]);
    assert_eq!(servers("example.eu"), ["whois://127.0.0.1:9"]);
    assert_eq!(servers("example.com"), [""; 0]);
}

#[tokio::test]
async fn only_known_registries_at_public_addresses_are_asked() {
    let example = |name| RegistrableDomain::of(name).unwrap();
    assert!(matches!(Whois::new().report(&example("example.com")).await, Err(SourceError::NoService { .. })));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let whois = Whois::new().server("jp", listener.local_addr().unwrap().to_string());
    assert!(matches!(whois.report(&example("example.jp")).await, Err(SourceError::Transport { .. })));
    assert!(tokio::time::timeout(Duration::from_millis(10), listener.accept()).await.is_err());
}
