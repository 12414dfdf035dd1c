//! The connections, and the little in which the databases differ. All statements elsewhere are in words that both of them know.

use sqlx::{Database, Transaction};

/// The connections to whichever database holds the state.
#[derive(Debug, Clone)]
pub(super) enum Pool {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::SqlitePool),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
}

/// Does the same with either pool: what is to be done is compiled once for each.
macro_rules! with {
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

    /// Tells the others that share the state `news`, once the transaction is committed.
    fn tell(connection: &mut Self::Connection, news: String) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

pub(super) async fn begin<DB: Dialect>(pool: &sqlx::Pool<DB>) -> Result<Transaction<'static, DB>, sqlx::Error> {
    pool.begin_with(DB::BEGIN).await
}

pub(super) async fn tell<DB: Dialect>(transaction: &mut Transaction<'_, DB>, news: String) -> Result<(), sqlx::Error> {
    DB::tell(&mut *transaction, news).await
}
