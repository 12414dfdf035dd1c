//! `GET /records/{id}`: one verdict, and on what evidence.

use std::ops::ControlFlow;
use std::time::SystemTime;

use askama::Template;
use axum::extract::rejection::PathRejection;
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

#[derive(Template)]
#[template(path = "record.html")]
struct RecordPage {
    frame: Frame,
    title: &'static str,
    record: Record,
    forms: Vec<Form>,
}

pub(super) async fn record(State(admin): State<Admin>, frame: Frame, id: Result<Path<String>, PathRejection>) -> Result<Response, Failure> {
    let Path(id) = id?;
    let id = Uuid::parse_str(&id).map_err(|_| Failure::Nothing)?;
    let reference = id.to_string();
    // Whatever times stand beside it: a clock may have been wrong.
    let (found, _) = admin
        .records()?
        .read(None, move |found, line| {
            if line.mentions(&reference) {
                *found = line.record().filter(|record| record.id == id);
            }
            if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await?;
    let record = found.ok_or(Failure::Nothing)?;
    let forms = forms(&admin, &frame, &record);
    page(&RecordPage { frame, title: happened(&record), record, forms })
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
