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
use crate::clock::within;
use crate::gatekeeper::Gatekeeper;

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
        let (directory, state, audit) = join3(
            within(PATIENCE, self.gatekeeper.asks_directory()),
            within(PATIENCE, self.gatekeeper.asks_state()),
            within(PATIENCE, self.gatekeeper.asks_audit()),
        )
        .await;
        let (directory, state, audit) = (directory.unwrap_or_default(), state.unwrap_or_default(), audit.unwrap_or_default());
        let readiness = Readiness { ready: directory && state && audit, directory, state, audit };
        *last = Some((Instant::now(), readiness));
        readiness
    }
}

pub(super) async fn ready(State(admin): State<Admin>) -> (StatusCode, Json<Readiness>) {
    let readiness = admin.health.readiness().await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}
