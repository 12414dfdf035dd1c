//! Domains as registries see them, and the port through which they are asked: [`DomainSource`].
//!
//! A source answers one question, "what does the registration of this name say right now?", with a [`Report`]: statuses and dates, as
//! the registry states them. What follows from them is not the source's business: [`Report::standing`] concludes where the domain
//! stands, and the policy what that means for an account.
//!
//! The meanings are those of EPP (RFC 5731 §2.3, RFC 3915 §3.1), in the words that RDAP has for them (RFC 8056 §2).

pub mod cache;
mod client;
mod continuity;
#[cfg(feature = "dns")]
pub mod dns;
pub mod domainr;
mod error;
pub mod fastly;
mod merge;
pub mod rdap;
mod status;
#[cfg(feature = "whois")]
pub mod whois;
mod words;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::address::RegistrableDomain;
use crate::clock;

#[cfg(all(feature = "webhook", any(feature = "postgres", feature = "sqlite")))]
pub(crate) use client::wait::retry_after;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use continuity::operators;
pub use continuity::{Change, History, Signal};
pub use error::SourceError;
pub use merge::Sources;
pub use status::Status;

/// The name of the source that asks the DNS. It is told from others, since it never vouches for a registration beside them.
pub(crate) const DNS: &str = "dns";

/// Where a registration stands: what we conclude from a registry's statuses and dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Standing {
    /// Registered, and its holder's.
    Active,
    /// Registered, and running out soon.
    Expiring,
    /// Run out; its holder may still renew it for a while (the registrar's grace period).
    Expired,
    /// Deleted by the registrar; only a restore brings it back (RFC 3915 §3.1).
    Redemption,
    /// About to be dropped; nobody can save it.
    PendingDelete,
    /// Nobody's; anyone may register it.
    Unregistered,
    /// Taken out of the DNS by registrar or registry (client hold, server hold).
    OnHold,
    /// Nobody could tell, or the name is kept back and has no ordinary holder.
    Unknown,
}

impl Standing {
    /// The stable code, as it stands in the audit record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Redemption => "redemption",
            Self::PendingDelete => "pending_delete",
            Self::Unregistered => "unregistered",
            Self::OnHold => "on_hold",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the holder has lost the registration, or is about to: what un-verifies an address for good.
    #[must_use]
    pub const fn is_lapsed(self) -> bool {
        match self {
            Self::Expired | Self::Redemption | Self::PendingDelete | Self::Unregistered => true,
            Self::Active | Self::Expiring | Self::OnHold | Self::Unknown => false,
        }
    }
}

/// Whether mail can reach a host, as the DNS has it (RFC 5321 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mail {
    /// There is a mail server to try: an MX record, or an address in its place.
    Accepted,
    /// The host says that it takes no mail (null MX, RFC 7505).
    Refused,
    /// The host exists, and has neither MX nor address.
    NoServer,
    /// The host's name does not exist.
    NoHost,
}

/// What was said about one domain, by one source or, merged, by several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The source's name, such as `rdap`; of several, the one that decides whether the domain is registered.
    pub source: Cow<'static, str>,
    /// Whether the name is registered at all. The registration's members are empty where it is not. `None` where the source can't tell, as the DNS can't.
    pub registered: Option<bool>,
    /// The registry's statuses, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<Status>,
    /// When the domain was registered (RFC 9083 §4.5, action `registration`). `None` where the registry publishes no date.
    #[serde(default, with = "clock::text", skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<SystemTime>,
    /// When it was registered again after having been removed (action `reregistration`).
    #[serde(default, with = "clock::text", skip_serializing_if = "Option::is_none")]
    pub reregistered_at: Option<SystemTime>,
    /// When the registration ends, as the registry states it (action `expiration`). `None` where it publishes no date, as several
    /// country registries do: not the same as "never".
    #[serde(default, with = "clock::text", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<SystemTime>,
    /// When the holder's contract with the registrar ends (action `registrar expiration`, or the registrar's own `expiration`), which the registry's own
    /// renewal hides.
    #[serde(default, with = "clock::text", skip_serializing_if = "Option::is_none")]
    pub registrar_expires_at: Option<SystemTime>,
    /// When the domain last changed its registrar (action `transfer`).
    #[serde(default, with = "clock::text", skip_serializing_if = "Option::is_none")]
    pub transferred_at: Option<SystemTime>,
    /// When anything about the registration last changed (action `last changed`).
    #[serde(default, with = "clock::text", skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<SystemTime>,
    /// The registrar's IANA identifier or, where the registry gives none, its handle or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registrar: Option<String>,
    /// The registry's key of the registration (ROID, RFC 5730 §2.8): a new registration has a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// The name servers, sorted, in lower case without trailing dot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_servers: Vec<String>,
    /// Whether the delegation is signed (DNSSEC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation_signed: Option<bool>,
    /// The digests of the keys that sign the domain (of DS records, RFC 4034 §5.1.4), in lower-case hexadecimal, sorted. `None` where nobody could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ds: Option<Vec<String>>,
    /// Whether the DNS has the name. `None` where nobody could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_dns: Option<bool>,
    /// Whether mail can reach the domain itself. `None` where nobody could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<Mail>,
    /// The mail servers (MX), sorted, in lower case without trailing dot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mail_servers: Vec<String>,
    /// What each source said, where several were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<Statement>,
}

/// What one of several sources said, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Statement {
    /// The source's name.
    pub source: Cow<'static, str>,
    /// Where the domain stands by its word alone, or why it could not tell.
    pub said: Result<Standing, Box<str>>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// A report of a registered domain, to be filled in.
    #[must_use]
    pub fn registered(source: impl Into<Cow<'static, str>>) -> Self {
        Self { registered: Some(true), ..Self::about_nothing(source) }
    }

    /// A report that nobody has the domain.
    #[must_use]
    pub fn unregistered(source: impl Into<Cow<'static, str>>) -> Self {
        Self { registered: Some(false), ..Self::about_nothing(source) }
    }

    /// A report that says nothing about the registration, to be filled in.
    #[must_use]
    pub fn about_nothing(source: impl Into<Cow<'static, str>>) -> Self {
        Self {
            source: source.into(),
            registered: None,
            statuses: Vec::new(),
            registered_at: None,
            reregistered_at: None,
            expires_at: None,
            registrar_expires_at: None,
            transferred_at: None,
            changed_at: None,
            registrar: None,
            handle: None,
            name_servers: Vec::new(),
            delegation_signed: None,
            ds: None,
            in_dns: None,
            mail: None,
            mail_servers: Vec::new(),
            statements: Vec::new(),
        }
    }

    /// Whether the registry says `status`.
    #[must_use]
    pub fn says(&self, status: &Status) -> bool {
        self.statuses.contains(status)
    }

    /// Whether nothing but the DNS tells whether the domain is registered, as where its registry has no service.
    #[must_use]
    pub fn is_by_dns_alone(&self) -> bool {
        self.source == DNS
    }

    /// Whether registrar or registry took the domain out of the DNS.
    #[must_use]
    pub fn is_on_hold(&self) -> bool {
        self.says(&Status::ClientHold) || self.says(&Status::ServerHold)
    }

    /// The end of the registration: the earlier of the registry's date and the registrar's.
    #[must_use]
    pub fn ends_at(&self) -> Option<SystemTime> {
        [self.expires_at, self.registrar_expires_at].into_iter().flatten().min()
    }

    /// Whether the registration ends after `now`, but nearer than `span`.
    #[must_use]
    pub fn ends_within(&self, span: Duration, now: SystemTime) -> bool {
        self.ends_at().and_then(|end| end.duration_since(now).ok()).is_some_and(|left| left < span)
    }

    /// The beginning of the present registration, which came after an earlier one ended if there was one.
    #[must_use]
    pub fn began_at(&self) -> Option<SystemTime> {
        self.registered_at.max(self.reregistered_at)
    }

    /// The phase of the registration's life at `now`, leaving holds aside. `expiring_within` is how near its end makes it
    /// [`Standing::Expiring`].
    ///
    /// Of several phases that the statuses show, the one furthest on counts: pending delete, redemption, expired, expiring, active.
    #[must_use]
    pub fn phase(&self, now: SystemTime, expiring_within: Duration) -> Standing {
        let restorable = self.says(&Status::RedemptionPeriod) || self.says(&Status::PendingRestore);
        if self.registered == Some(false) || self.says(&Status::Removed) {
            Standing::Unregistered
        // RFC 3915 §3.1: pending delete with redemption period or pending restore is the redemption phase.
        } else if self.says(&Status::PendingDelete) && !restorable {
            Standing::PendingDelete
        } else if restorable {
            Standing::Redemption
        } else if self.says(&Status::Expired) || self.ends_at().is_some_and(|end| end <= now) {
            Standing::Expired
        } else if self.registered.is_none() || self.says(&Status::Reserved) || self.says(&Status::PendingCreate) {
            Standing::Unknown
        } else if self.ends_within(expiring_within, now) {
            Standing::Expiring
        } else {
            Standing::Active
        }
    }

    /// Where the domain stands at `now`: its [phase](Self::phase), or on hold where that says more.
    #[must_use]
    pub fn standing(&self, now: SystemTime, expiring_within: Duration) -> Standing {
        match self.phase(now, expiring_within) {
            phase @ (Standing::Unregistered | Standing::PendingDelete | Standing::Redemption) => phase,
            _ if self.is_on_hold() => Standing::OnHold,
            phase => phase,
        }
    }
}

/// A report, with what was kept beside it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Sighting {
    /// What the sources said.
    pub report: Arc<Report>,
    /// When they were asked.
    pub checked_at: SystemTime,
    /// What was seen of the domain up to then, this report included.
    pub history: Arc<History>,
    /// Whether the report was remembered rather than asked for.
    pub cached: bool,
    /// Whether it is older than it should be, and stands in while the source fails.
    pub stale: bool,
}

impl Sighting {
    /// A report asked for at `checked_at`, with nothing known before.
    #[must_use]
    pub fn first(report: Report, checked_at: SystemTime) -> Self {
        let history = Arc::new(History::beginning(&report, checked_at));
        Self { report: Arc::new(report), checked_at, history, cached: false, stale: false }
    }
}

/// Where the DNS leads for a domain, as its parent zone has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delegation {
    /// The DNS has the name, and these serve it, sorted, in lower case without trailing dot. None, where it has none of its own.
    To(Vec<String>),
    /// The DNS lacks the name.
    Absent,
}

/// One way to learn how a domain stands.
#[async_trait]
pub trait DomainSource: Send + Sync + 'static {
    /// What the registration of `domain` says right now. "Not registered" is an answer.
    ///
    /// # Errors
    /// Only where this source could not tell.
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError>;

    /// Whether mail can reach `host`, a name in A-labels and lower case below a registrable domain. `None` where this source does not look into the DNS.
    ///
    /// # Errors
    /// Only where this source could not tell.
    async fn mail(&self, host: &str) -> Result<Option<Mail>, SourceError> {
        let _ = host;
        Ok(None)
    }

    /// Where the DNS leads for `domain`: one question, which no registry counts. `None` where this source does not look into the DNS.
    ///
    /// # Errors
    /// Only where this source could not tell.
    async fn delegation(&self, domain: &RegistrableDomain) -> Result<Option<Delegation>, SourceError> {
        let _ = domain;
        Ok(None)
    }

    /// The servers that a [report](Self::report) of `domain` asks, whose questions are rationed: a sweep asks each at its rate. Empty where nobody counts them,
    /// as in the DNS.
    fn servers(&self, domain: &RegistrableDomain) -> Vec<String> {
        let _ = domain;
        Vec::new()
    }
}

#[async_trait]
impl<S: DomainSource + ?Sized> DomainSource for Arc<S> {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        (**self).report(domain).await
    }

    async fn mail(&self, host: &str) -> Result<Option<Mail>, SourceError> {
        (**self).mail(host).await
    }

    async fn delegation(&self, domain: &RegistrableDomain) -> Result<Option<Delegation>, SourceError> {
        (**self).delegation(domain).await
    }

    fn servers(&self, domain: &RegistrableDomain) -> Vec<String> {
        (**self).servers(domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::parse;

    #[test]
    fn the_standing_is_the_phase_furthest_on() {
        let now = parse("2026-01-31T00:00:00Z").unwrap();
        let week = Duration::from_secs(7 * 86_400);
        let rows: &[(&[&str], &str, Standing)] = &[
            (&["active"], "2027-01-01", Standing::Active),
            (&[], "", Standing::Active),
            (&["client transfer prohibited", "locked"], "2027-01-01", Standing::Active),
            (&["auto renew period"], "2027-01-01", Standing::Active),
            (&["add period"], "2027-01-01", Standing::Active),
            (&["inactive"], "2027-01-01", Standing::Active),
            (&["active"], "2026-02-06T23:59:59", Standing::Expiring),
            (&["active"], "2026-02-07T00:00:00", Standing::Active),
            (&["active"], "2026-01-31T00:00:00", Standing::Expired),
            (&["inactive"], "2026-01-01", Standing::Expired),
            (&["expired"], "2027-01-01", Standing::Expired),
            (&["client hold"], "2027-01-01", Standing::OnHold),
            (&["server hold", "active"], "2026-01-01", Standing::OnHold),
            (&["redemption period"], "2027-01-01", Standing::Redemption),
            (&["pending delete", "redemption period"], "2026-01-01", Standing::Redemption),
            (&["pending delete", "pending restore"], "", Standing::Redemption),
            (&["pending restore"], "", Standing::Redemption),
            (&["pending delete"], "2027-01-01", Standing::PendingDelete),
            (&["pending delete", "client hold"], "", Standing::PendingDelete),
            (&["removed", "inactive"], "", Standing::Unregistered),
            (&["reserved"], "", Standing::Unknown),
            (&["administrative"], "", Standing::Unknown),
            (&["pending create"], "", Standing::Unknown),
        ];
        for (statuses, expires_at, standing) in rows {
            let mut report = Report::registered("test");
            report.statuses = statuses.iter().map(|status| Status::from(*status)).collect();
            report.expires_at = parse(expires_at);
            assert_eq!(report.standing(now, week), *standing, "{statuses:?} until {expires_at}");
        }
        assert_eq!(Report::unregistered("test").standing(now, week), Standing::Unregistered);
    }

    #[test]
    fn the_registrars_date_counts_where_it_is_the_earlier_one() {
        let now = parse("2026-01-31").unwrap();
        let mut report = Report::registered("test");
        report.expires_at = parse("2027-01-30");
        report.statuses = vec![Status::AutoRenewPeriod];
        report.registrar_expires_at = parse("2026-01-30");
        assert_eq!(report.standing(now, Duration::ZERO), Standing::Expired);
    }
}
