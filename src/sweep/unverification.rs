//! Takes the verification of addresses away whose domain has lapsed or was registered anew: one pass through all accounts, each judged by itself.
//!
//! 1. What is to be done is weighed first: above the brake's share of accounts, nothing is.
//! 2. The record of an un-verification is kept before it is done. One that is done twice is recorded twice, and is none the second time.
//! 3. A pass that breaks off begins anew: whose address is un-verified already is left alone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::look::sighting;
use super::round::Round;
use super::{LEASE, LONGEST, SweepError, SweepEvent};
use crate::account::{Account, AccountId, DirectoryError};
use crate::address::{Mailbox, RegistrableDomain};
use crate::audit::{DomainRecord, Event, Record};
use crate::domain::Standing;
use crate::domain::cache::Remembered;
use crate::state::{Begun, Outlook, Pass, Progress};
use crate::verdict::Reason;

/// So few accounts are un-verified whatever their share: of a handful, one is many.
const FEW: u64 = 20;

/// How many accounts are un-verified at a time.
const AT_ONCE: usize = 8;

/// How many domains' names are read at once.
const NAMES: usize = 1_000;

/// How long to wait for another that un-verifies.
const PAUSE: Duration = Duration::from_millis(500);

/// How many are un-verified before the pass is leased for longer.
const PORTION: usize = 100;

/// So many un-verifications may fail one after the other before the directory counts as failing.
const FAILURES: u64 = 50;

/// How it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unverified {
    pub(super) unverified: u64,
    pub(super) would_unverify: u64,
    /// Accounts that the directory failed to un-verify.
    pub(super) failed: u64,
    pub(super) is_braked: bool,
}

type Names = HashSet<RegistrableDomain, foldhash::quality::RandomState>;

/// An account whose address is to lose its verification.
struct Due {
    account: Account,
    domain: RegistrableDomain,
    reason: Reason,
    record: Record,
}

/// What a pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To un-verify, as the pass of this number.
    Unverify(u64),
    /// To tell who would be.
    Tell,
    /// To count them.
    Count,
}

/// What a pass did.
#[derive(Debug, Default)]
struct Gone {
    count: u64,
    failed: u64,
    failed_in_a_row: u64,
    /// Domains that stay found, since something of them is not done.
    left: Names,
}

impl Round {
    /// Un-verifies what was found, by whomever.
    pub(super) async fn unverify(&self) -> Result<Unverified, SweepError> {
        let mut outcome = Unverified::default();
        while !self.stopping.is_wished() && !self.state.found(None, 1).await?.is_empty() {
            let outlook = self.state.outlook(self.due_by, self.now()).await?;
            if self.settings.dry_run {
                // Where nobody listens, how many there are at most is all that is to be known.
                outcome.would_unverify =
                    if self.is_watched { self.go_through_accounts(Purpose::Tell).await?.count } else { outlook.found_accounts };
                break;
            }
            if let Some(would_unverify) = self.brake(&outlook).await? {
                return Ok(Unverified { would_unverify, is_braked: true, ..outcome });
            }
            // That anything is found says that no pass before is enough.
            let (now, never) = (self.now(), self.now() + LONGEST);
            match self.state.begin_pass(Pass::Unverification, never, now, LEASE).await? {
                Begun::Mine { number, .. } => {
                    let gone = self.go_through_accounts(Purpose::Unverify(number)).await;
                    if gone.is_err() {
                        self.leave(Pass::Unverification, number).await;
                    }
                    let gone = gone?;
                    // What was allowed to be beyond the brake is no part of what comes later.
                    if !self.settings.beyond_brake && gone.count > 0 {
                        self.state.count_unverified(gone.count, self.now()).await?;
                    }
                    outcome.unverified += gone.count;
                    outcome.failed += gone.failed;
                    // What can't be done now is not tried again at once.
                    if gone.failed > 0 || !gone.left.is_empty() {
                        break;
                    }
                }
                Begun::Others(_) | Begun::Done(_) => self.stopping.pause(PAUSE).await,
            }
        }
        Ok(outcome)
    }

    /// How many would be un-verified, where they are too many.
    async fn brake(&self, outlook: &Outlook) -> Result<Option<u64>, SweepError> {
        let is_beyond = |count: u64| {
            #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
            let share = count as f64 / (outlook.accounts as f64).max(1.0);
            count > FEW && share > self.settings.brake
        };
        // Those of the last day count too, or a broken source would take all in small helpings.
        let recent = self.state.count_unverified(0, self.now()).await?;
        // Not all accounts on a domain need be concerned, so only where they might be too many are they counted.
        if self.settings.beyond_brake || !is_beyond(outlook.found_accounts + recent) {
            return Ok(None);
        }
        let (would_unverify, accounts) = (self.go_through_accounts(Purpose::Count).await?.count, outlook.accounts);
        if !is_beyond(would_unverify + recent) {
            return Ok(None);
        }
        tracing::error!(would_unverify, accounts, "a sweep would un-verify too many accounts, and un-verifies none: is a source broken?");
        (self.told)(SweepEvent::Braked { would_unverify, accounts });
        Ok(Some(would_unverify))
    }

    async fn go_through_accounts(&self, purpose: Purpose) -> Result<Gone, SweepError> {
        let mut names = self.found().await?;
        let (mut after, mut accounts, mut gone) = (None::<AccountId>, 0, Gone::default());
        loop {
            let page = self.page(after.as_ref()).await?;
            let Some(last) = page.last().map(|account| account.id.clone()) else { break };
            accounts += page.len() as u64;
            let mut due = self.due(page, &names, &mut gone).await;
            while !due.is_empty() {
                let rest = due.split_off(due.len().min(PORTION));
                self.carry_out(std::mem::replace(&mut due, rest), purpose, &mut gone).await?;
                if !self.is_ours(purpose, after.as_ref(), accounts).await? {
                    return Ok(gone);
                }
            }
            after = Some(last);
            if !self.is_ours(purpose, after.as_ref(), accounts).await? {
                return Ok(gone);
            }
            if self.stopping.is_wished() {
                if let Purpose::Unverify(number) = purpose {
                    self.state.leave_pass(Pass::Unverification, number).await?;
                }
                return Ok(gone);
            }
        }
        if let Purpose::Unverify(number) = purpose {
            names.retain(|name| !gone.left.contains(name));
            let names: Vec<_> = names.into_iter().collect();
            self.state.end_unverification(number, &names, || self.now(), LEASE).await?;
        }
        Ok(gone)
    }

    /// Leases the pass for longer, and says whether it still is this sweep's.
    async fn is_ours(&self, purpose: Purpose, after: Option<&AccountId>, accounts: u64) -> Result<bool, SweepError> {
        match (purpose, after) {
            (Purpose::Unverify(number), Some(after)) => {
                let progress = Progress { found: &[], after, accounts };
                Ok(self.state.advance(Pass::Unverification, number, &progress, self.now(), LEASE).await?)
            }
            (Purpose::Unverify(_) | Purpose::Tell | Purpose::Count, _) => Ok(true),
        }
    }

    /// The domains whose addresses are to lose their verification.
    async fn found(&self) -> Result<Names, SweepError> {
        let (mut names, mut after) = (Names::default(), None);
        loop {
            let page = self.state.found(after.as_ref(), NAMES).await?;
            let Some((last, _)) = page.last() else { return Ok(names) };
            after = Some(last.clone());
            names.extend(page.into_iter().map(|(name, _)| name));
        }
    }

    /// Those of `page` whose address is to lose its verification, each by its own time of verification.
    async fn due(&self, page: Vec<Account>, names: &Names, gone: &mut Gone) -> Vec<Due> {
        let (mut due, mut known) = (Vec::new(), HashMap::new());
        for account in page.into_iter().filter(|account| account.verified) {
            let Ok(mailbox) = Mailbox::parse(&account.email) else { continue };
            let Some(domain) = names.get(mailbox.domain()) else { continue };
            if !known.contains_key(domain) {
                known.insert(domain, self.known(domain).await);
            }
            let Some(known) = known.get(domain).and_then(Option::as_ref) else {
                gone.left.insert(domain.clone());
                continue;
            };
            let now = self.now();
            let verdict = self.verdict_of(account.verified_by(now), known, now);
            if let Some(reason) = verdict.unverify() {
                let standing = verdict.standing().unwrap_or(Standing::Unknown);
                let domain_record = DomainRecord::new(domain.as_str(), standing, Some(&sighting(known)));
                let record = self.inner.record_of(Event::EmailUnverified, &verdict, Some(account.clone()), Some(domain_record), true);
                due.push(Due { account, domain: domain.clone(), reason, record });
            }
        }
        due
    }

    /// What is known of `domain`. `None` where it can't be read.
    async fn known(&self, domain: &RegistrableDomain) -> Option<Remembered> {
        self.state.domain(domain).await.unwrap_or_else(|error| {
            tracing::error!(%domain, error = &error as &dyn std::error::Error, "its addresses stay verified although they may not");
            None
        })
    }

    async fn carry_out(&self, due: Vec<Due>, purpose: Purpose, gone: &mut Gone) -> Result<(), SweepError> {
        if let Purpose::Unverify(_) = purpose {
            self.inner.keep(due.iter().map(|due| due.record.clone()).collect()).await?;
        }
        let mut done = stream::iter(due)
            .map(|due| async move {
                let is_done = match purpose {
                    Purpose::Unverify(_) => self.take_away(&due).await,
                    Purpose::Tell | Purpose::Count => Ok(true),
                };
                (due, is_done)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((due, is_done)) = done.next().await {
            match is_done {
                Ok(is_done) => {
                    (gone.count, gone.failed_in_a_row) = (gone.count + u64::from(is_done), 0);
                    if is_done && purpose != Purpose::Count {
                        (self.told)(SweepEvent::Unverified { account: due.account, domain: due.domain, reason: due.reason });
                    }
                }
                Err(error) => {
                    gone.failed += 1;
                    gone.failed_in_a_row += 1;
                    gone.left.insert(due.domain);
                    if gone.failed_in_a_row >= FAILURES {
                        return Err(error.into());
                    }
                    let account = due.account.id;
                    tracing::error!(%account, error = &error as &dyn std::error::Error, "the address stays verified although it must not");
                }
            }
        }
        Ok(())
    }

    async fn take_away(&self, due: &Due) -> Result<bool, DirectoryError> {
        let is_done = self.inner.unverify(&due.account, due.reason).await?;
        if !is_done {
            tracing::warn!(account = %due.account.id, "the directory has the account no longer as it was listed, so it is left as it is");
        }
        Ok(is_done)
    }
}
