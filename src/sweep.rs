//! The sweep: the same decision as at a reset, for every domain that accounts hang on, before anybody asks for one.
//!
//! A reset is judged live, and that is what stops a taker. What happens to a domain between two resets is what the sweep is there for: that it lapsed, was sold or was registered anew
//! is seen while it can be seen, and the addresses on it lose their verification for good.
//!
//! 1. **Discovery**: one pass through all accounts finds the domains of those with a verified address. New ones are looked at, those that vanished no more.
//! 2. **Looks**: each domain that is due is looked at, by a schedule that asks registries seldom and the DNS often. What was found is kept in the state, where every
//!    reset sees it from then on. What others should know of is recorded ([`Event::DomainChanged`](crate::audit::Event::DomainChanged)).
//! 3. **Un-verification**: if any domain was found lapsed or registered anew, a second pass takes the verification of its addresses away, each judged by itself. Before that a brake
//!    weighs how many they are.
//!
//! Any number of processes may do this at once if they share the [state](crate::State): each part is leased, and what a process that died had leased is done by another. A sweep
//! may be interrupted anywhere.
//!
//! What a deployment can break: in memory, or in an SQLite file of its own, the state is shared by nobody; and clocks that differ by more than a few seconds have two workers look at one domain.

mod discovery;
mod look;
mod looks;
mod ration;
mod schedule;
mod stopping;
mod unverification;

use std::collections::{BTreeMap, HashSet};
use std::future::{Future, IntoFuture, pending};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::{Either, select, try_join};
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use self::look::LONGEST_RETRY;
use self::ration::Rations;
use self::stopping::Stopping;
use self::unverification::Unverified;
use crate::account::{Account, DirectoryError};
use crate::address::RegistrableDomain;
use crate::audit::AuditError;
use crate::domain::DomainSource;
use crate::gatekeeper::{Gatekeeper, Inner};
use crate::state::{State, StateError};
use crate::verdict::Reason;

/// How long what was leased is another's to do after its worker died.
const LEASE: Duration = Duration::from_secs(60);

/// A server is asked once a day at least, and a million times a second at most.
const SLOWEST: f64 = 1.0 / 86_400.0;
const FASTEST: f64 = 1e6;

/// Addresses lose their verification so often while a round goes on.
const MEANWHILE: Duration = Duration::from_secs(600);

/// How long a sweep in the background may take to stop.
const STOPPING: Duration = Duration::from_secs(30);

/// Nothing is put off for longer.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How many questions are under way at once, to whomever.
const UNDER_WAY: usize = 128;

/// In the background it is seen so often whether anything is due.
const GLANCE: Duration = Duration::from_secs(60);
const SHORTEST_GLANCE: Duration = Duration::from_millis(500);

/// How a sweep is done.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SweepSettings {
    /// How often accounts are gone through for new domains, where the sweep runs in the background. 24 hours by default.
    pub every: Duration,
    /// How long a domain may go without a look, be it at its registry or its delegation. 30 days by default.
    pub recheck_after: Duration,
    /// How many questions a second each server of a source is asked, by all that share the state together. Ten by default; `None` for as many as can be.
    pub rate: Option<f64>,
    /// The share of accounts above which nobody is un-verified until [`beyond_brake`](Self::beyond_brake) says so: a broken source must not lock out the users. A tenth by default.
    pub brake: f64,
    /// Whether to un-verify more than [`brake`](Self::brake) allows, once.
    pub beyond_brake: bool,
    /// Whether nothing is un-verified: what would be is told instead.
    pub dry_run: bool,
}

impl Default for SweepSettings {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(86_400),
            recheck_after: Duration::from_secs(30 * 86_400),
            rate: Some(10.0),
            brake: 0.1,
            beyond_brake: false,
            dry_run: false,
        }
    }
}

/// What a sweep tells of itself while it runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SweepEvent {
    /// Accounts are gone through for their domains: so many by now.
    Discovering {
        /// Accounts.
        accounts: u64,
    },
    /// All accounts were gone through.
    Discovered {
        /// Accounts.
        accounts: u64,
        /// Domains of accounts with a verified address.
        domains: u64,
    },
    /// Domains were looked at.
    Looking {
        /// How many were, in this round and by this process.
        looked: u64,
        /// How many are due yet, or being looked at, by whomever.
        left: u64,
    },
    /// A domain's addresses lose their verification.
    Found {
        /// The domain.
        domain: RegistrableDomain,
        /// Why.
        reason: Reason,
    },
    /// An account's address lost its verification or, in a dry run, would.
    Unverified {
        /// The account, as it was.
        account: Account,
        /// Its domain.
        domain: RegistrableDomain,
        /// Why.
        reason: Reason,
    },
    /// Too many accounts would be un-verified, so none is.
    Braked {
        /// How many.
        would_unverify: u64,
        /// Of how many with a verified address.
        accounts: u64,
    },
}

/// What one round of a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SweepSummary {
    /// Accounts in the directory.
    pub accounts: u64,
    /// Accounts with a verified address.
    pub verified: u64,
    /// Domains that these hang on.
    pub domains: u64,
    /// Domains on which no account hangs any more.
    pub vanished: u64,
    /// Domains that this process looked at.
    pub looked: u64,
    /// Of these, how often the registry, or another source about registrations, was asked.
    pub asked: u64,
    /// Of these, how often the DNS alone was asked where it leads.
    pub polled: u64,
    /// Domains that could not be looked at, by the end.
    pub failed: u64,
    /// Domains by what was found, of those that this process looked at: the codes of reasons and notices, `active` where there is none.
    pub found: BTreeMap<&'static str, u64>,
    /// Accounts whose address lost its verification.
    pub unverified: u64,
    /// Accounts whose address would have, in a dry run or for the brake.
    pub would_unverify: u64,
    /// Accounts whose address should have, and the directory failed. They are tried again.
    pub not_unverified: u64,
    /// Whether the brake kept addresses from losing their verification.
    pub braked: bool,
    /// Whether it was stopped before its end. What is left is done by the next.
    pub interrupted: bool,
}

/// Why a sweep broke off. What it did is done, and the next goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// The gatekeeper has no [state](crate::GatekeeperBuilder::state).
    #[error("a sweep needs a state, in which it keeps what it knows")]
    NoState,
    /// The directory can't list its accounts.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The state failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// What would be done could not be recorded, so it was not done.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// A sweep, to be run once or in the background.
///
/// ```no_run
/// # async fn run(gatekeeper: reset_gatekeeper::Gatekeeper) -> Result<(), Box<dyn std::error::Error>> {
/// let summary = gatekeeper.sweep().await?;
/// println!("{} of {} addresses un-verified", summary.unverified, summary.verified);
///
/// let sweeping = gatekeeper.sweep().start();
/// // … serve …
/// sweeping.stop().await;
/// # Ok(()) }
/// ```
#[must_use = "a sweep does nothing until it is awaited or started"]
pub struct Sweep {
    gatekeeper: Gatekeeper,
    settings: SweepSettings,
    told: Arc<Told>,
    is_watched: bool,
}

type Told = dyn Fn(SweepEvent) + Send + Sync;

impl Sweep {
    /// How it is done.
    pub fn settings(mut self, settings: SweepSettings) -> Self {
        // Nothing may be added to a moment beyond what it can hold.
        let (every, recheck_after) = (settings.every.min(LONGEST), settings.recheck_after.min(LONGEST));
        let rate = settings.rate.map(|rate| if rate.is_finite() { rate.clamp(SLOWEST, FASTEST) } else { SLOWEST });
        self.settings = SweepSettings { every, recheck_after, rate, ..settings };
        self
    }

    /// Who is told how it goes. Called often; it must not block.
    pub fn told(mut self, told: impl Fn(SweepEvent) + Send + Sync + 'static) -> Self {
        (self.told, self.is_watched) = (Arc::new(told), true);
        self
    }

    /// One round: goes through all accounts, looks at every domain that is due, and un-verifies what must be. `stop` ends it early, leaving everything in order.
    ///
    /// Cancel safe: what was leased when it is dropped is due again a minute later.
    ///
    /// # Errors
    /// Where it had to break off.
    pub async fn round(&self, stop: impl Future<Output = ()> + Send) -> Result<SweepSummary, SweepError> {
        let stopping = Stopping::new();
        let round = pin!(self.whole_round(&stopping));
        match select(round, pin!(stop)).await {
            Either::Left((done, _)) => done,
            Either::Right(((), round)) => {
                stopping.stop();
                round.await
            }
        }
    }

    /// Runs in the background until it is stopped: rounds every so often, and a look at each domain as soon as it is due.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(self) -> Sweeping {
        let stopping = Stopping::new();
        let task = tokio::spawn(self.run(stopping.clone()));
        Sweeping { stopping, task }
    }

    async fn whole_round(&self, stopping: &Stopping) -> Result<SweepSummary, SweepError> {
        let round = Arc::new(Round::of(self, stopping.clone())?);
        // Who starts a sweep by hand wants to know about those that failed before.
        round.state.retry_failed(round.due_by).await?;
        round.whole(true).await
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

/// One whole round.
impl IntoFuture for Sweep {
    type Output = Result<SweepSummary, SweepError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.round(pending()).await })
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

impl Gatekeeper {
    /// A sweep over all accounts of the directory. It needs a [state](crate::GatekeeperBuilder::state).
    pub fn sweep(&self) -> Sweep {
        Sweep { gatekeeper: self.clone(), settings: SweepSettings::default(), told: Arc::new(drop), is_watched: false }
    }
}

/// One round, and all that it works with.
struct Round {
    inner: Arc<Inner>,
    state: State,
    source: Arc<dyn DomainSource>,
    settings: SweepSettings,
    told: Arc<Told>,
    is_watched: bool,
    /// Who looks.
    worker: Uuid,
    /// What was due by then is looked at.
    due_by: SystemTime,
    rations: Rations,
    /// Held by every question that is under way.
    asking: Semaphore,
    /// Servers whose failure was recorded.
    failing: Mutex<HashSet<String>>,
    stopping: Stopping,
}

impl Round {
    fn of(sweep: &Sweep, stopping: Stopping) -> Result<Self, SweepError> {
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

    fn now(&self) -> SystemTime {
        self.inner.clock.now()
    }

    /// Undoes what a clock that was ahead put off, and a longer `recheck_after`.
    async fn set_right(&self) -> Result<(), SweepError> {
        Ok(self.state.clamp_due(self.due_by, self.settings.recheck_after.max(LONGEST_RETRY) + LEASE).await?)
    }

    /// Discovery, looks and un-verification. It `waits` also for what others look at.
    async fn whole(self: &Arc<Self>, waits: bool) -> Result<SweepSummary, SweepError> {
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

    fn is_first_failure_of(&self, server: &str) -> bool {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).insert(server.to_owned())
    }
}
