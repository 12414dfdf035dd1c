//! Where the tests keep a state: in a file, and in a schema of its own on the PostgreSQL server of `GATEKEEPER_POSTGRES`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{Begun, Count, Discovered, Pass, Progress, State};
use crate::account::AccountId;
use crate::address::RegistrableDomain;

pub(super) const MINUTE: Duration = Duration::from_secs(60);

const SERVER: &str = "postgres://postgres@127.0.0.1:5432/test";

/// Where a state is kept, opened as often as there are replicas.
pub(super) enum Place {
    File(tempfile::TempDir),
    Database(Schema),
}

/// A schema that comes first in the search path, and goes when the test is over.
pub(super) struct Schema {
    name: String,
    url: String,
}

impl Place {
    pub(super) fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    pub(super) async fn database() -> Self {
        Self::Database(Schema::create().await)
    }

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("state.db")
    }

    pub(super) async fn state(&self) -> State {
        match self {
            Self::File(folder) => State::open(Self::path(folder)).await.unwrap(),
            Self::Database(schema) => State::connect(&schema.url).await.unwrap(),
        }
    }

    pub(super) async fn run(&self, sql: &str) {
        match self {
            Self::File(folder) => {
                let mut connection = SqliteConnection::connect(&format!("sqlite:{}", Self::path(folder).display())).await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
            Self::Database(schema) => run(&schema.url, sql).await,
        }
    }
}

impl Schema {
    async fn create() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var("GATEKEEPER_POSTGRES").unwrap_or_else(|_| SERVER.to_owned());
        // Beside those of the other tests, which are of another process.
        let name = format!("gatekeeper_lib_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let separator = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{separator}options=-c%20search_path%3D{name}%2Cpublic");
        run(&url, &format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}")).await;
        Self { name, url }
    }
}

async fn run(url: &str, sql: &str) {
    let connection = PgConnection::connect(url).await;
    let mut connection = connection.unwrap_or_else(|error| panic!("no PostgreSQL at {url} (set GATEKEEPER_POSTGRES): {error}"));
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection.close().await.unwrap();
}

/// Also where the test fails.
impl Drop for Schema {
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime
                .block_on(run(&url, &format!("SET lock_timeout = '10s'; SET client_min_messages = warning; DROP SCHEMA {name} CASCADE")));
        });
        if dropped.join().is_err() {
            eprintln!("the schema {} is left behind", self.name);
        }
    }
}

/// Tests of what holds wherever the state is.
macro_rules! promised_of_both {
    ($($name:ident),* $(,)?) => {
        mod in_a_file {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::state::place::Place::file()).await;
            })*
        }
        mod in_a_database {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::state::place::Place::database().await).await;
            })*
        }
    };
}
pub(super) use promised_of_both;

/// So many seconds after some moment.
pub(super) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

pub(super) fn domain(name: &str) -> RegistrableDomain {
    RegistrableDomain::of(name).unwrap()
}

/// So many accounts on a domain, verified from this moment on.
pub(super) fn discovered(name: &str, accounts: u64, verified_from: Option<u64>) -> Discovered {
    Discovered { domain: domain(name), count: Count { accounts, verified_from: verified_from.map(at), undated: 0 } }
}

/// Discovers these, all at once, `seconds` after some moment. Says how many vanished.
pub(super) async fn discover(state: &State, found: &[Discovered], seconds: u64) -> u64 {
    let begun = state.begin_pass(Pass::Discovery, at(seconds), at(seconds), MINUTE).await.unwrap();
    let Begun::Mine { number, after: None, accounts: 0 } = begun else { panic!("{begun:?}") };
    let after = AccountId::from("1");
    let progress = Progress { found, after: &after, accounts: found.iter().map(|found| found.count.accounts).sum() };
    assert!(state.advance(Pass::Discovery, number, &progress, at(seconds), MINUTE).await.unwrap());
    state.end_discovery(number, || at(seconds), MINUTE).await.unwrap().unwrap()
}
