//! A directory from a function: for accounts that are found by address alone, in whatever way the application has.

use std::error::Error;

use async_trait::async_trait;

use crate::account::{Account, AccountId, Directory, DirectoryError, unite};
use crate::identifier::{Identifier, Identifies};
use crate::verdict::Reason;

struct FromFn<F>(F);

/// A directory that finds accounts by calling `find` with an address.
///
/// `find` gives all accounts that a reset for this address would be mailed for, and none where there is none. It must look for the address as laxly as the application
/// itself does, mostly in any case. It is called for each [spelling](Identifier::spellings) of the requested address in turn, which are one to four.
///
/// It looks up and nothing else. Accounts are not found by other names, can't be [paged](Directory::page) through by a sweep, and keep their verification where it should be
/// taken away: an `Overlay` over it has the state keep what was taken.
///
/// ```
/// # use std::time::SystemTime;
/// # struct User { id: i64, email: String, confirmed_at: Option<SystemTime> }
/// # #[derive(Clone)] struct Users;
/// # impl Users { async fn by_email(&self, email: &str) -> Result<Option<User>, std::io::Error> { let _ = email; Ok(None) } }
/// # let users = Users;
/// use reset_gatekeeper::account::{Account, from_fn};
///
/// let directory = from_fn(move |email: String| {
///     let users = users.clone();
///     async move {
///         let user = users.by_email(&email).await?;
///         Ok::<_, std::io::Error>(user.map(|user| Account {
///             id: user.id.to_string().into(),
///             email: user.email,
///             verified: user.confirmed_at.is_some(),
///             verified_at: user.confirmed_at,
///         }))
///     }
/// });
/// # let _ = directory;
/// ```
pub fn from_fn<F, Found, Accounts, E>(find: F) -> impl Directory
where
    F: Fn(String) -> Found + Send + Sync + 'static,
    Found: Future<Output = Result<Accounts, E>> + Send,
    Accounts: IntoIterator<Item = Account>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    FromFn(find)
}

#[async_trait]
impl<F, Found, Accounts, E> Directory for FromFn<F>
where
    F: Fn(String) -> Found + Send + Sync + 'static,
    Found: Future<Output = Result<Accounts, E>> + Send,
    Accounts: IntoIterator<Item = Account>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        if identifier.kind() != Identifies::Email {
            return Err(DirectoryError::Unsupported(identifier.kind()));
        }
        let mut found = Vec::new();
        for spelling in identifier.spellings() {
            let accounts = (self.0)(spelling).await.map_err(|error| DirectoryError::unavailable("finding accounts", error))?;
            accounts.into_iter().for_each(|account| unite(&mut found, account));
        }
        Ok(found)
    }

    async fn unverify(&self, _account: &Account, _reason: Reason) -> Result<bool, DirectoryError> {
        Err(DirectoryError::NoQuery("unverify"))
    }

    async fn page(&self, _after: Option<&AccountId>, _limit: usize) -> Result<Vec<Account>, DirectoryError> {
        Err(DirectoryError::NoQuery("page"))
    }
}
