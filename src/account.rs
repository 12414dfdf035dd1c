//! Accounts, and the port through which an application's accounts are read: [`Directory`].
//!
//! An adapter answers one question, "which accounts would a reset for this name be mailed for?", takes away one flag, and lists all accounts. It
//! judges nothing: several rows, unverified rows and rows whose address differs from the requested one are all returned as they are stored.
//! A new adapter is a struct with the three methods; [`MemoryDirectory`] is the shortest to learn from, and [`from_fn`] makes one of a function that looks up.
//!
//! The directories in SQL databases use a table of their own, or an application's own tables by its [`Queries`].

#[cfg(any(feature = "http-directory", feature = "postgres", feature = "sqlite"))]
mod columns;
mod function;
#[cfg(feature = "http-directory")]
mod http;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod keys;
mod memory;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod overlay;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod queries;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::identifier::{Identifier, Identifies};
use crate::verdict::Reason;

pub use function::from_fn;
#[cfg(feature = "http-directory")]
pub use http::HttpDirectory;
pub use memory::MemoryDirectory;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use overlay::Overlay;
#[cfg(feature = "postgres")]
pub use postgres::PostgresDirectory;
pub use queries::{IdKind, Queries};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteDirectory;

/// The directory's key of an account, opaque to us: an integer, a UUID or a name, as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountId(String);

impl AccountId {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for AccountId {
    fn from(id: T) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One row of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The directory's key.
    pub id: AccountId,
    /// The address as it is stored, which is the one that a reset would be mailed to and the one that is judged.
    pub email: String,
    /// Whether the address is verified.
    pub verified: bool,
    /// When the address was verified. `None` where the directory doesn't know; the first sight of the domain then stands in for it.
    pub verified_at: Option<SystemTime>,
}

/// By how much the clock of who wrote a verification down may be ahead of ours.
const AHEAD: Duration = Duration::from_secs(86_400);

impl Account {
    /// When the address was verified, as far as that can be at `now`. One of the future, by a clock ahead of ours, counts as one of this moment; one of a later day is no
    /// time of a verification: it would hide every registration to come.
    pub(crate) fn verified_by(&self, now: SystemTime) -> Option<SystemTime> {
        self.verified_at.filter(|at| *at <= now + AHEAD).map(|at| at.min(now))
    }
}

/// Why a directory gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The directory can't be reached, or refused the question.
    #[error("{operation} failed in the directory of accounts")]
    Unavailable {
        /// What was attempted, such as `finding accounts`.
        operation: &'static str,
        /// What the adapter met.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A column holds what can't be read as what it should be.
    #[error("account {id}: column `{column}` holds {found}")]
    Unreadable {
        /// The account in question.
        id: AccountId,
        /// The column.
        column: &'static str,
        /// What stands there, without its content.
        found: String,
    },
    /// A query for the application's own tables can't be used.
    #[error("the query `{query}` {what}")]
    Query {
        /// The query, such as `lookup.email`.
        query: String,
        /// What is wrong with it, such as "has no column `verified`".
        what: String,
        /// What the database said about it.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The directory was given no query for this, or the application doesn't serve it.
    #[error("the directory has no query `{0}`")]
    NoQuery(&'static str),
    /// The application refused to answer, or failed.
    #[error("{url} answered {status}")]
    Refused {
        /// Where it was asked.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The application's address can't be used, or its answer is not what it should be.
    #[error("{url} can't be used: {what}")]
    Unusable {
        /// Where it was, or would be, asked.
        url: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A page was asked for after what is no key of this directory.
    #[error("`{0}` is no key after which accounts could be listed")]
    NoKey(AccountId),
    /// The directory does not know accounts by a name of this kind.
    #[error("the directory finds no account by {0}")]
    Unsupported(Identifies),
    /// The directory did not answer in time.
    #[error("{operation} took too long in the directory of accounts")]
    Timeout {
        /// What was attempted.
        operation: &'static str,
    },
}

impl DirectoryError {
    /// An error of the adapter's own, met while it did `operation`.
    pub fn unavailable(operation: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable { operation, source: source.into() }
    }
}

/// Where the accounts and their verification flags are.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// Whether `id` is written as a key of this directory is: in the one form about which no two programs differ. A request that names its account by
    /// another is refused, since the application may take `042` for 42. Every key is, unless an adapter knows better.
    fn admits(&self, id: &AccountId) -> bool {
        let _ = id;
        true
    }

    /// The accounts that `identifier` names, in any of its [spellings](Identifier::spellings), an address in any case. All are judged, and one that is
    /// blocked blocks the request. "No such account" is the empty list.
    ///
    /// # Errors
    /// Where the directory can't tell. Guarded requests are then answered 503.
    async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError>;

    /// Takes the verification of `account`'s address away for good, and says whether it was this call that took it.
    ///
    /// Does nothing where the stored row is no longer `account` as it was read: already un-verified, another address, or verified again.
    ///
    /// # Errors
    /// Where the flag could not be written.
    async fn unverify(&self, account: &Account, reason: Reason) -> Result<bool, DirectoryError>;

    /// At most `limit` accounts, in the order of their keys, of those whose key comes after `after`; from the first on where that is `None`.
    ///
    /// One key may have several rows, as where an account has several addresses. A page that is full may end among them: whoever goes on after the key before them misses none.
    ///
    /// One row that can't be read must not hide all that come after it. A row whose key can be read but another column can't is given as an account that isn't
    /// verified, without an address and a time of verification, and an error is logged. A row whose key can't be read is an error, as there is no going on after it.
    ///
    /// # Errors
    /// Where the directory can't tell, or `after` is no key of it, which an empty list would hide. What a page gave as a key is one.
    async fn page(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, DirectoryError>;
}

/// Adds to `found` what it lacks. The same key with another address is another row.
fn unite(found: &mut Vec<Account>, account: Account) {
    if !found.contains(&account) {
        found.push(account);
    }
}

#[async_trait]
impl<D: Directory + ?Sized> Directory for Arc<D> {
    fn admits(&self, id: &AccountId) -> bool {
        (**self).admits(id)
    }

    async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        (**self).find(identifier).await
    }

    async fn unverify(&self, account: &Account, reason: Reason) -> Result<bool, DirectoryError> {
        (**self).unverify(account, reason).await
    }

    async fn page(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, DirectoryError> {
        (**self).page(after, limit).await
    }
}
