//! Finds the domains: one pass through all accounts of the directory, in constant memory, by whoever of those that share the state comes first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;
use std::time::{Duration, SystemTime};

use super::round::Round;
use super::{LEASE, SweepError, SweepEvent};
use crate::account::{Account, AccountId, DirectoryError};
use crate::address::{Mailbox, RegistrableDomain};
use crate::clock::within;
use crate::state::{Begun, Discovered, Pass, Progress};

/// How many accounts are read at once.
const PAGE: usize = 2_000;

/// How long the directory may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// After how many domains or accounts, or how long, what was found is written.
const DOMAINS: usize = 5_000;
const ACCOUNTS: u64 = 200_000;
const SPAN: Duration = Duration::from_secs(10);

/// How long to wait for another that goes through the accounts.
const PAUSE: Duration = Duration::from_millis(500);

impl Round {
    /// Goes through all accounts, or waits until another has, and says how many there are and how many domains vanished.
    pub(super) async fn discover(&self) -> Result<(u64, u64), SweepError> {
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
    async fn go_through(&self, number: u64, after: Option<AccountId>, accounts: u64) -> Result<Option<(u64, u64)>, SweepError> {
        let mut tally = Tally { after, accounts, written: accounts, written_at: self.now(), domains: HashMap::default() };
        loop {
            let page = self.page(tally.after.as_ref()).await?;
            let is_last = page.is_empty();
            tally.add(page, self.now());
            let is_stopped = self.stopping.is_wished();
            if is_last || is_stopped || tally.is_full(self.now()) {
                if let Some(after) = &tally.after {
                    let found: Vec<_> = mem::take(&mut tally.domains).into_values().collect();
                    let progress = Progress { found: &found, after, accounts: tally.accounts };
                    if !self.state.advance(Pass::Discovery, number, &progress, self.now(), LEASE).await? {
                        return Ok(None);
                    }
                }
                (tally.written, tally.written_at) = (tally.accounts, self.now());
                (self.told)(SweepEvent::Discovering { accounts: tally.accounts });
            }
            if is_last {
                let vanished = self.state.end_discovery(number, || self.now(), LEASE).await?;
                return Ok(vanished.map(|vanished| (tally.accounts, vanished)));
            }
            if is_stopped {
                self.state.leave_pass(Pass::Discovery, number).await?;
                return Ok(None);
            }
        }
    }
}

/// Whether the directory has no such key as the one that a pass was to go on after: another directory gave it, or one with keys of another kind.
fn is_no_key(error: &SweepError, after: Option<&AccountId>) -> bool {
    matches!(error, SweepError::Directory(DirectoryError::NoKey(key)) if Some(key) == after)
}

/// What was found since it was last written.
struct Tally {
    /// The last account.
    after: Option<AccountId>,
    accounts: u64,
    written: u64,
    written_at: SystemTime,
    domains: HashMap<RegistrableDomain, Discovered, foldhash::quality::RandomState>,
}

impl Tally {
    fn add(&mut self, page: Vec<Account>, now: SystemTime) {
        for account in page {
            self.accounts += 1;
            // An address that is none has no domain, and its resets are refused.
            if account.verified
                && let Ok(mailbox) = Mailbox::parse(&account.email)
            {
                self.count(mailbox.domain(), account.verified_by(now));
            }
            self.after = Some(account.id);
        }
    }

    fn count(&mut self, domain: &RegistrableDomain, verified_at: Option<SystemTime>) {
        let found = match self.domains.entry(domain.clone()) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => place.insert(Discovered { domain: domain.clone(), accounts: 0, verified_from: None, undated: 0 }),
        };
        found.accounts += 1;
        found.undated += u64::from(verified_at.is_none());
        found.verified_from = [found.verified_from, verified_at].into_iter().flatten().min();
    }

    fn is_full(&self, now: SystemTime) -> bool {
        let is_late = now.duration_since(self.written_at).is_ok_and(|span| span >= SPAN);
        self.domains.len() >= DOMAINS || self.accounts - self.written >= ACCOUNTS || is_late
    }
}
