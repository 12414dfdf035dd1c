//! The connections, and the little in which the databases differ. All statements elsewhere are in words that both of them know, but for a [`Dialect`]'s.

use sqlx::Database;

/// The connections to whichever database holds the state.
#[derive(Debug, Clone)]
pub(super) enum Pool {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::SqlitePool),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
}

/// Changes to it that are made together. They are undone where this is dropped.
pub(super) enum Transaction {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

/// Does the same with either pool, or `in` either transaction with its connection: what is to be done is compiled once for each. Where it has words of its own,
/// they are those of the second name.
macro_rules! with {
    (in $transaction:expr, |$connection:ident, $dialect:ident| $to_do:expr) => {
        match $transaction {
            #[cfg(feature = "sqlite")]
            $crate::state::pool::Transaction::Sqlite(transaction) => {
                type $dialect = sqlx::Sqlite;
                let $connection = &mut **transaction;
                $to_do
            }
            #[cfg(feature = "postgres")]
            $crate::state::pool::Transaction::Postgres(transaction) => {
                type $dialect = sqlx::Postgres;
                let $connection = &mut **transaction;
                $to_do
            }
        }
    };
    (in $transaction:expr, |$connection:ident| $to_do:expr) => {
        match $transaction {
            #[cfg(feature = "sqlite")]
            $crate::state::pool::Transaction::Sqlite(transaction) => {
                let $connection = &mut **transaction;
                $to_do
            }
            #[cfg(feature = "postgres")]
            $crate::state::pool::Transaction::Postgres(transaction) => {
                let $connection = &mut **transaction;
                $to_do
            }
        }
    };
    ($pool:expr, |$connections:ident| $to_do:expr) => {
        match $pool {
            #[cfg(feature = "sqlite")]
            $crate::state::pool::Pool::Sqlite($connections) => $to_do,
            #[cfg(feature = "postgres")]
            $crate::state::pool::Pool::Postgres($connections) => $to_do,
        }
    };
}
pub(super) use with;

/// What a database has words of its own for.
pub(super) trait Dialect: Database {
    /// Begins a transaction that changes what it read.
    const BEGIN: &'static str;

    /// The elements of the JSON array `$1` as the table `given`, of which each is a `value`.
    const GIVEN: &'static str;

    /// After what reads rows: nobody else may change them until the transaction ends.
    const LOCKING: &'static str;

    /// The same, passing over those that somebody else has locked.
    const SKIPPING: &'static str;

    /// Tells the others that share the state `news`, once the transaction is committed.
    fn tell(connection: &mut Self::Connection, news: String) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

impl Pool {
    pub(super) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(pool) => pool.begin_with(sqlx::Sqlite::BEGIN).await.map(Transaction::Sqlite),
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => pool.begin_with(sqlx::Postgres::BEGIN).await.map(Transaction::Postgres),
        }
    }
}

impl Transaction {
    /// Tells the others that share the state `news`, once this is committed.
    pub(super) async fn tell(&mut self, news: String) -> Result<(), sqlx::Error> {
        with!(in self, |connection, DB| DB::tell(connection, news).await)
    }

    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(transaction) => transaction.commit().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(transaction) => transaction.commit().await,
        }
    }
}
