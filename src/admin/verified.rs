//! `POST /verified`: an address was verified again, now.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Admin;
use super::problem::{Problem, Read};
use crate::address::Mailbox;

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
}

pub(super) async fn verified(State(admin): State<Admin>, Read(Address { email }): Read<Address>) -> Result<Json<Done>, Problem> {
    let directory = admin.directory.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "Verifications are not told here."))?;
    let nobody = |why: String| Problem::new(StatusCode::NOT_FOUND, format!("No account has this address{why}."));
    let mailbox = Mailbox::parse(&email).map_err(|error| nobody(format!(", which is {error}")))?;
    match directory.verified(mailbox.as_str()).await {
        Ok(true) => {}
        Ok(false) => return Err(nobody(String::new())),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a verification can't be noted");
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "It could not be noted."));
        }
    }
    let baseline = admin.gatekeeper.record_verification(mailbox.as_str()).await;
    let baseline =
        baseline.inspect_err(|error| tracing::warn!(error = error as &dyn std::error::Error, "a verification has no baseline yet"));
    Ok(Json(Done { email: mailbox.as_str().to_owned(), baseline: baseline.is_ok() }))
}
