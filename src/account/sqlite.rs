//! A directory in an SQLite file: the built-in table `accounts`.
//!
//! `verified` is 0 or 1. `verified_at` is what SQLite applications write: RFC 3339 or SQL text (without a zone, UTC), seconds or (from 1e11)
//! milliseconds since 1970, or NULL. `unverified_reason` is the code of the reason for which a verification was taken away.

use std::path::Path;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{Row, TypeInfo, ValueRef};

use crate::account::{Account, AccountId, Directory, DirectoryError};
use crate::clock;
use crate::identifier::Identifier;
use crate::verdict::Reason;

/// From here on an integer is milliseconds since 1970, below it seconds.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// How long another process may hold the file locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// Accounts in an SQLite file.
///
/// Cloning shares the connections.
#[derive(Debug, Clone)]
pub struct SqliteDirectory {
    pool: SqlitePool,
}

impl SqliteDirectory {
    /// Opens the file at `path`, creating it and its table where they are missing.
    ///
    /// # Errors
    /// Where the file can't be opened, created or written.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, DirectoryError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A lost un-verification would let the next request through: every commit is synced.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(8).acquire_timeout(BUSY_TIMEOUT);
        let pool = pool.connect_with(options).await.map_err(failed("opening the file"))?;
        Self::from_pool(pool).await
    }

    /// Uses connections that the application has already, creating the table where it is missing.
    ///
    /// # Errors
    /// Where the table can't be created.
    pub async fn from_pool(pool: SqlitePool) -> Result<Self, DirectoryError> {
        let mut migrator: Migrator = sqlx::migrate!("src/account/sqlite");
        // The application's own migrations keep the usual table.
        migrator.dangerous_set_table_name("_gatekeeper_migrations");
        migrator.run(&pool).await.map_err(|error| DirectoryError::unavailable("creating the table", error))?;
        Ok(Self { pool })
    }

    /// Adds an account.
    ///
    /// # Errors
    /// Where it can't be written.
    pub async fn insert(&self, email: &str, verified: bool, verified_at: Option<SystemTime>) -> Result<AccountId, DirectoryError> {
        let query = sqlx::query("INSERT INTO accounts (email, verified, verified_at) VALUES ($1, $2, $3)");
        let query = query.bind(email).bind(verified).bind(verified_at.map(clock::rfc3339));
        let done = query.execute(&self.pool).await.map_err(failed("adding an account"))?;
        Ok(done.last_insert_rowid().to_string().into())
    }
}

#[async_trait]
impl Directory for SqliteDirectory {
    async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        let Identifier::Email(mailbox) = identifier else { return Err(DirectoryError::Unsupported(identifier.kind())) };
        let mut spellings = mailbox.spellings();
        let (ascii, unicode) = (spellings.next(), spellings.next());
        let query = sqlx::query("SELECT id, email, verified, verified_at FROM accounts WHERE lower(email) IN ($1, $2)");
        let rows = query.bind(ascii).bind(unicode).fetch_all(&self.pool).await.map_err(failed("finding accounts"))?;
        rows.iter().map(account).collect()
    }

    async fn unverify(&self, account: &Account, reason: Reason) -> Result<bool, DirectoryError> {
        let failed = || failed("un-verifying an account");
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed())?;
        let query = sqlx::query("SELECT id, email, verified, verified_at FROM accounts WHERE id = $1");
        let stored = query.bind(account.id.as_str()).fetch_optional(&mut *transaction).await.map_err(failed())?;
        let is_as_read = stored.as_ref().map(self::account).transpose()?.is_some_and(|stored| stored.verified && stored == *account);
        if is_as_read {
            let query = sqlx::query("UPDATE accounts SET verified = 0, unverified_reason = $2 WHERE id = $1");
            let query = query.bind(account.id.as_str()).bind(reason.as_str());
            query.execute(&mut *transaction).await.map_err(failed())?;
            transaction.commit().await.map_err(failed())?;
        }
        Ok(is_as_read)
    }

    async fn page(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, DirectoryError> {
        let after = after.map_or(Ok(0), |after| after.as_str().parse::<i64>());
        let Ok(after) = after else { return Ok(Vec::new()) };
        let query = sqlx::query("SELECT id, email, verified, verified_at FROM accounts WHERE id > $1 ORDER BY id LIMIT $2");
        let query = query.bind(after).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = query.fetch_all(&self.pool).await.map_err(failed("listing accounts"))?;
        rows.iter().map(account).collect()
    }
}

fn failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> DirectoryError {
    move |error| DirectoryError::unavailable(operation, error)
}

fn account(row: &SqliteRow) -> Result<Account, DirectoryError> {
    let get = || failed("reading an account");
    let id = AccountId::from(row.try_get::<i64, _>("id").map_err(get())?.to_string());
    let email = row.try_get("email").map_err(get())?;
    let verified = match row.try_get_unchecked::<i64, _>("verified").map_err(get())? {
        0 => false,
        1 => true,
        number => return Err(DirectoryError::Unreadable { id, column: "verified", found: format!("{number}, neither 0 nor 1") }),
    };
    match verified_at(row) {
        Ok(verified_at) => Ok(Account { id, email, verified, verified_at }),
        Err(found) => Err(DirectoryError::Unreadable { id, column: "verified_at", found }),
    }
}

fn verified_at(row: &SqliteRow) -> Result<Option<SystemTime>, String> {
    let describe = |error: sqlx::Error| error.to_string();
    let value = row.try_get_raw("verified_at").map_err(describe)?;
    if value.is_null() {
        return Ok(None);
    }
    let kind = value.type_info().name().to_owned();
    let found = |what: &str| format!("{what} that is no timestamp");
    match kind.as_str() {
        "INTEGER" => {
            let number: i64 = row.try_get_unchecked("verified_at").map_err(describe)?;
            since_1970(number).map(Some).ok_or_else(|| found("an integer"))
        }
        "TEXT" | "DATETIME" => {
            let text: String = row.try_get_unchecked("verified_at").map_err(describe)?;
            clock::parse(&text).map(Some).ok_or_else(|| found("a text"))
        }
        kind => Err(found(kind)),
    }
}

fn since_1970(number: i64) -> Option<SystemTime> {
    let number = u64::try_from(number).ok()?;
    let since = if number >= MILLISECONDS_FROM.unsigned_abs() { Duration::from_millis(number) } else { Duration::from_secs(number) };
    SystemTime::UNIX_EPOCH.checked_add(since)
}
