//! RDAP in depth: what a registry's answer is read as, when its 404 counts, when the registrar is asked, and which server is the authoritative one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use futures_util::future::join_all;
use reset_gatekeeper::RegistrableDomain;
use reset_gatekeeper::domain::rdap::{Rdap, read};
use reset_gatekeeper::domain::{DomainSource, Report, SourceError, Standing, Status};
use reset_gatekeeper::testing::{Fault, Phase, Registry, time};
use serde_json::{Value, json};

use crate::stage::NOW;

const RDAP: &str = "application/rdap+json";
const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn domain(name: &str) -> RegistrableDomain {
    RegistrableDomain::of(name).unwrap()
}

/// Where `report` stands in a year in which nothing of these tests has run out but what should have.
fn standing(report: &Report) -> Standing {
    report.standing(time(NOW), WEEK)
}

async fn answered(body: impl Into<bytes::Bytes>) -> Result<Report, SourceError> {
    let registry = Registry::start().await.unwrap();
    registry.answer("example.com", 200, RDAP, body);
    registry.rdap().await.unwrap().report(&domain("example.com")).await
}

/// RFC 8056 §2, RFC 9083 §10.2.2, and the spellings of registries that follow neither.
#[tokio::test]
async fn every_status_means_what_the_registry_means_by_it() {
    for (status, standing_of_it) in [
        (json!(["active"]), Standing::Active),
        (json!([]), Standing::Active),
        (json!(null), Standing::Active),
        (json!("ok"), Standing::Active),
        (json!(["client transfer prohibited", "serverDeleteProhibited", "locked", "renew prohibited"]), Standing::Active),
        (json!(["inactive"]), Standing::Active),
        (json!(["associated", "proxy", "obscured", "no such status", 7, null, ["pending delete"]]), Standing::Active),
        (json!(["add period"]), Standing::Active),
        (json!(["auto renew period"]), Standing::Active),
        (json!(["renew period", "transfer period", "pending update"]), Standing::Active),
        (json!(["client hold"]), Standing::OnHold),
        (json!("serverHold"), Standing::OnHold),
        (json!(["redemption period"]), Standing::Redemption),
        (json!(["pendingDelete", "redemptionPeriod"]), Standing::Redemption),
        (json!(["PENDING DELETE", "pending_restore"]), Standing::Redemption),
        (json!(["pendingDelete https://icann.org/epp#pendingDelete"]), Standing::PendingDelete),
        (json!(["pending delete", "client hold"]), Standing::PendingDelete),
        (json!(["removed", "inactive"]), Standing::Unregistered),
        (json!(["administrative"]), Standing::Unknown),
        (json!(["Reserved"]), Standing::Unknown),
        (json!(["pending create"]), Standing::Unknown),
    ] {
        let body = json!({ "objectClassName": "domain", "ldhName": "EXAMPLE.COM", "status": status }).to_string();
        assert_eq!(standing(&answered(body).await.unwrap()), standing_of_it, "{status}");
    }
}

#[tokio::test]
async fn a_member_of_the_wrong_type_counts_as_absent() {
    let bare = answered(r#"{"ldhName":"example.com"}"#).await.unwrap();
    for member in [
        json!({ "lang": 7, "notices": "none", "rdapConformance": {} }),
        json!({ "status": { "0": "pending delete" } }),
        json!({ "events": { "eventAction": "expiration", "eventDate": "2001-01-01" } }),
        json!({ "events": [null, 7, "expiration", ["expiration"], { "eventAction": ["expiration"], "eventDate": "2001-01-01" }] }),
        json!({ "events": [{ "eventAction": "expiration", "eventDate": 978_307_200 }, { "eventAction": "expiration" }] }),
        json!({ "events": [{ "eventAction": "expiration", "eventDate": "294247-01-10T04:00:54.775Z" }] }),
        json!({ "notices": [{ "events": [{ "eventAction": "expiration", "eventDate": "2001-01-01" }] }] }),
        json!({ "links": [null, { "href": null, "rel": null, "type": null }, "https://rdap.example/"] }),
        json!({ "entities": [null, { "roles": null }, { "roles": [7], "vcardArray": { "fn": "Nobody" } }] }),
        json!({ "nameservers": { "ldhName": "ns.example" }, "secureDNS": [{ "delegationSigned": true }] }),
        json!({ "nameservers": [{ "ldhName": 7 }, null], "secureDNS": { "delegationSigned": 1, "dsData": "none" } }),
        json!({ "handle": 7, "errorCode": null, "objectClassName": null }),
        json!({ "nameServers": [{ "ldhName": "ns.example" }], "Status": ["pending delete"] }),
    ] {
        let mut body = member.clone();
        body["ldhName"] = json!("example.com");
        assert_eq!(answered(body.to_string()).await.unwrap(), bare, "{member}");
    }
}

/// RFC 9083 §3 wants A-labels in `ldhName` and U-labels in `unicodeName`.
#[tokio::test]
async fn an_international_domain_is_asked_for_in_a_labels_and_known_in_both_forms() {
    let registry = Registry::start().await.unwrap();
    let rdap = registry.rdap().await.unwrap();
    for (name, is_it) in [
        (json!({ "ldhName": "XN--BCHER-KVA.EXAMPLE." }), true),
        (json!({ "unicodeName": "bücher.example" }), true),
        (json!({ "ldhName": "bücher.example" }), true),
        (json!({ "unicodeName": "bucher.example" }), false),
        (json!({ "ldhName": "xn--bcher-kva.com" }), false),
    ] {
        registry.answer("xn--bcher-kva.example", 200, RDAP, name.to_string());
        for form in ["bücher.example", "mail.xn--bcher-kva.example"] {
            assert_eq!(rdap.report(&domain(form)).await.is_ok(), is_it, "{name}");
        }
    }
    assert_eq!(registry.questions("xn--bcher-kva.example"), registry.all_questions());
}

/// A registry of `example.com`, which it renewed by itself, with `links` in its answer.
async fn auto_renewed(links: Value) -> Registry {
    let registry = Registry::start().await.unwrap();
    answer_with(&registry, json!({ "links": links }));
    registry
}

/// Lets `registry` say that it renewed `example.com` by itself, with `changes`.
fn answer_with(registry: &Registry, changes: Value) {
    let mut body = json!({
        "objectClassName": "domain", "ldhName": "example.com", "status": ["auto renew period"], "handle": "1-SIM",
        "events": [{ "eventAction": "registration", "eventDate": "2009-01-20T00:00:00Z" },
                   { "eventAction": "expiration", "eventDate": "2099-01-20T00:00:00Z" }],
    });
    for (member, value) in changes.as_object().unwrap() {
        body[member] = value.clone();
    }
    registry.answer("example.com", 200, RDAP, body.to_string());
}

fn related(registrar: &Registry) -> Value {
    json!({ "rel": "related", "type": RDAP, "href": format!("{}domain/example.com", registrar.base_url()) })
}

async fn registrar() -> Registry {
    let registrar = Registry::start().await.unwrap();
    registrar.register("example.com", time("2020-01-01T00:00:00Z"), time("2099-01-20T00:00:00Z"));
    registrar
}

/// The registry's own renewal hides whether the holder paid: RFC 3915 §3.1, `autoRenewPeriod`.
#[tokio::test]
async fn the_registrar_knows_whether_a_domain_that_the_registry_renewed_was_paid_for() {
    let registrar = registrar().await;
    let registry = auto_renewed(json!([related(&registrar)])).await;
    let rdap = registry.rdap().await.unwrap();
    for (phase, standing_then) in [
        (Phase::Active, Standing::Active),
        (Phase::Until(time("2026-01-20T00:00:00Z")), Standing::Expired),
        (Phase::Until(time("2027-01-20T00:00:00Z")), Standing::Active),
        (Phase::AutoRenewPeriodUnpaid(time("2026-01-20T00:00:00Z")), Standing::Expired),
        (Phase::ClientHold, Standing::OnHold),
        (Phase::Redemption, Standing::Redemption),
        (Phase::PendingRestore, Standing::Redemption),
        (Phase::PendingDelete, Standing::PendingDelete),
        (Phase::Reserved, Standing::Active),
        (Phase::ServerHold, Standing::Active),
    ] {
        registrar.put("example.com", phase);
        let report = rdap.report(&domain("example.com")).await.unwrap();
        assert_eq!(standing(&report), standing_then, "{phase:?}");
        assert!(report.registrar_expires_at.is_some());
        assert_eq!(report.expires_at, Some(time("2099-01-20T00:00:00Z")));
        assert_eq!(report.registered_at, Some(time("2009-01-20T00:00:00Z")), "all else is the registry's to say");
        assert_eq!((report.handle.as_deref(), report.registrar.as_deref(), report.name_servers.len()), (Some("1-SIM"), None, 0));
    }
}

#[tokio::test]
async fn the_registrar_is_asked_in_that_case_alone() {
    let registrar = registrar().await;
    let registry = Registry::start().await.unwrap();
    let rdap = registry.rdap().await.unwrap();
    let links = json!([related(&registrar)]);
    let event = |action: &str, date: &str| json!({ "eventAction": action, "eventDate": date });
    for (changes, case) in [
        (json!({ "links": links, "status": ["active"] }), "it wasn't renewed by the registry"),
        (json!({ "links": links, "events": [event("registrar expiration", "2027-01-20T00:00:00Z")] }), "the registry knows"),
        (json!({ "links": links, "events": [event("registrar expiration", "2026-01-20T00:00:00Z")] }), "the registry knows"),
        (json!({ "links": links, "events": [event("expiration", "2001-01-01T00:00:00Z")] }), "it ran out"),
        (json!({ "links": links, "status": ["auto renew period", "redemption period"] }), "it lapsed"),
        (json!({ "links": links, "status": ["auto renew period", "pending delete"] }), "it lapsed"),
        (json!({ "links": [] }), "nowhere to ask"),
        (json!({ "notices": [{ "links": links }] }), "a link in a notice"),
        (json!({ "links": [{ "rel": "related", "type": "text/html", "href": related(&registrar)["href"] }] }), "a page for people"),
        (json!({ "links": [{ "rel": "self", "type": RDAP, "href": related(&registrar)["href"] }] }), "no related link"),
        (json!({ "links": [{ "rel": "related", "type": RDAP, "href": "/domain/example.com" }] }), "a link without a server"),
        (json!({ "links": [{ "rel": "related", "type": RDAP, "href": "ftp://127.0.0.1/" }] }), "nobody may be asked there"),
    ] {
        answer_with(&registry, changes);
        rdap.report(&domain("example.com")).await.unwrap();
        assert_eq!(registrar.all_questions(), 0, "{case}");
    }
    answer_with(
        &registry,
        json!({ "links": [{ "rel": "related" }, { "rel": "Related", "type": "Application/RDAP+JSON; a=b", "href": related(&registrar)["href"] }, related(&registrar)] }),
    );
    rdap.report(&domain("example.com")).await.unwrap();
    assert_eq!(registrar.all_questions(), 1, "and once");
}

#[tokio::test]
async fn a_link_back_to_the_same_question_makes_no_loop() {
    let registry = Registry::start().await.unwrap();
    let rdap = registry.rdap().await.unwrap();
    for path in ["domain/example.com", "domain/EXAMPLE.COM", "domain/example.com/", "domain/example.com#x"] {
        let href = format!("{}{path}", registry.base_url());
        answer_with(&registry, json!({ "links": [{ "rel": "related", "type": RDAP, "href": href }] }));
        let before = registry.all_questions();
        rdap.report(&domain("example.com")).await.unwrap();
        assert_eq!(registry.all_questions(), before + 1, "{path}");
    }
    let (one, other) = (auto_renewed(json!([])).await, Registry::start().await.unwrap());
    answer_with(&one, json!({ "links": [related(&other)] }));
    answer_with(&other, json!({ "links": [related(&one)] }));
    one.rdap().await.unwrap().report(&domain("example.com")).await.unwrap();
    assert_eq!((one.all_questions(), other.all_questions()), (1, 1), "one hop at most");
}

/// A notice remains, by the policy.
#[tokio::test]
async fn a_registrar_that_does_not_answer_changes_nothing() {
    let registrar = registrar().await;
    registrar.put("example.com", Phase::Redemption);
    let registry = auto_renewed(json!([related(&registrar)])).await;
    let rdap = registry.rdap().await.unwrap();
    let alone = auto_renewed(json!([])).await.rdap().await.unwrap().report(&domain("example.com")).await.unwrap();
    for fault in [
        Fault::Status(500, None),
        Fault::Status(404, None),
        Fault::Status(429, Some(60)),
        Fault::Close,
        Fault::Garbage,
        Fault::TooLong,
        Fault::Hang,
        Fault::Redirect("ftp://127.0.0.1/".to_owned()),
    ] {
        registrar.fault(fault.clone());
        // Anew each time, for a server that failed is left alone.
        let rdap = registry.rdap().await.unwrap();
        let before = registrar.all_questions();
        let limit = Duration::from_millis(1_500);
        let report = tokio::time::timeout(limit, rdap.report(&domain("example.com"))).await.expect("it isn't waited for long").unwrap();
        assert_eq!(report, alone, "{fault:?}");
        assert!(registrar.all_questions() > before, "{fault:?}");
    }
    registrar.fault(None);
    registrar.put("example.com", Phase::Unregistered);
    assert_eq!(rdap.report(&domain("example.com")).await.unwrap(), alone, "its 404 is nothing against the registry's word");
    registrar.answer("example.com", 200, RDAP, r#"{"ldhName":"example.org","status":["pending delete"]}"#);
    assert_eq!(rdap.report(&domain("example.com")).await.unwrap(), alone, "nor is what it says about another name");
}

/// RFC 7480 §5.3, RFC 9082 §3.1.6.
#[tokio::test]
async fn a_404_that_anybody_might_send_counts_where_help_is_answered() {
    let bare = r#"{"errorCode":404}"#;
    let convincing = r#"{"errorCode":404,"rdapConformance":["rdap_level_0"]}"#;
    let help = r#"{"rdapConformance":["rdap_level_0"]}"#;
    let silent = "a 404 from a server that doesn't answer `help` either";
    let unreached = "a 404 that could not be confirmed by `help`";
    for (body, help_status, help_body, outcome) in [
        ("", 200, help, Ok(1)),
        (bare, 200, help, Ok(1)),
        (convincing, 404, "", Ok(0)),
        ("", 404, "", Err(silent)),
        (bare, 404, bare, Err(silent)),
        ("", 200, "<html>", Err(silent)),
        ("", 200, "{}", Err(silent)),
        ("", 403, "", Err(silent)),
        ("", 500, "", Err(unreached)),
        ("", 503, help, Err(unreached)),
        ("", 429, "", Err(unreached)),
        ("<html>", 200, help, Err("a 404 that is not RDAP's")),
    ] {
        let registry = Registry::start().await.unwrap();
        registry.answer("example.com", 404, RDAP, body);
        registry.answer_help(help_status, RDAP, help_body);
        match (registry.rdap().await.unwrap().report(&domain("example.com")).await, outcome) {
            (Ok(report), Ok(questions)) => {
                assert_eq!(report, Report::unregistered("rdap"), "{body} {help_status} {help_body}");
                assert_eq!(registry.help_questions(), questions, "{body} {help_status} {help_body}");
            }
            (Err(SourceError::Unusable { what, .. }), Err(expected)) => assert_eq!(what, expected, "{body} {help_status} {help_body}"),
            (report, _) => unreachable!("{body} {help_status} {help_body}: {report:?}"),
        }
    }
}

#[tokio::test]
async fn help_is_asked_for_once_and_again_when_that_was_long_ago() {
    let registry = Registry::start().await.unwrap();
    let rdap = registry.rdap().await.unwrap();
    let names: Vec<_> = (0..20).map(|number| domain(&format!("example{number}.com"))).collect();
    for name in &names {
        registry.answer(name.as_str(), 404, RDAP, "");
    }
    let ask_all = || async { join_all(names.iter().map(|name| rdap.report(name))).await.into_iter().all(|report| report.is_ok()) };
    assert!(ask_all().await);
    assert_eq!(registry.help_questions(), 1);

    let pass = async |seconds| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    registry.answer_help(404, "text/html", "");
    pass(86_000).await;
    assert!(ask_all().await, "what answered a day ago is believed");
    pass(400).await;
    assert!(!ask_all().await);
    pass(3_000).await;
    registry.answer_help(500, "text/html", "");
    assert!(!ask_all().await);
    assert_eq!(registry.help_questions(), 2, "and so is what didn't an hour ago");
    pass(600).await;
    assert!(!ask_all().await);
    registry.answer_help(200, RDAP, r#"{"rdapConformance":["rdap_level_0"]}"#);
    pass(5).await;
    assert!(ask_all().await, "what failed is asked again soon");
    assert_eq!(registry.help_questions(), 4);
}

/// `rdap.registry.co/domain/…` for `rdap.registry.co/co/domain/…`.
#[tokio::test]
async fn a_wrong_path_makes_no_domain_unregistered() {
    let registry = Registry::start().await.unwrap();
    registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
    let base = format!("{}com/v1/", registry.base_url());
    let rdap = Rdap::builder().bootstrap(registry.bootstrap_url()).server("com", base).allow_insecure(true).build().await.unwrap();
    assert!(matches!(rdap.report(&domain("example.com")).await, Err(SourceError::Unusable { .. })));
}

/// Each name below `uk.com` expires by itself, and the registry of `.com` knows `uk.com` alone.
#[tokio::test]
async fn the_registry_above_a_registry_is_not_asked_about_its_names() {
    let (com, uk_com) = (Registry::start().await.unwrap(), Registry::start().await.unwrap());
    for name in ["uk.com", "example.uk.com"] {
        com.register(name, time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
    }
    uk_com.register("example.uk.com", time("2024-01-01T00:00:00Z"), time("2026-01-01T00:00:00Z"));
    let name = domain("mail.example.uk.com");
    let rdap = com.rdap().await.unwrap();
    assert!(!rdap.serves(&name).unwrap());
    let error = rdap.report(&name).await.unwrap_err();
    assert_eq!(error.to_string(), "no registry service is known for .uk.com");
    assert_eq!(com.all_questions(), 0);
    assert!(rdap.serves(&domain("uk.com")).unwrap());

    let rdap = |suffix: &'static str| {
        let builder = Rdap::builder().bootstrap(com.bootstrap_url()).server(suffix, uk_com.base_url()).allow_insecure(true);
        async { builder.build().await.unwrap() }
    };
    assert_eq!(standing(&rdap("uk.com").await.report(&name).await.unwrap()), Standing::Expired);
    assert!(rdap("com").await.report(&name).await.is_err(), "an override for `com` is none for `uk.com`");
    assert_eq!((com.all_questions(), uk_com.questions("example.uk.com"), uk_com.all_questions()), (0, 1, 1));
}

#[tokio::test]
async fn whether_a_server_is_known_cannot_be_told_without_the_bootstrap_file() {
    let nowhere = "http://127.0.0.1:9/dns.json";
    let rdap = Rdap::builder().bootstrap(nowhere).starts_without_bootstrap(true).allow_insecure(true).server("io", "http://127.0.0.1:9/");
    let rdap = rdap.build().await.unwrap();
    assert!(rdap.serves(&domain("example.com")).is_err());
    assert!(rdap.serves(&domain("example.io")).unwrap());
}

/// A sweep asks each server at a pace of its own.
#[tokio::test]
async fn the_server_that_counts_the_questions_is_named_by_its_origin() {
    let registry = Registry::start().await.unwrap();
    registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
    let base = registry.base_url();
    let rdap = || Rdap::builder().bootstrap(registry.bootstrap_url()).allow_insecure(true).server("io", "http://127.0.0.1:9/rdap/io");
    let asked = rdap().build().await.unwrap();
    for (name, servers) in
        [("example.com", vec![base.trim_end_matches('/')]), ("example.io", vec!["http://127.0.0.1:9"]), ("example.zz", vec![])]
    {
        assert_eq!(asked.servers(&domain(name)), servers, "{name}");
    }
    assert!(rdap().build().await.unwrap().unasked().servers(&domain("example.com")).is_empty());
    let unloaded = Rdap::builder().bootstrap("http://127.0.0.1:9/dns.json").starts_without_bootstrap(true).allow_insecure(true);
    let unloaded = unloaded.server("io", "http://127.0.0.1:9/").build().await.unwrap();
    assert_eq!(unloaded.servers(&domain("example.com")), ["rdap"], "whoever it will be");
    assert_eq!(unloaded.servers(&domain("example.io")), ["http://127.0.0.1:9"]);
}

/// A site that starts while IANA can't be reached must not be without the list for good.
#[tokio::test]
async fn who_asks_no_registry_loads_the_bootstrap_file_later_too() {
    let is_up = Arc::new(AtomicUsize::new(0));
    let file = {
        let is_up = Arc::clone(&is_up);
        async move || match is_up.load(Ordering::SeqCst) {
            0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            _ => r#"{"services":[[["com"],["http://127.0.0.1:9/"]]]}"#.into_response(),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("http://{}/dns.json", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/dns.json", axum::routing::get(file))).await });
    let builder = Rdap::builder().bootstrap(location).starts_without_bootstrap(true).allow_insecure(true);
    let unasked = builder.build().await.unwrap().unasked();
    assert!(matches!(unasked.report(&domain("example.com")).await, Err(SourceError::Unusable { .. })));
    is_up.store(1, Ordering::SeqCst);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    let loads = async {
        while !matches!(unasked.report(&domain("example.com")).await, Err(SourceError::NotAsked { .. })) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), loads).await.unwrap();
    assert!(matches!(unasked.report(&domain("example.org")).await, Err(SourceError::NoService { .. })));
}

/// RFC 9110 §13.1: what is unchanged need not be sent again.
#[tokio::test]
async fn the_bootstrap_file_is_sent_again_only_where_it_is_another() {
    let registry = Registry::start().await.unwrap();
    registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
    let (edition, sent, unchanged) = (Arc::new(AtomicUsize::new(1)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let base = registry.base_url();
    let file = {
        let (edition, sent, unchanged) = (Arc::clone(&edition), Arc::clone(&sent), Arc::clone(&unchanged));
        async move |headers: HeaderMap| {
            let edition = edition.load(Ordering::SeqCst);
            let tag = format!("\"{edition}\"");
            if headers.get(header::IF_NONE_MATCH).is_some_and(|asked| *asked == *tag) {
                assert_eq!(headers[header::IF_MODIFIED_SINCE], "Tue, 14 Jul 2026 00:00:00 GMT");
                unchanged.fetch_add(1, Ordering::SeqCst);
                return StatusCode::NOT_MODIFIED.into_response();
            }
            sent.fetch_add(1, Ordering::SeqCst);
            let label = if edition == 1 { "com" } else { "org" };
            let body = json!({ "services": [[[label], [base]]] }).to_string();
            ([(header::ETAG, tag), (header::LAST_MODIFIED, "Tue, 14 Jul 2026 00:00:00 GMT".to_owned())], body).into_response()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("http://{}/dns.json", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/dns.json", axum::routing::get(file))).await });
    let rdap = Rdap::builder().bootstrap(location).allow_insecure(true).build().await.unwrap();
    let a_day_later = async |counter: &AtomicUsize, count| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(86_400)).await;
        tokio::time::resume();
        let _ = rdap.report(&domain("example.com")).await;
        while counter.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(sent.load(Ordering::SeqCst), 1);
    a_day_later(&unchanged, 1).await;
    assert!(rdap.serves(&domain("example.com")).unwrap());
    a_day_later(&unchanged, 2).await;
    edition.store(2, Ordering::SeqCst);
    a_day_later(&sent, 2).await;
    while rdap.serves(&domain("example.com")).unwrap() {
        tokio::task::yield_now().await;
    }
    assert!(rdap.serves(&domain("example.org")).unwrap());
    a_day_later(&unchanged, 3).await;
    assert_eq!(sent.load(Ordering::SeqCst), 2);
}

/// Statuses that nobody knows are kept, in their order, for people to see.
#[tokio::test]
async fn statuses_stay_in_the_registrys_order() {
    let report = answered(r#"{"ldhName":"example.com","status":["serverHold","Some Thing","client hold"]}"#).await.unwrap();
    assert_eq!(report.statuses, [Status::ServerHold, Status::Other("some thing".into()), Status::ClientHold]);
}

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/snapshots/rdap.json");

/// What is read of every recorded answer, and what it means at a fixed time, so that a change of judgement shows. `UPDATE_SNAPSHOTS=1` writes it anew.
#[test]
#[ignore = "needs the folder of recorded answers in GATEKEEPER_CORPUS"]
fn every_recorded_answer_is_judged_as_before() {
    let folder = std::path::PathBuf::from(std::env::var("GATEKEEPER_CORPUS").unwrap()).join("rdap");
    let labels: Vec<Value> = serde_json::from_slice(&std::fs::read(folder.join("LABELS.json")).unwrap()).unwrap();
    let now: SystemTime = time(NOW);
    let judged: serde_json::Map<_, _> = labels
        .iter()
        .map(|label| {
            let file = label["file"].as_str().unwrap();
            let body = std::fs::read(folder.join(file)).unwrap();
            let name = domain(label["query_domain"].as_str().unwrap_or("example.com"));
            let judged = match read(&body, &name) {
                Ok(report) => json!({ "domain": name.as_str(), "standing": report.standing(now, WEEK), "report": report }),
                Err(what) => json!({ "domain": name.as_str(), "unusable": what }),
            };
            (file.to_owned(), judged)
        })
        .collect();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(SNAPSHOT, serde_json::to_string_pretty(&judged).unwrap() + "\n").unwrap();
        return;
    }
    let before: serde_json::Map<String, Value> = serde_json::from_slice(&std::fs::read(SNAPSHOT).unwrap()).unwrap();
    assert!(judged.keys().eq(before.keys()), "the recorded answers are others than before");
    for (file, judged) in &judged {
        assert_eq!(judged, &before[file], "{file}");
    }
}
