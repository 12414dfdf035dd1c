//! `/exemptions`: listed, given and taken back.

use std::time::{Duration, SystemTime};

use askama::Template;
use axum::extract::rejection::{FormRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use uuid::Uuid;

use super::super::Admin;
use super::{Failure, Frame, forgery, page};
use crate::clock::rfc3339;
use crate::exemption::{Exempt, ExemptionError, KeptExemption, NewExemption};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The form with which somebody is exempted.
#[derive(Clone)]
pub(super) struct Form {
    pub(super) token: String,
    pub(super) can_exempt: bool,
    /// `domain`, `account`, or `id` of what is certainly the key of one.
    pub(super) kind: String,
    /// Whom; empty where that is to be filled in.
    pub(super) name: String,
    pub(super) is_fixed: bool,
    pub(super) days: String,
    pub(super) reason: String,
}

impl Form {
    /// For whom a page is about.
    pub(super) fn new(frame: &Frame, kind: &str, name: &str) -> Self {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        let (days, reason) = ("7".to_owned(), String::new());
        Self { token: frame.token.clone(), can_exempt: frame.can_exempt, kind, name, is_fixed: true, days, reason }
    }
}

#[derive(Template)]
#[template(path = "exemptions.html")]
struct Exemptions {
    frame: Frame,
    kept: Vec<KeptExemption>,
    now: SystemTime,
    error: Option<String>,
    form: Form,
}

/// What the form says.
#[derive(Deserialize)]
pub(super) struct Given {
    token: String,
    kind: String,
    name: String,
    days: String,
    reason: String,
}

#[derive(Deserialize)]
pub(super) struct Removed {
    token: String,
}

pub(super) async fn exemptions(State(admin): State<Admin>, frame: Frame) -> Result<Response, Failure> {
    let form = Form { is_fixed: false, ..Form::new(&frame, "domain", "") };
    listed(&admin, frame, form, None).await
}

async fn listed(admin: &Admin, frame: Frame, form: Form, error: Option<String>) -> Result<Response, Failure> {
    let kept = match admin.state() {
        Some(state) => state.all_exemptions().await?,
        None => Vec::new(),
    };
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let mut page = page(&Exemptions { frame, kept, now: admin.gatekeeper.inner.clock.now(), error, form })?;
    *page.status_mut() = status;
    Ok(page)
}

pub(super) async fn give(
    State(admin): State<Admin>,
    frame: Frame,
    uri: Uri,
    headers: HeaderMap,
    given: Result<axum::Form<Given>, FormRejection>,
) -> Result<Response, Failure> {
    let axum::Form(given) = given?;
    forgery::check(&frame, &given.token, &uri, &headers)?;
    match exempted(&admin, &frame.who, &given).await {
        Ok(id) => Ok(Redirect::to(&format!("/exemptions#x{id}")).into_response()),
        Err(Refusal::Failed(failure)) => Err(failure),
        Err(Refusal::Told(error)) => {
            let Given { kind, name, days, reason, .. } = given;
            let kind = if kind == "id" { "account".to_owned() } else { kind };
            let form = Form { is_fixed: false, days, reason, ..Form::new(&frame, &kind, &name) };
            listed(&admin, frame, form, Some(error)).await
        }
    }
}

/// Why nobody was exempted.
enum Refusal {
    /// What is told beside the form.
    Told(String),
    Failed(Failure),
}

fn told(error: impl ToString) -> Refusal {
    Refusal::Told(error.to_string())
}

async fn exempted(admin: &Admin, who: &str, given: &Given) -> Result<Uuid, Refusal> {
    let state = admin.state().filter(|_| admin.exempts).ok_or(Refusal::Failed(Failure::Nothing))?;
    let exempt = match given.kind.as_str() {
        "domain" => match Exempt::domain(&given.name).map_err(told)? {
            Exempt::Domain(domain) if admin.gatekeeper.inner.domains.is_of_provider(&domain) => {
                return Err(told(format!("{domain} is a mailbox provider's, on which strangers have accounts: exempt the account")));
            }
            exempt => exempt,
        },
        // Of a record: what is a key there may be another's address.
        "id" => Exempt::account_by_id(&given.name, &*admin.gatekeeper.inner.directory).await.map_err(told)?,
        "account" => Exempt::account(&given.name, &*admin.gatekeeper.inner.directory).await.map_err(told)?,
        _ => return Err(told("choose a domain or an account")),
    };
    let days: u32 = given.days.trim().parse().map_err(|_| told("the number of days is none"))?;
    let now = admin.gatekeeper.inner.clock.now();
    let until = now.checked_add(DAY.saturating_mul(days)).ok_or_else(|| told(ExemptionError::TooLong))?;
    let wanted = NewExemption { exempt, until, reason: given.reason.clone(), by: who.to_owned() };
    match state.exempt(wanted, now).await {
        Ok(exemption) => Ok(exemption.id),
        Err(ExemptionError::State(error)) => Err(Refusal::Failed(error.into())),
        Err(error) => Err(told(error)),
    }
}

pub(super) async fn remove(
    State(admin): State<Admin>,
    frame: Frame,
    id: Result<Path<Uuid>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
    form: Result<axum::Form<Removed>, FormRejection>,
) -> Result<Response, Failure> {
    let (Path(id), axum::Form(Removed { token })) = (id?, form?);
    forgery::check(&frame, &token, &uri, &headers)?;
    let state = admin.state().ok_or(Failure::Nothing)?;
    match state.remove_exemption(id, &frame.who, admin.gatekeeper.inner.clock.now()).await {
        // One that is over already is over.
        Ok(_) => Ok(Redirect::to(&format!("/exemptions#x{id}")).into_response()),
        Err(ExemptionError::State(error)) => Err(error.into()),
        Err(error) => {
            let form = Form { is_fixed: false, ..Form::new(&frame, "domain", "") };
            listed(&admin, frame, form, Some(error.to_string())).await
        }
    }
}

/// How one stands, for people.
fn standing(kept: &KeptExemption, now: &SystemTime) -> String {
    match (kept.removed_at, &kept.removed_by) {
        (Some(at), by) => format!("taken back {} by {}", rfc3339(at), by.as_deref().unwrap_or("?")),
        (None, _) if kept.holds(*now) => "in force".to_owned(),
        (None, _) => "over".to_owned(),
    }
}

fn time(time: &SystemTime) -> String {
    rfc3339(*time)
}
