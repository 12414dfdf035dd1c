//! What outlives the process and is shared by replicas: un-verifications of accounts whose own table isn't written, what is remembered of domains, how far
//! audit logs had got, and who is exempt. It is kept in an SQLite file, for replicas on one machine, or in PostgreSQL.
//!
//! An entry about an account is about it with one address, so a changed address leaves it behind. It says since when the address is un-verified and why, or that
//! it was verified again. [`Overlay`](crate::account::Overlay) lays the entries over a directory.

mod accounts;
mod brake;
mod counted;
#[cfg(feature = "webhook")]
mod deliveries;
mod domains;
mod due;
mod exemptions;
mod given;
#[cfg(feature = "admin")]
mod lapsing;
mod passes;
#[cfg(test)]
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod place;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod rations;
#[cfg(feature = "sqlite")]
mod sqlite;
mod watch;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sqlx::migrate::MigrateError;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::address::RegistrableDomain;
use crate::audit::Head;
use pool::{Pool, with};

pub(crate) use accounts::Unverification;
pub(crate) use counted::{Count, Discovered};
#[cfg(feature = "webhook")]
pub(crate) use deliveries::Position;
pub(crate) use domains::Kept;
#[cfg(feature = "admin")]
pub(crate) use lapsing::Lapsing;
pub(crate) use passes::{Begun, Pass, Progress};
pub(crate) use watch::{Looked, Outlook, TRIES, Watched};

/// The database may be the directory's too, whose migrations have a table of their own.
const MIGRATIONS: &str = "_gatekeeper_state_migrations";

/// How many news may wait for who is slow to take them.
const NEWS: usize = 256;

/// What outlives the process, in an SQLite file or in PostgreSQL.
///
/// Cloning shares the connections.
#[derive(Debug, Clone)]
pub struct State {
    pool: Pool,
    node: Arc<Node>,
}

/// This one of those that share the state.
#[derive(Debug)]
struct Node {
    id: Uuid,
    /// The machine's name, where the state may be shared by several.
    host: Option<String>,
    news: broadcast::Sender<RegistrableDomain>,
    /// What listens. It ends with the last clone of the state.
    _listening: JoinSet<()>,
}

/// Why the state gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The database can't be opened, reached, read or written.
    #[error("{operation} failed in the state")]
    Unavailable {
        /// What was attempted.
        operation: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The tables can't be created, or are a later version's.
    #[error("the tables of the state can't be made")]
    Tables(#[source] MigrateError),
    /// What is kept of a domain's past is damaged.
    #[error("the history that is kept of {domain} can't be read")]
    Unreadable {
        /// The domain.
        domain: RegistrableDomain,
        /// What is wrong with it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StateError {
    fn unreadable(domain: &RegistrableDomain) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Unreadable { domain: domain.clone(), source: source.into() }
    }
}

impl State {
    /// Opens the SQLite file at `path`, creating it where it is missing.
    ///
    /// # Errors
    /// Where the file can't be opened, created or written, or is a later version's.
    #[cfg(feature = "sqlite")]
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StateError> {
        Ok(Self::of_one_machine(sqlite::open(path.as_ref()).await?))
    }

    /// A state that ends with the process, in SQLite.
    ///
    /// # Errors
    /// Where there is no memory for it.
    #[cfg(feature = "sqlite")]
    pub async fn memory() -> Result<Self, StateError> {
        Ok(Self::of_one_machine(sqlite::memory().await?))
    }

    #[cfg(feature = "sqlite")]
    fn of_one_machine(pool: sqlx::SqlitePool) -> Self {
        let (news, _) = broadcast::channel(NEWS);
        let node = Node { id: Uuid::now_v7(), host: None, news, _listening: JoinSet::new() };
        Self { pool: Pool::sqlite(pool), node: Arc::new(node) }
    }

    /// Connects to the PostgreSQL database at `url`, and creates the tables, whose names begin with `gatekeeper_`, where they are missing.
    ///
    /// No statement runs longer than three seconds, unless the URL's `options` set another `statement_timeout`. One connection does nothing but wait for
    /// [news](Self::news), and must be a session of its own: a pooler between that shares sessions by transaction takes the news away, and nothing else.
    ///
    /// # Errors
    /// Where the URL makes no sense, the database can't be reached, the tables can't be created, or they are a later version's.
    #[cfg(feature = "postgres")]
    pub async fn connect(url: &str) -> Result<Self, StateError> {
        let host = whoami::hostname().map_err(|error| sqlx::Error::Io(error.into()));
        let host = host.map_err(failed("reading the machine's name"))?;
        let (pool, options) = postgres::connect(url).await?;
        let (id, (news, _)) = (Uuid::now_v7(), broadcast::channel(NEWS));
        let mut listening = JoinSet::new();
        listening.spawn(postgres::pass_on(postgres::listen(&options).await, options, id, news.clone()));
        Ok(Self { pool: Pool::Postgres(pool), node: Arc::new(Node { id, host: Some(host), news, _listening: listening }) })
    }

    /// Domains about which another process that shares the state found a lapse, as they come from now on. What stands in memory about them is outdated.
    ///
    /// In SQLite there are none. In PostgreSQL they come late where the connection broke, and some may be missed: they save time, and nothing may rely on them.
    #[must_use]
    pub fn news(&self) -> broadcast::Receiver<RegistrableDomain> {
        self.node.news.subscribe()
    }

    /// How far the audit log `file` had got when its head was last kept, however its path was spelled then.
    ///
    /// In PostgreSQL, which several machines may share, that is the log of this name on this machine: let a container have a host name that stays.
    ///
    /// # Errors
    /// Where the state can't be read.
    pub async fn audit_head(&self, file: &Path) -> Result<Option<Head>, StateError> {
        let query =
            "SELECT seq, hash FROM gatekeeper_audit_heads WHERE file IN ($1, $2) ORDER BY CASE WHEN file = $1 THEN 0 ELSE 1 END LIMIT 1";
        let (log, former) = (self.node.log(file), self.node.former_log(file));
        let row: Option<(i64, String)> = with!(&self.pool, |pool| sqlx::query_as(query).bind(log).bind(former).fetch_optional(pool).await)
            .map_err(failed("reading the head of the audit log"))?;
        Ok(row.map(|(seq, hash)| Head::new(seq.unsigned_abs(), hash)))
    }

    /// Keeps how far the audit log `file` has got. Of two heads that several processes keep the later one stays, so a log that begins anew needs another name.
    ///
    /// # Errors
    /// Where the state can't be written.
    pub async fn keep_audit_head(&self, file: &Path, head: &Head) -> Result<(), StateError> {
        let query = "INSERT INTO gatekeeper_audit_heads (file, seq, hash) VALUES ($1, $2, $3) \
             ON CONFLICT (file) DO UPDATE SET seq = excluded.seq, hash = excluded.hash WHERE excluded.seq >= gatekeeper_audit_heads.seq";
        let (log, seq) = (self.node.log(file), count(head.seq));
        with!(&self.pool, |pool| sqlx::query(query).bind(log).bind(seq).bind(&head.hash).execute(pool).await.map(drop))
            .map_err(failed("keeping the head of the audit log"))
    }
}

impl Node {
    /// The name under which the head of the audit log `file` is kept, however its path is spelled. Another machine's may have the same path.
    fn log(&self, file: &Path) -> String {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        // The file itself may be missing.
        let file = match (file.parent().map(Path::canonicalize), file.file_name()) {
            (Some(Ok(folder)), Some(name)) => folder.join(name),
            _ => file,
        };
        self.here(&file)
    }

    /// The name under which earlier versions kept it: by the path as it was spelled, where machines share the state as an absolute one.
    fn former_log(&self, file: &Path) -> String {
        let absolute = self.host.as_ref().and_then(|_| std::path::absolute(file).ok());
        self.here(absolute.as_deref().unwrap_or(file))
    }

    /// `path`, on this machine.
    fn here(&self, path: &Path) -> String {
        match &self.host {
            Some(host) => format!("{host}:{}", path.display()),
            None => path.display().to_string(),
        }
    }
}

fn failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StateError {
    move |source| StateError::Unavailable { operation, source }
}

/// Since 1970; times before that count as its beginning.
fn microseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Not so long that adding it to a moment could fail.
fn span(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn time(microseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(microseconds.unsigned_abs())
}
