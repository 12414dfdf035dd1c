//! `GET /records/{id}`: one verdict, and on what evidence.

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use uuid::Uuid;

use super::super::Admin;
use super::exemptions::Form;
use super::{Failure, Frame, happened, page, words};
use crate::address::RegistrableDomain;
use crate::audit::{Record, is_hashed};
use crate::clock::rfc3339;
use crate::verdict::{Notice, Reason};

/// How much earlier than its record says another process may have written a line.
const SLACK: Duration = Duration::from_secs(10 * 60);

#[derive(Template)]
#[template(path = "record.html")]
struct RecordPage {
    frame: Frame,
    title: &'static str,
    record: Record,
    forms: Vec<Form>,
}

pub(super) async fn record(State(admin): State<Admin>, frame: Frame, Path(id): Path<String>) -> Result<Response, Failure> {
    let id = Uuid::parse_str(&id).map_err(|_| Failure::Nothing)?;
    let begins = moment(&id).and_then(|at| at.checked_sub(SLACK));
    let (found, _) = admin
        .records()?
        .read(None, move |found, line| {
            let Some(record) = line.record() else { return ControlFlow::Continue(()) };
            let is_it = record.id == id;
            let is_earlier = begins.is_some_and(|begins| record.time < begins);
            if is_it {
                *found = Some(record);
            }
            if is_it || is_earlier { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await?;
    let record = found.ok_or(Failure::Nothing)?;
    let forms = forms(&admin, &frame, &record);
    page(&RecordPage { frame, title: happened(&record), record, forms })
}

/// When a UUID of version 7 was made.
fn moment(id: &Uuid) -> Option<SystemTime> {
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

/// Whom an exemption would help: nobody where the request itself is at fault.
fn forms(admin: &Admin, frame: &Frame, record: &Record) -> Vec<Form> {
    if record.reasons.is_empty() || !record.reasons.iter().all(|reason| reason.is_of_standing()) {
        return Vec::new();
    }
    let mut forms = Vec::new();
    // A hashed key names nobody.
    if let Some(account) = record.account.as_ref().filter(|account| !is_hashed(account.id.as_str())) {
        forms.push(Form::new(frame, "id", account.id.as_str()));
    }
    let is_of_provider =
        |name: &str| RegistrableDomain::of(name).is_ok_and(|domain| admin.gatekeeper.inner.domains.is_of_provider(&domain));
    if let Some(domain) = record.domain.as_ref().filter(|domain| !is_of_provider(&domain.name)) {
        forms.push(Form::new(frame, "domain", &domain.name));
    }
    forms
}

/// Where a domain's page is.
fn domain_path(name: &str) -> Option<String> {
    RegistrableDomain::of(name).ok().map(|domain| format!("/domains/{domain}"))
}

fn time(time: &SystemTime) -> String {
    rfc3339(*time)
}

fn meaning(reason: &Reason) -> &'static str {
    words::meaning(*reason)
}

fn remedy(reason: &Reason) -> &'static str {
    words::remedy(*reason)
}

fn notice(notice: &Notice) -> &'static str {
    words::notice(*notice)
}
