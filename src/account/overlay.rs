//! Un-verifications kept in the [`State`], laid over a directory whose own flag can't be written.
//!
//! 1. An entry applies to a row only while the row's address is the entry's, ASCII case aside.
//! 2. A row was verified at the later of its own time and the entry's.
//! 3. A row is un-verified where the entry says so, unless the row's own time is later: then the application verified the address again.
//! 4. Where the directory can un-verify an account itself, it does; else, also where it says so only when it is asked, the state keeps it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::account::{Account, AccountId, Directory, DirectoryError};
use crate::clock::Clock;
use crate::identifier::{Identifier, Identifies};
use crate::state::{State, StateError, Unverification};
use crate::verdict::Reason;

/// By how much the application's clock may be ahead of ours.
const DAY: Duration = Duration::from_secs(86_400);

/// A directory, and what the state knows about its accounts.
pub struct Overlay<D> {
    directory: D,
    state: State,
    clock: Box<dyn Clock>,
    unverifies: bool,
}

impl<D: Directory> Overlay<D> {
    /// Lays `state` over `directory`, which un-verifies accounts itself where `unverifies` says so.
    #[must_use]
    pub fn new(directory: D, state: State, clock: impl Clock, unverifies: bool) -> Self {
        Self { directory, state, clock: Box::new(clock), unverifies }
    }

    /// Says that the address `email` was verified again, now: ends an un-verification that the state keeps, and is when its accounts were verified from here on.
    ///
    /// Only accounts whose stored address is `email`, ASCII case and the form of its domain aside, are meant. `false` where there is none. A flag that the
    /// directory itself took away stays away: it is the application's to give back.
    ///
    /// # Errors
    /// Where the directory can't tell, or the state can't be written.
    pub async fn verified(&self, email: &str) -> Result<bool, DirectoryError> {
        let Ok(identifier) = Identifier::parse(Identifies::Email, email) else { return Ok(false) };
        let Identifier::Email(mailbox) = &identifier else { return Ok(false) };
        let mut accounts = self.directory.find(&identifier).await?;
        accounts.retain(|account| mailbox.equals(&account.email));
        self.state.verify(&accounts, self.clock.now()).await.map_err(unavailable("verifying an account"))?;
        Ok(!accounts.is_empty())
    }

    /// `rows` as they are with what the state knows. One query, and none about no rows.
    async fn laid_over(&self, mut rows: Vec<Account>) -> Result<Vec<Account>, DirectoryError> {
        if !rows.is_empty() {
            let now = self.clock.now();
            let entries = self.state.unverifications(&rows).await.map_err(unavailable("reading un-verifications"))?;
            let mut by_account = HashMap::<_, Vec<_>>::new();
            for entry in &entries {
                by_account.entry(&entry.account).or_default().push(entry);
            }
            for row in &mut rows {
                if let Some(entry) = by_account.get(&row.id).and_then(|entries| entries.iter().find(|entry| is_about(entry, row))) {
                    apply(entry, row, now);
                }
            }
        }
        Ok(rows)
    }

    /// The directory's own row of `account`, if it still is `account` with what the state knows. `Unsupported` where it is found neither by key nor by address.
    async fn row(&self, account: &Account) -> Result<Option<Account>, DirectoryError> {
        let rows = match self.directory.find(&Identifier::Id(account.id.clone())).await {
            Err(DirectoryError::Unsupported(_)) => match Identifier::parse(Identifies::Email, &account.email) {
                Ok(by_email) => self.directory.find(&by_email).await?,
                Err(_) => Vec::new(),
            },
            found => found?,
        };
        let laid_over = self.laid_over(rows.clone()).await?;
        Ok(rows.into_iter().zip(laid_over).find(|(_, laid_over)| laid_over.verified && laid_over == account).map(|(row, _)| row))
    }
}

#[async_trait]
impl<D: Directory> Directory for Overlay<D> {
    fn admits(&self, id: &AccountId) -> bool {
        self.directory.admits(id)
    }

    async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        self.laid_over(self.directory.find(identifier).await?).await
    }

    async fn unverify(&self, account: &Account, reason: Reason) -> Result<bool, DirectoryError> {
        // Before the row is read again: what is verified after this moment has a later time.
        let at = self.clock.now();
        let row = match self.row(account).await {
            // It can't be read again, so it counts as unchanged.
            Err(DirectoryError::Unsupported(_)) => account.clone(),
            row => match row? {
                Some(row) => row,
                None => return Ok(false),
            },
        };
        if self.unverifies {
            match self.directory.unverify(&row, reason).await {
                // It turns out only now that it can't.
                Err(DirectoryError::NoQuery(_)) => {}
                outcome => return outcome,
            }
        }
        self.state.unverify(account, reason, at).await.map_err(unavailable("un-verifying an account"))
    }

    async fn page(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, DirectoryError> {
        let rows = self.directory.page(after, limit).await?;
        // A page has thousands of them, and the state mostly knows of none: a directory that un-verifies itself leaves nothing to keep.
        let is_overlaid = !rows.is_empty() && self.state.has_unverifications().await.map_err(unavailable("reading un-verifications"))?;
        if is_overlaid { self.laid_over(rows).await } else { Ok(rows) }
    }
}

fn unavailable(operation: &'static str) -> impl FnOnce(StateError) -> DirectoryError {
    move |error| DirectoryError::unavailable(operation, error)
}

fn is_about(entry: &Unverification, row: &Account) -> bool {
    entry.account == row.id && entry.email.eq_ignore_ascii_case(&row.email)
}

/// A time of the future is no time of a verification.
fn apply(entry: &Unverification, row: &mut Account, now: SystemTime) {
    let is_newer = |at: SystemTime| row.verified_at.is_some_and(|own| own > at && own <= now + DAY);
    if entry.unverified_at.is_some_and(|at| !is_newer(at)) {
        row.verified = false;
    }
    row.verified_at = row.verified_at.max(entry.verified_at);
}
