//! A directory in an SQLite file: the built-in table `accounts`, or an application's own tables by its queries.
//!
//! 1. The built-in table and its file are created where they are missing. An application's file is never created, nor its tables or its journal changed.
//! 2. Integer keys are bound as integers. A UUID is looked for in all the forms that SQLite applications write: as text, with hyphens or without, and as a blob.
//! 3. What a query says is wrong is said when the directory is opened: each is prepared, each look-up is asked for nobody, and the first account is read.
//! 4. In a page, an account whose key can be read but another column can't isn't verified and has no address; that is logged as an error. The first account that is read
//!    at the opening, and all that is found or changed, must be readable.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sqlx::error::BoxDynError;
use sqlx::migrate::Migrator;
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous, SqliteTypeInfo, SqliteValueRef,
};
use sqlx::{AssertSqlSafe, Decode, Either, Executor, SqlSafeStr, SqlStr, Sqlite, Statement, TypeInfo, ValueRef};

use crate::account::columns::Value;
use crate::account::keys::{Cells, Key, Reading, Stored};
use crate::account::queries::{IdKind, Queries};
use crate::account::sql::{self, Reads, failed};
use crate::account::{Account, AccountId, Directory, DirectoryError, unite};
use crate::clock;
use crate::identifier::{Identifier, Identifies};
use crate::verdict::Reason;

/// How long another process may hold the file locked.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// How many rows may be read ahead of who takes them. With few, the thread that reads and who takes wake each other for every few rows.
const ROWS: usize = 1_024;

/// Accounts in an SQLite file.
///
/// Cloning shares the connections.
#[derive(Debug, Clone)]
pub struct SqliteDirectory {
    pool: SqlitePool,
    statements: Arc<Statements>,
}

#[derive(Debug)]
struct Statements {
    lookup: BTreeMap<Identifies, SqlStr>,
    unverify: Option<SqlStr>,
    page: Option<SqlStr>,
    /// The lookup by which a row is read again before it is changed.
    rereads_by: Option<Identifies>,
    id: IdKind,
    /// Whether the keys turned out to be blobs, which sort after every text.
    has_blobs: AtomicBool,
    is_built_in: bool,
}

impl SqliteDirectory {
    /// Opens the file at `path`, creating it and its table where they are missing.
    ///
    /// # Errors
    /// Where the file can't be opened, created or written.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, DirectoryError> {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        Self::from_pool(connect(options).await?).await
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
        Self::checked(pool, &built_in(), true).await
    }

    /// Opens the application's file at `path`, whose own tables `queries` read. The file is not created, and nothing in it is changed but by
    /// [`Queries::unverify`].
    ///
    /// # Errors
    /// Where there is no such file; a query is malformed, lacks a column or has another number of parameters; or the first account can't be read.
    pub async fn with_queries(path: impl AsRef<Path>, queries: Queries) -> Result<Self, DirectoryError> {
        let pool = connect(SqliteConnectOptions::new().filename(path).create_if_missing(false)).await?;
        Self::checked(pool, &queries, false).await
    }

    /// Adds an account to the built-in table.
    ///
    /// # Errors
    /// Where it can't be written, or the tables are the application's.
    pub async fn insert(&self, email: &str, verified: bool, verified_at: Option<SystemTime>) -> Result<AccountId, DirectoryError> {
        if !self.statements.is_built_in {
            return Err(DirectoryError::NoQuery("insert"));
        }
        let query = sqlx::query("INSERT INTO accounts (email, verified, verified_at) VALUES ($1, $2, $3)");
        let query = query.bind(email).bind(verified).bind(verified_at.map(clock::rfc3339));
        let done = query.execute(&self.pool).await.map_err(failed("adding an account"))?;
        Ok(done.last_insert_rowid().to_string().into())
    }

    async fn checked(pool: SqlitePool, queries: &Queries, is_built_in: bool) -> Result<Self, DirectoryError> {
        let statements = Statements::check(&pool, queries, is_built_in).await?;
        let directory = Self { pool, statements: Arc::new(statements) };
        if let Some(query) = &directory.statements.page {
            // Before keys of every kind: after the empty text there is no integer, and a sweep would silently find nobody.
            directory.listed(query, Key::Integer(i64::MIN), 1, Cells::read).await?;
        }
        Ok(directory)
    }

    async fn listed(&self, query: &SqlStr, after: Key, limit: usize, read: Reading) -> Result<Vec<Account>, DirectoryError> {
        let query = bind(sqlx::query(query.clone()), after).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = query.fetch_all(&self.pool).await.map_err(failed(sql::LISTING))?;
        self.statements.read_as(&rows, sql::LISTING, read)?.map(|stored| Ok(stored?.account)).collect()
    }
}

async fn connect(options: SqliteConnectOptions) -> Result<SqlitePool, DirectoryError> {
    pool().connect_with(self::options(options)).await.map_err(failed("opening the file"))
}

/// How each connection is to behave.
pub(crate) fn options(options: SqliteConnectOptions) -> SqliteConnectOptions {
    // A lost un-verification would let the next request through: every commit is synced.
    options.synchronous(SqliteSynchronous::Full).busy_timeout(BUSY_TIMEOUT).row_buffer_size(ROWS)
}

/// Connections, none of which is tested before it is used: no server closes one, and who gives up waiting meanwhile has it closed, with all that a database in memory
/// holds.
pub(crate) fn pool() -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(8).acquire_timeout(BUSY_TIMEOUT).test_before_acquire(false)
}

fn built_in() -> Queries {
    Queries {
        lookup: [
            (Identifies::Email, "SELECT id, email, verified, verified_at FROM accounts WHERE lower(email) = lower($1)".to_owned()),
            (Identifies::Id, "SELECT id, email, verified, verified_at FROM accounts WHERE id = $1".to_owned()),
        ]
        .into(),
        unverify: Some("UPDATE accounts SET verified = 0, unverified_reason = $2 WHERE id = $1".to_owned()),
        page: Some("SELECT id, email, verified, verified_at FROM accounts WHERE id > $1 ORDER BY id LIMIT $2".to_owned()),
        id: IdKind::Integer,
    }
}

impl Statements {
    async fn check(pool: &SqlitePool, queries: &Queries, is_built_in: bool) -> Result<Self, DirectoryError> {
        let mut connection = pool.acquire().await.map_err(failed("opening the file"))?;
        let mut lookup = BTreeMap::new();
        for (kind, name, text) in queries.lookups() {
            let statement = prepared(&mut connection, &name, text, sql::OF_A_LOOKUP).await?;
            sql::check_columns(&name, statement.columns())?;
            let query = statement.into_sql();
            // Only when it is asked does SQLite say that a parameter has no number.
            sqlx::query(query.clone()).bind("").fetch_optional(&mut *connection).await.map_err(sql::malformed(&name))?;
            lookup.insert(kind, query);
        }
        let mut unverify = None;
        if let Some(text) = &queries.unverify {
            if queries.rereads_by().is_none() {
                return Err(sql::unusable("unverify", "needs `lookup.id` or `lookup.email`"));
            }
            unverify = Some(prepared(&mut connection, "unverify", text, sql::OF_UNVERIFY).await?.into_sql());
        }
        let mut page = None;
        if let Some(text) = &queries.page {
            let statement = prepared(&mut connection, "page", text, sql::OF_A_PAGE).await?;
            sql::check_columns("page", statement.columns())?;
            page = Some(statement.into_sql());
        }
        let (rereads_by, has_blobs) = (queries.rereads_by(), AtomicBool::new(false));
        Ok(Self { lookup, unverify, page, rereads_by, id: queries.id, has_blobs, is_built_in })
    }

    fn read(
        &self,
        rows: &[SqliteRow],
        operation: &'static str,
    ) -> Result<impl Iterator<Item = Result<Stored, DirectoryError>>, DirectoryError> {
        self.read_as(rows, operation, Cells::read)
    }

    fn read_as(
        &self,
        rows: &[SqliteRow],
        operation: &'static str,
        read: Reading,
    ) -> Result<impl Iterator<Item = Result<Stored, DirectoryError>>, DirectoryError> {
        Ok(sql::cells(rows, operation)?.map(move |cells| {
            let stored = read(cells?, self.id)?;
            if matches!(stored.key, Key::Uuid(_)) {
                self.has_blobs.store(true, Ordering::Relaxed);
            }
            Ok(stored)
        }))
    }

    /// The key after which a page begins. `None` where that is no key; what a page gave is one.
    fn after(&self, after: Option<&AccountId>) -> Option<Key> {
        // Every blob comes after every text, so the first page is found by either.
        let Some(after) = after else { return self.id.before_all().into_iter().next() };
        let forms = self.id.forms(after.as_str());
        let is_as_held = |key: &Key| match key {
            Key::Integer(_) => true,
            Key::Text(text) => !self.has_blobs.load(Ordering::Relaxed) && text == after.as_str(),
            Key::Uuid(_) => self.has_blobs.load(Ordering::Relaxed),
        };
        forms.into_iter().find(is_as_held)
    }

    /// The key of the row that still is `account` as it was read.
    async fn key(&self, connection: &mut SqliteConnection, account: &Account) -> Result<Option<Key>, DirectoryError> {
        let Some((kind, query)) = self.rereads_by.and_then(|kind| self.lookup.get_key_value(&kind)) else { return Ok(None) };
        let names = if *kind == Identifies::Id { self.id.forms(account.id.as_str()) } else { vec![Key::Text(account.email.clone())] };
        for name in names {
            let rows = bind(sqlx::query(query.clone()), name).fetch_all(&mut *connection).await.map_err(failed(sql::UNVERIFYING))?;
            for stored in self.read(&rows, sql::UNVERIFYING)? {
                let stored = stored?;
                if stored.account.verified && stored.account == *account {
                    return Ok(Some(stored.key));
                }
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Directory for SqliteDirectory {
    fn admits(&self, id: &AccountId) -> bool {
        self.statements.id.admits(id.as_str())
    }

    async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        let kind = identifier.kind();
        let query = self.statements.lookup.get(&kind).ok_or(DirectoryError::Unsupported(kind))?;
        let mut found = Vec::new();
        for name in sql::names(identifier, self.statements.id) {
            let rows = bind(sqlx::query(query.clone()), name).fetch_all(&self.pool).await.map_err(failed(sql::FINDING))?;
            for stored in self.statements.read(&rows, sql::FINDING)? {
                unite(&mut found, stored?.account);
            }
        }
        Ok(found)
    }

    async fn unverify(&self, account: &Account, reason: Reason) -> Result<bool, DirectoryError> {
        let query = self.statements.unverify.as_ref().ok_or(DirectoryError::NoQuery("unverify"))?;
        let failed = || failed(sql::UNVERIFYING);
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed())?;
        let Some(key) = self.statements.key(&mut transaction, account).await? else {
            // At once, since others wait for the file.
            return transaction.rollback().await.map(|()| false).map_err(failed());
        };
        // A value without a parameter is not looked at.
        let query = bind(sqlx::query(query.clone()), key).bind(reason.as_str());
        let done = query.execute(&mut *transaction).await.map_err(failed())?;
        transaction.commit().await.map_err(failed())?;
        Ok(done.rows_affected() > 0)
    }

    async fn page(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, DirectoryError> {
        let query = self.statements.page.as_ref().ok_or(DirectoryError::NoQuery("page"))?;
        let Some(key) = self.statements.after(after) else {
            return Err(DirectoryError::NoKey(after.cloned().unwrap_or_else(|| "".into())));
        };
        self.listed(query, key, limit, Cells::listed).await
    }
}

async fn prepared(
    connection: &mut SqliteConnection,
    name: &str,
    text: &str,
    parameters: std::ops::RangeInclusive<usize>,
) -> Result<sqlx::sqlite::SqliteStatement, DirectoryError> {
    let sql = AssertSqlSafe(text.to_owned()).into_sql_str();
    let statement = (&mut *connection).prepare(sql).await.map_err(sql::malformed(name))?;
    let count = statement.parameters().map_or(0, |parameters| match parameters {
        Either::Left(types) => types.len(),
        Either::Right(count) => count,
    });
    sql::check_parameters(name, count, parameters)?;
    Ok(statement)
}

fn bind(query: Query<'_, Sqlite, SqliteArguments>, key: Key) -> Query<'_, Sqlite, SqliteArguments> {
    match key {
        Key::Integer(number) => query.bind(number),
        Key::Text(text) => query.bind(text),
        Key::Uuid(uuid) => query.bind(uuid.as_bytes().to_vec()),
    }
}

impl Reads for Sqlite {
    // Each value has its own.
    type Form = ();

    fn form(_: &SqliteTypeInfo) {}

    fn value(value: SqliteValueRef<'_>, (): ()) -> Value {
        if value.is_null() {
            return Value::Null;
        }
        let kind = value.type_info().into_owned();
        let read = match kind.name() {
            "INTEGER" | "BOOLEAN" => decoded(value).map(Value::Integer),
            "REAL" => decoded(value).map(Value::Float),
            "TEXT" | "DATE" | "TIME" | "DATETIME" => decoded(value).map(Value::Text),
            "BLOB" => decoded(value).map(Value::Bytes),
            other => Ok(Value::Other(other.to_owned())),
        };
        // A text may hold bytes that are no UTF-8.
        read.unwrap_or_else(|_| Value::Other("bytes of no known encoding".to_owned()))
    }
}

fn decoded<'r, T: Decode<'r, Sqlite>>(value: SqliteValueRef<'r>) -> Result<T, BoxDynError> {
    T::decode(value)
}

#[cfg(test)]
mod tests {
    use sqlx::Connection;

    use super::*;

    /// However far in, a page reads what it gives and no more.
    #[tokio::test]
    async fn the_pages_of_the_built_in_table_are_found_by_its_key() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::raw_sql(include_str!("sqlite/0001_accounts.sql")).execute(&mut connection).await.unwrap();
        let plan = format!("EXPLAIN QUERY PLAN {}", built_in().page.unwrap());
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(AssertSqlSafe(plan)).bind(10_000).bind(2_000).fetch_all(&mut connection).await.unwrap();
        let steps: Vec<_> = plan.iter().map(|(.., step)| step.as_str()).collect();
        assert_eq!(steps, ["SEARCH accounts USING INTEGER PRIMARY KEY (rowid>?)"]);
    }
}
