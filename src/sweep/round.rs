//! One round of the sweep, and all that it works with.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::try_join;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::look::LONGEST_RETRY;
use super::ration::Rations;
use super::stopping::Stopping;
use super::unverification::Unverified;
use super::{LEASE, Sweep, SweepError, SweepEvent, SweepSettings, SweepSummary, Told};
use crate::domain::DomainSource;
use crate::gatekeeper::Inner;
use crate::state::State;

/// Addresses lose their verification so often while a round goes on.
const MEANWHILE: Duration = Duration::from_secs(600);

/// How many questions are under way at once, to whomever.
const UNDER_WAY: usize = 128;

/// One round, and all that it works with.
pub(super) struct Round {
    pub(super) inner: Arc<Inner>,
    pub(super) state: State,
    pub(super) source: Arc<dyn DomainSource>,
    pub(super) settings: SweepSettings,
    pub(super) told: Arc<Told>,
    pub(super) is_watched: bool,
    /// Who looks.
    pub(super) worker: Uuid,
    /// What was due by then is looked at.
    pub(super) due_by: SystemTime,
    pub(super) rations: Rations,
    /// Held by every question that is under way.
    pub(super) asking: Semaphore,
    /// Servers whose failure was recorded.
    failing: Mutex<HashSet<String>>,
    pub(super) stopping: Stopping,
}

impl Round {
    pub(super) fn of(sweep: &Sweep, stopping: Stopping) -> Result<Self, SweepError> {
        let inner = Arc::clone(&sweep.gatekeeper.inner);
        let state = inner.state.clone().ok_or(SweepError::NoState)?;
        let rations = Rations::new(state.clone(), Arc::clone(&inner.clock), sweep.settings.rate);
        Ok(Self {
            source: inner.domains.source(),
            due_by: inner.clock.now(),
            inner,
            state,
            settings: sweep.settings.clone(),
            told: Arc::clone(&sweep.told),
            is_watched: sweep.is_watched,
            worker: Uuid::now_v7(),
            rations,
            asking: Semaphore::new(UNDER_WAY),
            failing: Mutex::default(),
            stopping,
        })
    }

    pub(super) fn now(&self) -> SystemTime {
        self.inner.clock.now()
    }

    /// Undoes what a clock that was ahead put off, and a longer `recheck_after`.
    pub(super) async fn set_right(&self) -> Result<(), SweepError> {
        Ok(self.state.clamp_due(self.due_by, self.settings.recheck_after.max(LONGEST_RETRY) + LEASE).await?)
    }

    /// Discovery, looks and un-verification. It `waits` also for what others look at.
    pub(super) async fn whole(self: &Arc<Self>, waits: bool) -> Result<SweepSummary, SweepError> {
        self.set_right().await?;
        let (discovered, is_discovered) = watch::channel(false);
        let (looked, is_looked) = watch::channel(false);
        let discovering = async {
            let found = self.discover().await?;
            let domains = if self.is_watched { self.state.outlook(self.due_by, self.now()).await?.domains } else { 0 };
            (self.told)(SweepEvent::Discovered { accounts: found.0, domains });
            discovered.send_replace(true);
            Ok(found)
        };
        let looking = async {
            let tally = self.look_at_all(is_discovered.clone(), waits).await?;
            looked.send_replace(true);
            Ok(tally)
        };
        let meanwhile = self.unverify_meanwhile(is_discovered.clone(), is_looked);
        let ((accounts, vanished), (tally, mut outcome)) = try_join(discovering, try_join(looking, meanwhile)).await?;
        let before = self.state.outlook(self.due_by, self.now()).await?;
        let last = self.unverify().await?;
        outcome = Unverified { unverified: outcome.unverified + last.unverified, failed: outcome.failed + last.failed, ..last };
        Ok(SweepSummary {
            accounts,
            verified: before.accounts,
            domains: before.domains,
            vanished,
            looked: tally.looked,
            asked: tally.asked,
            polled: tally.polled,
            not_due: before.domains.saturating_sub(tally.looked + before.due + before.leased + before.retried),
            failed: before.failing,
            found: tally.codes,
            unverified: outcome.unverified,
            would_unverify: outcome.would_unverify,
            not_unverified: outcome.failed,
            braked: outcome.is_braked,
            interrupted: self.stopping.is_wished(),
        })
    }

    /// Un-verifies what was found so far every so often, until all was looked at: looks may take a day.
    async fn unverify_meanwhile(
        &self,
        discovered: watch::Receiver<bool>,
        mut looked: watch::Receiver<bool>,
    ) -> Result<Unverified, SweepError> {
        let mut sum = Unverified::default();
        loop {
            // Its sender is gone only where the round breaks off.
            let is_over = tokio::time::timeout(MEANWHILE, looked.wait_for(|is_looked| *is_looked)).await.is_ok();
            if is_over || self.settings.dry_run {
                return Ok(sum);
            }
            if *discovered.borrow() {
                let outcome = self.unverify().await?;
                (sum.unverified, sum.failed) = (sum.unverified + outcome.unverified, sum.failed + outcome.failed);
                if outcome.is_braked || outcome.failed > 0 {
                    return Ok(sum);
                }
            }
        }
    }

    pub(super) fn is_first_failure_of(&self, server: &str) -> bool {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).insert(server.to_owned())
    }
}
