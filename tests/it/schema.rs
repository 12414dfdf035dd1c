//! A schema of its own for each test, on the PostgreSQL server of `GATEKEEPER_POSTGRES`.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

const SERVER: &str = "postgres://postgres@127.0.0.1:5432/test";

pub(crate) fn server() -> String {
    std::env::var("GATEKEEPER_POSTGRES").unwrap_or_else(|_| SERVER.to_owned())
}

/// A schema that comes first in the search path, and goes when the test is over.
pub(crate) struct Schema {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) connection: PgConnection,
}

impl Schema {
    pub(crate) async fn create() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = server();
        let name = format!("gatekeeper_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let separator = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{separator}options=-c%20search_path%3D{name}%2Cpublic");
        let connection = PgConnection::connect(&url).await;
        let connection = connection.unwrap_or_else(|error| panic!("no PostgreSQL at {server} (set GATEKEEPER_POSTGRES): {error}"));
        let mut schema = Self { name, url, connection };
        schema.run(&format!("DROP SCHEMA IF EXISTS {0} CASCADE; CREATE SCHEMA {0}", schema.name)).await;
        schema
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// Also where the test fails.
impl Drop for Schema {
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&url).await.unwrap();
                let sql = format!("SET lock_timeout = '10s'; SET client_min_messages = warning; DROP SCHEMA {name} CASCADE");
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
            });
        });
        if dropped.join().is_err() {
            eprintln!("the schema {} is left behind", self.name);
        }
    }
}
