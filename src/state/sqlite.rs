//! The state in an SQLite file, or in memory.

use std::path::Path;
use std::sync::Arc;

use serde::ser::{Serialize, Serializer};
use sqlx::error::BoxDynError;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{Arguments, Row as _, Sqlite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::counted::Count;
use super::given::{Cells, Given};
use super::pool::Dialect;
use super::{MIGRATIONS, StateError, failed};
use crate::account::sqlite;
use crate::clock;

pub(super) async fn open(path: &Path) -> Result<SqlitePool, StateError> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    connect(options, sqlite::pool()).await
}

pub(super) async fn memory() -> Result<SqlitePool, StateError> {
    // Each connection would have a memory of its own, and lose it when it is closed.
    let pool = sqlite::pool().max_connections(1).idle_timeout(None).max_lifetime(None);
    connect(SqliteConnectOptions::new().in_memory(true), pool).await
}

async fn connect(options: SqliteConnectOptions, pool: SqlitePoolOptions) -> Result<SqlitePool, StateError> {
    let pool = pool.connect_with(sqlite::options(options)).await.map_err(failed("opening the file"))?;
    let mut migrator: Migrator = sqlx::migrate!("src/state/sqlite");
    migrator.dangerous_set_table_name(MIGRATIONS);
    migrator.run(&pool).await.map_err(StateError::Tables)?;
    Ok(pool)
}

/// The turn to write, for which nobody waits longer than for a file that another process holds locked: else each that waits would add the time of all before it.
pub(super) async fn turn(turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, sqlx::Error> {
    let turn = clock::within(sqlite::BUSY_TIMEOUT, Arc::clone(turns).acquire_owned()).await.map_err(|_| sqlx::Error::PoolTimedOut)?;
    turn.map_err(|_| sqlx::Error::PoolClosed)
}

impl Dialect for Sqlite {
    // What is read first and written then must not find that another process wrote in between.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    // Who writes has the whole file.
    const LOCKING: &'static str = "";
    const SKIPPING: &'static str = "";
    const KEEP_COUNTED: &'static str = "INSERT INTO gatekeeper_counted (found, pass, first_name, last_name) VALUES ($1, $5, $6, $7)";
    const COUNTED: &'static str = "found";

    fn counted(row: &SqliteRow) -> Result<Vec<(String, Count)>, sqlx::Error> {
        let found: Vec<(String, i64, Option<i64>, i64)> =
            serde_json::from_str(row.try_get(0)?).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let counts =
            found.into_iter().map(|(name, accounts, verified_from, undated)| (name, Count::kept(accounts, verified_from, undated)));
        Ok(counts.collect())
    }

    fn table(given: &Given<'_>) -> String {
        let columns = given.columns().iter().enumerate();
        let columns: Vec<_> = columns.map(|(place, (name, _))| format!("value ->> {place} AS {name}")).collect();
        format!("(SELECT {} FROM json_each($1)) AS given", columns.join(", "))
    }

    fn arguments(given: &Given<'_>) -> Result<SqliteArguments, BoxDynError> {
        let mut arguments = SqliteArguments::default();
        Arguments::add(&mut arguments, serde_json::to_string(&Rows(given))?)?;
        // There are no arrays, so one parameter holds all that the others would.
        for _ in given.columns().iter().skip(1) {
            Arguments::add(&mut arguments, None::<i64>)?;
        }
        Ok(arguments)
    }

    async fn tell(_: &mut SqliteConnection, _: &[String]) -> Result<(), sqlx::Error> {
        // Who shares the file reads it.
        Ok(())
    }
}

/// As JSON: an array of rows, each an array of cells.
struct Rows<'a>(&'a Given<'a>);

/// One of them.
struct Row<'a>(&'a Given<'a>, usize);

/// One cell of a column.
struct Cell<'a>(&'a Cells<'a>, usize);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let count = self.0.columns().first().map_or(0, |(_, cells)| cells.len());
        serializer.collect_seq((0..count).map(|row| Row(self.0, row)))
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.columns().iter().map(|(_, cells)| Cell(cells, self.1)))
    }
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Cells::Text(cells) => cells.get(self.1).serialize(serializer),
            Cells::Number(cells) => cells.get(self.1).serialize(serializer),
        }
    }
}
