//! What the people who run a gatekeeper look at: domains that are about to lapse or have, who hangs on them, and when all were last gone through.

use std::time::SystemTime;

use super::pool::with;
use super::{Pass, State, StateError, failed, microseconds, time};
use crate::address::RegistrableDomain;

/// A watched domain whose registration ends soon, or does not stand as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lapsing {
    pub(crate) domain: String,
    /// How many accounts have a verified address there.
    pub(crate) accounts: u64,
    /// Where it stood when it was last asked about, as the record has it.
    pub(crate) standing: String,
    pub(crate) expires_at: Option<SystemTime>,
    pub(crate) checked_at: SystemTime,
}

// An empty standing is one that is being looked for the first time.
const LAPSING: &str = "SELECT name, accounts, standing, expires_at, checked_at FROM gatekeeper_watched JOIN gatekeeper_domains USING (name) \
     WHERE accounts > 0 AND standing <> '' AND (expires_at < $1 OR standing NOT IN ('active', 'unknown')) \
     ORDER BY coalesce(expires_at, 0), name LIMIT $2";

const ACCOUNTS: &str = "SELECT accounts FROM gatekeeper_watched WHERE name = $1";

const ENDED: &str = "SELECT ended_at, accounts FROM gatekeeper_passes WHERE kind = $1 AND ended_at >= 0";

impl State {
    /// At most `limit` watched domains that end before `before`, or stand otherwise than they should; those first that end first.
    pub(crate) async fn lapsing(&self, before: SystemTime, limit: u32) -> Result<Vec<Lapsing>, StateError> {
        let rows: Vec<(String, i64, String, Option<i64>, i64)> = with!(&self.pool, |pool| {
            let query = sqlx::query_as(LAPSING).bind(microseconds(before)).bind(i64::from(limit));
            query.fetch_all(pool).await
        })
        .map_err(failed("looking for what is about to lapse"))?;
        let lapsing = rows.into_iter().map(|(domain, accounts, standing, expires_at, checked_at)| Lapsing {
            domain,
            accounts: accounts.unsigned_abs(),
            standing,
            expires_at: expires_at.map(time),
            checked_at: time(checked_at),
        });
        Ok(lapsing.collect())
    }

    /// How many accounts have a verified address on `domain`, as the last sweep counted them. `None` where none did.
    pub(crate) async fn accounts_on(&self, domain: &RegistrableDomain) -> Result<Option<u64>, StateError> {
        let accounts: Option<i64> = with!(&self.pool, |pool| sqlx::query_scalar(ACCOUNTS).bind(domain.as_str()).fetch_optional(pool).await)
            .map_err(failed("counting the accounts on a domain"))?;
        Ok(accounts.map(i64::unsigned_abs))
    }

    /// When a sweep last went through all accounts, and how many there were. `None` where none did yet, or one is at it.
    pub(crate) async fn last_discovery(&self) -> Result<Option<(SystemTime, u64)>, StateError> {
        let row: Option<(i64, i64)> =
            with!(&self.pool, |pool| sqlx::query_as(ENDED).bind(Pass::Discovery.as_str()).fetch_optional(pool).await)
                .map_err(failed("seeing when all accounts were gone through"))?;
        Ok(row.map(|(ended_at, accounts)| (time(ended_at), accounts.unsigned_abs())))
    }
}
