//! The console: pages for people, on the admin listener. A block is found by the reference that the user was given, understood, and lifted.
//!
//! 1. Every page needs the login. A form is carried out only where it was sent from a page of ours ([`forgery`]).
//! 2. There is no script at all, and no style but the one stylesheet's; the content security policy lets nothing else in.
//! 3. What comes from outside (addresses, paths, domains, reasons) is escaped by the templates.
//! 4. Of the audit log, its end is read ([`log`]): a page that saw only a part of it says so.

mod chart;
mod domain;
mod exemptions;
mod forgery;
pub(super) mod log;
mod overview;
mod record;
mod search;
mod sources;
mod words;

use askama::Template;
use axum::Router;
use axum::extract::FromRequestParts;
use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};

use self::log::{Extent, Log};
use super::Admin;
use super::access::Who;
use super::problem::Problem;
use crate::audit::{Decision, Event, Record};
use crate::clock::rfc3339;
use crate::state::{State, StateError};

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);

/// The pages, for who is logged in.
pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/", get(overview::overview))
        .route("/search", get(search::search))
        .route("/records/{id}", get(record::record))
        .route("/domains/{name}", get(domain::domain))
        .route("/exemptions", get(exemptions::exemptions).post(exemptions::give))
        .route("/exemptions/{id}/remove", post(exemptions::remove))
        .route("/console.css", get(stylesheet))
        .layer(map_response(guard_page))
}

async fn guard_page(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    // Not `no-referrer`: browsers would then send forms with the origin `null`.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

async fn stylesheet() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "private, max-age=3600")], include_str!("console/console.css"))
}

/// What every page has around its content.
pub(super) struct Frame {
    /// Who is logged in.
    pub(super) who: String,
    /// What shows that a form is of a page of ours.
    pub(super) token: String,
    /// Whether anybody can be exempted: there is a state to keep that in.
    pub(super) can_exempt: bool,
}

impl FromRequestParts<Admin> for Frame {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let who = parts.extensions.get::<Who>().map(|who| who.0.clone()).unwrap_or_default();
        let token = admin.token.as_ref().map(|token| forgery::token(token, &who)).unwrap_or_default();
        Ok(Self { who, token, can_exempt: admin.exempts && admin.state().is_some() })
    }
}

impl Admin {
    fn state(&self) -> Option<&State> {
        self.gatekeeper.inner.state.as_ref()
    }

    fn records(&self) -> Result<&Log, Failure> {
        self.log.as_ref().ok_or(Failure::Nothing)
    }
}

/// Why there is no page.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no such thing, or it isn't known.
    Nothing,
    /// The audit log can't be read.
    Log(std::io::Error),
    /// The state can't be read.
    State(StateError),
    /// The form is not of a page of ours.
    Foreign,
    /// The request is none that a page of ours leads to.
    Unreadable(StatusCode),
    /// It can't be written as a page.
    Page(askama::Error),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Log(error)
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl From<FormRejection> for Failure {
    fn from(rejection: FormRejection) -> Self {
        Self::Unreadable(rejection.status())
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::Unreadable(rejection.status())
    }
}

impl From<PathRejection> for Failure {
    fn from(_: PathRejection) -> Self {
        Self::Nothing
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, title, text) = match &self {
            Self::Nothing => {
                (StatusCode::NOT_FOUND, "Not found", "There is no such page, or the end of the audit log does not know of it.")
            }
            Self::Log(error) => {
                logged(error);
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The audit log can't be read",
                    "What is wrong with it is told in the gatekeeper's own log.",
                )
            }
            Self::State(error) => {
                logged(error);
                (StatusCode::SERVICE_UNAVAILABLE, "The state can't be read", "What is wrong with it is told in the gatekeeper's own log.")
            }
            Self::Foreign => (
                StatusCode::FORBIDDEN,
                "Not done",
                "The form was not sent from a page of this console, or the page is of an older login. Open the page again and send it from there.",
            ),
            Self::Unreadable(status) => (
                *status,
                "Not done",
                "The request can't be read: it is too long, or lacks what the pages of this console send. Open the page again and send it from there.",
            ),
            Self::Page(error) => {
                logged(error);
                return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The page can't be written.").into_response();
            }
        };
        match (FailurePage { title, text }).render() {
            Ok(html) => (status, Html(html)).into_response(),
            Err(_) => Problem::new(status, title).into_response(),
        }
    }
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage {
    title: &'static str,
    text: &'static str,
}

fn logged(error: &(dyn std::error::Error + 'static)) {
    tracing::error!(error, "a page of the console can't be made");
}

fn page(template: &impl Template) -> Result<Response, Failure> {
    template.render().map(|html| Html(html).into_response()).map_err(Failure::Page)
}

/// A record in a list.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) time: String,
    pub(super) event: &'static str,
    pub(super) account: String,
    pub(super) domain: String,
    pub(super) reasons: String,
}

impl Row {
    fn of(record: &Record) -> Self {
        Self {
            id: record.id.to_string(),
            time: rfc3339(record.time),
            event: happened(record),
            account: record.account.as_ref().map(|account| account.email.clone()).unwrap_or_default(),
            domain: record.domain.as_ref().map(|domain| domain.name.clone()).unwrap_or_default(),
            reasons: record.reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(", "),
        }
    }
}

/// What a record tells of, in words.
fn happened(record: &Record) -> &'static str {
    match (record.event, record.verdict, record.enforced) {
        (Event::ResetBlocked, _, true) => "reset blocked",
        (Event::ResetBlocked, _, false) => "reset would have been blocked",
        (Event::ResetAllowed, Decision::Allow | Decision::Block, _) if record.exemption.is_some() => "reset let through by an exemption",
        (Event::ResetAllowed, _, _) => "reset let through",
        (Event::EmailUnverified, _, true) => "address lost its verification",
        (Event::EmailUnverified, _, false) => "address would have lost its verification",
        (Event::DomainChanged, _, _) => "domain changed",
        (Event::SourceFailed, _, _) => "a source could not tell",
    }
}

/// What a page that saw only the end of the log has to say.
fn seen(extent: &Extent) -> String {
    if extent.is_whole {
        String::new()
    } else {
        format!("Only the latest {} records were read; `audit show` reads all of them.", extent.records)
    }
}
