//! `GET /search`: by what an operator has in hand, to where it is told of.

use std::ops::ControlFlow;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use uuid::Uuid;

use super::super::Admin;
use super::{Failure, Frame, Row, page, seen};
use crate::address::{Mailbox, RegistrableDomain};

/// How many records are listed.
const LISTED: usize = 100;

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
}

#[derive(Template)]
#[template(path = "search.html")]
struct Found {
    frame: Frame,
    asked: String,
    domain: Option<String>,
    records: Vec<Row>,
    seen: String,
}

/// A reference leads to its record, a domain to its own page; what else there is, to the records of the account that has it as its address or its key.
pub(super) async fn search(
    State(admin): State<Admin>,
    frame: Frame,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(Asked { q }) = asked?;
    let asked = q.trim().to_owned();
    if let Ok(id) = Uuid::parse_str(&asked) {
        return Ok(Redirect::to(&format!("/records/{id}")).into_response());
    }
    if !asked.contains('@')
        && asked.contains('.')
        && let Ok(domain) = RegistrableDomain::of(&asked)
    {
        return Ok(Redirect::to(&format!("/domains/{domain}")).into_response());
    }
    let wanted = asked.clone();
    let (records, extent) = admin
        .records()?
        .read(Vec::new(), move |records: &mut Vec<Row>, line| {
            if line.mentions(&wanted)
                && let Some(record) = line.record()
                && record
                    .account
                    .as_ref()
                    .is_some_and(|account| account.email.eq_ignore_ascii_case(&wanted) || account.id.as_str().eq_ignore_ascii_case(&wanted))
            {
                records.push(Row::of(&record));
            }
            if records.len() < LISTED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await?;
    let domain = Mailbox::parse(&asked).ok().map(|mailbox| mailbox.domain().to_string());
    page(&Found { frame, asked, domain, records, seen: seen(&extent) })
}
