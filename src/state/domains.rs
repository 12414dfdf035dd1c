//! What is remembered of domains.
//!
//! 1. Of two reports the later one stays; of two histories, what both know together. So replicas may write in any order.
//! 2. A report that can't be read is as good as none: the domain is asked about again. A history that can't be read can't be had again, so it is an error, and is
//!    left as it is.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::pool::{begin, tell, with};
use super::{State, StateError, failed, microseconds, time};
use crate::address::RegistrableDomain;
use crate::domain::cache::{Remembered, Store};
use crate::domain::{History, Report, SourceError};

#[derive(sqlx::FromRow)]
struct Row {
    checked_at: i64,
    report: String,
    history: String,
}

/// A time that no row is kept with: the row was not there before.
const NEVER: i64 = -1;

const READ: &str = "SELECT checked_at, report, history FROM gatekeeper_domains WHERE name = $1";

/// Makes the row if there is none, locks it, and gives what it was.
const LOCK: &str = "INSERT INTO gatekeeper_domains (name, checked_at, standing, report, history) VALUES ($1, $2, '', '', '') \
     ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING checked_at, report, history";

const WRITE: &str =
    "UPDATE gatekeeper_domains SET checked_at = $2, expires_at = $3, standing = $4, report = $5, history = $6 WHERE name = $1";

impl State {
    /// What is kept of `domain`. `None` where nothing is, or its report can't be read: a history is then kept all the same, and what
    /// [`keep_domain`](Self::keep_domain) gives has it.
    ///
    /// # Errors
    /// Where the state can't be read, or the domain's history can't.
    pub async fn domain(&self, domain: &RegistrableDomain) -> Result<Option<Remembered>, StateError> {
        let row: Option<Row> = with!(&self.pool, |pool| sqlx::query_as(READ).bind(domain.as_str()).fetch_optional(pool).await)
            .map_err(failed("reading a domain"))?;
        let Some(row) = row else { return Ok(None) };
        let history = Arc::new(row.history(domain)?);
        Ok(row.report(domain).map(|report| Remembered { report: Arc::new(report), history, checked_at: time(row.checked_at) }))
    }

    /// Keeps what was found out about `domain`, and gives what is kept from now on: the later of two reports, and all that is known of the past.
    ///
    /// Where `remembered` says that the domain has lapsed, or knows of a lapse that was not known, the others that share the state [are told](Self::news).
    ///
    /// # Errors
    /// Where the state can't be written, or the history that is kept can't be read. Then nothing has changed.
    pub async fn keep_domain(&self, domain: &RegistrableDomain, remembered: &Remembered) -> Result<Remembered, StateError> {
        let failed = || failed("keeping a domain");
        with!(&self.pool, |pool| {
            let mut transaction = begin(pool).await.map_err(failed())?;
            let query = sqlx::query_as(LOCK).bind(domain.as_str()).bind(NEVER);
            let row: Row = query.fetch_one(&mut *transaction).await.map_err(failed())?;
            let (kept, is_news) = remembered.joined_with(&row, domain)?;
            let report = serde_json::to_string(&*kept.report).map_err(StateError::unreadable(domain))?;
            let history = serde_json::to_string(&*kept.history).map_err(StateError::unreadable(domain))?;
            let standing = kept.report.standing(kept.checked_at, Duration::ZERO);
            let query = sqlx::query(WRITE).bind(domain.as_str()).bind(microseconds(kept.checked_at));
            let query = query.bind(kept.report.ends_at().map(microseconds)).bind(standing.as_str()).bind(report).bind(history);
            query.execute(&mut *transaction).await.map_err(failed())?;
            if is_news {
                tell(&mut transaction, format!("{} {domain}", self.node.id)).await.map_err(failed())?;
            }
            transaction.commit().await.map_err(failed())?;
            Ok(kept)
        })
    }
}

/// As what stands behind the memory.
#[async_trait]
impl Store for State {
    async fn read(&self, domain: &RegistrableDomain) -> Result<Option<Remembered>, SourceError> {
        self.domain(domain).await.map_err(|error| SourceError::State { domain: domain.clone(), source: error.into() })
    }

    async fn keep(&self, domain: &RegistrableDomain, remembered: &Remembered) -> Result<Remembered, SourceError> {
        self.keep_domain(domain, remembered).await.map_err(|error| SourceError::State { domain: domain.clone(), source: error.into() })
    }

    fn news(&self) -> broadcast::Receiver<RegistrableDomain> {
        self.news()
    }
}

impl Remembered {
    /// What this and `row` amount to together, and whether this is news to who knew the row.
    fn joined_with(&self, row: &Row, domain: &RegistrableDomain) -> Result<(Self, bool), StateError> {
        let is_lapsed = self.report.phase(self.checked_at, Duration::ZERO).is_lapsed();
        // As it will be read back.
        let checked_at = microseconds(self.checked_at);
        let mut joined = Self { checked_at: time(checked_at), ..self.clone() };
        if row.checked_at == NEVER {
            return Ok((joined, is_lapsed || self.history.lapsed_at().is_some()));
        }
        let before = row.history(domain)?;
        joined.history = Arc::new(before.merged(&self.history));
        if row.checked_at >= checked_at
            && let Some(report) = row.report(domain)
        {
            joined = Self { report: Arc::new(report), checked_at: time(row.checked_at), ..joined };
        }
        Ok((joined, is_lapsed || self.history.lapsed_at() > before.lapsed_at()))
    }
}

impl Row {
    fn report(&self, domain: &RegistrableDomain) -> Option<Report> {
        let read = serde_json::from_str(&self.report);
        read.inspect_err(|error| tracing::warn!(%domain, %error, "the report that is kept of a domain can't be read, and counts as none"))
            .ok()
    }

    fn history(&self, domain: &RegistrableDomain) -> Result<History, StateError> {
        serde_json::from_str(&self.history).map_err(StateError::unreadable(domain))
    }
}
