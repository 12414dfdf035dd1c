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

mod background;
mod discovery;
mod look;
mod looks;
mod ration;
mod round;
mod schedule;
mod stopping;
mod unverification;

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use serde::Serialize;

pub use self::background::Sweeping;
use self::round::Round;
use self::stopping::Stopping;
use crate::account::{Account, DirectoryError};
use crate::address::RegistrableDomain;
use crate::audit::AuditError;
use crate::gatekeeper::Gatekeeper;
use crate::metrics;
use crate::state::StateError;
use crate::verdict::Reason;

/// How long what was leased is another's to do after its worker died.
const LEASE: Duration = Duration::from_secs(60);

/// A server is asked once a day at least, and a million times a second at most.
const SLOWEST: f64 = 1.0 / 86_400.0;
const FASTEST: f64 = 1e6;

/// Nothing is put off for longer.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

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
    /// Domains that were not due yet, or that another process had looked at: their accounts are judged by what was last seen.
    pub not_due: u64,
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
        self.told = Arc::new(move |event| {
            metrics::swept(&event);
            told(event);
        });
        self.is_watched = true;
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

    async fn whole_round(&self, stopping: &Stopping) -> Result<SweepSummary, SweepError> {
        let round = Arc::new(Round::of(self, stopping.clone())?);
        // Who starts a sweep by hand wants to know about those that failed before.
        round.state.retry_failed(round.due_by).await?;
        round.whole(true).await
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

impl Gatekeeper {
    /// A sweep over all accounts of the directory. It needs a [state](crate::GatekeeperBuilder::state).
    pub fn sweep(&self) -> Sweep {
        Sweep {
            gatekeeper: self.clone(),
            settings: SweepSettings::default(),
            told: Arc::new(|event| metrics::swept(&event)),
            is_watched: false,
        }
    }
}
