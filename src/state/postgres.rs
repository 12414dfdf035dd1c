//! The state in PostgreSQL.
//!
//! 1. The tables, and that of their migrations, are made in the first schema of the search path. It may be the application's own.
//! 2. News go through `NOTIFY`, by one connection more. What was missed while that was broken is read when there is another: which domains were found lapsed
//!    meanwhile. Where a pooler takes it away between statements (PgBouncer's transaction pooling) news are lost: whoever waits for them must look by itself too,
//!    only less often.

use std::time::Duration;

use sqlx::error::BoxDynError;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions, PgRow};
use sqlx::{Arguments, Connection, Postgres, Row};
use tokio::sync::broadcast::Sender;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::counted::Count;
use super::given::{Cells, Given};
use super::pool::Dialect;
use super::{MIGRATIONS, NEWS, StateError, count, failed, span};
use crate::account::postgres;
use crate::address::RegistrableDomain;

/// Where lapses are told of: the teller's key, a blank, and the domain. A channel belongs to a database, not to a schema of it, which is no harm: a domain is
/// the same everywhere.
const CHANNEL: &str = "gatekeeper_domains";

/// How long the connection that listens may be silent before it is tried, so that one that broke unnoticed shows.
const SILENCE: Duration = Duration::from_secs(60);

/// By how much the clocks of those that share the state may differ from the database's.
const SKEW: Duration = Duration::from_secs(60);

/// Those of which the last report says that they have lapsed, the latest first.
const LAPSED_SINCE: &str = "SELECT name FROM gatekeeper_domains WHERE standing IN ('expired', 'redemption', 'pending_delete', 'unregistered') \
     AND checked_at >= CAST(extract(epoch FROM now()) * 1000000 AS bigint) - $1 ORDER BY checked_at DESC LIMIT $2";

/// How long to wait before listening is tried again.
const PAUSE: Duration = Duration::from_secs(5);

pub(super) async fn connect(url: &str) -> Result<(PgPool, PgConnectOptions), StateError> {
    let options = postgres::options(url).map_err(failed("reading the address of the database"))?;
    let mut connection = postgres::reach(&options).await.map_err(failed("connecting to the database"))?;
    let mut migrator: Migrator = sqlx::migrate!("src/state/postgres");
    migrator.dangerous_set_table_name(MIGRATIONS);
    migrator.run(&mut connection).await.map_err(StateError::Tables)?;
    drop(connection.close().await);
    Ok((postgres::pool(&options).connect_lazy_with(options.clone()), options))
}

async fn within<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(postgres::ACQUIRE_TIMEOUT, answer).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

impl Dialect for Postgres {
    // Whatever the database's own default is: what waited for a row must see it as it is then.
    const BEGIN: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED";
    const LOCKING: &'static str = "FOR UPDATE";
    const SKIPPING: &'static str = "FOR UPDATE SKIP LOCKED";
    const KEEP_COUNTED: &'static str = "INSERT INTO gatekeeper_counted (names, accounts, verified_from, undated, pass, first_name, last_name) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    const COUNTED: &'static str = "names, accounts, verified_from, undated";

    fn counted(row: &PgRow) -> Result<Vec<(String, Count)>, sqlx::Error> {
        let (names, accounts): (Vec<String>, Vec<i64>) = (row.try_get(0)?, row.try_get(1)?);
        let (verified_from, undated): (Vec<Option<i64>>, Vec<i64>) = (row.try_get(2)?, row.try_get(3)?);
        let counts = accounts.into_iter().zip(verified_from).zip(undated);
        let counts = counts.map(|((accounts, verified_from), undated)| Count::kept(accounts, verified_from, undated));
        Ok(names.into_iter().zip(counts).collect())
    }

    fn table(given: &Given<'_>) -> String {
        let (mut arrays, mut names) = (Vec::new(), Vec::new());
        for (place, (name, cells)) in given.columns().iter().enumerate() {
            let kind = match cells {
                // In the order of the columns that they are compared with.
                Cells::Text(_) => "text[]) COLLATE \"C\"",
                Cells::Number(_) => "bigint[])",
            };
            arrays.push(format!("CAST(${} AS {kind}", place + 1));
            names.push(*name);
        }
        format!("unnest({}) AS given ({})", arrays.join(", "), names.join(", "))
    }

    fn arguments(given: &Given<'_>) -> Result<PgArguments, BoxDynError> {
        let mut arguments = PgArguments::default();
        for (_, cells) in given.columns() {
            match cells {
                Cells::Text(cells) => Arguments::add(&mut arguments, cells)?,
                Cells::Number(cells) => Arguments::add(&mut arguments, cells)?,
            }
        }
        Ok(arguments)
    }

    async fn tell(connection: &mut PgConnection, news: &[String]) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT pg_notify($1, told) FROM unnest($2) AS told").bind(CHANNEL).bind(news).execute(connection).await.map(drop)
    }
}

/// Listens on a connection of its own. `None`, and a warning, where that can't be done.
pub(super) async fn listen(options: &PgConnectOptions) -> Option<PgListener> {
    let listening = async {
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(postgres::ACQUIRE_TIMEOUT);
        let mut listener = PgListener::connect_with(&pool.connect_with(options.clone()).await?).await?;
        within(listener.listen(CHANNEL)).await?;
        Ok(listener)
    };
    listening.await.inspect_err(|error: &sqlx::Error| warn(error)).ok()
}

/// Passes on what others than `node` tell, for as long as it is polled.
pub(super) async fn pass_on(mut listener: Option<PgListener>, options: PgConnectOptions, node: Uuid, news: Sender<RegistrableDomain>) {
    let mut heard_at = Instant::now();
    loop {
        if let Some(listener) = &mut listener {
            let Err(error) = receive(listener, &mut heard_at, node, &news).await;
            warn(&error);
        }
        sleep(PAUSE).await;
        listener = listen(&options).await;
    }
}

/// Nothing was missed up to `heard_at`.
async fn receive(
    listener: &mut PgListener,
    heard_at: &mut Instant,
    node: Uuid,
    news: &Sender<RegistrableDomain>,
) -> Result<std::convert::Infallible, sqlx::Error> {
    catch_up(listener, *heard_at, news).await?;
    loop {
        *heard_at = Instant::now();
        let Ok(told) = timeout(SILENCE, listener.try_recv()).await else {
            within(sqlx::query("SELECT 1").execute(&mut *listener)).await?;
            continue;
        };
        match told? {
            Some(told) => {
                if let Some((teller, domain)) = told.payload().split_once(' ')
                    && teller != node.to_string()
                {
                    tell(domain, news);
                }
            }
            // The connection was lost, and there is another one.
            None => catch_up(listener, *heard_at, news).await?,
        }
    }
}

/// Tells what was missed since `heard_at`.
async fn catch_up(listener: &mut PgListener, heard_at: Instant, news: &Sender<RegistrableDomain>) -> Result<(), sqlx::Error> {
    let missed = span(heard_at.elapsed() + SKEW);
    let lapsed: Vec<String> = within(sqlx::query_scalar(LAPSED_SINCE).bind(missed).bind(count(NEWS as u64)).fetch_all(listener)).await?;
    lapsed.iter().for_each(|domain| tell(domain, news));
    Ok(())
}

fn tell(domain: &str, news: &Sender<RegistrableDomain>) {
    if let Ok(domain) = RegistrableDomain::of(domain) {
        // Nobody may be waiting.
        drop(news.send(domain));
    }
}

fn warn(error: &sqlx::Error) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(error, "what others find out about domains is not heard at once, but when they are next looked up");
}
