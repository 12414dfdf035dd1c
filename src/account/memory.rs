//! A directory in memory: for tests, for benchmarks, and to learn the port from.

use async_trait::async_trait;
use dashmap::DashMap;

use crate::account::{Account, AccountId, Directory, DirectoryError};
use crate::identifier::Identifier;
use crate::verdict::Reason;

/// Accounts in memory, found by address whatever its case.
#[derive(Debug, Default)]
pub struct MemoryDirectory {
    accounts: DashMap<String, Vec<Account>, foldhash::quality::RandomState>,
}

impl MemoryDirectory {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an account, or replaces the one with the same key and address.
    pub fn insert(&self, account: Account) {
        let mut rows = self.accounts.entry(account.email.to_ascii_lowercase()).or_default();
        rows.retain(|row| row.id != account.id);
        rows.push(account);
    }
}

impl FromIterator<Account> for MemoryDirectory {
    fn from_iter<I: IntoIterator<Item = Account>>(accounts: I) -> Self {
        let directory = Self::new();
        accounts.into_iter().for_each(|account| directory.insert(account));
        directory
    }
}

#[async_trait]
impl Directory for MemoryDirectory {
    async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        let mut found = Vec::new();
        match identifier {
            Identifier::Email(mailbox) => {
                for spelling in mailbox.spellings() {
                    if let Some(rows) = self.accounts.get(&spelling) {
                        found.extend_from_slice(&rows);
                    }
                }
            }
            Identifier::Id(id) => {
                found.extend(self.accounts.iter().flat_map(|rows| rows.iter().find(|row| row.id == *id).cloned()));
            }
            Identifier::Username(_) | Identifier::Token(_) => return Err(DirectoryError::Unsupported(identifier.kind())),
        }
        Ok(found)
    }

    async fn unverify(&self, account: &Account, _reason: Reason) -> Result<bool, DirectoryError> {
        let Some(mut rows) = self.accounts.get_mut(&account.email.to_ascii_lowercase()) else { return Ok(false) };
        let row = rows.iter_mut().find(|row| *row == account && row.verified);
        Ok(row.map(|row| row.verified = false).is_some())
    }

    async fn page(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, DirectoryError> {
        let rows = self.accounts.iter().flat_map(|rows| rows.clone());
        let mut page: Vec<_> = rows.filter(|row| after.is_none_or(|after| row.id > *after)).collect();
        page.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        page.truncate(limit);
        Ok(page)
    }
}
