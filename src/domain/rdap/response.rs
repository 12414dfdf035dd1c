//! Reading what an RDAP server says about a domain (RFC 9083).
//!
//! Servers depart from the standard in many ways, and none of them may turn into a wrong date or a panic: a member of the wrong type
//! counts as absent. What decides is read strictly: the answer must be about a domain, and about the one that was asked for.

use std::borrow::Cow;
use std::time::SystemTime;

use super::lenient::from_slice;
use super::members::{Answer, Events, Notice};
use crate::address::RegistrableDomain;
use crate::domain::Report;

/// Reads the body of a successful answer to a question about `domain`.
///
/// Only the domain's own statuses and events count, not those of its registrar, contacts or name servers, which carry younger
/// `registration` events and expirations of their own. Of repeated events, the latest registration and the earliest expiration count.
///
/// # Errors
/// Says what is wrong with a body that is no answer about that domain.
pub fn read(body: &[u8], domain: &RegistrableDomain) -> Result<Report, &'static str> {
    read_with_links(body, domain).map(|(report, _)| report)
}

/// As [`read`], with where the registrar's own answer is.
pub(super) fn read_with_links<'a>(body: &'a [u8], domain: &RegistrableDomain) -> Result<(Report, Vec<Cow<'a, str>>), &'static str> {
    let answer: Answer<'a> = from_slice(body).ok_or("no JSON")?;
    if answer.error_code.0 {
        return Err("an error object");
    }
    // RFC 9083 §5.3: the object class is `domain`. Some servers leave it out, and then the name must speak for it.
    let has_class = answer.class.get().is_some();
    if has_class && !answer.class.is("domain") {
        return Err("not about a domain");
    }
    match answer.ldh_name.get().or(answer.unicode_name.get()) {
        Some(name) if is_name_of(domain, name) => {}
        Some(_) => return Err("about another name"),
        None if has_class => {}
        None => return Err("not about a domain"),
    }

    let Events { registered_at, mut reregistered_at, expires_at, registrar_expires_at, transferred_at, changed_at, updated_at } =
        answer.events;
    reregistered_at.retain(|at| !is_anniversary(*at, registered_at));
    let mut report = Report::registered(super::SOURCE);
    report.statuses = answer.statuses.0;
    report.registered_at = registered_at;
    report.reregistered_at = reregistered_at.into_iter().max();
    report.expires_at = expires_at;
    report.registrar_expires_at = registrar_expires_at;
    report.transferred_at = transferred_at;
    report.changed_at = changed_at.or(updated_at);
    report.registrar = answer.registrar.name();
    report.handle = answer.handle.filled();
    report.name_servers = answer.name_servers.0;
    report.delegation_signed = answer.secure_dns.delegation_signed.0;
    report.ds = answer.secure_dns.ds.0;
    Ok((report, answer.related.0))
}

/// What the body of a 404 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotFound {
    /// An RDAP server has no such object.
    Rdap,
    /// Nothing against it: an RDAP server may have sent it, or any other.
    Anybody,
    /// It is some web server's page.
    Foreign,
}

/// Reads the body of a 404. Some servers write the error code as text, and the registry of .com and .net sends no body at all.
pub(super) fn not_found(body: &[u8]) -> NotFound {
    if body.trim_ascii().is_empty() {
        return NotFound::Anybody;
    }
    let Some(error) = from_slice::<Notice<'_>>(body).filter(|error| error.error_code.is(404)) else {
        return NotFound::Foreign;
    };
    if error.conformance.0 { NotFound::Rdap } else { NotFound::Anybody }
}

/// Whether a body is an answer to `help` (RFC 9083 §7).
pub(super) fn is_help(body: &[u8]) -> bool {
    from_slice::<Notice<'_>>(body).is_some_and(|help| help.conformance.0 && help.error_code.is_none())
}

/// Whether `name` is `domain`. Nearly all servers write it in A-labels.
fn is_name_of(domain: &RegistrableDomain, name: &str) -> bool {
    name.eq_ignore_ascii_case(domain.as_str()) || domain.is_named(name)
}

/// Whether `at` is a later year's `registered_at` to the second: a registry's own renewal, which Nomulus calls a reregistration.
fn is_anniversary(at: SystemTime, registered_at: Option<SystemTime>) -> bool {
    let civil = |time: SystemTime| jiff::Timestamp::try_from(time).map(|time| jiff::tz::TimeZone::UTC.to_datetime(time)).ok();
    match (civil(at), registered_at.and_then(civil)) {
        (Some(at), Some(registered)) => {
            (at.month(), at.day(), at.hour(), at.minute(), at.second())
                == (registered.month(), registered.day(), registered.hour(), registered.minute(), registered.second())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::parse;

    fn domain() -> RegistrableDomain {
        RegistrableDomain::of("example.com").unwrap()
    }

    #[test]
    fn an_answer_about_another_name_or_no_domain_is_no_answer() {
        for (body, error) in [
            ("<html>", "no JSON"),
            ("", "no JSON"),
            ("[]", "not about a domain"),
            (r#"{"errorCode":404}"#, "an error object"),
            (r#"{"errorCode":200,"objectClassName":"domain","ldhName":"example.com"}"#, "an error object"),
            (r#"{"objectClassName":"entity","ldhName":"example.com"}"#, "not about a domain"),
            ("{}", "not about a domain"),
            (r#"{"objectClassName":"domain","ldhName":"example.org"}"#, "about another name"),
            (r#"{"objectClassName":"domain","ldhName":"www.example.com"}"#, "about another name"),
            (r#"{"objectClassName":"domain","ldhName":""}"#, "about another name"),
        ] {
            assert_eq!(read(body.as_bytes(), &domain()), Err(error), "{body}");
        }
        for body in [
            r#"{"objectClassName":"domain","ldhName":"EXAMPLE.COM."}"#,
            r#"{"ldhName":"example.com"}"#,
            r#"{"objectClassName":"domain"}"#,
            r#"{"objectClassName":"domain","unicodeName":"example.com"}"#,
        ] {
            assert!(read(body.as_bytes(), &domain()).is_ok(), "{body}");
        }
    }

    #[test]
    fn of_repeated_events_the_latest_registration_and_the_earliest_expiration_count() {
        let body = r#"{"objectClassName":"domain","ldhName":"example.com","events":[
            {"eventAction":"registration","eventDate":"2001-01-01T00:00:00Z"},
            {"eventAction":"REGISTRATION","eventDate":"2011-01-01T00:00:00Z"},
            {"eventAction":"registration","eventDate":false}, null,
            {"eventAction":"expiration","eventDate":"2031-01-01T00:00:00Z"},
            {"eventAction":"expiration","eventDate":"2030-01-01T00:00:00Z"},
            {"eventAction":"registrar expiration","eventDate":"2029-01-01T00:00:00Z"}],
            "entities":[{"roles":["registrar"],"publicIds":[{"type":"IANA Registrar ID","identifier":292}],
              "events":[{"eventAction":"registration","eventDate":"2025-01-01T00:00:00Z"},
                        {"eventAction":"registrar expiration","eventDate":"2020-01-01T00:00:00Z"}]}]}"#;
        let report = read(body.as_bytes(), &domain()).unwrap();
        assert_eq!(report.registered_at, parse("2011-01-01"));
        assert_eq!(report.expires_at, parse("2030-01-01"));
        assert_eq!(report.registrar_expires_at, parse("2029-01-01"), "the registrar entity's own event decides nothing");
        assert_eq!(report.registrar.as_deref(), Some("292"));
    }

    #[test]
    fn a_reregistration_on_the_anniversary_to_the_second_is_a_renewal() {
        let body = |date: &str| {
            format!(
                r#"{{"ldhName":"example.com","events":[{{"eventAction":"registration","eventDate":"2001-02-03T04:05:06Z"}},
                    {{"eventAction":"reregistration","eventDate":"{date}"}}]}}"#
            )
        };
        let reregistered_at = |date: &str| read(body(date).as_bytes(), &domain()).unwrap().reregistered_at;
        assert_eq!(reregistered_at("2020-02-03T04:05:06Z"), None);
        assert_eq!(reregistered_at("2020-02-03T04:05:07Z"), parse("2020-02-03T04:05:07Z"));
    }

    #[test]
    fn the_registrar_is_named_by_its_iana_id_else_its_handle_else_its_name() {
        let card =
            r#""vcardArray":["vcard",[["version",{},"text","4.0"],["fn",{},"text","Example Registrar"],["fn",{},"text","Another"]]]"#;
        for (entities, registrar) in [
            (r#"[{"roles":["registrar"],"handle":"R1","publicIds":[{"type":"iana registrar id","identifier":"292"}]}]"#.to_owned(), Some("292")),
            (r#"[{"roles":["registrar"],"handle":"R1"},{"roles":["registrar"],"publicIds":[{"type":"IANA Registrar ID","identifier":7}]}]"#.to_owned(), Some("7")),
            (format!(r#"[{{"roles":["abuse","Registrar"],"handle":"R1",{card}}}]"#), Some("R1")),
            (format!(r#"[{{"roles":["registrar"],"handle":"",{card}}}]"#), Some("Example Registrar")),
            (format!(r#"[{{"roles":"registrar",{card}}}]"#), Some("Example Registrar")),
            (format!(r#"[{{"roles":["registrant"],"handle":"R1",{card}}}]"#), None),
            (r#"[{"roles":["registrar"],"handle":null,"vcardArray":{"fn":"a"},"publicIds":[{"type":"VAT","identifier":"1"},null]}]"#.to_owned(), None),
            (r#"{"roles":["registrar"],"handle":"R1"}"#.to_owned(), None),
        ] {
            let body = format!(r#"{{"ldhName":"example.com","entities":{entities}}}"#);
            assert_eq!(read(body.as_bytes(), &domain()).unwrap().registrar.as_deref(), registrar, "{entities}");
        }
    }

    #[test]
    fn the_digests_of_ds_records_are_read() {
        for (secure_dns, ds) in [
            (
                r#"{"dsData":[{"keyTag":2,"algorithm":8,"digestType":2,"digest":"B0 0B"},{"keyTag":"1","algorithm":"8","digestType":"1","digest":"aF"}]}"#,
                Some(vec!["af", "b00b"]),
            ),
            (r#"{"dsData":[]}"#, Some(vec![])),
            (r#"{"dsData":[{"keyTag":1}]}"#, None),
            (r#"{"dsData":{},"delegationSigned":"true"}"#, None),
            ("null", None),
        ] {
            let body = format!(r#"{{"ldhName":"example.com","secureDNS":{secure_dns}}}"#);
            let report = read(body.as_bytes(), &domain()).unwrap();
            assert_eq!(report.ds, ds.map(|ds| ds.into_iter().map(str::to_owned).collect::<Vec<_>>()), "{secure_dns}");
            assert_eq!(report.delegation_signed, secure_dns.contains("true").then_some(true), "{secure_dns}");
        }
    }

    #[test]
    fn nothing_is_read_of_what_is_deep_or_long() {
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        let body = format!(r#"{{"notices":{deep},"ldhName":"example.com","events":[{{"eventAction":{deep}}}],"status":"active"}}"#);
        assert_eq!(read(body.as_bytes(), &domain()).unwrap().statuses, [crate::domain::Status::from("active")]);
        let endless = format!(r#"{{"ldhName":"example.com","status":{}"#, "[".repeat(1_000_000));
        assert_eq!(read(endless.as_bytes(), &domain()), Err("no JSON"));
    }

    #[test]
    fn what_a_404_says_is_told_by_its_body() {
        for (body, says) in [
            (r#"{"errorCode":404,"rdapConformance":["rdap_level_0","x"]}"#, NotFound::Rdap),
            (r#"{"errorCode":"404","rdapConformance":["rdap_level_0"]}"#, NotFound::Rdap),
            (r#"{"errorCode":404,"title":"x"}"#, NotFound::Anybody),
            (r#"{"errorCode":404,"rdapConformance":[]}"#, NotFound::Anybody),
            ("", NotFound::Anybody),
            ("\r\n", NotFound::Anybody),
            (r#"{"errorCode":500,"rdapConformance":["rdap_level_0"]}"#, NotFound::Foreign),
            (r#"{"rdapConformance":["rdap_level_0"]}"#, NotFound::Foreign),
            ("{}", NotFound::Foreign),
            ("<html>", NotFound::Foreign),
        ] {
            assert_eq!(not_found(body.as_bytes()), says, "{body}");
        }
    }
}
