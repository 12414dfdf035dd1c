//! `POST /assess`: a verdict for an application in any language.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Admin;
use super::problem::{Problem, Read};
use crate::account::DirectoryError;
use crate::domain::Standing;
use crate::exemption::Exemption;
use crate::gatekeeper::{Asked, AssessError, Occasion};
use crate::identifier::Identifies;
use crate::verdict::{Notice, Reason, Verdict};

/// Whom a reset is asked for: one member, named for the kind of name.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Requested {
    Email(String),
    Username(String),
    Id(String),
    Token(String),
}

impl Requested {
    const fn asked(&self) -> Asked<'_> {
        let (identifies, name) = match self {
            Self::Email(name) => (Identifies::Email, name),
            Self::Username(name) => (Identifies::Username, name),
            Self::Id(name) => (Identifies::Id, name),
            Self::Token(name) => (Identifies::Token, name),
        };
        Asked { identifies, name: name.as_str(), counter: None }
    }
}

/// What the application needs to know.
#[derive(Serialize)]
pub(super) struct Assessment {
    verdict: &'static str,
    enforced: bool,
    reasons: Vec<Reason>,
    notices: Vec<Notice>,
    standing: Option<Standing>,
    reference: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exemption: Option<Exemption>,
}

impl Assessment {
    fn of(verdict: &Verdict, enforced: bool) -> Self {
        Self {
            verdict: verdict.as_str(),
            enforced,
            reasons: verdict.reasons().to_vec(),
            notices: verdict.notices().to_vec(),
            standing: verdict.standing(),
            reference: verdict.reference(),
            exemption: verdict.exemption().cloned(),
        }
    }
}

pub(super) async fn assess(State(admin): State<Admin>, Read(requested): Read<Requested>) -> Result<Json<Assessment>, Problem> {
    let occasion = Occasion { request: None, enforced: admin.enforced };
    match admin.gatekeeper.decide(&[requested.asked()], occasion).await {
        Ok(verdict) => Ok(Json(Assessment::of(&verdict, admin.enforced))),
        Err(AssessError::Directory(error @ DirectoryError::Unsupported(_))) => {
            Err(Problem::new(StatusCode::NOT_FOUND, format!("There is no verdict: {error}.")))
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a recovery request can't be judged");
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "There is no verdict, and so no reset may be mailed."))
        }
    }
}
