//! The connections, and the little in which the databases differ. All statements elsewhere are in words that both of them know, but for a [`Dialect`]'s.

use std::io;
#[cfg(feature = "sqlite")]
use std::sync::Arc;
use std::time::Duration;

use sqlx::Database;
use sqlx::error::BoxDynError;
#[cfg(feature = "sqlite")]
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::counted::Count;
use super::given::Given;
#[cfg(feature = "sqlite")]
use super::sqlite;
#[cfg(feature = "postgres")]
use crate::account::postgres;
use crate::clock;

/// How long an answer may take. Databases end a statement long before, but a connection that broke unnoticed would be waited for without end.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn within<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    clock::within(PATIENCE, answer).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

/// The connections to whichever database holds the state.
#[derive(Debug, Clone)]
pub(super) enum Pool {
    #[cfg(feature = "sqlite")]
    Sqlite {
        pool: sqlx::SqlitePool,
        /// Whose turn it is to write. The file's own lock is waited for by sleeping, longer and longer.
        turn: Arc<Semaphore>,
    },
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
}

/// Changes to it that are made together. They are undone where this is dropped.
pub(super) enum Transaction {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>, OwnedSemaphorePermit),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

/// Does the same with either pool, or `in` either transaction with its connection: what is to be done is compiled once for each. Where it has words of its own,
/// they are those of the second name.
macro_rules! with {
    (in $transaction:expr, |$connection:ident, $dialect:ident| $to_do:expr) => {
        match $transaction {
            #[cfg(feature = "sqlite")]
            $crate::state::pool::Transaction::Sqlite(transaction, _) => {
                type $dialect = sqlx::Sqlite;
                let $connection = &mut **transaction;
                $crate::state::pool::within(async { $to_do }).await
            }
            #[cfg(feature = "postgres")]
            $crate::state::pool::Transaction::Postgres(transaction) => {
                type $dialect = sqlx::Postgres;
                let $connection = &mut **transaction;
                $crate::state::pool::within(async { $to_do }).await
            }
        }
    };
    (in $transaction:expr, |$connection:ident| $to_do:expr) => {
        match $transaction {
            #[cfg(feature = "sqlite")]
            $crate::state::pool::Transaction::Sqlite(transaction, _) => {
                let $connection = &mut **transaction;
                $crate::state::pool::within(async { $to_do }).await
            }
            #[cfg(feature = "postgres")]
            $crate::state::pool::Transaction::Postgres(transaction) => {
                let $connection = &mut **transaction;
                $crate::state::pool::within(async { $to_do }).await
            }
        }
    };
    ($pool:expr, |$connections:ident, $dialect:ident| $to_do:expr) => {
        match $pool {
            #[cfg(feature = "sqlite")]
            $crate::state::pool::Pool::Sqlite { pool: $connections, .. } => {
                type $dialect = sqlx::Sqlite;
                $crate::state::pool::within(async { $to_do }).await
            }
            #[cfg(feature = "postgres")]
            $crate::state::pool::Pool::Postgres($connections) => {
                type $dialect = sqlx::Postgres;
                $crate::state::pool::within(async { $to_do }).await
            }
        }
    };
    ($pool:expr, |$connections:ident| $to_do:expr) => {
        match $pool {
            #[cfg(feature = "sqlite")]
            $crate::state::pool::Pool::Sqlite { pool: $connections, .. } => $crate::state::pool::within(async { $to_do }).await,
            #[cfg(feature = "postgres")]
            $crate::state::pool::Pool::Postgres($connections) => $crate::state::pool::within(async { $to_do }).await,
        }
    };
}
pub(super) use with;

/// What a database has words of its own for.
pub(super) trait Dialect: Database {
    /// Begins a transaction that changes what it read.
    const BEGIN: &'static str;

    /// After what reads rows: nobody else may change them until the transaction ends.
    const LOCKING: &'static str;

    /// The same, passing over those that somebody else has locked.
    const SKIPPING: &'static str;

    /// Keeps what a discovery counted: what is [given](super::counted) comes first, then the pass's number, and the first and the last name.
    const KEEP_COUNTED: &'static str;

    /// The columns of what it counted.
    const COUNTED: &'static str;

    /// What a row of them holds.
    fn counted(row: &Self::Row) -> Result<Vec<(String, Count)>, sqlx::Error>;

    /// What is given as a table, as it stands in a `FROM`. Its parameters are the first.
    fn table(given: &Given<'_>) -> String;

    /// What is given as parameters, of which there are as many as columns.
    fn arguments(given: &Given<'_>) -> Result<Self::Arguments, BoxDynError>;

    /// Tells the others that share the state `news`, once the transaction is committed.
    fn tell(connection: &mut Self::Connection, news: &[String]) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

impl Pool {
    #[cfg(feature = "sqlite")]
    pub(super) fn sqlite(pool: sqlx::SqlitePool) -> Self {
        Self::Sqlite { pool, turn: Arc::new(Semaphore::new(1)) }
    }

    pub(super) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite { pool, turn } => {
                let turn = sqlite::turn(turn).await?;
                within(pool.begin_with(sqlx::Sqlite::BEGIN)).await.map(|transaction| Transaction::Sqlite(transaction, turn))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => within(postgres::begin(pool, sqlx::Postgres::BEGIN)).await.map(Transaction::Postgres),
        }
    }
}

impl Transaction {
    /// Tells the others that share the state `news`, once this is committed.
    pub(super) async fn tell(&mut self, news: &[String]) -> Result<(), sqlx::Error> {
        with!(in self, |connection, DB| DB::tell(connection, news).await)
    }

    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(transaction, _turn) => within(transaction.commit()).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(transaction) => within(transaction.commit()).await,
        }
    }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests_of_turns {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_turn_waits_no_longer_for_those_before() {
        let pool = Pool::sqlite(sqlite::memory().await.unwrap());
        let holder = pool.begin().await.unwrap();
        tokio::time::pause();
        let start = Instant::now();
        for waited in futures_util::future::join_all((0..5).map(|_| pool.begin())).await {
            assert!(matches!(waited, Err(sqlx::Error::PoolTimedOut)), "{:?}", waited.err());
        }
        assert_eq!(start.elapsed().as_secs(), 3);
        tokio::time::resume();
        holder.commit().await.unwrap();
        pool.begin().await.unwrap();
    }
}

#[cfg(test)]
#[cfg(feature = "postgres")]
mod tests {
    use sqlx::postgres::{PgConnectOptions, PgPool};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    use super::*;

    /// Passes everything on to PostgreSQL and back until it is `broken`; then nothing, without a word.
    async fn pass_on(listener: TcpListener, server: (String, u16), broken: watch::Receiver<bool>) {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect((server.0.as_str(), server.1)).await.unwrap();
            let mut broken = broken.clone();
            tokio::spawn(async move {
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                    _ = broken.wait_for(|broken| *broken) => {}
                }
                std::future::pending::<()>().await;
            });
        }
    }

    #[tokio::test]
    async fn a_connection_that_broke_unnoticed_is_not_waited_for_without_end() {
        let server = std::env::var("GATEKEEPER_POSTGRES").unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/test".to_owned());
        let options: PgConnectOptions = server.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (breaks, broken) = watch::channel(false);
        tokio::spawn(pass_on(listener, (options.get_host().to_owned(), options.get_port()), broken));
        let pool = Pool::Postgres(PgPool::connect_with(options.host("127.0.0.1").port(port)).await.unwrap());
        let mut transaction = pool.begin().await.unwrap();
        breaks.send_replace(true);
        // Nothing will come by the socket, so time may run as fast as it can.
        tokio::time::pause();
        let asked: Result<(), sqlx::Error> =
            with!(in &mut transaction, |connection| sqlx::query("SELECT 1").execute(connection).await.map(drop));
        assert!(matches!(&asked, Err(sqlx::Error::Io(error)) if error.kind() == io::ErrorKind::TimedOut), "{asked:?}");
    }
}
