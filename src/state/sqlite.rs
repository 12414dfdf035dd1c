//! The state in an SQLite file, or in memory.

use std::path::Path;
use std::time::Duration;

use sqlx::Sqlite;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use super::pool::Dialect;
use super::{MIGRATIONS, StateError, failed};

/// How long another process may hold the file locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn open(path: &Path) -> Result<SqlitePool, StateError> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    // A lost un-verification would let the next request through: every commit is synced.
    let options = options.synchronous(SqliteSynchronous::Full);
    connect(options, SqlitePoolOptions::new().max_connections(8)).await
}

pub(super) async fn memory() -> Result<SqlitePool, StateError> {
    // Each connection would have a memory of its own, and lose it when it is closed.
    let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    // Who gives up waiting while it is tested has it closed.
    let pool = pool.test_before_acquire(false);
    connect(SqliteConnectOptions::new().in_memory(true), pool).await
}

async fn connect(options: SqliteConnectOptions, pool: SqlitePoolOptions) -> Result<SqlitePool, StateError> {
    let pool = pool.acquire_timeout(BUSY_TIMEOUT).connect_with(options.busy_timeout(BUSY_TIMEOUT));
    let pool = pool.await.map_err(failed("opening the file"))?;
    let mut migrator: Migrator = sqlx::migrate!("src/state/sqlite");
    migrator.dangerous_set_table_name(MIGRATIONS);
    migrator.run(&pool).await.map_err(StateError::Tables)?;
    Ok(pool)
}

impl Dialect for Sqlite {
    // What is read first and written then must not find that another process wrote in between.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const GIVEN: &'static str = "json_each($1) AS given";
    // Who writes has the whole file.
    const LOCKING: &'static str = "";
    const SKIPPING: &'static str = "";

    async fn tell(_: &mut SqliteConnection, _: String) -> Result<(), sqlx::Error> {
        // Who shares the file reads it.
        Ok(())
    }
}
