//! How far a delivery has got, as the state keeps it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::PAUSE;
use crate::audit::Head;
use crate::clock::Clock;
use crate::state::{Position, State};

/// For how long records that are refused are tried again, and hold up those that come next.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct Progress {
    pub(super) log: PathBuf,
    /// Under which the state keeps the position.
    pub(super) webhook: String,
    pub(super) state: State,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) position: Mutex<Position>,
}

impl Progress {
    /// Goes on from where it had got when that was last kept: after this record.
    pub(super) async fn resume(&self) -> Option<Head> {
        loop {
            match self.state.delivered(&self.log, &self.webhook).await {
                Ok(position) => {
                    let head = position.head.clone();
                    *self.position.lock().await = position;
                    return head;
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "it can't be read how far the webhook has got");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// All records up to `head` were taken or passed over.
    pub(super) async fn reached(&self, head: &Head) {
        let mut position = self.position.lock().await;
        *position = Position { head: Some(head.clone()), refused_at: None };
        self.keep(&position).await;
    }

    /// A record was refused. Says whether it is passed over: a day after the first time that any of those that come next was.
    pub(super) async fn gives_up(&self) -> bool {
        let mut position = self.position.lock().await;
        let now = self.clock.now();
        // A time that is yet to come was a wrong clock's.
        if let Some(since) = position.refused_at.and_then(|at| now.duration_since(at).ok()) {
            return since >= DAY;
        }
        position.refused_at = Some(now);
        self.keep(&position).await;
        false
    }

    /// Where it can't be kept, more is sent again after the next start, and what is refused is tried for longer.
    async fn keep(&self, position: &Position) {
        if let Err(error) = self.state.keep_delivered(&self.log, &self.webhook, position).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "it is not kept how far the webhook has got");
        }
    }
}
