//! Passes through all accounts of the directory: who does one, how far it has got, and what a discovery finds.
//!
//! 1. One is leased as a whole, and goes on after the last account that was done, whoever does it.
//! 2. What a discovery [counts](super::counted) is written in one transaction with how far the pass has got, so each account is counted once.
//! 3. Whoever was taken for dead, and has lost the pass to another, can write nothing more.

#[cfg(test)]
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod tests;

use std::time::{Duration, SystemTime};

use sqlx::AssertSqlSafe;

use super::counted::{self, Discovered};
use super::given::Given;
use super::pool::{Dialect, Transaction, with};
use super::watch::locked;
use super::{State, StateError, count, failed, microseconds, span};
use crate::account::AccountId;
use crate::address::RegistrableDomain;

/// A pass through all accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Finds the domains.
    Discovery,
    /// Takes the verification of addresses away.
    Unverification,
}

/// How a pass stands for who would begin it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It is the caller's to do, from here on.
    Mine {
        /// Its number.
        number: u64,
        /// The last account that is done.
        after: Option<AccountId>,
        /// How many are done.
        accounts: u64,
    },
    /// Another does it. So many accounts are done.
    Others(u64),
    /// One that began at the moment that was asked for, or later, has ended. It saw so many accounts.
    Done(u64),
}

/// How far a pass has got.
#[derive(Debug, Clone)]
pub(crate) struct Progress<'a> {
    /// What the discovery found since it last wrote, each domain once.
    pub(crate) found: &'a [Discovered],
    /// The last account that is done.
    pub(crate) after: &'a AccountId,
    /// How many are done, from the pass's beginning.
    pub(crate) accounts: u64,
}

/// Over how many domains one transaction goes at the end of an un-verification: the locks must not be held for long, nor a statement take more than its time.
const AT_ONCE: usize = 2_000;

/// A pass that ended before all time: there was none.
const NEVER: i64 = -1;

#[derive(sqlx::FromRow)]
struct Row {
    number: i64,
    began_at: i64,
    ended_at: Option<i64>,
    after: Option<String>,
    accounts: i64,
    lease: Option<String>,
    leased_until: i64,
}

/// Makes the row if there is none, locks it, and gives what it is.
const LOCK: &str = "INSERT INTO gatekeeper_passes (kind, number, began_at, ended_at, accounts, leased_until) VALUES ($1, 0, $2, $2, 0, $2) \
     ON CONFLICT (kind) DO UPDATE SET kind = excluded.kind \
     RETURNING number, began_at, ended_at, after, accounts, lease, leased_until";

const BEGIN: &str = "UPDATE gatekeeper_passes SET number = number + 1, began_at = $2, ended_at = NULL, after = NULL, accounts = 0, lease = $3, \
     leased_until = $4 WHERE kind = $1";

const TAKE_OVER: &str = "UPDATE gatekeeper_passes SET lease = $2, leased_until = $3 WHERE kind = $1";

const ADVANCE: &str = "UPDATE gatekeeper_passes SET after = $4, accounts = $5, leased_until = $6 \
     WHERE kind = $1 AND number = $2 AND lease = $3 AND ended_at IS NULL";

/// Locks the row, leases the pass until `$5`, and ends it where `$4` is not `NULL`.
const HOLD: &str =
    "UPDATE gatekeeper_passes SET ended_at = $4, leased_until = $5 WHERE kind = $1 AND number = $2 AND lease = $3 AND ended_at IS NULL";

/// As if it had never been begun.
const GIVE_UP: &str = "UPDATE gatekeeper_passes SET began_at = $4, ended_at = $4, lease = NULL \
     WHERE kind = $1 AND number = $2 AND lease = $3 AND ended_at IS NULL";

const LEAVE: &str = "UPDATE gatekeeper_passes SET lease = NULL WHERE kind = $1 AND number = $2 AND lease = $3 AND ended_at IS NULL";

/// No account is left until one is discovered, which none is by what a discovery that is under way has counted.
fn empty<DB: Dialect>(names: &Given<'_>) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "UPDATE gatekeeper_watched SET accounts = 0, verified_from = NULL, undated = 0, found = NULL, emptied_in = \
         coalesce((SELECT number FROM gatekeeper_passes WHERE kind = 'discovery' AND ended_at IS NULL), 0) WHERE name IN ({})",
        locked::<DB>(names)
    ))
}

impl State {
    /// Begins the pass, or goes on with one that nobody does any more, and leases it for `lease`. One that began at `since` or later and has
    /// ended is enough. What can't be, since a clock was ahead, counts as long ago: that a pass ended after `now`, or is leased for longer than clocks explain.
    pub(crate) async fn begin_pass(&self, pass: Pass, since: SystemTime, now: SystemTime, lease: Duration) -> Result<Begun, StateError> {
        let failed = || failed("beginning a pass");
        let (now, holder) = (microseconds(now), self.node.id.to_string());
        let until = now.saturating_add(span(lease));
        // The holder's clock may be ahead by as much as a lease is long.
        let longest = until.saturating_add(span(lease));
        let mut transaction = self.pool.begin().await.map_err(failed())?;
        let row: Row = with!(in &mut transaction, |connection| {
            sqlx::query_as(LOCK).bind(pass.as_str()).bind(NEVER).fetch_one(connection).await
        })
        .map_err(failed())?;
        let begun = match row.ended_at {
            Some(ended_at) if ended_at <= now && (microseconds(since)..=now).contains(&row.began_at) => {
                Begun::Done(row.accounts.unsigned_abs())
            }
            Some(_) => {
                with!(in &mut transaction, |connection| {
                    sqlx::query(BEGIN).bind(pass.as_str()).bind(now).bind(holder).bind(until).execute(connection).await.map(drop)
                })
                .map_err(failed())?;
                Begun::Mine { number: row.number.unsigned_abs() + 1, after: None, accounts: 0 }
            }
            None if row.lease.is_some() && row.leased_until > now && row.leased_until <= longest => {
                Begun::Others(row.accounts.unsigned_abs())
            }
            None => {
                with!(in &mut transaction, |connection| {
                    sqlx::query(TAKE_OVER).bind(pass.as_str()).bind(holder).bind(until).execute(connection).await.map(drop)
                })
                .map_err(failed())?;
                Begun::Mine {
                    number: row.number.unsigned_abs(),
                    after: row.after.map(AccountId::from),
                    accounts: row.accounts.unsigned_abs(),
                }
            }
        };
        transaction.commit().await.map_err(failed())?;
        if let (Pass::Discovery, Begun::Mine { number, after: None, .. }) = (pass, &begun) {
            self.throw_counts_away(number - 1).await;
        }
        Ok(begun)
    }

    /// Keeps how far the pass has got, and leases it for `lease` more. With the discovery's findings since, in one transaction. `false` where another has taken
    /// it over: nothing is kept.
    pub(crate) async fn advance(
        &self,
        pass: Pass,
        number: u64,
        progress: &Progress<'_>,
        now: SystemTime,
        lease: Duration,
    ) -> Result<bool, StateError> {
        let failed = || failed("keeping how far a pass has got");
        let until = microseconds(now).saturating_add(span(lease));
        let mut transaction = self.pool.begin().await.map_err(failed())?;
        let is_ours = with!(in &mut transaction, |connection| {
            let query = sqlx::query(ADVANCE).bind(pass.as_str()).bind(count(number)).bind(self.node.id.to_string());
            let query = query.bind(progress.after.as_str()).bind(count(progress.accounts)).bind(until);
            query.execute(connection).await.map(|done| done.rows_affected() > 0)
        })
        .map_err(failed())?;
        if is_ours {
            counted::keep(&mut transaction, number, progress.found).await.map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())?;
        Ok(is_ours)
    }

    /// Ends the un-verification of the addresses at `domains`, on which no account is left until one is discovered. `false` where another has taken the pass
    /// over. It is leased for `lease` more with each stretch.
    pub(crate) async fn end_unverification(
        &self,
        number: u64,
        domains: &[RegistrableDomain],
        now: impl Fn() -> SystemTime,
        lease: Duration,
    ) -> Result<bool, StateError> {
        let failed = || failed("ending an un-verification");
        let mut stretches = domains.chunks(AT_ONCE).peekable();
        loop {
            let stretch = stretches.next().unwrap_or_default();
            let is_last = stretches.peek().is_none();
            let mut transaction = self.pool.begin().await.map_err(failed())?;
            if !self.hold(&mut transaction, Pass::Unverification, number, (now(), lease), is_last).await.map_err(failed())? {
                return Ok(false);
            }
            let names = names(stretch);
            with!(in &mut transaction, |connection, DB| {
                sqlx::query_with(empty::<DB>(&names), names.arguments::<DB>()?).execute(connection).await.map(drop)
            })
            .map_err(failed())?;
            transaction.commit().await.map_err(failed())?;
            if is_last {
                return Ok(true);
            }
        }
    }

    /// Lets go of a pass, for the next to go on where it is.
    pub(crate) async fn leave_pass(&self, pass: Pass, number: u64) -> Result<(), StateError> {
        with!(&self.pool, |pool| {
            let query = sqlx::query(LEAVE).bind(pass.as_str()).bind(count(number)).bind(self.node.id.to_string());
            query.execute(pool).await.map(drop)
        })
        .map_err(failed("leaving a pass"))
    }

    /// Gives up a pass that can't be gone on with: the next begins anew, from the first account on.
    pub(crate) async fn give_up_pass(&self, pass: Pass, number: u64) -> Result<(), StateError> {
        with!(&self.pool, |pool| {
            let query = sqlx::query(GIVE_UP).bind(pass.as_str()).bind(count(number)).bind(self.node.id.to_string());
            query.bind(NEVER).execute(pool).await.map(drop)
        })
        .map_err(failed("giving up a pass"))
    }
}

impl State {
    /// Locks a pass that is under way, and ends it now where it `ends`, else leases it for longer. `false` where another has taken it over.
    pub(super) async fn hold(
        &self,
        transaction: &mut Transaction,
        pass: Pass,
        number: u64,
        (now, lease): (SystemTime, Duration),
        ends: bool,
    ) -> Result<bool, sqlx::Error> {
        let now = microseconds(now);
        with!(in transaction, |connection| {
            let query = sqlx::query(HOLD).bind(pass.as_str()).bind(count(number)).bind(self.node.id.to_string());
            query.bind(ends.then_some(now)).bind(now.saturating_add(span(lease))).execute(connection).await.map(|done| done.rows_affected() > 0)
        })
    }
}

impl Pass {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Unverification => "unverification",
        }
    }
}

fn names<'a>(domains: impl IntoIterator<Item = &'a RegistrableDomain>) -> Given<'a> {
    Given::names(domains.into_iter().map(RegistrableDomain::as_str))
}
