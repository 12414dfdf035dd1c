//! Finds the domains: one pass through all accounts of the directory, by whoever of those that share the state comes first.
//!
//! While one page is counted, the next is read; and while what was counted is written, so are more. That takes constant memory: two batches of [`HOSTS`] mail domains
//! and some pages, however many accounts and domains there are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::round::Round;
use super::{LEASE, SweepError, SweepEvent};
use crate::account::{Account, AccountId, DirectoryError};
use crate::address::{Mailbox, plain_host};
use crate::clock::within;
use crate::state::{Begun, Count, Discovered, Pass, Progress};

/// How many accounts are read at once.
const PAGE: usize = 2_000;

/// How long the directory may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many pages are read ahead.
const READ_AHEAD: usize = 2;

/// After how many mail domains, or how long, what was found is written. Each domain is written once in a batch, so the larger it is, the less is written; but in
/// SQLite others wait for the file meanwhile.
const HOSTS: usize = 20_000;
const SPAN: Duration = Duration::from_secs(10);

/// How long to wait for another that goes through the accounts.
const PAUSE: Duration = Duration::from_millis(500);

impl Round {
    /// Goes through all accounts, or waits until another has, and says how many there are and how many domains vanished.
    pub(super) async fn discover(self: &Arc<Self>) -> Result<(u64, u64), SweepError> {
        while !self.stopping.is_wished() {
            match self.state.begin_pass(Pass::Discovery, self.due_by, self.now(), LEASE).await? {
                Begun::Mine { number, after, accounts } => {
                    let done = self.go_through(number, after.clone(), accounts).await;
                    if let Err(error) = &done {
                        if is_no_key(error, after.as_ref()) {
                            tracing::warn!("the accounts are gone through from the first on, since their keys are others than they were");
                            self.state.give_up_pass(Pass::Discovery, number).await?;
                            continue;
                        }
                        self.leave(Pass::Discovery, number).await;
                    }
                    if let Some(vanished) = done? {
                        return Ok(vanished);
                    }
                }
                Begun::Others(accounts) => {
                    (self.told)(SweepEvent::Discovering { accounts });
                    self.stopping.pause(PAUSE).await;
                }
                Begun::Done(accounts) => return Ok((accounts, 0)),
            }
        }
        Ok((0, 0))
    }

    /// The accounts after `after`. None where there are no more.
    ///
    /// Several rows may have one key, as where one account has several addresses, and a page may end among them: the last key's are left to the next page, which begins with all of them.
    pub(super) async fn page(&self, after: Option<&AccountId>) -> Result<Vec<Account>, SweepError> {
        let late = |_| Err(DirectoryError::Timeout { operation: "listing accounts" });
        let mut page = within(PATIENCE, self.inner.directory.page(after, PAGE)).await.unwrap_or_else(late)?;
        let Some(last) = page.last().map(|account| account.id.clone()) else { return Ok(page) };
        // Such a pass would never end.
        if Some(&last) == after {
            return Err(DirectoryError::unavailable("listing accounts", "a page ends with the account that it was to begin after").into());
        }
        if let Some(others) = page.iter().rposition(|account| account.id != last) {
            page.truncate(others + 1);
        }
        Ok(page)
    }

    /// Lets another go on with a pass that broke off. Where that fails, its lease will end.
    pub(super) async fn leave(&self, pass: Pass, number: u64) {
        if let Err(error) = self.state.leave_pass(pass, number).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a pass that broke off is not given up at once");
        }
    }

    /// `None` where it was stopped, or another took over.
    async fn go_through(self: &Arc<Self>, number: u64, after: Option<AccountId>, accounts: u64) -> Result<Option<(u64, u64)>, SweepError> {
        let mut pages = Pages::of(self, after.clone());
        let mut counted = Batch::new(after, accounts, self.now());
        loop {
            let mut next = Batch::new(counted.after.clone(), counted.accounts, self.now());
            // What was counted is kept even where the directory fails meanwhile.
            let (is_ours, is_last) = join(self.keep(number, counted), self.fill(&mut next, &mut pages)).await;
            if !is_ours? {
                return Ok(None);
            }
            let (is_last, is_stopped) = (is_last?, self.stopping.is_wished());
            if is_last || is_stopped {
                let accounts = next.accounts;
                if !self.keep(number, next).await? {
                    return Ok(None);
                }
                if is_last {
                    let vanished = self.state.end_discovery(number, || self.now(), LEASE).await?;
                    return Ok(vanished.map(|vanished| (accounts, vanished)));
                }
                self.state.leave_pass(Pass::Discovery, number).await?;
                return Ok(None);
            }
            counted = next;
        }
    }

    /// Counts until the batch is full, the sweep is to stop, or there are no more accounts, and says whether that is so.
    async fn fill(&self, batch: &mut Batch, pages: &mut Pages) -> Result<bool, SweepError> {
        while !self.stopping.is_wished() && !batch.is_full(self.now()) {
            match pages.next().await? {
                Some(page) => batch.add(page, self.now()),
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Writes what was counted. `false` where another took over.
    async fn keep(&self, number: u64, batch: Batch) -> Result<bool, SweepError> {
        let (Some(after), accounts) = (batch.after.clone(), batch.accounts) else { return Ok(true) };
        let found = batch.found();
        let progress = Progress { found: &found, after: &after, accounts };
        let is_ours = self.state.advance(Pass::Discovery, number, &progress, self.now(), LEASE).await?;
        (self.told)(SweepEvent::Discovering { accounts });
        Ok(is_ours)
    }
}

/// All accounts, a page at a time. They are read while others are counted, until this is dropped.
struct Pages {
    read: mpsc::Receiver<Result<Vec<Account>, SweepError>>,
    _reading: JoinSet<()>,
}

impl Pages {
    fn of(round: &Arc<Round>, mut after: Option<AccountId>) -> Self {
        let (pages, read) = mpsc::channel(READ_AHEAD);
        let (round, mut reading) = (Arc::clone(round), JoinSet::new());
        reading.spawn(async move {
            loop {
                let page = round.page(after.as_ref()).await;
                let last = page.as_ref().ok().and_then(|page| page.last()).map(|account| account.id.clone());
                // Nobody may be waiting.
                if pages.send(page).await.is_err() || last.is_none() {
                    return;
                }
                after = last;
            }
        });
        Self { read, _reading: reading }
    }

    /// `None` after the last.
    async fn next(&mut self) -> Result<Option<Vec<Account>>, SweepError> {
        match self.read.recv().await.unwrap_or_else(|| Err(DirectoryError::unavailable("listing accounts", "it broke off").into())) {
            Ok(page) => Ok(Some(page).filter(|page| !page.is_empty())),
            Err(error) => Err(error),
        }
    }
}

/// Whether the directory has no such key as the one that a pass was to go on after: another directory gave it, or one with keys of another kind.
fn is_no_key(error: &SweepError, after: Option<&AccountId>) -> bool {
    matches!(error, SweepError::Directory(DirectoryError::NoKey(key)) if Some(key) == after)
}

/// What is counted until it is written.
struct Batch {
    /// The last account.
    after: Option<AccountId>,
    /// How many there were up to it, from the first on.
    accounts: u64,
    began_at: SystemTime,
    /// By mail domain as it is written, so that none need be read twice.
    hosts: HashMap<Box<str>, Discovered, foldhash::quality::RandomState>,
}

impl Batch {
    fn new(after: Option<AccountId>, accounts: u64, now: SystemTime) -> Self {
        Self { after, accounts, began_at: now, hosts: HashMap::default() }
    }

    fn add(&mut self, page: Vec<Account>, now: SystemTime) {
        for account in page {
            self.accounts += 1;
            if account.verified {
                self.count(&account.email, account.verified_by(now));
            }
            self.after = Some(account.id);
        }
    }

    fn count(&mut self, email: &str, verified_at: Option<SystemTime>) {
        let host = plain_host(email);
        if let Some(found) = host.and_then(|host| self.hosts.get_mut(host)) {
            found.count.add_account(verified_at);
            return;
        }
        // An address that is none has no domain, and its resets are refused.
        let Ok(mailbox) = Mailbox::parse(email) else { return };
        let domain = mailbox.domain();
        let found = self.hosts.entry(host.unwrap_or(domain.as_str()).into());
        found.or_insert_with(|| Discovered { domain: domain.clone(), count: Count::default() }).count.add_account(verified_at);
    }

    fn is_full(&self, now: SystemTime) -> bool {
        self.hosts.len() >= HOSTS || now.duration_since(self.began_at).map_or(true, |span| span >= SPAN)
    }

    /// Each domain once, whatever its mail domains.
    fn found(self) -> Vec<Discovered> {
        let mut found: Vec<_> = self.hosts.into_values().collect();
        found.sort_unstable_by(|one, other| one.domain.cmp(&other.domain));
        found.dedup_by(|other, one| {
            let is_same = one.domain == other.domain;
            if is_same {
                one.count.add(other.count);
            }
            is_same
        });
        found
    }
}
