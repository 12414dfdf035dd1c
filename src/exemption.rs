//! The one way past a block: an exemption for a domain or an account, until a day.
//!
//! 1. It lets a reset pass that what is known of the account or its domain would block. A request that can't be read, an address that differs from the
//!    directory's, and requests beyond the guard's limit stay blocked.
//! 2. It ends by itself, after 90 days at the latest.
//! 3. It says who gave it and why, and each use of it is recorded.
//! 4. It is for who held the domain when it was given: one that was registered anew or changed hands since is blocked again.
//! 5. It takes nothing else back: an address on a lapsed domain loses its verification all the same.

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod giving;

use std::error::Error;
use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::account::{AccountId, Directory, DirectoryError};
use crate::address::{AddressError, Mailbox, RegistrableDomain};
use crate::identifier::{Identifier, Identifies};

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use giving::name;

/// What an exemption is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exempt {
    /// All accounts whose address is on this registrable domain.
    Domain(RegistrableDomain),
    /// The account with this key.
    Account(AccountId),
}

/// An exemption that is to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewExemption {
    /// Whom it is for.
    pub exempt: Exempt,
    /// When it ends: 90 days from now at the latest.
    pub until: SystemTime,
    /// Why it is given, in at most 500 characters on one line.
    pub reason: String,
    /// Who gives it, in at most 100 characters.
    pub by: String,
}

/// A leave to pass, as it stands in the state and in the record of each use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exemption {
    /// A UUID of version 7, by which it is taken back.
    pub id: Uuid,
    /// Whom it is for.
    #[serde(flatten)]
    pub exempt: Exempt,
    /// When it ends.
    #[serde(with = "crate::clock::moment")]
    pub until: SystemTime,
    /// Why it was given.
    pub reason: String,
    /// Who gave it.
    pub by: String,
    /// When it was given.
    #[serde(with = "crate::clock::moment")]
    pub given_at: SystemTime,
}

/// An exemption as the state keeps it, also when it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeptExemption {
    /// As it was given.
    #[serde(flatten)]
    pub exemption: Exemption,
    /// When it was taken back. `None` where it was not.
    #[serde(with = "crate::clock::text", default)]
    pub removed_at: Option<SystemTime>,
    /// Who took it back.
    pub removed_by: Option<String>,
}

/// Why an exemption can't be given or taken back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExemptionError {
    /// It would end before it begins.
    #[error("it would be over already")]
    Over,
    /// It would last for more than 90 days.
    #[error("it would last for more than 90 days")]
    TooLong,
    /// The key of the account is empty.
    #[error("the account has no key")]
    Nobody,
    /// A text is missing, too long, or holds what can't be seen.
    #[error("{text} {what}")]
    Text {
        /// Which: the reason, or the name of who gives or takes back.
        text: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It could not be kept.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    #[error(transparent)]
    State(#[from] crate::state::StateError),
}

/// Why a text names no one account.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// No account has this address or key.
    #[error("there is no account {0}")]
    Unknown(String),
    /// Several accounts have this address: one of their keys says which is meant.
    #[error("several accounts have the address {address}: say which by its id, of {}", listed(.accounts))]
    Several {
        /// The address.
        address: String,
        /// The keys.
        accounts: Vec<AccountId>,
    },
    /// The directory can't tell.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

fn listed(accounts: &[AccountId]) -> String {
    accounts.iter().map(AccountId::as_str).collect::<Vec<_>>().join(", ")
}

impl Exempt {
    /// All accounts on the registrable domain of `text`, which is an address, a host, or that domain itself.
    ///
    /// # Errors
    /// Where it has none.
    pub fn domain(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let domain = if text.contains('@') { Mailbox::parse(text)?.domain().clone() } else { RegistrableDomain::of(text)? };
        Ok(Self::Domain(domain))
    }

    /// The one account of `directory` that `text` names, by its address or, where no account has it as its address, by its key.
    ///
    /// A key that the directory can't look up is taken for one, and a warning is logged.
    ///
    /// # Errors
    /// Where there is none, or several have that address, or the directory can't tell.
    pub async fn account(text: &str, directory: &(impl Directory + ?Sized)) -> Result<Self, AccountError> {
        let text = text.trim();
        if let Ok(address) = Identifier::parse(Identifies::Email, text) {
            match directory.find(&address).await {
                Ok(accounts) if accounts.is_empty() => {}
                Ok(accounts) => {
                    let mut accounts: Vec<_> = accounts.into_iter().map(|account| account.id).collect();
                    accounts.sort_unstable();
                    accounts.dedup();
                    return match <[AccountId; 1]>::try_from(accounts) {
                        Ok([account]) => Ok(Self::Account(account)),
                        Err(accounts) => Err(AccountError::Several { address: text.to_owned(), accounts }),
                    };
                }
                Err(DirectoryError::Unsupported(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Self::account_by_id(text, directory).await
    }

    /// The account of `directory` whose key is `text`.
    ///
    /// A key that the directory can't look up is taken for one, and a warning is logged.
    ///
    /// # Errors
    /// Where there is none, or the directory can't tell.
    pub async fn account_by_id(text: &str, directory: &(impl Directory + ?Sized)) -> Result<Self, AccountError> {
        let unknown = || AccountError::Unknown(text.to_owned());
        let key = Identifier::parse(Identifies::Id, text).map_err(|_| unknown())?;
        let id = AccountId::from(key.as_str());
        if !directory.admits(&id) {
            return Err(unknown());
        }
        match directory.find(&key).await {
            Ok(accounts) => accounts.into_iter().next().map(|account| Self::Account(account.id)).ok_or_else(unknown),
            Err(DirectoryError::Unsupported(_)) if !text.contains('@') => {
                tracing::warn!(account = %id, "the directory finds no account by its id, so whether there is one is not known");
                Ok(Self::Account(id))
            }
            Err(DirectoryError::Unsupported(_)) => Err(unknown()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Where exemptions are found when something blocks.
#[async_trait]
pub(crate) trait Exemptions: Send + Sync + 'static {
    /// Of those that hold `now` for `account` or for `domain`, the one that was given last, and of such the one that ends last.
    async fn exemption(
        &self,
        account: &AccountId,
        domain: Option<&RegistrableDomain>,
        now: SystemTime,
    ) -> Result<Option<Exemption>, Box<dyn Error + Send + Sync>>;
}

impl KeptExemption {
    /// Whether it lets anybody pass at `now`.
    #[must_use]
    pub fn holds(&self, now: SystemTime) -> bool {
        self.removed_at.is_none() && self.exemption.until > now
    }
}

impl fmt::Display for Exempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => write!(f, "domain {domain}"),
            Self::Account(id) => write!(f, "account {id}"),
        }
    }
}
