//! `GET /domains/{name}`: what is known of a domain, as a timeline.

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::super::Admin;
use super::exemptions::Form;
use super::{Failure, Frame, happened, page, seen, words};
use crate::address::RegistrableDomain;
use crate::audit::Record;
use crate::clock::rfc3339;
use crate::domain::cache::Remembered;
use crate::exemption::{Exempt, Exemption};

/// How many records are in a timeline.
const LISTED: usize = 200;

#[derive(Template)]
#[template(path = "domain.html")]
struct DomainPage {
    frame: Frame,
    domain: String,
    /// What the sources last said.
    now: Option<Now>,
    accounts: Option<u64>,
    exemptions: Vec<Exemption>,
    moments: Vec<Moment>,
    seen: String,
    form: Form,
}

struct Now {
    standing: &'static str,
    checked_at: String,
    registered_at: Option<String>,
    expires_at: Option<String>,
    registrar: Option<String>,
    name_servers: String,
}

/// A point of the timeline.
struct Moment {
    at: SystemTime,
    what: String,
    /// Of an account, where it is about one.
    account: String,
    record: Option<String>,
}

pub(super) async fn domain(
    State(admin): State<Admin>,
    frame: Frame,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let Path(name) = name?;
    let domain = RegistrableDomain::of(&name).map_err(|_| Failure::Nothing)?;
    if domain.as_str() != name {
        return Ok(Redirect::to(&format!("/domains/{domain}")).into_response());
    }
    let wanted = domain.clone();
    let (mut moments, extent) = admin
        .records()?
        .read(Vec::new(), move |moments, line| {
            if line.mentions(wanted.as_str())
                && let Some(record) = line.record()
                && record.domain.as_ref().is_some_and(|domain| domain.name == wanted.as_str())
            {
                moments.push(Moment::of(&record));
            }
            if moments.len() < LISTED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await?;
    let at = admin.gatekeeper.inner.clock.now();
    let (mut now, mut accounts, mut exemptions) = (None, None, Vec::new());
    if let Some(state) = admin.state() {
        if let Some(remembered) = state.domain(&domain).await? {
            moments.extend(changes(&remembered));
            now = Some(Now::of(&remembered, at));
        }
        accounts = state.accounts_on(&domain).await?;
        exemptions = state.exemptions(at).await?;
        exemptions.retain(|exemption| exemption.exempt == Exempt::Domain(domain.clone()));
    }
    moments.sort_by_key(|moment| std::cmp::Reverse(moment.at));
    let form = Form::new(&frame, "domain", domain.as_str());
    page(&DomainPage { frame, domain: domain.to_string(), now, accounts, exemptions, moments, seen: seen(&extent), form })
}

impl Now {
    fn of(remembered: &Remembered, now: SystemTime) -> Self {
        let report = &remembered.report;
        Self {
            standing: report.standing(now, Duration::ZERO).as_str(),
            checked_at: rfc3339(remembered.checked_at),
            registered_at: report.began_at().map(rfc3339),
            expires_at: report.ends_at().map(rfc3339),
            registrar: report.registrar.clone(),
            name_servers: report.name_servers.join(", "),
        }
    }
}

impl Moment {
    fn of(record: &Record) -> Self {
        let codes = record.reasons.iter().map(|reason| reason.as_str()).chain(record.notices.iter().map(|notice| notice.as_str()));
        let codes = codes.collect::<Vec<_>>().join(", ");
        let what = if codes.is_empty() { happened(record).to_owned() } else { format!("{}: {codes}", happened(record)) };
        let account = record.account.as_ref().map(|account| account.email.clone()).unwrap_or_default();
        Self { at: record.time, what, account, record: Some(record.id.to_string()) }
    }

    fn when(&self) -> String {
        rfc3339(self.at)
    }
}

/// What was seen of a domain over time.
fn changes(remembered: &Remembered) -> Vec<Moment> {
    let history = &remembered.history;
    let moment = |at, what: &str| Moment { at, what: what.to_owned(), account: String::new(), record: None };
    let mut moments = vec![moment(history.first_seen_at(), "first seen")];
    moments.extend(history.began_at().map(|at| moment(at, "the registration began")));
    moments.extend(history.lapsed_at().map(|at| moment(at, "last seen lapsed")));
    moments.extend(history.changes().iter().filter_map(|change| Some(moment(change.at?, words::change(change.signal)))));
    moments.extend(remembered.report.ends_at().filter(|at| *at <= remembered.checked_at).map(|at| moment(at, "the registration ended")));
    moments
}

fn until(exemption: &Exemption) -> String {
    rfc3339(exemption.until)
}
