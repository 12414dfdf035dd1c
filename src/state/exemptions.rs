//! Exemptions: given, found, listed and taken back.
//!
//! 1. What is given or taken back holds at once for all that share the state: nobody remembers it.
//! 2. Whoever is given another has that one alone: the one before is taken back.
//! 3. What is over stays for a year after the day it was to end, so that who asks later finds who gave it, why, and who took it back.

use std::error::Error;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use uuid::Uuid;

use super::pool::with;
use super::{State, StateError, failed, microseconds, span, time};
use crate::account::AccountId;
use crate::address::RegistrableDomain;
use crate::exemption::{Exempt, Exemption, ExemptionError, Exemptions, KeptExemption, NewExemption, name};

/// How long what is over stays.
const KEPT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The columns of a [`Row`].
macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, kind, name, given_at, given_by, reason, ends_at, removed_at, removed_by FROM gatekeeper_exemptions ", $rest)
    };
}

const FIND: &str = select!(
    "WHERE ((kind = 'account' AND name = $1) OR (kind = 'domain' AND name = $2)) AND ends_at > $3 AND removed_at IS NULL \
     ORDER BY given_at DESC, ends_at DESC LIMIT 1"
);

const HOLDING: &str = select!("WHERE ends_at > $1 AND removed_at IS NULL ORDER BY ends_at, id");

const ALL: &str = select!("ORDER BY given_at DESC, id DESC");

const GIVE: &str =
    "INSERT INTO gatekeeper_exemptions (id, kind, name, given_at, given_by, reason, ends_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";

const REPLACE: &str = "UPDATE gatekeeper_exemptions SET removed_at = $3, removed_by = $4 \
     WHERE kind = $1 AND name = $2 AND removed_at IS NULL AND ends_at > $3";

const FORGET: &str = "DELETE FROM gatekeeper_exemptions WHERE ends_at < $1";

const REMOVE: &str =
    "UPDATE gatekeeper_exemptions SET removed_at = $2, removed_by = $3 WHERE id = $1 AND removed_at IS NULL AND ends_at > $2";

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    kind: String,
    name: String,
    given_at: i64,
    given_by: String,
    reason: String,
    ends_at: i64,
    removed_at: Option<i64>,
    removed_by: Option<String>,
}

impl State {
    /// Gives an exemption as of `now`: from here on, what is known of the account or the domain blocks no reset, until it ends or is
    /// [taken back](Self::remove_exemption). Each use of it is recorded. All that share the state see it at once. It takes the place of one that the same account or domain
    /// has, be that longer or shorter.
    ///
    /// Whether there is such an account is not asked.
    ///
    /// # Errors
    /// Where it would be over already or last for more than 90 days, its reason or giver is missing or can't be read, or the state can't be written.
    pub async fn exempt(&self, exemption: NewExemption, now: SystemTime) -> Result<Exemption, ExemptionError> {
        let exemption = exemption.given(now)?;
        // As it will be read.
        let (ends_at, given_at) = (microseconds(exemption.until), microseconds(exemption.given_at));
        let exemption = Exemption { until: time(ends_at), given_at: time(given_at), ..exemption };
        let (kind, name) = match &exemption.exempt {
            Exempt::Domain(domain) => ("domain", domain.as_str()),
            Exempt::Account(id) => ("account", id.as_str()),
        };
        let failed = || failed("giving an exemption");
        let mut transaction = self.pool.begin().await.map_err(failed())?;
        with!(in &mut transaction, |connection| {
            let query = sqlx::query(REPLACE).bind(kind).bind(name).bind(given_at).bind(&exemption.by);
            query.execute(connection).await.map(drop)
        })
        .map_err(failed())?;
        with!(in &mut transaction, |connection| {
            let query = sqlx::query(GIVE).bind(exemption.id.to_string()).bind(kind).bind(name).bind(given_at);
            query.bind(&exemption.by).bind(&exemption.reason).bind(ends_at).execute(connection).await.map(drop)
        })
        .map_err(failed())?;
        with!(in &mut transaction, |connection| {
            sqlx::query(FORGET).bind(given_at.saturating_sub(span(KEPT))).execute(connection).await.map(drop)
        })
        .map_err(failed())?;
        transaction.commit().await.map_err(failed())?;
        Ok(exemption)
    }

    /// The exemptions that hold at `now`, those first that end first.
    ///
    /// # Errors
    /// Where the state can't be read.
    pub async fn exemptions(&self, now: SystemTime) -> Result<Vec<Exemption>, StateError> {
        let rows = with!(&self.pool, |pool| sqlx::query_as(HOLDING).bind(microseconds(now)).fetch_all(pool).await);
        let rows: Vec<Row> = rows.map_err(failed("listing exemptions"))?;
        Ok(rows.into_iter().filter_map(Row::read).map(|kept| kept.exemption).collect())
    }

    /// All exemptions that are kept, the latest first: also those that were taken back, and those that ended within the last year.
    ///
    /// # Errors
    /// Where the state can't be read.
    pub async fn all_exemptions(&self) -> Result<Vec<KeptExemption>, StateError> {
        let rows: Vec<Row> = with!(&self.pool, |pool| sqlx::query_as(ALL).fetch_all(pool).await).map_err(failed("listing exemptions"))?;
        Ok(rows.into_iter().filter_map(Row::read).collect())
    }

    /// Takes an exemption back as of `now`, and says whether there was one: not where there is none with this `id`, or it is over.
    ///
    /// # Errors
    /// Where the name of who does it is missing or can't be read, or the state can't be written.
    pub async fn remove_exemption(&self, id: Uuid, by: &str, now: SystemTime) -> Result<bool, ExemptionError> {
        let by = name(by)?;
        let removed = with!(&self.pool, |pool| {
            let query = sqlx::query(REMOVE).bind(id.to_string()).bind(microseconds(now)).bind(by);
            query.execute(pool).await.map(|done| done.rows_affected())
        });
        Ok(removed.map_err(failed("taking an exemption back"))? > 0)
    }
}

#[async_trait]
impl Exemptions for State {
    async fn exemption(
        &self,
        account: &AccountId,
        domain: Option<&RegistrableDomain>,
        now: SystemTime,
    ) -> Result<Option<Exemption>, Box<dyn Error + Send + Sync>> {
        let row: Option<Row> = with!(&self.pool, |pool| {
            let query = sqlx::query_as(FIND).bind(account.as_str()).bind(domain.map(RegistrableDomain::as_str));
            query.bind(microseconds(now)).fetch_optional(pool).await
        })
        .map_err(failed("looking for an exemption"))?;
        Ok(row.and_then(Row::read).map(|kept| kept.exemption))
    }
}

impl Row {
    /// `None`, and a warning, where that can't be: written by another hand, or a domain that is none by this version's public suffix list, and so nobody's.
    fn read(self) -> Option<KeptExemption> {
        let exempt = match self.kind.as_str() {
            "domain" => RegistrableDomain::of(&self.name).ok().filter(|domain| domain.as_str() == self.name).map(Exempt::Domain),
            "account" => Some(Exempt::Account(self.name.as_str().into())),
            _ => None,
        };
        let Some((id, exempt)) = Uuid::parse_str(&self.id).ok().zip(exempt) else {
            tracing::warn!(id = self.id, name = self.name, "an exemption in the state can't be read, and holds for nobody");
            return None;
        };
        let exemption =
            Exemption { id, exempt, until: time(self.ends_at), reason: self.reason, by: self.given_by, given_at: time(self.given_at) };
        Some(KeptExemption { exemption, removed_at: self.removed_at.map(time), removed_by: self.removed_by })
    }
}
