//! Whether recovery requests can be judged.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::join3;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Admin;
use crate::account::DirectoryError;
use crate::clock::within;
use crate::gatekeeper::Gatekeeper;
use crate::identifier::{Identifier, Identifies};

/// How long a part may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an answer is given again, so that no caller can have the parts asked more often.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// What answers, of the parts without which there is no verdict.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Readiness {
    ready: bool,
    directory: bool,
    state: bool,
    audit: bool,
}

/// The parts, and how they were when they were last asked.
#[derive(Clone)]
pub(super) struct Health {
    gatekeeper: Gatekeeper,
    last: Arc<Mutex<Option<(Instant, Readiness)>>>,
}

impl Health {
    pub(super) fn of(gatekeeper: Gatekeeper) -> Self {
        Self { gatekeeper, last: Arc::default() }
    }

    async fn readiness(&self) -> Readiness {
        let mut last = self.last.lock().await;
        if let Some((_, readiness)) = last.filter(|(at, _)| at.elapsed() < FRESH_FOR) {
            return readiness;
        }
        let (directory, state, audit) =
            join3(within(PATIENCE, self.asks_directory()), within(PATIENCE, self.asks_state()), within(PATIENCE, self.asks_audit())).await;
        let (directory, state, audit) = (directory.unwrap_or_default(), state.unwrap_or_default(), audit.unwrap_or_default());
        let readiness = Readiness { ready: directory && state && audit, directory, state, audit };
        *last = Some((Instant::now(), readiness));
        readiness
    }
}

/// Whether the parts answer, asked for nothing.
impl Health {
    async fn asks_directory(&self) -> bool {
        let nobody = Identifier::parse(Identifies::Email, "nobody@gatekeeper.invalid");
        let Ok(nobody) = nobody else { return false };
        match self.gatekeeper.inner.directory.find(&nobody).await {
            // It answers, and finds accounts by other names.
            Ok(_) | Err(DirectoryError::Unsupported(_) | DirectoryError::NoQuery(_)) => true,
            Err(_) => false,
        }
    }

    async fn asks_state(&self) -> bool {
        match &self.gatekeeper.inner.state {
            Some(state) => state.has_unverifications().await.is_ok(),
            None => true,
        }
    }

    async fn asks_audit(&self) -> bool {
        self.gatekeeper.inner.audit.record(Vec::new()).await.is_ok()
    }
}

pub(super) async fn ready(State(admin): State<Admin>) -> (StatusCode, Json<Readiness>) {
    let readiness = admin.health.readiness().await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}
