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
pub mod fastly;
mod merge;
pub mod rdap;
#[cfg(feature = "whois")]
pub mod whois;
mod words;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::address::RegistrableDomain;
use crate::clock;

pub use continuity::{Change, History, Signal};
pub use merge::Sources;

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

/// A registry's word about a registration (RFC 9083 §10.2.2, RFC 8056 §2). Only words that decide something have a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Created at most five days ago; can be deleted for a refund.
    AddPeriod,
    /// Extended by the registry itself at its end, for which the registrar may be refunded within 45 days.
    AutoRenewPeriod,
    /// Taken out of the DNS by the registrar.
    ClientHold,
    /// Taken out of the DNS by the registry.
    ServerHold,
    /// About to be dropped; together with a redemption period, still in that.
    PendingDelete,
    /// Deleted, and restorable.
    RedemptionPeriod,
    /// A restore was asked for and its report is awaited.
    PendingRestore,
    /// Not registered yet.
    PendingCreate,
    /// Deleted, and shown to some.
    Removed,
    /// Run out, in the words of some country registries.
    Expired,
    /// Exists for the registry's own reasons; has no ordinary holder (also `administrative`).
    Reserved,
    /// Anything else, in lower case with single blanks.
    Other(Box<str>),
}

impl From<&str> for Status {
    /// Reads a status however it is spelled: registries also send EPP's camel case, underscores, and WHOIS's links behind the word.
    fn from(text: &str) -> Self {
        let words = normalised(text);
        match &*words {
            "add period" | "addperiod" => Self::AddPeriod,
            "auto renew period" | "autorenewperiod" => Self::AutoRenewPeriod,
            "client hold" | "clienthold" => Self::ClientHold,
            "server hold" | "serverhold" => Self::ServerHold,
            "pending delete" | "pendingdelete" | "pending delete scheduled for release" => Self::PendingDelete,
            "redemption period" | "redemptionperiod" | "pending delete restorable" => Self::RedemptionPeriod,
            "pending restore" | "pendingrestore" => Self::PendingRestore,
            "pending create" | "pendingcreate" => Self::PendingCreate,
            "removed" => Self::Removed,
            "expired" => Self::Expired,
            "reserved" | "administrative" => Self::Reserved,
            _ => Self::Other(words.into()),
        }
    }
}

fn normalised(status: &str) -> Cow<'_, str> {
    // As RFC 8056 §2 spells them, and most registries do: lower case, single blanks, and no link behind.
    let bytes = status.as_bytes();
    let is_plain = bytes.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b' ')
        && !bytes.starts_with(b" ")
        && !bytes.ends_with(b" ")
        && !bytes.windows(2).any(|pair| pair == b"  ")
        && !bytes.windows(4).any(|word| word == b"http");
    if is_plain {
        return Cow::Borrowed(status);
    }
    let word = status.split("http").next().unwrap_or_default();
    let mut spaced = String::with_capacity(word.len() + 4);
    let mut after_lower = false;
    for c in word.chars() {
        if after_lower && c.is_ascii_uppercase() {
            spaced.push(' ');
        }
        spaced.push(if matches!(c, '_' | '-') { ' ' } else { c.to_ascii_lowercase() });
        after_lower = c.is_ascii_lowercase();
    }
    spaced.split_whitespace().collect::<Vec<_>>().join(" ").into()
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
        self.source == "dns"
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

/// Why a source could not tell.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// No registry service is known for the name's top-level domain.
    #[error("no registry service is known for .{top_level}")]
    NoService {
        /// The top-level domain.
        top_level: String,
    },
    /// The server can't be reached, or broke off.
    #[error("asking {url} failed")]
    Transport {
        /// The question.
        url: String,
        /// What happened on the way.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server refused to answer, or failed.
    #[error("{url} answered {status}")]
    Refused {
        /// The question.
        url: String,
        /// The HTTP status.
        status: u16,
        /// How long the server wants to be left alone, if it says so.
        retry_after: Option<Duration>,
    },
    /// The answer is not what it should be.
    #[error("{url} gave an answer that can't be used: {what}")]
    Unusable {
        /// The question.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The DNS could not tell: it failed, refused, was silent, or gave an answer that can't be used.
    #[error("the DNS could not tell about {name}")]
    Dns {
        /// The question.
        name: String,
        /// What happened on the way.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The source took too long.
    #[error("no answer about {domain} within {limit:?}")]
    Timeout {
        /// The domain, or the mail host, asked about.
        domain: Arc<str>,
        /// The time that was given.
        limit: Duration,
    },
    /// No source could tell whether the domain is registered, but the DNS told something.
    #[error("only the DNS answered")]
    Undecided {
        /// What the DNS told.
        dns: Arc<Report>,
        /// Why the others could not tell.
        #[source]
        source: Box<SourceError>,
    },
    /// The registry has a service, which is not among the sources.
    #[error("the registry of .{top_level} is not among the sources")]
    NotAsked {
        /// The top-level domain.
        top_level: String,
    },
    /// There is no source to ask about registrations.
    #[error("no source tells about registrations")]
    NoSource,
    /// What is kept of the domain can't be read, so that nobody knows what was seen of it.
    #[error("what is kept of {domain} can't be read")]
    State {
        /// The domain.
        domain: RegistrableDomain,
        /// What happened.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The lookup ended without an answer, which only a defect in a source can cause.
    #[error("the lookup of {domain} broke off")]
    BrokeOff {
        /// The domain, or the mail host, asked about.
        domain: Arc<str>,
    },
}

impl SourceError {
    /// How long to leave the source alone, where it said so (RFC 9110 §10.2.3).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Undecided { source, .. } => source.retry_after(),
            Self::NoService { .. }
            | Self::NotAsked { .. }
            | Self::Transport { .. }
            | Self::Unusable { .. }
            | Self::Dns { .. }
            | Self::Timeout { .. }
            | Self::NoSource
            | Self::State { .. }
            | Self::BrokeOff { .. } => None,
        }
    }
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
}

#[async_trait]
impl<S: DomainSource + ?Sized> DomainSource for Arc<S> {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        (**self).report(domain).await
    }

    async fn mail(&self, host: &str) -> Result<Option<Mail>, SourceError> {
        (**self).mail(host).await
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(String::deserialize(deserializer)?.as_str()))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddPeriod => "add period",
            Self::AutoRenewPeriod => "auto renew period",
            Self::ClientHold => "client hold",
            Self::ServerHold => "server hold",
            Self::PendingDelete => "pending delete",
            Self::RedemptionPeriod => "redemption period",
            Self::PendingRestore => "pending restore",
            Self::PendingCreate => "pending create",
            Self::Removed => "removed",
            Self::Expired => "expired",
            Self::Reserved => "reserved",
            Self::Other(words) => words,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::parse;

    #[test]
    fn a_status_is_read_however_it_is_spelled() {
        for text in [
            "redemption period",
            "redemptionPeriod",
            "Redemption_Period",
            "redemptionPeriod https://icann.org/epp#redemptionPeriod",
            " REDEMPTION  PERIOD ",
            "REDEMPTIONPERIOD",
        ] {
            assert_eq!(Status::from(text), Status::RedemptionPeriod, "{text}");
        }
        assert_eq!(Status::from("clientDeleteProhibited"), Status::Other("client delete prohibited".into()));
    }

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
