//! The sweep in the background.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::round::Round;
use super::stopping::Stopping;
use super::{Sweep, SweepError};

/// In the background it is seen so often whether anything is due.
const GLANCE: Duration = Duration::from_secs(60);
const SHORTEST_GLANCE: Duration = Duration::from_millis(500);

/// How long a sweep in the background may take to stop.
const STOPPING: Duration = Duration::from_secs(30);

impl Sweep {
    /// Runs in the background until it is stopped: rounds every so often, and a look at each domain as soon as it is due.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(self) -> Sweeping {
        let stopping = Stopping::new();
        let task = tokio::spawn(self.run(stopping.clone()));
        Sweeping { stopping, task }
    }

    async fn run(self, stopping: Stopping) {
        let clock = &self.gatekeeper.inner.clock;
        let (mut round_at, mut is_braked) = (clock.now(), false);
        while !stopping.is_wished() {
            let now = clock.now();
            // Later than that comes of a clock that was ahead.
            let is_round = round_at <= now || round_at > now + self.settings.every;
            // A round that brakes is not tried again before the next.
            let unverifies = is_round || !is_braked;
            let wait = match AssertUnwindSafe(self.turn(&stopping, is_round, unverifies)).catch_unwind().await {
                Ok(Ok((braked, next_due_at))) => {
                    if is_round {
                        round_at = now + self.settings.every;
                    }
                    is_braked = if unverifies { braked } else { is_braked };
                    let next = next_due_at.map_or(round_at, |due_at| due_at.min(round_at));
                    next.duration_since(clock.now()).unwrap_or_default().clamp(SHORTEST_GLANCE, GLANCE)
                }
                Ok(Err(error)) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the sweep broke off, and goes on in a minute");
                    GLANCE
                }
                Err(_) => {
                    tracing::error!("the sweep panicked, and goes on in a minute");
                    GLANCE
                }
            };
            stopping.pause(wait).await;
        }
    }

    /// A round, or a look at what is due. Says whether the brake held, and when the next domain will be due.
    async fn turn(&self, stopping: &Stopping, is_round: bool, unverifies: bool) -> Result<(bool, Option<SystemTime>), SweepError> {
        let round = Arc::new(Round::of(self, stopping.clone())?);
        let mut is_braked = false;
        if is_round {
            let summary = round.whole(false).await?;
            is_braked = summary.braked;
            tracing::info!(
                accounts = summary.accounts,
                domains = summary.domains,
                looked = summary.looked,
                failed = summary.failed,
                unverified = summary.unverified,
                "a sweep is done"
            );
        } else {
            round.set_right().await?;
            round.look_at_all(watch::channel(true).1, false).await?;
            if unverifies {
                is_braked = round.unverify().await?.is_braked;
            }
        }
        Ok((is_braked, round.state.next_due_at(round.due_by).await?))
    }
}

/// A sweep in the background. It ends when this is dropped.
#[derive(Debug)]
#[must_use = "a sweep ends when this is dropped"]
pub struct Sweeping {
    stopping: Stopping,
    task: JoinHandle<()>,
}

impl Sweeping {
    /// Stops it, and returns when what was under way is written down, half a minute later at most.
    pub async fn stop(mut self) {
        self.stopping.stop();
        // What doesn't end by then hangs, and is due again when its lease ends.
        drop(tokio::time::timeout(STOPPING, &mut self.task).await);
    }
}

impl Drop for Sweeping {
    fn drop(&mut self) {
        self.task.abort();
    }
}
