//! What outlives the process and is shared by replicas on one machine: the un-verifications of accounts whose own table isn't written, and how far audit logs
//! had got.
//!
//! An entry is about one account with one address, so a changed address leaves it behind. It says since when the address is un-verified and why, or that it was
//! verified again. [`Overlay`](crate::account::Overlay) lays the entries over a directory.

use std::path::Path;
use std::time::{Duration, SystemTime};

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{Row, Sqlite};

use crate::account::{Account, AccountId};
use crate::audit::Head;
use crate::verdict::Reason;

/// How long another process may hold the file locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// What outlives the process, in an SQLite file.
///
/// Cloning shares the connections.
#[derive(Debug, Clone)]
pub struct State {
    pool: SqlitePool,
}

/// Why the state gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file can't be opened, read or written.
    #[error("{operation} failed in the state")]
    Unavailable {
        /// What was attempted.
        operation: &'static str,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// The tables can't be created, or are a later version's.
    #[error("the tables of the state can't be made")]
    Tables(#[source] MigrateError),
}

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

impl State {
    /// Opens the file at `path`, creating it where it is missing.
    ///
    /// # Errors
    /// Where the file can't be opened, created or written, or is a later version's.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StateError> {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        // A lost un-verification would let the next request through: every commit is synced.
        let options = options.synchronous(SqliteSynchronous::Full);
        Self::connect(options, SqlitePoolOptions::new().max_connections(8)).await
    }

    /// A state that ends with the process.
    ///
    /// # Errors
    /// Where there is no memory for it.
    pub async fn memory() -> Result<Self, StateError> {
        // Each connection would have a memory of its own, and lose it when it is closed.
        let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        Self::connect(SqliteConnectOptions::new().in_memory(true), pool).await
    }

    async fn connect(options: SqliteConnectOptions, pool: SqlitePoolOptions) -> Result<Self, StateError> {
        let pool = pool.acquire_timeout(BUSY_TIMEOUT).connect_with(options.busy_timeout(BUSY_TIMEOUT));
        let pool = pool.await.map_err(failed("opening the file"))?;
        let mut migrator: Migrator = sqlx::migrate!("src/state");
        // The file may be the directory's too.
        migrator.dangerous_set_table_name("_gatekeeper_state_migrations");
        migrator.run(&pool).await.map_err(StateError::Tables)?;
        Ok(Self { pool })
    }

    /// How far the audit log `file` had got when its head was last kept.
    ///
    /// # Errors
    /// Where the state can't be read.
    pub async fn audit_head(&self, file: &Path) -> Result<Option<Head>, StateError> {
        let query = sqlx::query("SELECT seq, hash FROM audit_heads WHERE file = $1").bind(file.display().to_string());
        let row = query.fetch_optional(&self.pool).await.map_err(failed("reading the head of the audit log"))?;
        let head = row.map(|row| Ok(Head::new(row.try_get::<i64, _>("seq")?.unsigned_abs(), row.try_get::<String, _>("hash")?)));
        head.transpose().map_err(failed("reading the head of the audit log"))
    }

    /// Keeps how far the audit log `file` has got.
    ///
    /// # Errors
    /// Where the state can't be written.
    pub async fn keep_audit_head(&self, file: &Path, head: &Head) -> Result<(), StateError> {
        let query = sqlx::query(
            "INSERT INTO audit_heads (file, seq, hash) VALUES ($1, $2, $3) ON CONFLICT DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
        );
        let query = query.bind(file.display().to_string()).bind(i64::try_from(head.seq).unwrap_or(i64::MAX)).bind(&head.hash);
        query.execute(&self.pool).await.map_err(failed("keeping the head of the audit log")).map(drop)
    }

    /// What is known about any of `accounts`, under whatever address.
    pub(crate) async fn unverifications(&self, accounts: &[Account]) -> Result<Vec<Unverification>, StateError> {
        let keys = serde_json::Value::from_iter(accounts.iter().map(|account| account.id.as_str())).to_string();
        let query =
            "SELECT account, email, unverified_at, verified_at FROM unverifications WHERE account IN (SELECT value FROM json_each($1))";
        let rows = sqlx::query(query).bind(keys).fetch_all(&self.pool).await.map_err(failed("reading un-verifications"))?;
        rows.iter().map(|row| unverification(row).map_err(failed("reading un-verifications"))).collect()
    }

    /// Un-verifies `account` as of `at`, and says whether it was this call that did: not where it is un-verified already, or was verified again
    /// after it was read.
    pub(crate) async fn unverify(&self, account: &Account, reason: Reason, at: SystemTime) -> Result<bool, StateError> {
        // One statement, so that of calls at the same moment only one changes the row.
        let query = sqlx::query::<Sqlite>(
            "INSERT INTO unverifications (account, email, unverified_at, reason) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO UPDATE SET unverified_at = excluded.unverified_at, reason = excluded.reason \
             WHERE (unverified_at IS NULL OR unverified_at < $5) AND (verified_at IS NULL OR verified_at <= $5)",
        );
        let query = query.bind(account.id.as_str()).bind(account.email.to_ascii_lowercase()).bind(microseconds(at));
        let query = query.bind(reason.as_str()).bind(account.verified_at.map_or(i64::MIN, microseconds));
        let done = query.execute(&self.pool).await.map_err(failed("un-verifying an account"))?;
        Ok(done.rows_affected() > 0)
    }

    /// Ends the un-verifications of `accounts`: their addresses were verified again `at` this moment. All or none.
    pub(crate) async fn verify(&self, accounts: &[Account], at: SystemTime) -> Result<(), StateError> {
        let failed = || failed("verifying an account");
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed())?;
        for account in accounts {
            let query = sqlx::query::<Sqlite>(
                "INSERT INTO unverifications (account, email, verified_at) VALUES ($1, $2, $3) \
                 ON CONFLICT DO UPDATE SET unverified_at = NULL, reason = NULL, verified_at = excluded.verified_at",
            );
            let query = query.bind(account.id.as_str()).bind(account.email.to_ascii_lowercase()).bind(microseconds(at));
            query.execute(&mut *transaction).await.map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())
    }
}

fn failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StateError {
    move |source| StateError::Unavailable { operation, source }
}

fn unverification(row: &SqliteRow) -> Result<Unverification, sqlx::Error> {
    Ok(Unverification {
        account: AccountId::from(row.try_get::<String, _>("account")?),
        email: row.try_get("email")?,
        unverified_at: row.try_get::<Option<i64>, _>("unverified_at")?.map(time),
        verified_at: row.try_get::<Option<i64>, _>("verified_at")?.map(time),
    })
}

/// Since 1970; times before that count as its beginning.
fn microseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn time(microseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(microseconds.unsigned_abs())
}
