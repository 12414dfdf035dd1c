//! Reading what an RDAP server says about a domain (RFC 9083).
//!
//! Servers depart from the standard in many ways, and none of them may turn into a wrong date or a panic: a member of the wrong type
//! counts as absent. What decides is read strictly: the answer must be about a domain, and about the one that was asked for.

use std::time::SystemTime;

use serde_json::Value;

use crate::address::RegistrableDomain;
use crate::clock::parse;
use crate::domain::{Report, Status};

/// Reads the body of a successful answer to a question about `domain`.
///
/// Only the domain's own statuses and events count, not those of its registrar, contacts or name servers, which carry younger
/// `registration` events and expirations of their own. Of repeated events, the latest registration and the earliest expiration count.
///
/// # Errors
/// Says what is wrong with a body that is no answer about that domain.
pub fn read(body: &[u8], domain: &RegistrableDomain) -> Result<Report, &'static str> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| "no JSON")?;
    if !answer.is_object() || answer.get("errorCode").is_some_and(|code| !code.is_null()) {
        return Err("an error object");
    }
    // RFC 9083 §5.3: the object class is `domain`. Some servers leave it out, and then the name must speak for it.
    let class = text(&answer, "objectClassName");
    if class.is_some_and(|class| !class.eq_ignore_ascii_case("domain")) {
        return Err("not about a domain");
    }
    let name = text(&answer, "ldhName").or_else(|| text(&answer, "unicodeName"));
    match name {
        Some(name) if domain.is_named(name) => {}
        Some(_) => return Err("about another name"),
        None if class.is_some() => {}
        None => return Err("not about a domain"),
    }

    let events = Events(items(&answer, "events"));
    let mut report = Report::registered(super::SOURCE);
    report.statuses = match answer.get("status") {
        Some(Value::String(status)) => vec![Status::from(status.as_str())],
        Some(Value::Array(statuses)) => statuses.iter().filter_map(Value::as_str).map(Status::from).collect(),
        _ => Vec::new(),
    };
    report.registered_at = events.of(&["registration"]).max();
    // RFC 9083 §10.2.3: `reregistration` is a registration after an earlier one, `reinstantiation` one after a removal.
    report.reregistered_at =
        events.of(&["reregistration", "reinstantiation"]).filter(|at| !is_anniversary(*at, report.registered_at)).max();
    report.expires_at = events.of(&["expiration"]).min();
    report.registrar_expires_at = events.of(&["registrar expiration"]).min();
    report.transferred_at = events.of(&["transfer"]).max();
    report.changed_at = events.of(&["last changed"]).max().or_else(|| events.of(&["last update"]).max());
    report.registrar = registrar(&answer);
    report.handle = text(&answer, "handle").filter(|handle| !handle.is_empty()).map(str::to_owned);
    report.name_servers = items(&answer, "nameservers")
        .iter()
        .filter_map(|server| text(server, "ldhName"))
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
        .collect();
    report.name_servers.sort_unstable();
    report.name_servers.dedup();
    report.delegation_signed = answer.get("secureDNS").and_then(|dns| dns.get("delegationSigned")).and_then(boolean);
    Ok(report)
}

/// Whether a body is an RDAP error object (RFC 9083 §6) for HTTP status `status`. Some servers write the code as text.
pub(super) fn is_error(body: &[u8], status: u16) -> bool {
    let code = serde_json::from_slice::<Value>(body).ok().and_then(|answer| match answer.get("errorCode") {
        Some(Value::Number(code)) => code.as_u64(),
        Some(Value::String(code)) => code.parse().ok(),
        _ => None,
    });
    code == Some(u64::from(status))
}

struct Events<'a>(&'a [Value]);

impl<'a> Events<'a> {
    fn of(&self, actions: &'a [&str]) -> impl Iterator<Item = SystemTime> + 'a {
        self.0
            .iter()
            .filter(|event| text(event, "eventAction").is_some_and(|action| actions.iter().any(|one| one.eq_ignore_ascii_case(action))))
            .filter_map(|event| text(event, "eventDate").and_then(parse))
    }
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

/// The IANA identifier of the entity with the role `registrar` (RFC 9083 §4.8, §10.2.4).
fn registrar(answer: &Value) -> Option<String> {
    items(answer, "entities")
        .iter()
        .filter(|entity| items(entity, "roles").iter().filter_map(Value::as_str).any(|role| role.eq_ignore_ascii_case("registrar")))
        .flat_map(|entity| items(entity, "publicIds"))
        .filter(|id| text(id, "type").is_some_and(|kind| kind.eq_ignore_ascii_case("IANA Registrar ID")))
        .find_map(|id| match id.get("identifier") {
            Some(Value::String(identifier)) => Some(identifier.clone()),
            Some(Value::Number(identifier)) => Some(identifier.to_string()),
            _ => None,
        })
}

fn text<'a>(object: &'a Value, member: &str) -> Option<&'a str> {
    object.get(member).and_then(Value::as_str)
}

fn items<'a>(object: &'a Value, member: &str) -> &'a [Value] {
    object.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn boolean(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> RegistrableDomain {
        RegistrableDomain::of("example.com").unwrap()
    }

    #[test]
    fn an_answer_about_another_name_or_no_domain_is_no_answer() {
        for (body, error) in [
            ("<html>", "no JSON"),
            ("", "no JSON"),
            ("[]", "an error object"),
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
}
