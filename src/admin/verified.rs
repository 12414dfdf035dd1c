//! `POST /verified`: an address was verified again, now.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Admin;
use super::problem::{Problem, Read};
use crate::account::{Directory, DirectoryError};
use crate::address::Mailbox;
use crate::identifier::Identifier;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Address {
    email: String,
}

/// What was done.
#[derive(Serialize)]
pub(super) struct Done {
    email: String,
    /// Whether it is known how the domain looks as of now, against which changes count from here on.
    baseline: bool,
    /// Whether the address counts as verified from here on.
    verified: bool,
    /// What is left to do, where it doesn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

/// The application's own flag is its to give back.
const STILL_UNVERIFIED: &str =
    "It was noted, but the directory itself says that the address is not verified: resets stay blocked until it says so.";

pub(super) async fn verified(State(admin): State<Admin>, Read(Address { email }): Read<Address>) -> Result<Json<Done>, Problem> {
    let directory = admin.directory.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "Verifications are not told here."))?;
    let nobody = |why: String| Problem::new(StatusCode::NOT_FOUND, format!("No account has this address{why}."));
    let mailbox = Mailbox::parse(&email).map_err(|error| nobody(format!(", which is {error}")))?;
    match directory.verified(mailbox.as_str()).await {
        Ok(true) => {}
        Ok(false) => return Err(nobody(String::new())),
        Err(error) => return Err(failed("It could not be noted.")(error)),
    }
    let baseline = admin.gatekeeper.record_verification(mailbox.as_str()).await;
    let baseline =
        baseline.inspect_err(|error| tracing::warn!(error = error as &dyn std::error::Error, "a verification has no baseline yet"));
    let accounts = directory.find(&Identifier::Email(mailbox.clone())).await;
    let accounts = accounts.map_err(failed("It was noted, and whether the address counts as verified now could not be asked."))?;
    let verified = accounts.iter().all(|account| account.verified);
    let detail = (!verified).then_some(STILL_UNVERIFIED);
    Ok(Json(Done { email: mailbox.as_str().to_owned(), baseline: baseline.is_ok(), verified, detail }))
}

/// The directory, or the state over it, failed.
fn failed(told: &'static str) -> impl FnOnce(DirectoryError) -> Problem {
    move |error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a verification can't be told");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, told)
    }
}
