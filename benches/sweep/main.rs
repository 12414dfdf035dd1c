//! What a sweep costs: `cargo bench --bench sweep -- [postgres|sqlite] [ACCOUNTS] [DOMAINS]`, a hundred thousand accounts and ten thousand domains by default, in PostgreSQL
//! (that of `GATEKEEPER_POSTGRES`, without TLS if nothing else is said: see the guide's chapter on replicas).
//!
//! 1. Discovery: accounts a second that are gone through for their domains, beside the driver's own scan of the same table by the same query; and the most memory that the process ever had.
//! 2. Looks: domains a second that are looked at once the accounts were gone through, with a source that answers at once: what leasing, judging and keeping take.
//!
//! Two thirds of the accounts are at twenty mailbox providers, the others on as many domains as there are.

#[path = "../common/table.rs"]
mod table;

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use reset_gatekeeper::account::{Directory, PostgresDirectory, SqliteDirectory};
use reset_gatekeeper::audit::Tracing;
use reset_gatekeeper::domain::{DomainSource, Report, SourceError};
use reset_gatekeeper::{Gatekeeper, RegistrableDomain, State, SweepEvent, SweepSettings};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueRef};
use sqlx::{AssertSqlSafe, Connection, Decode, PgConnection, Postgres, SqliteConnection, Type};

use table::Row;

type Failure = Box<dyn Error + Send + Sync>;

const SCHEMA: &str = "gatekeeper_bench_sweep";
const PAGE: &str = "SELECT id, email, verified, verified_at FROM accounts WHERE id > $1 ORDER BY id LIMIT $2";
const PAGE_LENGTH: i64 = 2_000;

/// A `timestamptz` as the driver gives it, which without another crate has no type for it.
struct Microseconds(#[expect(dead_code, reason = "to decode it is all that is to be done with it")] i64);

impl Type<Postgres> for Microseconds {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }
}

impl Decode<'_, Postgres> for Microseconds {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Self(i64::from_be_bytes(value.as_bytes()?.try_into()?)))
    }
}

/// Says of every domain that it is registered, and fills in what registries do. Counts how often it is asked.
#[derive(Default)]
struct Instantly(Arc<AtomicU64>);

#[async_trait]
impl DomainSource for Instantly {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let day = |days: u64| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400));
        let mut report = Report::registered("rdap");
        (report.registered_at, report.expires_at) = (day(14_000), day(30_000));
        (report.registrar, report.handle) = (Some("292".to_owned()), Some(format!("{}-REG", domain.as_str().len())));
        report.name_servers = vec!["ns1.host.net".to_owned(), "ns2.host.net".to_owned()];
        Ok(report)
    }

    fn servers(&self, _: &RegistrableDomain) -> Vec<String> {
        vec!["registry".to_owned()]
    }
}

/// A table of accounts, and the state in the same database.
struct Place {
    directory: Arc<dyn Directory>,
    state: State,
    url: String,
}

impl Place {
    async fn postgres(accounts: u64, domains: u64) -> Result<Self, Failure> {
        let server =
            std::env::var("GATEKEEPER_POSTGRES").unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/test?sslmode=disable".to_owned());
        let url = format!("{server}{}options=-c%20search_path%3D{SCHEMA}", if server.contains('?') { '&' } else { '?' });
        let mut connection = PgConnection::connect(&server).await?;
        let sql = format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}; SET search_path TO {SCHEMA}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        let directory = Arc::new(PostgresDirectory::connect(&url).await?);
        let numbers = format!("generate_series(1, {accounts}) AS number");
        sqlx::raw_sql(AssertSqlSafe(format!(
            "DROP INDEX accounts_by_email; {}; ANALYZE accounts",
            fill("TIMESTAMPTZ '2020-01-01'", &numbers, domains)
        )))
        .execute(&mut connection)
        .await?;
        Ok(Self { directory, state: State::connect(&url).await?, url })
    }

    async fn sqlite(folder: &std::path::Path, accounts: u64, domains: u64) -> Result<Self, Failure> {
        let file = folder.join("accounts.db");
        let directory = Arc::new(SqliteDirectory::open(&file).await?);
        let url = format!("sqlite:{}", file.display());
        let numbers = format!(
            "(WITH RECURSIVE n(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM n WHERE number < {accounts}) SELECT number FROM n)"
        );
        let mut connection = SqliteConnection::connect(&url).await?;
        sqlx::raw_sql(AssertSqlSafe(fill("'2020-01-01'", &numbers, domains))).execute(&mut connection).await?;
        Ok(Self { directory, state: State::open(&file).await?, url })
    }

    /// Accounts a second that the driver reads by the same query, and decodes the same columns of.
    #[expect(clippy::disallowed_methods, reason = "it is the machine's own time that is measured")]
    async fn bare(&self) -> Result<f64, Failure> {
        let (mut after, mut count, start) = (0_i64, 0_u64, Instant::now());
        macro_rules! scan {
            ($connection:expr, $time:ty) => {{
                let mut connection = $connection;
                loop {
                    let query = sqlx::query_as::<_, (i64, String, bool, Option<$time>)>(PAGE).bind(after).bind(PAGE_LENGTH);
                    let rows = query.fetch_all(&mut connection).await?;
                    let Some((last, ..)) = rows.last() else { break };
                    (after, count) = (*last, count + rows.len() as u64);
                }
            }};
        }
        if self.url.starts_with("sqlite") {
            scan!(SqliteConnection::connect(&self.url).await?, String);
        } else {
            scan!(PgConnection::connect(&self.url).await?, Microseconds);
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }
}

fn fill(verified_at: &str, numbers: &str, domains: u64) -> String {
    format!(
        "INSERT INTO accounts (email, verified, verified_at) SELECT 'user' || number || CASE WHEN number % 3 < 2 THEN '@provider' || (number % 20) ELSE '@example' || ((number / 3) % {domains}) END || '.com', TRUE, {verified_at} FROM {numbers}"
    )
}

/// The most memory that this process had, in mebibytes.
fn peak() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

#[expect(clippy::disallowed_methods, reason = "it is the machine's own time that is measured")]
async fn discovery(place: &Place, accounts: u64, pass: &str) -> Result<Row, Failure> {
    let bare = place.bare().await?;
    let gatekeeper = gatekeeper(place, Instantly::default())?;
    let before = peak()?;
    let (discovered, is_discovered) = tokio::sync::oneshot::channel::<u64>();
    let discovered = std::sync::Mutex::new(Some(discovered));
    let mut settings = SweepSettings::default();
    // So that nothing is looked at meanwhile.
    settings.rate = Some(0.001);
    let sweep = gatekeeper.sweep().settings(settings).told(move |event| {
        if let SweepEvent::Discovered { domains, .. } = event
            && let Some(discovered) = discovered.lock().ok().and_then(|mut discovered| discovered.take())
        {
            // Nobody waits where the round is over.
            let _ = discovered.send(domains);
        }
    });
    let start = Instant::now();
    let mut took = Duration::ZERO;
    let mut domains = 0;
    sweep
        .round(async {
            domains = is_discovered.await.unwrap_or_default();
            took = start.elapsed();
        })
        .await?;
    let ours = accounts as f64 / took.as_secs_f64();
    println!(
        "discovery, {pass} pass: {accounts} accounts on {domains} domains in {took:.1?}: {ours:.0} accounts a second, {:.2} of the driver's own {bare:.0}",
        ours / bare
    );
    println!("discovery: {:.0} MiB at most, {before:.0} MiB before", peak()?);
    let case = format!("discovery of {accounts} accounts on {domains} domains, {pass} pass / the driver's scan");
    Ok(Row { case, unit: "us", ours: 1e6 / ours, peer: 1e6 / bare, goal: Some(1.25) })
}

#[expect(clippy::disallowed_methods, reason = "it is the machine's own time that is measured")]
async fn looks(place: &Place) -> Result<Row, Failure> {
    let mut settings = SweepSettings::default();
    settings.rate = None;
    let asked = Arc::new(AtomicU64::new(0));
    let discovered = Arc::new(OnceLock::new());
    let sweep = gatekeeper(place, Instantly(Arc::clone(&asked)))?.sweep().settings(settings).told({
        let (asked, discovered) = (Arc::clone(&asked), Arc::clone(&discovered));
        move |event| {
            if let SweepEvent::Discovered { .. } = event {
                discovered.get_or_init(|| (Instant::now(), asked.load(Ordering::Relaxed)));
            }
        }
    });
    let summary = sweep.await?;
    let (start, before) = discovered.get().ok_or("nothing was discovered")?;
    let (took, looked) = (start.elapsed(), asked.load(Ordering::Relaxed) - before);
    println!("looks: {looked} of {} domains in {took:.1?}: {:.0} a second", summary.looked, looked as f64 / took.as_secs_f64());
    let ours = took.as_secs_f64() * 1e6 / looked as f64;
    Ok(Row { case: "a look at a domain / 20,000 a second".to_owned(), unit: "us", ours, peer: 50.0, goal: Some(1.0) })
}

fn gatekeeper(place: &Place, domains: Instantly) -> Result<Gatekeeper, Failure> {
    let builder = Gatekeeper::builder().directory(Arc::clone(&place.directory)).domains(domains);
    Ok(builder.audit(Tracing).state(place.state.clone()).build()?)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let is_sqlite = arguments.iter().any(|argument| argument == "sqlite");
    let numbers: Vec<u64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let accounts = numbers.first().copied().unwrap_or(100_000);
    let domains = numbers.get(1).copied().unwrap_or(10_000);
    let folder = tempfile::tempdir()?;
    let place = if is_sqlite { Place::sqlite(folder.path(), accounts, domains).await? } else { Place::postgres(accounts, domains).await? };
    let mut rows = Vec::new();
    for pass in ["first", "second"] {
        rows.push(discovery(&place, accounts, pass).await?);
    }
    rows.push(looks(&place).await?);
    table::print(&rows);
    Ok(())
}
