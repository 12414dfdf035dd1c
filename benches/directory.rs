//! What finding an account costs: `cargo bench --bench directory -- [ACCOUNTS]`, in an SQLite file of a hundred thousand accounts by default.
//!
//! The same query for the same addresses, by turns: by the driver on a connection of its own, by the driver's pool as it is by default, and by [`SqliteDirectory::find`]. Of each, the
//! median of many turns.

#[path = "common/table.rs"]
mod table;

use std::error::Error;
use std::time::{Duration, Instant};

use reset_gatekeeper::account::{Directory, SqliteDirectory};
use reset_gatekeeper::{Identifier, Mailbox};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection, SqlitePool};

type Failure = Box<dyn Error + Send + Sync>;
type Row = (i64, String, bool, Option<String>);

const FIND: &str = "SELECT id, email, verified, verified_at FROM accounts WHERE lower(email) = lower($1)";
const TURNS: u64 = 50;
const LOOKUPS: u64 = 200;

/// Addresses here and there in the table, others in each turn.
fn addresses(accounts: u64, turn: u64) -> Vec<String> {
    let number = |lookup: u64| 1 + (turn * LOOKUPS + lookup) * 7_919 % accounts;
    (0..LOOKUPS).map(|lookup| format!("user{}@example.com", number(lookup))).collect()
}

fn each(took: &mut [Duration]) -> f64 {
    took.sort_unstable();
    took.get(took.len() / 2).map_or(f64::NAN, |median| median.as_secs_f64() * 1e6 / LOOKUPS as f64)
}

#[expect(clippy::disallowed_methods, reason = "it is the machine's own time that is measured")]
#[tokio::main]
async fn main() -> Result<(), Failure> {
    let accounts = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("accounts.db");
    let directory = SqliteDirectory::open(&file).await?;
    let url = format!("sqlite:{}", file.display());
    let mut connection = SqliteConnection::connect(&url).await?;
    let numbers =
        format!("WITH RECURSIVE n(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM n WHERE number < {accounts}) SELECT number FROM n");
    let fill = format!(
        "INSERT INTO accounts (email, verified, verified_at) SELECT 'user' || number || '@example.com', TRUE, '2020-01-01' FROM ({numbers})"
    );
    sqlx::raw_sql(AssertSqlSafe(fill)).execute(&mut connection).await?;
    let pool = SqlitePool::connect(&url).await?;
    let (mut by_connection, mut by_pool, mut by_directory) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let addresses = addresses(accounts, turn);
        let identifiers = addresses.iter().map(|address| Ok(Identifier::Email(Mailbox::parse(address)?)));
        let identifiers: Vec<_> = identifiers.collect::<Result<_, Failure>>()?;
        let start = Instant::now();
        for address in &addresses {
            let rows: Vec<Row> = sqlx::query_as(FIND).bind(address).fetch_all(&mut connection).await?;
            assert_eq!(rows.len(), 1);
        }
        by_connection.push(start.elapsed());
        let start = Instant::now();
        for address in &addresses {
            let rows: Vec<Row> = sqlx::query_as(FIND).bind(address).fetch_all(&pool).await?;
            assert_eq!(rows.len(), 1);
        }
        by_pool.push(start.elapsed());
        let start = Instant::now();
        for identifier in &identifiers {
            assert_eq!(directory.find(identifier).await?.len(), 1);
        }
        by_directory.push(start.elapsed());
    }
    let (by_connection, by_pool, by_directory) = (each(&mut by_connection), each(&mut by_pool), each(&mut by_directory));
    let row = |peer, cost| table::Row {
        case: format!("an account among {accounts} in SQLite / {peer}"),
        unit: "us",
        ours: by_directory,
        peer: cost,
        goal: Some(1.2),
    };
    table::print(&[row("the driver's pool", by_pool), row("a connection of the driver's", by_connection)]);
    Ok(())
}
