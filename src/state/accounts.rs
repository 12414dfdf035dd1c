//! Un-verifications, and verifications since.

use std::time::SystemTime;

use sqlx::QueryBuilder;

use super::pool::with;
use super::{State, StateError, failed, microseconds, time};
use crate::account::{Account, AccountId};
use crate::verdict::Reason;

/// How many accounts are asked for at once: both databases limit the parameters of a statement.
const AT_ONCE: usize = 1000;

/// What is known about one account with one address, beside its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unverification {
    pub(crate) account: AccountId,
    /// In ASCII lower case.
    pub(crate) email: String,
    /// `None` where it was verified again since.
    pub(crate) unverified_at: Option<SystemTime>,
    /// When it was verified again.
    pub(crate) verified_at: Option<SystemTime>,
}

/// Account, address, when it was un-verified, and when it was verified again.
type Row = (String, String, Option<i64>, Option<i64>);

const READ: &str = "SELECT account, email, unverified_at, verified_at FROM gatekeeper_unverifications WHERE account IN (";

const ANY: &str = "SELECT 1 FROM gatekeeper_unverifications LIMIT 1";

// One statement, so that of calls at the same moment only one changes the row.
const UNVERIFY: &str = "INSERT INTO gatekeeper_unverifications AS kept (account, email, unverified_at, reason) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (account, email) DO UPDATE SET unverified_at = excluded.unverified_at, reason = excluded.reason \
     WHERE (kept.unverified_at IS NULL OR kept.unverified_at < $5) AND (kept.verified_at IS NULL OR kept.verified_at <= $5)";

const VERIFY: &str = "INSERT INTO gatekeeper_unverifications (account, email, verified_at) VALUES ($1, $2, $3) \
     ON CONFLICT (account, email) DO UPDATE SET unverified_at = NULL, reason = NULL, verified_at = excluded.verified_at";

impl State {
    /// Whether anything is known about any account.
    pub(crate) async fn has_unverifications(&self) -> Result<bool, StateError> {
        with!(&self.pool, |pool| sqlx::query(ANY).fetch_optional(pool).await.map(|row| row.is_some()))
            .map_err(failed("looking for un-verifications"))
    }

    /// What is known about any of `accounts`, under whatever address.
    pub(crate) async fn unverifications(&self, accounts: &[Account]) -> Result<Vec<Unverification>, StateError> {
        let mut known = Vec::new();
        for accounts in accounts.chunks(AT_ONCE) {
            let rows: Vec<Row> = with!(&self.pool, |pool| {
                let mut query = QueryBuilder::new(READ);
                let mut keys = query.separated(", ");
                for account in accounts {
                    keys.push_bind(account.id.as_str());
                }
                keys.push_unseparated(")");
                query.build_query_as().fetch_all(pool).await
            })
            .map_err(failed("reading un-verifications"))?;
            known.extend(rows.into_iter().map(Unverification::from));
        }
        Ok(known)
    }

    /// Un-verifies `account` as of `at`, and says whether it was this call that did: not where it is un-verified already, or was verified again
    /// after it was read.
    pub(crate) async fn unverify(&self, account: &Account, reason: Reason, at: SystemTime) -> Result<bool, StateError> {
        let (email, verified_at) = (account.email.to_ascii_lowercase(), account.verified_at.map_or(i64::MIN, microseconds));
        let changed = with!(&self.pool, |pool| {
            let query = sqlx::query(UNVERIFY).bind(account.id.as_str()).bind(email).bind(microseconds(at));
            query.bind(reason.as_str()).bind(verified_at).execute(pool).await.map(|done| done.rows_affected())
        });
        changed.map(|rows| rows > 0).map_err(failed("un-verifying an account"))
    }

    /// Ends the un-verifications of `accounts`: their addresses were verified again `at` this moment. All or none.
    pub(crate) async fn verify(&self, accounts: &[Account], at: SystemTime) -> Result<(), StateError> {
        let failed = || failed("verifying an account");
        let mut keys: Vec<_> = accounts.iter().map(|account| (account.id.as_str(), account.email.to_ascii_lowercase())).collect();
        // In one order, so that two of these never wait for each other.
        keys.sort_unstable();
        let mut transaction = self.pool.begin().await.map_err(failed())?;
        for (account, email) in keys {
            with!(in &mut transaction, |connection| {
                let query = sqlx::query(VERIFY).bind(account).bind(email).bind(microseconds(at));
                query.execute(connection).await.map(drop)
            })
            .map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())
    }
}

impl From<Row> for Unverification {
    fn from((account, email, unverified_at, verified_at): Row) -> Self {
        Self { account: account.into(), email, unverified_at: unverified_at.map(time), verified_at: verified_at.map(time) }
    }
}
