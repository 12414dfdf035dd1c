//! What a discovery counts, and how it comes to count.
//!
//! 1. It is kept beside the watched domains, many in one row: a row for each domain would be written again for every batch that has it.
//! 2. It counts once all accounts were seen, and until then what the discovery before counted: half of them would make a verification seem younger, and a lapse
//!    smaller, than they are.
//! 3. Then the rows of those domains are written that differ. From one discovery to the next, few do.
//! 4. Of a domain whose addresses lost their verification meanwhile, only what the next discovery counts counts.

#[cfg(test)]
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt;
use sqlx::AssertSqlSafe;

use super::given::Given;
use super::pool::{Dialect, Transaction, with};
use super::watch::locked;
use super::{Pass, State, StateError, count, failed, microseconds, time};
use crate::address::RegistrableDomain;

/// What a discovery learned of one domain since it last wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Discovered {
    pub(crate) domain: RegistrableDomain,
    pub(crate) count: Count,
}

/// The accounts on a domain with a verified address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Count {
    /// How many.
    pub(crate) accounts: u64,
    /// When the first of them was verified, as far as that is known.
    pub(crate) verified_from: Option<SystemTime>,
    /// Of how many of them it is not known.
    pub(crate) undated: u64,
}

/// How many domains are kept as one row. The more there are, the more of them are read in vain: those of each batch lie between each other's.
const CHUNK: usize = 250;

/// Over how many domains one transaction goes at the end: locks must not be held for long, nor a statement take more than its time.
const AT_ONCE: usize = 20_000;

/// How many rows are thrown away at once.
const THROWN_AWAY: i64 = 1_000;

/// Behind all names, which are in A-labels.
const END: &str = "\x7f";

const THROW_AWAY: &str = "DELETE FROM gatekeeper_counted WHERE pass <= $1 AND first_name <= (SELECT max(first_name) FROM \
     (SELECT first_name FROM gatekeeper_counted WHERE pass <= $1 ORDER BY first_name LIMIT $2) AS first_names)";

/// Up to which name the next transaction goes: so many rows begin there, and of those that began before some part lies there.
const STRETCH: &str = "SELECT first_name FROM gatekeeper_counted WHERE pass = $1 AND first_name > $2 ORDER BY first_name LIMIT 1 OFFSET $3";

const WATCHED: &str = "SELECT name, accounts, verified_from, undated, emptied_in FROM gatekeeper_watched \
     WHERE name > $1 AND name <= $2 ORDER BY name LIMIT $3";

fn chunks<DB: Dialect>() -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("SELECT {} FROM gatekeeper_counted WHERE pass = $1 AND last_name > $2 AND first_name <= $3", DB::COUNTED))
}

/// Watches these, and lets what was counted of them count.
///
/// A look that did not know of a verification before all others, or of one without date, may have found too little: the domain is to be looked at anew, at once
/// or, where somebody is at it, when that is settled. So is one that had no account.
fn take_in<DB: Dialect>(counted: &Given<'_>) -> AssertSqlSafe<String> {
    let is_outdated = "(kept.accounts = 0 OR (kept.undated = 0 AND excluded.undated > 0) OR excluded.verified_from < kept.verified_from \
         OR (kept.verified_from IS NULL AND excluded.verified_from IS NOT NULL))";
    AssertSqlSafe(format!(
        "INSERT INTO gatekeeper_watched AS kept (name, accounts, verified_from, undated, due_at, registry_at, operators, failures, told) \
         SELECT name, accounts, verified_from, undated, 0, 0, '', 0, '' FROM {} WHERE true ORDER BY name \
         ON CONFLICT (name) DO UPDATE SET accounts = excluded.accounts, verified_from = excluded.verified_from, undated = excluded.undated, \
         due_at = CASE WHEN kept.lease IS NULL AND {is_outdated} THEN 0 ELSE kept.due_at END, \
         registry_at = CASE WHEN {is_outdated} THEN 0 ELSE kept.registry_at END",
        counted.table::<DB>()
    ))
}

fn forget<DB: Dialect>(names: &Given<'_>) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("DELETE FROM gatekeeper_watched WHERE name IN ({})", locked::<DB>(names)))
}

/// Keeps what the discovery of this number found. Were it not in the order of its names, each chunk would be read for many a stretch.
pub(super) async fn keep(transaction: &mut Transaction, number: u64, found: &[Discovered]) -> Result<(), sqlx::Error> {
    for chunk in found.chunks(CHUNK) {
        let names = || chunk.iter().map(|found| found.domain.as_str());
        let (first, last) = (names().min(), names().max());
        let counted = given(chunk.iter().map(|found| (found.domain.as_str(), found.count)));
        with!(in transaction, |connection, DB| {
            let query = sqlx::query_with(DB::KEEP_COUNTED, counted.arguments::<DB>()?);
            query.bind(count(number)).bind(first).bind(last).execute(connection).await.map(drop)
        })?;
    }
    Ok(())
}

impl State {
    /// Ends the discovery: what it counted counts, and domains that it saw no account on are watched no more. Says how many those are, `None` where another has
    /// taken the pass over. It is leased for `lease` more with each stretch.
    pub(crate) async fn end_discovery(
        &self,
        number: u64,
        now: impl Fn() -> SystemTime,
        lease: Duration,
    ) -> Result<Option<u64>, StateError> {
        let failed = || failed("ending a discovery");
        let (mut vanished, mut after) = (0, String::new());
        loop {
            let mut transaction = self.pool.begin().await.map_err(failed())?;
            if !self.hold(&mut transaction, Pass::Discovery, number, (now(), lease), false).await.map_err(failed())? {
                return Ok(None);
            }
            let settled = settle(&mut transaction, number, &after, AT_ONCE).await.map_err(failed())?;
            if settled.next.is_none() {
                self.hold(&mut transaction, Pass::Discovery, number, (now(), lease), true).await.map_err(failed())?;
            }
            transaction.commit().await.map_err(failed())?;
            vanished += settled.vanished;
            match settled.next {
                Some(next) => after = next,
                None => break,
            }
        }
        self.throw_counts_away(number).await;
        Ok(Some(vanished))
    }

    /// Throws away what this discovery and those before it counted. Where that fails, the next tries again.
    pub(super) async fn throw_counts_away(&self, number: u64) {
        loop {
            let thrown_away = with!(&self.pool, |pool| {
                let query = sqlx::query(THROW_AWAY).bind(count(number)).bind(THROWN_AWAY);
                query.execute(pool).await.map(|done| done.rows_affected())
            });
            match thrown_away {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    return tracing::warn!(error, "what a discovery counted takes room until the next one");
                }
            }
        }
    }
}

/// A stretch of what was counted that counts.
struct Settled {
    /// How many domains of it are watched no more.
    vanished: u64,
    /// After which name the next begins, where there is one.
    next: Option<String>,
}

/// Lets what was counted of some domains after `after`, `at_once` of them at most, count.
async fn settle(transaction: &mut Transaction, number: u64, after: &str, at_once: usize) -> Result<Settled, sqlx::Error> {
    let stretch: Option<String> = with!(in &mut *transaction, |connection| {
        let query = sqlx::query_scalar(STRETCH).bind(count(number)).bind(after).bind(count((at_once / CHUNK) as u64));
        query.fetch_optional(connection).await
    })?;
    let (mut last, mut differing) = counted(transaction, number, (after, stretch.as_deref().unwrap_or(END)), at_once).await?;
    let watched: Vec<(String, i64, Option<i64>, i64, i64)> = with!(in &mut *transaction, |connection| {
        sqlx::query_as(WATCHED).bind(after).bind(&last).bind(count(at_once as u64)).fetch_all(connection).await
    })?;
    if let Some((name, ..)) = watched.last().filter(|_| watched.len() >= at_once) {
        last.clone_from(name);
        differing.retain(|name, _| *name <= last);
    }
    let mut vanished = Vec::new();
    for (name, accounts, verified_from, undated, emptied_in) in &watched {
        let kept = Count::kept(*accounts, *verified_from, *undated);
        match differing.get(name) {
            Some(counted) if *counted != kept && *emptied_in != count(number) => {}
            Some(_) => drop(differing.remove(name)),
            None if *emptied_in == count(number) => {}
            None => vanished.push(name.as_str()),
        }
    }
    if !vanished.is_empty() && !differing.is_empty() {
        let names = Given::names(vanished.iter().copied().chain(differing.keys().map(String::as_str)));
        with!(in &mut *transaction, |connection, DB| {
            sqlx::query_with(AssertSqlSafe(locked::<DB>(&names)), names.arguments::<DB>()?).execute(connection).await.map(drop)
        })?;
    }
    if !vanished.is_empty() {
        let names = Given::names(vanished.iter().copied());
        with!(in &mut *transaction, |connection, DB| {
            sqlx::query_with(forget::<DB>(&names), names.arguments::<DB>()?).execute(connection).await.map(drop)
        })?;
    }
    if !differing.is_empty() {
        let differing = given(differing.iter().map(|(name, count)| (name.as_str(), *count)));
        with!(in &mut *transaction, |connection, DB| {
            sqlx::query_with(take_in::<DB>(&differing), differing.arguments::<DB>()?).execute(connection).await.map(drop)
        })?;
    }
    Ok(Settled { vanished: vanished.len() as u64, next: Some(last).filter(|last| last != END) })
}

/// What was counted of the first domains, `at_once` at most, of those after the one name, up to the other; and up to which name these are all.
async fn counted(
    transaction: &mut Transaction,
    number: u64,
    (after, last): (&str, &str),
    at_once: usize,
) -> Result<(String, BTreeMap<String, Count>), sqlx::Error> {
    with!(in transaction, |connection, DB| {
        let (mut last, mut sum) = (last.to_owned(), BTreeMap::<_, Count>::new());
        let mut chunks = sqlx::query(chunks::<DB>()).bind(count(number)).bind(after).bind(last.clone()).fetch(connection);
        while let Some(chunk) = chunks.try_next().await? {
            for (name, count) in DB::counted(&chunk)?.into_iter().filter(|(name, _)| name.as_str() > after && *name <= last) {
                sum.entry(name).and_modify(|sum| sum.add(count)).or_insert(count);
            }
            while sum.len() > at_once {
                sum.pop_last();
                if let Some((name, _)) = sum.last_key_value() {
                    last.clone_from(name);
                }
            }
        }
        Ok((last, sum))
    })
}

impl Count {
    /// As it stands in the database.
    pub(super) fn kept(accounts: i64, verified_from: Option<i64>, undated: i64) -> Self {
        Self { accounts: accounts.unsigned_abs(), verified_from: verified_from.map(time), undated: undated.unsigned_abs() }
    }

    /// Adds one account, verified at this moment.
    pub(crate) fn add_account(&mut self, verified_at: Option<SystemTime>) {
        self.add(Self { accounts: 1, verified_from: verified_at, undated: u64::from(verified_at.is_none()) });
    }

    /// Adds other accounts on the same domain.
    pub(crate) fn add(&mut self, other: Self) {
        self.accounts = self.accounts.saturating_add(other.accounts);
        self.undated = self.undated.saturating_add(other.undated);
        self.verified_from = self.verified_from.into_iter().chain(other.verified_from).min();
    }
}

fn given<'a>(counts: impl Iterator<Item = (&'a str, Count)> + Clone) -> Given<'a> {
    Given::names(counts.clone().map(|(name, _)| name))
        .number("accounts", counts.clone().map(|(_, counted)| Some(count(counted.accounts))))
        .number("verified_from", counts.clone().map(|(_, counted)| counted.verified_from.map(microseconds)))
        .number("undated", counts.map(|(_, counted)| Some(count(counted.undated))))
}
