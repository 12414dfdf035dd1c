//! Reading what a WHOIS server wrote.

use std::time::{Duration, SystemTime};

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};

use super::SOURCE;
use super::servers::Server;
use crate::address::RegistrableDomain;
use crate::clock;
use crate::domain::{Report, Status};

const DAY: Duration = Duration::from_secs(86_400);

/// Notices of too many questions, in lower case.
const REFUSALS: [&str; 7] = [
    "too many connections",
    "maximum queries",
    "quota exceeded",
    "limit exceeded",
    "ip address blocked",
    "access denied",
    "try again later",
];

/// How registries write dates.
const DATES: [&str; 8] = ["%Y/%m/%d", "%a %b %d %Y", "%Y. %m. %d", "%Y-%b-%d", "%d-%m-%Y", "%d.%m.%Y", "%Y.%m.%d", "%Y%m%d"];
const MOMENTS: [&str; 4] = ["%Y/%m/%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%Y.%m.%d %H:%M:%S", "%Y-%m-%d %H:%M:%S"];

/// The report that `answer` of `server` gives about `domain`.
///
/// # Errors
/// Says why it gives none.
pub(super) fn read(answer: &str, domain: &RegistrableDomain, server: &Server) -> Result<Report, &'static str> {
    let lower = answer.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    if REFUSALS.iter().any(|refusal| lower.contains(refusal)) {
        return Err("it refuses to answer");
    }
    if server.absent.iter().any(|absent| lower.contains(absent)) {
        return Err("it found nothing, which proves nothing");
    }
    if !lower.split_whitespace().any(|word| domain.is_named(word.trim_matches(['"', '\'', '[', ']', ',']))) {
        return Err("not about the domain");
    }
    let created = values(answer, server.created).next();
    let expires = values(answer, server.expires).next();
    let states: Vec<&str> = values(answer, server.states).collect();
    if created.is_none() && expires.is_none() && states.is_empty() && !has_mark(answer, server) {
        return Err("nothing about a registration");
    }
    let mut report = Report::registered(SOURCE);
    report.registered_at = created.and_then(|text| moment(text, server, Duration::ZERO));
    // Without it nobody would know of a new registration.
    if !server.created.is_empty() && report.registered_at.is_none() {
        return Err("no date of creation that can be read");
    }
    // .jp writes the end behind the state: `Connected (2027/01/31)`.
    let behind_state = || states.iter().find_map(|state| state.split_once('(')?.1.split_once(')').map(|(date, _)| date));
    // A date alone ends with its day.
    report.expires_at = expires.or_else(behind_state).and_then(|text| moment(text, server, DAY));
    let words = states.iter().flat_map(|state| state.split('(').next().unwrap_or_default().split([',', '/']));
    report.statuses = words.map(str::trim).filter(|word| !word.is_empty()).map(status).collect();
    report.registrar = values(answer, &["Registrar", "registrar", "Registrar Name", "Sponsoring Registrar"]).next().map(str::to_owned);
    Ok(report)
}

fn status(word: &str) -> Status {
    match Status::from(word) {
        Status::Other(other) if matches!(&*other, "unassignable" | "quarantine" | "out for registration") => Status::Reserved,
        status => status,
    }
}

fn has_mark(answer: &str, server: &Server) -> bool {
    answer
        .lines()
        .any(|line| server.marks.iter().any(|mark| line.trim_start().strip_prefix(mark).is_some_and(|rest| rest.starts_with(':'))))
}

/// What stands behind one of `labels` on each line that begins with one, but for the punctuation between.
fn values<'a>(answer: &'a str, labels: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let value = |line: &'a str| {
        let behind = labels
            .iter()
            .find_map(|label| line.strip_prefix(label))
            .filter(|rest| rest.starts_with([':', '.', ' ', '\t']) || line.starts_with('['))?;
        let value = behind.trim_start_matches([' ', '\t', '.', ':']).trim();
        (!value.is_empty()).then_some(value)
    };
    answer.lines().map(str::trim).filter_map(value)
}

/// The moment that `text` names, in the registry's local time where it names no zone. Where it is a date alone, midnight and `rest_of_day` later.
fn moment(text: &str, server: &Server, rest_of_day: Duration) -> Option<SystemTime> {
    let text = text.trim_end_matches('.').trim();
    let zone = TimeZone::fixed(Offset::from_hours(server.ahead).ok()?);
    let local = |civil: DateTime| zone.to_timestamp(civil).ok().and_then(|at| SystemTime::try_from(at).ok());
    let date = |date: Date| local(date.to_datetime(jiff::civil::Time::midnight())).map(|midnight| midnight + rest_of_day);
    // A zone behind the time, as in `2001/02/03 01:02:03 (JST)`, is the local one.
    let bare = text.split(" (").next().unwrap_or(text);
    if let Some(at) = MOMENTS.iter().find_map(|format| DateTime::strptime(format, bare).ok()) {
        return local(at);
    }
    let known = DATES.iter().find_map(|format| Date::strptime(format, bare).ok());
    if let Some(day) = known.or_else(|| bare.parse::<Date>().ok().filter(|_| bare.len() == 10)) {
        return date(day);
    }
    let civil = bare.parse::<DateTime>().ok().filter(|_| !bare.ends_with('Z'));
    civil.map_or_else(|| clock::parse(bare), local)
}
