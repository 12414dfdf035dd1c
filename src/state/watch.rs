//! Which domains are watched, when each is due, and who looks: how those that share a state share a sweep's work.
//!
//! 1. A row of `gatekeeper_watched` is a domain with at least one account whose address is verified. A discovery, one pass through all accounts, counts them, and
//!    when it ends makes the rows, and takes away those of domains that it found no account on.
//! 2. A domain that is due is leased before it is looked at: its time to be due is moved to the lease's end. So one whose worker died is due again by itself.
//! 3. What a look finds is written in one transaction with the end of its lease, and only by whoever still has it.
//! 4. A pass is leased as a whole, and goes on after the last account that was done, whoever does it.
//! 5. A server is asked at its rate by all together: each takes the next moments out of one row.
//!
//! Moments are those of the callers' clocks, which must not differ by more than the length of a lease.

#[cfg(test)]
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::given::Given;
use super::pool::{Dialect, Transaction, with};
use super::{State, StateError, count, failed, microseconds, span, time};
use crate::address::RegistrableDomain;
use crate::domain::cache::Remembered;
use crate::verdict::Reason;

/// How often a look is tried before it is given up for an hour.
pub(crate) const TRIES: u32 = 3;

/// A domain that was leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) domain: RegistrableDomain,
    pub(crate) accounts: u64,
    pub(crate) verified_from: Option<SystemTime>,
    pub(crate) undated: u64,
    /// When the registry is to be asked, by the last look; 1970 where something came up since that is to be judged, such as a lapse that a reset saw.
    pub(crate) registry_at: SystemTime,
    pub(crate) polled_at: Option<SystemTime>,
    pub(crate) operators: String,
    pub(crate) failures: u32,
    pub(crate) told: String,
    pub(crate) found: Option<Reason>,
}

/// What a look found.
#[derive(Debug, Clone)]
pub(crate) struct Looked {
    /// As it is to be kept: its `registry_at`, `polled_at`, `operators`, `failures`, `told` and `found` are written.
    pub(crate) watched: Watched,
    /// Its `registry_at` when it was leased. Where that isn't what is kept by now, somebody else came upon something meanwhile, and the domain is due at once.
    pub(crate) leased_registry_at: SystemTime,
    /// When to look next.
    pub(crate) due_at: SystemTime,
    /// What the sources said, where they were asked.
    pub(crate) remembered: Option<Remembered>,
}

/// How the watched domains stand, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Outlook {
    /// All domains.
    pub(crate) domains: u64,
    /// All accounts on them.
    pub(crate) accounts: u64,
    /// Domains that are due and nobody looks at.
    pub(crate) due: u64,
    /// Domains that somebody looks at.
    pub(crate) leased: u64,
    /// Domains whose last look failed.
    pub(crate) failing: u64,
    /// Of these, how many are tried again soon.
    pub(crate) retried: u64,
    /// Domains whose addresses are to lose their verification.
    pub(crate) found: u64,
    /// Accounts on them.
    pub(crate) found_accounts: u64,
}

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    accounts: i64,
    verified_from: Option<i64>,
    undated: i64,
    registry_at: i64,
    polled_at: Option<i64>,
    operators: String,
    failures: i64,
    told: String,
    found: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Counts {
    domains: i64,
    accounts: i64,
    due: i64,
    leased: i64,
    failing: i64,
    retried: i64,
    found: i64,
    found_accounts: i64,
}

const COUNT: &str = "SELECT count(*) AS domains, CAST(coalesce(sum(accounts), 0) AS bigint) AS accounts, \
     count(*) FILTER (WHERE due_at <= $1 AND (due_at <= $2 OR lease IS NOT NULL OR failures > 0)) AS due, count(*) FILTER (WHERE due_at > $1 AND lease IS NOT NULL) AS leased, \
     count(*) FILTER (WHERE failures > 0) AS failing, \
     count(*) FILTER (WHERE failures > 0 AND failures < $3 AND lease IS NULL AND due_at > $1) AS retried, count(found) AS found, \
     CAST(coalesce(sum(accounts) FILTER (WHERE found IS NOT NULL), 0) AS bigint) AS found_accounts \
     FROM gatekeeper_watched WHERE accounts > 0";

/// Whether any domain is due or will be soon: it was due before the round began, is looked at, or failed and is tried again.
const IS_OPEN: &str = "SELECT EXISTS (SELECT 1 FROM gatekeeper_watched WHERE accounts > 0 AND due_at <= $1) OR EXISTS \
     (SELECT 1 FROM gatekeeper_watched WHERE accounts > 0 AND (lease IS NOT NULL OR failures > 0) AND (lease IS NOT NULL OR (failures < $2 AND due_at <= $3)))";

/// A round waits for so long for a look that is tried again.
const SOON: Duration = Duration::from_secs(60);

const NEXT: &str = "SELECT min(due_at) FROM gatekeeper_watched WHERE accounts > 0 AND due_at > $1";

const FOUND: &str =
    "SELECT name, found FROM gatekeeper_watched WHERE found IS NOT NULL AND accounts > 0 AND name > $1 ORDER BY name LIMIT $2";

fn lease<DB: Dialect>() -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "WITH due AS (SELECT name FROM gatekeeper_watched WHERE due_at <= $3 AND accounts > 0 \
         AND (due_at <= $5 OR lease IS NOT NULL OR failures > 0) ORDER BY due_at LIMIT $4 {}) \
         UPDATE gatekeeper_watched SET due_at = $1, lease = $2, registry_at = CASE WHEN registry_at < 0 THEN 0 ELSE registry_at END WHERE name IN (SELECT name FROM due) \
         RETURNING name, accounts, verified_from, undated, registry_at, polled_at, operators, failures, told, found",
        DB::SKIPPING
    ))
}

/// What was found was judged by another time of verification than the one that is known by now, or without a lapse that a reset has come upon since.
const IS_OUTDATED: &str = "kept.verified_from IS DISTINCT FROM held.verified_from OR (kept.undated > 0) <> (held.undated > 0) \
     OR kept.registry_at <> held.leased_registry_at";

/// In the order of names, as are all changes of several rows, so that two of these never wait for each other.
fn settle<DB: Dialect>(given: &Given<'_>) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "UPDATE gatekeeper_watched AS kept SET lease = NULL, due_at = CASE WHEN {IS_OUTDATED} THEN 0 ELSE held.due_at END, \
         registry_at = CASE WHEN {IS_OUTDATED} THEN 0 ELSE held.registry_at END, polled_at = held.polled_at, operators = held.operators, \
         failures = held.failures, told = held.told, found = held.found \
         FROM (SELECT given.* FROM {} JOIN gatekeeper_watched AS watched ON watched.name = given.name \
         WHERE watched.lease = ${} ORDER BY given.name {}) AS held WHERE kept.name = held.name",
        given.table::<DB>(),
        given.after(),
        DB::LOCKING
    ))
}

fn give_back<DB: Dialect>(names: &Given<'_>) -> AssertSqlSafe<String> {
    let (worker, due_at) = (names.after(), names.after() + 1);
    AssertSqlSafe(format!(
        "UPDATE gatekeeper_watched SET due_at = ${due_at}, lease = NULL WHERE name IN \
         (SELECT name FROM gatekeeper_watched WHERE name IN (SELECT name FROM {}) AND lease = ${worker} ORDER BY name {})",
        names.table::<DB>(),
        DB::LOCKING
    ))
}

fn unwatch<DB: Dialect>(names: &Given<'_>) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("UPDATE gatekeeper_watched SET accounts = 0, lease = NULL, found = NULL WHERE name IN ({})", locked::<DB>(names)))
}

/// Those of `names` that are watched, locked in their order.
pub(super) fn locked<DB: Dialect>(names: &Given<'_>) -> String {
    format!("SELECT name FROM gatekeeper_watched WHERE name IN (SELECT name FROM {}) ORDER BY name {}", names.table::<DB>(), DB::LOCKING)
}

impl State {
    /// Leases at most `count` domains for `lease`, those first that have been due for longest: who was due by `due_by`, and who is by `now` since a look failed or its worker died.
    pub(crate) async fn lease(
        &self,
        worker: Uuid,
        count: usize,
        due_by: SystemTime,
        now: SystemTime,
        lease: Duration,
    ) -> Result<Vec<Watched>, StateError> {
        let failed = || failed("leasing domains");
        let (due_by, now, count) = (microseconds(due_by), microseconds(now), i64::try_from(count).unwrap_or(i64::MAX));
        loop {
            let mut transaction = self.pool.begin().await.map_err(failed())?;
            let rows: Vec<Row> = with!(in &mut transaction, |connection, DB| {
                let query = sqlx::query_as(self::lease::<DB>()).bind(now.saturating_add(span(lease))).bind(worker.to_string());
                query.bind(now).bind(count).bind(due_by).fetch_all(connection).await
            })
            .map_err(failed())?;
            let (any, foreign) = (!rows.is_empty(), foreign(rows.iter().map(|row| row.name.as_str())));
            leave_alone(&mut transaction, &foreign).await.map_err(failed())?;
            transaction.commit().await.map_err(failed())?;
            let leased: Vec<_> = rows.into_iter().filter_map(Row::watched).collect();
            if !leased.is_empty() || !any {
                return Ok(leased);
            }
        }
    }

    /// Keeps what was found, and ends the leases. Of those whose lease `worker` no longer has, only what the sources said is kept. Gives what is remembered
    /// from now on of those that were asked about, but for those whose history can't be read.
    pub(crate) async fn looked(&self, worker: Uuid, looked: &[Looked]) -> Result<Vec<(RegistrableDomain, Remembered)>, StateError> {
        let failed = || failed("keeping what a look found");
        // Of a domain that occurs twice, the last counts: a statement may change no row twice.
        let asked =
            looked.iter().filter_map(|look| Some((look.watched.domain.as_str(), (&look.watched.domain, look.remembered.as_ref()?))));
        let asked: Vec<_> = asked.collect::<BTreeMap<_, _>>().into_values().collect();
        let looked: BTreeMap<_, _> = looked.iter().map(|look| (look.watched.domain.as_str(), look)).collect();
        let looked: Vec<_> = looked.into_values().collect();
        let given = given(&looked);
        let mut transaction = self.pool.begin().await.map_err(failed())?;
        let kept = self.keep(&mut transaction, &asked).await.map_err(failed())?;
        with!(in &mut transaction, |connection, DB| {
            let query = sqlx::query_with(settle::<DB>(&given), given.arguments::<DB>()?).bind(worker.to_string());
            query.execute(connection).await.map(drop)
        })
        .map_err(failed())?;
        transaction.commit().await.map_err(failed())?;
        let kept = asked.into_iter().zip(kept).filter_map(|((domain, _), kept)| {
            let kept = kept.inspect_err(|error| tracing::error!(%domain, %error, "what the sources said of a domain isn't kept"));
            Some((domain.clone(), kept.ok()?.0))
        });
        Ok(kept.collect())
    }

    /// Gives back leases unused: the domains are due as of `now`.
    pub(crate) async fn give_back(&self, worker: Uuid, domains: &[RegistrableDomain], now: SystemTime) -> Result<(), StateError> {
        let failed = || failed("giving leases back");
        let names = Given::names(domains.iter().map(RegistrableDomain::as_str));
        let mut transaction = self.pool.begin().await.map_err(failed())?;
        with!(in &mut transaction, |connection, DB| {
            let query = sqlx::query_with(give_back::<DB>(&names), names.arguments::<DB>()?).bind(worker.to_string());
            query.bind(microseconds(now)).execute(connection).await.map(drop)
        })
        .map_err(failed())?;
        transaction.commit().await.map_err(failed())
    }

    /// Whether anything is left to do at `now` of what was due by `due_by`. Cheaper than an [outlook](Self::outlook).
    pub(crate) async fn is_open(&self, due_by: SystemTime, now: SystemTime) -> Result<bool, StateError> {
        let soon = microseconds(now).saturating_add(span(SOON));
        with!(&self.pool, |pool| {
            sqlx::query_scalar(IS_OPEN).bind(microseconds(due_by)).bind(i64::from(TRIES)).bind(soon).fetch_one(pool).await
        })
        .map_err(failed("seeing what is left to do"))
    }

    /// When the next domain will be due after `now`. `None` where there is none.
    pub(crate) async fn next_due_at(&self, now: SystemTime) -> Result<Option<SystemTime>, StateError> {
        let next: Option<i64> = with!(&self.pool, |pool| sqlx::query_scalar(NEXT).bind(microseconds(now)).fetch_one(pool).await)
            .map_err(failed("seeing what is due next"))?;
        Ok(next.map(time))
    }

    /// How the watched domains stand at `now`, of which those are due that [`lease`](Self::lease) gives.
    pub(crate) async fn outlook(&self, due_by: SystemTime, now: SystemTime) -> Result<Outlook, StateError> {
        let counts: Counts = with!(&self.pool, |pool| {
            sqlx::query_as(COUNT).bind(microseconds(now)).bind(microseconds(due_by)).bind(i64::from(TRIES)).fetch_one(pool).await
        })
        .map_err(failed("counting the watched domains"))?;
        Ok(Outlook {
            domains: counts.domains.unsigned_abs(),
            accounts: counts.accounts.unsigned_abs(),
            due: counts.due.unsigned_abs(),
            leased: counts.leased.unsigned_abs(),
            failing: counts.failing.unsigned_abs(),
            retried: counts.retried.unsigned_abs(),
            found: counts.found.unsigned_abs(),
            found_accounts: counts.found_accounts.unsigned_abs(),
        })
    }

    /// At most `limit` domains whose addresses are to lose their verification, with the reason, of those whose name comes after `after`.
    pub(crate) async fn found(
        &self,
        after: Option<&RegistrableDomain>,
        limit: usize,
    ) -> Result<Vec<(RegistrableDomain, Reason)>, StateError> {
        let failed = || failed("reading what was found");
        let mut after = after.map_or_else(String::new, |domain| domain.as_str().to_owned());
        let mut found = Vec::new();
        loop {
            let left = limit - found.len();
            let rows: Vec<(String, String)> = with!(&self.pool, |pool| {
                sqlx::query_as(FOUND).bind(&after).bind(i64::try_from(left).unwrap_or(i64::MAX)).fetch_all(pool).await
            })
            .map_err(failed())?;
            let is_last = rows.len() < left;
            let foreign = foreign(rows.iter().map(|(name, _)| name.as_str()));
            if !foreign.is_empty() {
                let mut transaction = self.pool.begin().await.map_err(failed())?;
                leave_alone(&mut transaction, &foreign).await.map_err(failed())?;
                transaction.commit().await.map_err(failed())?;
            }
            for (name, code) in rows {
                found.extend(registrable(&name).map(|domain| (domain, reason(&code))));
                after = name;
            }
            if is_last || found.len() == limit {
                return Ok(found);
            }
        }
    }
}

/// `None` where that is no registrable domain any more: another public suffix list, of an older version or a later one.
fn registrable(name: &str) -> Option<RegistrableDomain> {
    RegistrableDomain::of(name).ok().filter(|domain| domain.as_str() == name)
}

/// A later version's reason takes the verification away like any other. What this one can't name must not be lost, nor wait for ever.
fn reason(code: &str) -> Reason {
    Reason::of_code(code).unwrap_or(Reason::DomainUnregistered)
}

/// Those of `names` that are no registrable domains any more.
fn foreign<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.filter(|name| registrable(name).is_none()).map(str::to_owned).collect()
}

/// Leaves `names` alone, so that nothing counts them and nobody waits for them. The next discovery forgets them, unless it finds accounts there.
async fn leave_alone(transaction: &mut Transaction, names: &[String]) -> Result<(), sqlx::Error> {
    if names.is_empty() {
        return Ok(());
    }
    tracing::warn!(?names, "watched domains are no registrable domains by the public suffix list of this version, and are left alone");
    let names = Given::names(names.iter().map(String::as_str));
    with!(in transaction, |connection, DB| {
        sqlx::query_with(unwatch::<DB>(&names), names.arguments::<DB>()?).execute(connection).await.map(drop)
    })
}

impl Row {
    fn watched(self) -> Option<Watched> {
        Some(Watched {
            domain: registrable(&self.name)?,
            accounts: self.accounts.unsigned_abs(),
            verified_from: self.verified_from.map(time),
            undated: self.undated.unsigned_abs(),
            registry_at: time(self.registry_at),
            polled_at: self.polled_at.map(time),
            operators: self.operators,
            failures: u32::try_from(self.failures).unwrap_or(u32::MAX),
            told: self.told,
            found: self.found.as_deref().map(reason),
        })
    }
}

fn given<'a>(looked: &[&'a Looked]) -> Given<'a> {
    let watched = || looked.iter().map(|look| &look.watched);
    Given::names(watched().map(|watched| watched.domain.as_str()))
        .number("due_at", looked.iter().map(|look| Some(microseconds(look.due_at))))
        .number("registry_at", watched().map(|watched| Some(microseconds(watched.registry_at))))
        .number("leased_registry_at", looked.iter().map(|look| Some(microseconds(look.leased_registry_at))))
        .number("polled_at", watched().map(|watched| watched.polled_at.map(microseconds)))
        .number("verified_from", watched().map(|watched| watched.verified_from.map(microseconds)))
        .number("undated", watched().map(|watched| Some(count(watched.undated))))
        .text("operators", watched().map(|watched| Some(watched.operators.as_str())))
        .number("failures", watched().map(|watched| Some(watched.failures.into())))
        .text("told", watched().map(|watched| Some(watched.told.as_str())))
        .text("found", watched().map(|watched| watched.found.map(Reason::as_str)))
}
