//! A directory in PostgreSQL: the built-in table `accounts`, or an application's own tables by its queries.
//!
//! 1. The built-in table is created where it is missing, in the first schema of the search path. An application's tables are only read, but for its `unverify`.
//! 2. A parameter is bound as what the server infers it to be, so that `citext`, `varchar` and the like compare by their own rules, and an index serves.
//! 3. What is wrong with a query is said when the directory is opened: each is prepared, and the first account is read.
//! 4. No statement runs longer than three seconds, unless the URL's `options` set another `statement_timeout`.
//! 5. In a page, an account whose key can be read but another column can't isn't verified and has no address; that is logged as an error. The first account that is read
//!    at the opening, and all that is found or changed, must be readable.

mod values;

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow, PgTypeInfo};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, Either, Executor, Postgres, SqlSafeStr, SqlStr, Statement as _, Transaction, TypeInfo};

use crate::account::keys::{Cells, Key, Reading, Stored};
use crate::account::queries::{IdKind, Queries};
use crate::account::sql::{self, failed};
use crate::account::{Account, AccountId, Directory, DirectoryError, unite};
use crate::clock::within;
use crate::identifier::{Identifier, Identifies};
use crate::verdict::Reason;
use values::{Family, Parameter};

const CONNECTIONS: u32 = 8;
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
const STATEMENT_TIMEOUT: &str = "3s";

/// How long a connection may take to show that it still is one, before another takes its place.
const TEST_TIMEOUT: Duration = Duration::from_secs(1);

/// How often an un-verification is tried when others change the same rows.
const ATTEMPTS: usize = 3;

/// Accounts in PostgreSQL.
///
/// Cloning shares the connections.
#[derive(Debug, Clone)]
pub struct PostgresDirectory {
    pool: PgPool,
    statements: Arc<Statements>,
}

#[derive(Debug)]
struct Statements {
    lookup: BTreeMap<Identifies, Statement>,
    unverify: Option<Statement>,
    page: Option<Statement>,
    /// The lookup by which a row is read again before it is changed.
    rereads_by: Option<Identifies>,
    id: IdKind,
}

/// A query, and the types that the server inferred for its parameters.
#[derive(Debug)]
struct Statement {
    sql: SqlStr,
    parameters: Vec<PgTypeInfo>,
}

impl PostgresDirectory {
    /// Connects to the database at `url` and uses the built-in table, which is created where it is missing.
    ///
    /// # Errors
    /// Where the URL makes no sense, the database can't be reached, or the table can't be created.
    pub async fn connect(url: &str) -> Result<Self, DirectoryError> {
        let pool = connect(url).await?;
        let mut migrator: Migrator = sqlx::migrate!("src/account/postgres");
        // The application's own migrations keep the usual table.
        migrator.dangerous_set_table_name("_gatekeeper_migrations");
        migrator.run(&pool).await.map_err(|error| DirectoryError::unavailable("creating the table", error))?;
        Self::checked(pool, &built_in()).await
    }

    /// Connects to the application's database at `url`, whose own tables `queries` read.
    ///
    /// # Errors
    /// Where the URL makes no sense; the database can't be reached; a query is malformed, lacks a column, has another number of parameters or one of a type that
    /// holds no name or key; or the first account can't be read.
    pub async fn connect_with(url: &str, queries: Queries) -> Result<Self, DirectoryError> {
        Self::checked(connect(url).await?, &queries).await
    }

    async fn checked(pool: PgPool, queries: &Queries) -> Result<Self, DirectoryError> {
        let mut connection = pool.acquire().await.map_err(failed("connecting"))?;
        let statements = Statements::check(&mut connection, queries).await?;
        drop(connection);
        let directory = Self { pool, statements: Arc::new(statements) };
        if directory.statements.page.is_some() {
            directory.listed(None, 1, Cells::read).await?;
        }
        Ok(directory)
    }

    async fn listed(&self, after: Option<&AccountId>, limit: usize, read: Reading) -> Result<Vec<Account>, DirectoryError> {
        let statement = self.statements.page.as_ref().ok_or(DirectoryError::NoQuery("page"))?;
        let forms = match after {
            // A text is sorted as it stands, so only that form of it comes where it should.
            Some(after) => self.statements.id.forms(after.as_str()).into_iter().filter(|form| !is_other_text(form, after)).collect(),
            None => self.statements.id.before_all(),
        };
        let no_key = || DirectoryError::NoKey(after.cloned().unwrap_or_else(|| "".into()));
        let query = statement.page(&forms, limit).ok_or_else(no_key)?;
        let rows = query.fetch_all(&self.pool).await.map_err(failed(sql::LISTING))?;
        sql::cells(&rows, sql::LISTING)?.map(|cells| Ok(read(cells?, self.statements.id)?.account)).collect()
    }

    /// One attempt. `None` where another transaction got in the way.
    async fn try_unverify(&self, unverify: &Statement, account: &Account, reason: Reason) -> Result<Option<bool>, DirectoryError> {
        // A row that changes after it was read again fails the change, instead of being overwritten.
        let begun = begin(&self.pool, "BEGIN ISOLATION LEVEL REPEATABLE READ").await;
        let mut transaction = begun.map_err(failed(sql::UNVERIFYING))?;
        let key = self.statements.key(&mut transaction, account).await?;
        let Some(query) = key.and_then(|key| unverify.changing(&key, reason)) else {
            return transaction.rollback().await.map(|()| Some(false)).map_err(failed(sql::UNVERIFYING));
        };
        let done = match query.execute(&mut *transaction).await {
            Err(error) if is_conflict(&error) => return Ok(None),
            done => done.map_err(failed(sql::UNVERIFYING))?,
        };
        match transaction.commit().await {
            Err(error) if is_conflict(&error) => Ok(None),
            committed => committed.map(|()| Some(done.rows_affected() > 0)).map_err(failed(sql::UNVERIFYING)),
        }
    }
}

async fn connect(url: &str) -> Result<PgPool, DirectoryError> {
    let options = options(url).map_err(failed("reading the address of the database"))?;
    drop(reach(&options).await.map_err(failed("connecting"))?.close().await);
    Ok(pool(&options).connect_lazy_with(options))
}

/// A connection to what `options` say. Not by a pool, which would tell of any failure that its time was up.
pub(crate) async fn reach(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    within(ACQUIRE_TIMEOUT, PgConnection::connect_with(options)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// How to connect to `url`.
pub(crate) fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let mut options: PgConnectOptions = url.parse()?;
    if !options.get_options().is_some_and(|options| options.contains("statement_timeout")) {
        options = options.options([("statement_timeout", STATEMENT_TIMEOUT)]);
    }
    Ok(options.application_name("reset-gatekeeper"))
}

/// Connections to what `options` say.
pub(crate) fn pool(options: &PgConnectOptions) -> PgPoolOptions {
    let (pool, options) = (PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE_TIMEOUT), options.clone());
    // The pool's own test waits for a connection that broke unnoticed until the time for all of it is up.
    pool.test_before_acquire(false).before_acquire(move |connection, _| {
        let options = options.clone();
        Box::pin(async move {
            match within(TEST_TIMEOUT, connection.ping()).await {
                Ok(tested) => tested?,
                // Not closed, which would be to wait for the other end again.
                Err(_) => *connection = PgConnection::connect_with(&options).await?,
            }
            Ok(true)
        })
    })
}

/// Begins a transaction by `statement`, to the end: a caller that gives up in between, as all do whose time is up, would leave the pool a connection (of sqlx 0.9) on
/// which a transaction has begun and nobody ends it. What others then write there is never committed, and what they read may be long past.
pub(crate) async fn begin(pool: &PgPool, statement: &'static str) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(statement).await });
    begun.await.unwrap_or_else(|error| Err(io::Error::other(error).into()))
}

fn built_in() -> Queries {
    Queries {
        lookup: [
            (Identifies::Email, "SELECT id, email, verified, verified_at FROM accounts WHERE lower(email) = lower($1)".to_owned()),
            (Identifies::Id, "SELECT id, email, verified, verified_at FROM accounts WHERE id = $1".to_owned()),
        ]
        .into(),
        unverify: Some("UPDATE accounts SET verified = FALSE, unverified_reason = $2 WHERE id = $1".to_owned()),
        page: Some("SELECT id, email, verified, verified_at FROM accounts WHERE id > $1 ORDER BY id LIMIT $2".to_owned()),
        id: IdKind::Integer,
    }
}

impl Statements {
    async fn check(connection: &mut PgConnection, queries: &Queries) -> Result<Self, DirectoryError> {
        let mut lookup = BTreeMap::new();
        for (kind, name, text) in queries.lookups() {
            let statement = Statement::prepare(connection, &name, text, sql::OF_A_LOOKUP, true).await?;
            let is_key = kind == Identifies::Id;
            statement.check(&name, 0, |family| if is_key { family.takes(queries.id) } else { family == Family::Text })?;
            lookup.insert(kind, statement);
        }
        let mut unverify = None;
        if let Some(text) = &queries.unverify {
            if queries.rereads_by().is_none() {
                return Err(sql::unusable("unverify", "needs `lookup.id` or `lookup.email`"));
            }
            let statement = Statement::prepare(connection, "unverify", text, sql::OF_UNVERIFY, false).await?;
            statement.check("unverify", 0, |family| family.takes(queries.id))?;
            statement.check("unverify", 1, |family| family == Family::Text)?;
            unverify = Some(statement);
        }
        let mut page = None;
        if let Some(text) = &queries.page {
            let statement = Statement::prepare(connection, "page", text, sql::OF_A_PAGE, true).await?;
            statement.check("page", 0, |family| family.takes(queries.id))?;
            statement.check("page", 1, Family::is_integer)?;
            page = Some(statement);
        }
        Ok(Self { lookup, unverify, page, rereads_by: queries.rereads_by(), id: queries.id })
    }

    fn read(
        &self,
        rows: &[PgRow],
        operation: &'static str,
    ) -> Result<impl Iterator<Item = Result<Stored, DirectoryError>>, DirectoryError> {
        Ok(sql::cells(rows, operation)?.map(|cells| cells?.read(self.id)))
    }

    /// The key of the row that still is `account` as it was read.
    async fn key(&self, connection: &mut PgConnection, account: &Account) -> Result<Option<Key>, DirectoryError> {
        let Some((kind, lookup)) = self.rereads_by.and_then(|kind| self.lookup.get_key_value(&kind)) else { return Ok(None) };
        let names = if *kind == Identifies::Id { self.id.forms(account.id.as_str()) } else { vec![Key::Text(account.email.clone())] };
        for query in lookup.asked_for_each(&names) {
            let rows = query.fetch_all(&mut *connection).await.map_err(failed(sql::UNVERIFYING))?;
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

impl Statement {
    async fn prepare(
        connection: &mut PgConnection,
        name: &str,
        text: &str,
        allowed: RangeInclusive<usize>,
        gives_accounts: bool,
    ) -> Result<Self, DirectoryError> {
        let sql = AssertSqlSafe(text.to_owned()).into_sql_str();
        let prepared = (&mut *connection).prepare(sql).await.map_err(sql::malformed(name))?;
        let parameters = match prepared.parameters() {
            Some(Either::Left(types)) => types.to_vec(),
            Some(Either::Right(_)) | None => Vec::new(),
        };
        sql::check_parameters(name, parameters.len(), allowed)?;
        if gives_accounts {
            sql::check_columns(name, prepared.columns())?;
        }
        Ok(Self { sql: prepared.into_sql(), parameters })
    }

    /// Whether the type of the parameter at `index`, if there is one, is one that `takes` what will be bound to it.
    fn check(&self, name: &str, index: usize, takes: impl FnOnce(Family) -> bool) -> Result<(), DirectoryError> {
        match self.parameters.get(index) {
            Some(kind) if !Family::of(kind).is_some_and(takes) => Err(sql::unusable(
                name,
                format!("has a `${}` of type {}, which can't be what is bound to it: write a cast", index + 1, kind.name()),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// The lookup for each of `names` that its parameter can be; forms that are the same to its type are asked for once.
    fn asked_for_each(&self, names: &[Key]) -> impl Iterator<Item = Query<'static, Postgres, PgArguments>> {
        let mut bound = Vec::new();
        for parameter in self.parameters.first().into_iter().flat_map(|kind| names.iter().filter_map(|name| Parameter::of(kind, name))) {
            if !bound.contains(&parameter) {
                bound.push(parameter);
            }
        }
        bound.into_iter().map(|parameter| sqlx::query(self.sql.clone()).bind(parameter))
    }

    /// The change of the row with this key. `None` where its parameter can't be that key.
    fn changing(&self, key: &Key, reason: Reason) -> Option<Query<'static, Postgres, PgArguments>> {
        let reason = Key::Text(reason.as_str().to_owned());
        let bound: Option<Vec<_>> = self.parameters.iter().zip([key, &reason]).map(|(kind, key)| Parameter::of(kind, key)).collect();
        Some(bound?.into_iter().fold(sqlx::query(self.sql.clone()), Query::bind))
    }

    /// The query for a page. The key is in whichever of `forms` its parameter takes.
    fn page(&self, forms: &[Key], limit: usize) -> Option<Query<'static, Postgres, PgArguments>> {
        let [after, count] = self.parameters.as_slice() else { return None };
        let after = forms.iter().find_map(|form| Parameter::of(after, form))?;
        Some(sqlx::query(self.sql.clone()).bind(after).bind(Parameter::count(count, limit)?))
    }
}

#[async_trait]
impl Directory for PostgresDirectory {
    fn admits(&self, id: &AccountId) -> bool {
        self.statements.id.admits(id.as_str())
    }

    async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        let kind = identifier.kind();
        let lookup = self.statements.lookup.get(&kind).ok_or(DirectoryError::Unsupported(kind))?;
        let mut found = Vec::new();
        for query in lookup.asked_for_each(&sql::names(identifier, self.statements.id)) {
            let rows = query.fetch_all(&self.pool).await.map_err(failed(sql::FINDING))?;
            for stored in self.statements.read(&rows, sql::FINDING)? {
                unite(&mut found, stored?.account);
            }
        }
        Ok(found)
    }

    async fn unverify(&self, account: &Account, reason: Reason) -> Result<bool, DirectoryError> {
        let unverify = self.statements.unverify.as_ref().ok_or(DirectoryError::NoQuery("unverify"))?;
        for _ in 0..ATTEMPTS {
            if let Some(taken) = self.try_unverify(unverify, account, reason).await? {
                return Ok(taken);
            }
        }
        Err(DirectoryError::unavailable(sql::UNVERIFYING, "others kept changing the account"))
    }

    async fn page(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, DirectoryError> {
        self.listed(after, limit, Cells::listed).await
    }
}

fn is_other_text(form: &Key, id: &AccountId) -> bool {
    matches!(form, Key::Text(text) if text != id.as_str())
}

/// Whether another transaction got in the way: a serialization failure, or a deadlock.
fn is_conflict(error: &sqlx::Error) -> bool {
    sql::has_code(error, &["40001", "40P01"])
}

#[cfg(test)]
mod tests {
    use sqlx::Connection;

    use super::*;

    /// However far in, a page reads what it gives and no more. The server is that of `GATEKEEPER_POSTGRES`.
    #[tokio::test]
    async fn the_pages_of_the_built_in_table_are_found_by_its_key() {
        let server = std::env::var("GATEKEEPER_POSTGRES").unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/test".to_owned());
        let mut connection = PgConnection::connect(&server).await.unwrap();
        let table = include_str!("postgres/0001_accounts.sql");
        let rows =
            "INSERT INTO accounts (email, verified) SELECT 'a' || number || '@example.com', TRUE FROM generate_series(1, 20000) AS number";
        // It goes with the connection.
        let table = format!("SET search_path TO pg_temp; {table}; {rows}; ANALYZE accounts");
        sqlx::raw_sql(AssertSqlSafe(table)).execute(&mut connection).await.unwrap();
        let plan = format!("EXPLAIN {}", built_in().page.unwrap());
        for after in [0_i64, 10_000, 19_999] {
            let plan = sqlx::query_scalar(AssertSqlSafe(plan.clone())).bind(after).bind(2_000_i64);
            let plan: Vec<String> = plan.fetch_all(&mut connection).await.unwrap();
            let plan = plan.join("\n");
            assert!(plan.contains("Index Scan using accounts_pkey on accounts"), "{plan}");
            assert!(plan.contains("Index Cond: (id >") && !plan.contains("Sort"), "{plan}");
        }
    }
}
