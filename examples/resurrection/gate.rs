//! The real thing: the gatekeeper and its sweep, over the world's accounts and registries.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use reset_gatekeeper::account::{Account, AccountId, Directory, DirectoryError};
use reset_gatekeeper::audit::{AuditError, AuditSink, Record};
use reset_gatekeeper::domain::{History, Sighting};
use reset_gatekeeper::testing::SetClock;
use reset_gatekeeper::{Evidence, Gatekeeper, Identifier, Policy, Reason, State, SweepSettings, Verdict, judge};

use crate::Failure;
use crate::defence::{Answer, Defence};
use crate::registry::Registries;
use crate::world::{World, moment};

/// The application's accounts. A key is an account's number, in ten digits, so that keys are in the order of numbers.
#[derive(Clone)]
struct Accounts {
    world: Arc<World>,
    rows: Arc<Mutex<Rows>>,
}

struct Rows {
    /// Whether an address is verified, and when it was.
    flags: Vec<(bool, i64)>,
    unverified: Vec<u32>,
}

impl Accounts {
    fn new(world: &Arc<World>) -> Self {
        let flags = world.accounts.iter().map(|account| (true, account.verified_at)).collect();
        Self { world: Arc::clone(world), rows: Arc::new(Mutex::new(Rows { flags, unverified: Vec::new() })) }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn row(&self, account: u32, (verified, verified_at): (bool, i64)) -> Account {
        let (id, email) = (format!("{account:010}").into(), self.world.email(account));
        Account { id, email, verified, verified_at: Some(moment(verified_at)) }
    }
}

#[async_trait]
impl Directory for Accounts {
    async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        let Identifier::Email(mailbox) = identifier else { return Err(DirectoryError::Unsupported(identifier.kind())) };
        let number = mailbox.as_str().strip_prefix('u').and_then(|rest| rest.split('@').next()?.parse::<u32>().ok());
        let flags = number.and_then(|number| Some((number, *self.rows().flags.get(number as usize)?)));
        Ok(flags.map(|(number, flags)| self.row(number, flags)).filter(|row| row.email == mailbox.as_str()).into_iter().collect())
    }

    async fn unverify(&self, account: &Account, _: Reason) -> Result<bool, DirectoryError> {
        let Ok(number) = account.id.as_str().parse::<u32>() else { return Ok(false) };
        let mut rows = self.rows();
        let (verified, verified_at) = rows.flags[number as usize];
        if !verified || account.verified_at != Some(moment(verified_at)) {
            return Ok(false);
        }
        rows.flags[number as usize].0 = false;
        rows.unverified.push(number);
        Ok(true)
    }

    async fn page(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, DirectoryError> {
        let first = after.map_or(0, |after| after.as_str().parse::<u32>().map_or(u32::MAX, |number| number + 1));
        let rows = self.rows();
        Ok((first..).zip(rows.flags.iter().skip(first as usize)).take(limit).map(|(number, flags)| self.row(number, *flags)).collect())
    }
}

/// Counts records instead of keeping them.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU64>);

#[async_trait]
impl AuditSink for Count {
    async fn record(&self, records: Vec<Record>) -> Result<(), AuditError> {
        self.0.fetch_add(records.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

pub(crate) struct Gate {
    world: Arc<World>,
    gatekeeper: Gatekeeper,
    registries: Registries,
    accounts: Accounts,
    clock: SetClock,
    policy: Policy,
    records: Count,
    /// How many tasks there are when nothing is under way.
    idle: usize,
}

impl Gate {
    pub(crate) async fn new(world: &Arc<World>) -> Result<Self, Failure> {
        let (clock, policy, records) = (SetClock::at("2026-01-01T00:00:00Z"), Policy::default(), Count::default());
        let registries = Registries::new(Arc::clone(world), clock.clone());
        let accounts = Accounts::new(world);
        let gatekeeper = Gatekeeper::builder()
            .directory(accounts.clone())
            .domains(registries.clone())
            .audit(records.clone())
            .policy(policy.clone())
            .clock(clock.clone())
            .cache_capacity(world.domains.len() + 1)
            .state(State::memory().await?)
            .build()?;
        Ok(Self { world: Arc::clone(world), gatekeeper, registries, accounts, clock, policy, records, idle: usize::MAX })
    }

    /// How many audit records there are.
    pub(crate) fn records(&self) -> u64 {
        self.records.0.load(Ordering::Relaxed)
    }

    /// Waits until what was begun behind a caller's back is done, so that it happens at this moment and in every run alike.
    async fn settle(&mut self) {
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        while alive() > self.idle {
            tokio::task::yield_now().await;
        }
    }
}

impl Defence for Gate {
    fn name(&self) -> &'static str {
        "reset-gatekeeper"
    }

    async fn day(&mut self, now: i64) -> Result<(), Failure> {
        self.clock.set(moment(now));
        let mut settings = SweepSettings::default();
        settings.rate = None;
        self.gatekeeper.sweep().settings(settings).await?;
        Ok(())
    }

    async fn reset(&mut self, account: u32, now: i64) -> Result<Answer, Failure> {
        self.clock.set(moment(now));
        let verdict = self.gatekeeper.assess(&self.world.email(account)).await?;
        if self.idle == usize::MAX {
            // What the first request sets going and never ends.
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            self.idle = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        }
        self.settle().await;
        Ok(answer(&verdict))
    }

    async fn verified(&mut self, account: u32, now: i64) -> Result<(), Failure> {
        self.clock.set(moment(now));
        self.accounts.rows().flags[account as usize] = (true, now);
        // Where the domain can't be looked at now, the next look sets the baseline.
        drop(self.gatekeeper.record_verification(&self.world.email(account)).await);
        self.settle().await;
        Ok(())
    }

    /// By the same judgement, of what is shown at that moment beside what was seen up to then.
    fn blocks(&self, account: u32, now: i64) -> bool {
        let (verified, verified_at) = self.accounts.rows().flags[account as usize];
        let domain = self.world.accounts[account as usize].domain;
        if !verified {
            return true;
        }
        let Ok(report) = self.world.report(domain, now) else { return true };
        let now = moment(now);
        let history = self.registries.seen(domain).map_or_else(|| History::beginning(&report, now), |seen| seen.after(&report, now));
        let mail = report.mail;
        let mut sighting = Sighting::first(report, now);
        sighting.history = Arc::new(history);
        let evidence = Evidence {
            verified,
            verified_at: Some(moment(verified_at)),
            requested_is_stored: true,
            domain: Some(&sighting),
            mail,
            over_limit: false,
        };
        !judge(&self.policy, &evidence, now).is_allowed()
    }

    fn unverified(&mut self) -> Vec<u32> {
        let mut unverified = std::mem::take(&mut self.accounts.rows().unverified);
        // Several are un-verified side by side.
        unverified.sort_unstable();
        unverified
    }

    fn asked(&self) -> (u64, u64) {
        self.registries.asked()
    }
}

/// The reason that decides, if there is one.
fn answer(verdict: &Verdict) -> Answer {
    verdict.reasons().first().map_or(Ok(()), |reason| Err(reason.as_str()))
}
