//! What is remembered of domains.
//!
//! 1. Of two reports the later one stays; of two histories, what both know together. So replicas may write in any order.
//! 2. A report that can't be read is as good as none: the domain is asked about again. A history that can't be read can't be had again, so it is an error, and
//!    is left as it is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use tokio::sync::broadcast;

use super::given::Given;
use super::pool::{Dialect, Transaction, with};
use super::{State, StateError, failed, microseconds, time};
use crate::address::RegistrableDomain;
use crate::domain::cache::{Remembered, Store};
use crate::domain::{History, Report, SourceError};

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    checked_at: i64,
    report: String,
    history: String,
    /// What only a reading asks for.
    #[sqlx(default)]
    polled_at: Option<i64>,
}

/// As it is written.
struct Written<'a> {
    name: &'a str,
    checked_at: i64,
    expires_at: Option<i64>,
    standing: &'static str,
    report: String,
    history: String,
}

/// What is kept of a domain, or why that can't be read.
pub(crate) type Kept = Result<Option<Remembered>, StateError>;

const READ: &str = "SELECT name, checked_at, report, history, polled_at FROM gatekeeper_domains LEFT JOIN gatekeeper_watched USING (name)";

fn read_one() -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("{READ} WHERE name = $1"))
}

fn read_several<DB: Dialect>(names: &Given<'_>) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("{READ} WHERE name IN (SELECT name FROM {})", names.table::<DB>()))
}

fn there<DB: Dialect>(names: &Given<'_>) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("SELECT name FROM gatekeeper_domains WHERE name IN (SELECT name FROM {})", names.table::<DB>()))
}

/// Adds those that are new, and names them. Rows are never taken away, so all the others are there from then on.
///
/// Like the next, in the order of names, and always before it: two that write at once then never wait for each other.
fn add<DB: Dialect>(given: &Given<'_>) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "INSERT INTO gatekeeper_domains (name, checked_at, expires_at, standing, report, history) \
         SELECT name, checked_at, expires_at, standing, report, history FROM {} WHERE true ORDER BY name \
         ON CONFLICT (name) DO NOTHING RETURNING name",
        given.table::<DB>()
    ))
}

fn lock<DB: Dialect>(names: &Given<'_>) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "SELECT name, checked_at, report, history FROM gatekeeper_domains WHERE name IN (SELECT name FROM {}) ORDER BY name {}",
        names.table::<DB>(),
        DB::LOCKING
    ))
}

fn change<DB: Dialect>(given: &Given<'_>) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "UPDATE gatekeeper_domains AS kept SET checked_at = given.checked_at, expires_at = given.expires_at, standing = given.standing, \
         report = given.report, history = given.history FROM {} WHERE kept.name = given.name",
        given.table::<DB>()
    ))
}

/// Lets the sweep look at a lapse soon that a reset came upon: there may be more accounts on the domain. Whoever looks at it right now may not have seen it:
/// by -1 it shows that even a time of 0 was set anew.
const HASTEN: &str = "UPDATE gatekeeper_watched SET due_at = CASE WHEN lease IS NULL THEN 0 ELSE due_at END, \
     registry_at = CASE WHEN lease IS NULL THEN 0 ELSE -1 END WHERE name = $1";

impl State {
    /// What is kept of `domain`. `None` where nothing is, or its report can't be read: a history is then kept all the same, and what
    /// [`keep_domain`](Self::keep_domain) gives has it.
    ///
    /// # Errors
    /// Where the state can't be read, or the domain's history can't.
    pub async fn domain(&self, domain: &RegistrableDomain) -> Result<Option<Remembered>, StateError> {
        let row: Option<Row> = with!(&self.pool, |pool| sqlx::query_as(read_one()).bind(domain.as_str()).fetch_optional(pool).await)
            .map_err(failed("reading a domain"))?;
        row.map_or(Ok(None), |row| row.remembered(domain))
    }

    /// The same of several domains at once, those left out of which nothing is kept.
    pub(crate) async fn domains(&self, domains: &[&RegistrableDomain]) -> Result<Vec<(RegistrableDomain, Kept)>, StateError> {
        if domains.is_empty() {
            return Ok(Vec::new());
        }
        let names = Given::names(domains.iter().map(|domain| domain.as_str()));
        let rows: Vec<Row> = with!(&self.pool, |pool, DB| {
            sqlx::query_as_with(read_several::<DB>(&names), names.arguments::<DB>()?).fetch_all(pool).await
        })
        .map_err(failed("reading domains"))?;
        let rows: HashMap<_, _> = rows.iter().map(|row| (row.name.as_str(), row)).collect();
        let kept = domains.iter().filter_map(|domain| Some(((*domain).clone(), rows.get(domain.as_str())?.remembered(domain))));
        Ok(kept.collect())
    }

    /// Keeps what was found out about `domain`, and gives what is kept from now on: the later of two reports, and all that is known of the past.
    ///
    /// Where `remembered` says that the domain has lapsed, or knows of a lapse that was not known, the others that share the state [are told](Self::news).
    ///
    /// # Errors
    /// Where the state can't be written, or the history that is kept can't be read. Then nothing has changed.
    pub async fn keep_domain(&self, domain: &RegistrableDomain, remembered: &Remembered) -> Result<Remembered, StateError> {
        let failed = || failed("keeping a domain");
        let mut transaction = self.pool.begin().await.map_err(failed())?;
        let mut kept = self.keep(&mut transaction, &[(domain, remembered)]).await.map_err(failed())?;
        let (kept, is_news) = kept.pop().unwrap_or_else(|| Ok((remembered.clone(), false)))?;
        if is_news {
            with!(in &mut transaction, |connection| sqlx::query(HASTEN).bind(domain.as_str()).execute(connection).await.map(drop))
                .map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())?;
        Ok(kept)
    }

    /// The same for several domains, each given once, within `transaction`, and whether it is news. What is kept of one whose history can't be read has not
    /// changed.
    pub(super) async fn keep(
        &self,
        transaction: &mut Transaction,
        found: &[(&RegistrableDomain, &Remembered)],
    ) -> Result<Vec<Result<(Remembered, bool), StateError>>, sqlx::Error> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let there = there_of(transaction, found.iter().map(|(domain, _)| domain.as_str())).await?;
        let new = found.iter().filter(|(domain, _)| !there.contains(domain.as_str()));
        let new: Vec<_> = new.filter_map(|(domain, remembered)| remembered.written(domain).ok()).collect();
        let added = add_new(transaction, &new).await?;
        let others: Vec<_> = found.iter().map(|(domain, _)| domain.as_str()).filter(|name| !added.contains(*name)).collect();
        let rows = locked(transaction, &others).await?;
        let (mut kept, mut changed, mut news) = (Vec::new(), Vec::new(), Vec::new());
        for (domain, remembered) in found {
            let name = domain.as_str();
            let row = rows.get(name);
            if row.is_none() && !added.contains(name) {
                // It can't be written. What could be is there.
                kept.push(Err(remembered.written(domain).err().ok_or(sqlx::Error::RowNotFound)?));
                continue;
            }
            let joined = remembered.joined_with(row, domain).and_then(|(joined, is_news)| {
                if row.is_some() {
                    changed.push(joined.written(domain)?);
                }
                Ok((joined, is_news))
            });
            news.extend(matches!(joined, Ok((_, true))).then(|| format!("{} {domain}", self.node.id)));
            kept.push(joined);
        }
        change_all(transaction, &changed).await?;
        if !news.is_empty() {
            transaction.tell(&news).await?;
        }
        Ok(kept)
    }
}

/// Which of these names have rows, none of which goes away.
async fn there_of<'a>(transaction: &mut Transaction, names: impl Iterator<Item = &'a str>) -> Result<HashSet<String>, sqlx::Error> {
    let names = Given::names(names);
    let there: Vec<String> = with!(in transaction, |connection, DB| {
        sqlx::query_scalar_with(there::<DB>(&names), names.arguments::<DB>()?).fetch_all(connection).await
    })?;
    Ok(there.into_iter().collect())
}

/// Adds the rows that are new, and gives their names.
async fn add_new(transaction: &mut Transaction, rows: &[Written<'_>]) -> Result<HashSet<String>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let given = given(rows);
    let names: Vec<String> = with!(in transaction, |connection, DB| {
        sqlx::query_scalar_with(add::<DB>(&given), given.arguments::<DB>()?).fetch_all(connection).await
    })?;
    Ok(names.into_iter().collect())
}

/// Locks the rows with these names, and gives what they are.
async fn locked(transaction: &mut Transaction, names: &[&str]) -> Result<HashMap<String, Row>, sqlx::Error> {
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let names = Given::names(names.iter().copied());
    let rows: Vec<Row> = with!(in transaction, |connection, DB| {
        sqlx::query_as_with(lock::<DB>(&names), names.arguments::<DB>()?).fetch_all(connection).await
    })?;
    Ok(rows.into_iter().map(|row| (row.name.clone(), row)).collect())
}

async fn change_all(transaction: &mut Transaction, rows: &[Written<'_>]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let given = given(rows);
    with!(in transaction, |connection, DB| {
        sqlx::query_with(change::<DB>(&given), given.arguments::<DB>()?).execute(connection).await.map(drop)
    })
}

fn given<'a>(rows: &'a [Written<'a>]) -> Given<'a> {
    Given::names(rows.iter().map(|row| row.name))
        .number("checked_at", rows.iter().map(|row| Some(row.checked_at)))
        .number("expires_at", rows.iter().map(|row| row.expires_at))
        .text("standing", rows.iter().map(|row| Some(row.standing)))
        .text("report", rows.iter().map(|row| Some(row.report.as_str())))
        .text("history", rows.iter().map(|row| Some(row.history.as_str())))
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
    /// As a row.
    fn written<'a>(&self, domain: &'a RegistrableDomain) -> Result<Written<'a>, StateError> {
        Ok(Written {
            name: domain.as_str(),
            checked_at: microseconds(self.checked_at),
            expires_at: self.report.ends_at().map(microseconds),
            standing: self.report.standing(self.checked_at, Duration::ZERO).as_str(),
            report: serde_json::to_string(&*self.report).map_err(StateError::unreadable(domain))?,
            history: serde_json::to_string(&*self.history).map_err(StateError::unreadable(domain))?,
        })
    }

    /// What this and `row`, if there was one, amount to together, and whether this is news to who knew the row.
    fn joined_with(&self, row: Option<&Row>, domain: &RegistrableDomain) -> Result<(Self, bool), StateError> {
        let is_lapsed = self.report.phase(self.checked_at, Duration::ZERO).is_lapsed();
        // As it will be read back.
        let checked_at = microseconds(self.checked_at);
        let mut joined = Self { checked_at: time(checked_at), ..self.clone() };
        let Some(row) = row else { return Ok((joined, is_lapsed || self.history.lapsed_at().is_some())) };
        let before = row.history(domain)?;
        joined.history = Arc::new(before.merged(&self.history));
        if row.checked_at >= checked_at
            && let Some(report) = row.report(domain)
        {
            joined = Self { report: Arc::new(report), checked_at: time(row.checked_at), confirmed_at: None, ..joined };
        }
        Ok((joined, is_lapsed || self.history.lapsed_at() > before.lapsed_at()))
    }
}

impl Row {
    /// `None` where the report can't be read.
    fn remembered(&self, domain: &RegistrableDomain) -> Kept {
        let history = Arc::new(self.history(domain)?);
        Ok(self.report(domain).map(|report| Remembered {
            report: Arc::new(report),
            history,
            checked_at: time(self.checked_at),
            confirmed_at: self.polled_at.filter(|polled_at| *polled_at > self.checked_at).map(time),
        }))
    }

    fn report(&self, domain: &RegistrableDomain) -> Option<Report> {
        let read = serde_json::from_str(&self.report);
        read.inspect_err(|error| tracing::warn!(%domain, %error, "the report that is kept of a domain can't be read, and counts as none"))
            .ok()
    }

    fn history(&self, domain: &RegistrableDomain) -> Result<History, StateError> {
        serde_json::from_str(&self.history).map_err(StateError::unreadable(domain))
    }
}
