//! One answer from many: several sources, asked side by side.
//!
//! 1. All sources are asked at the same time. Once half the time that a caller waits has passed, an answer about the registration is not held back for sources that
//!    are still silent; they count as failed.
//! 2. Whether the name is registered is for registration sources to say: the registry itself (RDAP), status services, WHOIS. A lapse that any of them
//!    proves counts: of "registered" and "not registered" the latter, of statuses all, of dates the latest beginning and the earliest end. What is kept back
//!    (reserved names) is for the registry to say where it answers.
//! 3. Handle, registrar and name servers are the registry's where it gives them, else the first other's.
//! 4. The DNS adds whether the name and its mail servers exist, never a date, and never that the name is registered, but where the registry has no service at all:
//!    there a name that the DNS has is registered, and one that it lacks is not, as long as no other source says something about the registration.
//! 5. Where no registration source answers, there is no answer, but the doubt that the DNS adds is kept beside the failure ([`SourceError::Undecided`]).
//!
//! So more evidence of a lapse never makes a verdict milder. What each source said stays in [`Report::statements`].

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::{DomainSource, Mail, Report, SourceError, Statement, Status};
use crate::address::RegistrableDomain;
use crate::clock::{Clock, SystemClock};

/// What a source is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The registry's own word, which also says whether it has a service.
    Registry,
    /// Others' word about the registration.
    Registration,
    /// Names and mail servers.
    Dns,
}

#[derive(Clone)]
struct Member {
    role: Role,
    name: &'static str,
    source: Arc<dyn DomainSource>,
}

/// What one member said.
struct Said {
    role: Role,
    name: &'static str,
    outcome: Result<Report, SourceError>,
    took: Duration,
}

/// Several sources as one.
///
/// ```no_run
/// # #[cfg(feature = "dns")]
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use reset_gatekeeper::domain::{Sources, dns::Dns, rdap::Rdap};
///
/// let sources = Sources::new().registry(Rdap::iana().await?).dns(Dns::system()?);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Sources {
    members: Vec<Member>,
    clock: Arc<dyn Clock>,
    patience: Duration,
}

impl Sources {
    /// No source yet. A source that is asked with others must be added.
    #[must_use]
    pub fn new() -> Self {
        Self { members: Vec::new(), clock: Arc::new(SystemClock), patience: Duration::from_secs(1) }
    }

    /// Asks the registries themselves, by RDAP.
    #[must_use]
    pub fn registry(self, source: impl DomainSource) -> Self {
        self.member(Role::Registry, "rdap", source)
    }

    /// Asks another source about registrations, under its name in reports.
    #[must_use]
    pub fn registration(self, name: &'static str, source: impl DomainSource) -> Self {
        self.member(Role::Registration, name, source)
    }

    /// Asks the DNS.
    #[must_use]
    pub fn dns(self, source: impl DomainSource) -> Self {
        self.member(Role::Dns, "dns", source)
    }

    /// After which time an answer about the registration is not held back for other sources. One second by default: half the time that a caller waits.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Who tells the time. The machine's clock by default.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    fn member(mut self, role: Role, name: &'static str, source: impl DomainSource) -> Self {
        self.members.push(Member { role, name, source: Arc::new(source) });
        self
    }

    /// What all members say, in their order.
    async fn ask(&self, domain: &RegistrableDomain) -> Vec<Said> {
        let start = Instant::now();
        let patience = tokio::time::sleep_until(start + self.patience);
        tokio::pin!(patience);
        let mut asked: FuturesUnordered<_> = (self.members.iter().enumerate())
            .map(|(place, member)| async move { (place, member.source.report(domain).await, start.elapsed()) })
            .collect();
        let mut answers: Vec<Option<(Result<Report, SourceError>, Duration)>> = self.members.iter().map(|_| None).collect();
        loop {
            let is_told = answers.iter().flatten().any(|(outcome, _)| outcome.as_ref().is_ok_and(|report| report.registered.is_some()));
            tokio::select! {
                answer = asked.next() => match answer {
                    Some((place, outcome, took)) => if let Some(slot) = answers.get_mut(place) { *slot = Some((outcome, took)) },
                    None => break,
                },
                () = &mut patience, if is_told => break,
            }
        }
        let too_late = || (Err(SourceError::Timeout { domain: domain.as_str().into(), limit: self.patience }), start.elapsed());
        let said = |(member, answer): (&Member, Option<_>)| {
            let (outcome, took) = answer.unwrap_or_else(too_late);
            Said { role: member.role, name: member.name, outcome, took }
        };
        self.members.iter().zip(answers).map(said).collect()
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl DomainSource for Sources {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        let at = self.clock.now();
        merge(self.ask(domain).await, at)
    }

    async fn mail(&self, host: &str) -> Result<Option<Mail>, SourceError> {
        match self.members.iter().find(|member| member.role == Role::Dns) {
            Some(member) => member.source.mail(host).await,
            None => Ok(None),
        }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members.iter().map(|member| member.name)).finish()
    }
}

/// The one report that follows from what was said `at` some moment.
fn merge(said: Vec<Said>, at: SystemTime) -> Result<Report, SourceError> {
    let statements: Vec<Statement> = said.iter().map(|said| said.statement(at)).collect();
    let has_no_service = said.iter().any(|said| said.role == Role::Registry && matches!(said.outcome, Err(SourceError::NoService { .. })));
    let (mut registry, mut others, mut dns, mut failure) = (None, Vec::new(), None, None);
    for Said { role, outcome, .. } in said {
        match (role, outcome) {
            (Role::Registry, Ok(report)) if report.registered.is_some() => registry = Some(report),
            (Role::Registration, Ok(report)) if report.registered.is_some() => others.push(report),
            (Role::Dns, Ok(report)) => dns = Some(report),
            (Role::Registry | Role::Registration, Ok(_)) => {}
            // The registry's failure says most, and the DNS's least.
            (Role::Registry, Err(error)) => failure = Some(error),
            (Role::Registration | Role::Dns, Err(error)) => failure = failure.or(Some(error)),
        }
    }
    let mut reports = registry.into_iter().chain(others);
    let merged = match (reports.next(), dns) {
        (Some(first), None) => reports.fold(first, agreed),
        (Some(first), Some(dns)) => reports.fold(first, agreed).beside_dns(&dns),
        (None, Some(dns)) if has_no_service && dns.in_dns.is_some() => Report { registered: dns.in_dns, ..dns },
        (None, dns) => {
            let error = failure.unwrap_or(SourceError::NoSource);
            return Err(match dns {
                Some(dns) => SourceError::Undecided { dns: Arc::new(dns), source: Box::new(error) },
                None => error,
            });
        }
    };
    Ok(Report { statements, ..merged })
}

/// What two reports about the registration say together, `first` being the one that is closer to the registry.
fn agreed(first: Report, second: Report) -> Report {
    let is_first = first.registered == Some(false) || second.registered != Some(false);
    let mut statuses = first.statuses;
    let is_kept_back = |status: &Status| matches!(status, Status::Reserved | Status::PendingCreate);
    for status in second.statuses {
        if !statuses.contains(&status) && !is_kept_back(&status) {
            statuses.push(status);
        }
    }
    Report {
        source: if is_first { first.source } else { second.source },
        registered: if is_first { first.registered } else { second.registered },
        statuses,
        registered_at: first.registered_at.max(second.registered_at),
        reregistered_at: first.reregistered_at.max(second.reregistered_at),
        expires_at: earliest(first.expires_at, second.expires_at),
        registrar_expires_at: earliest(first.registrar_expires_at, second.registrar_expires_at),
        transferred_at: first.transferred_at.max(second.transferred_at),
        changed_at: first.changed_at.max(second.changed_at),
        registrar: first.registrar.or(second.registrar),
        handle: first.handle.or(second.handle),
        name_servers: if first.name_servers.is_empty() { second.name_servers } else { first.name_servers },
        delegation_signed: first.delegation_signed.or(second.delegation_signed),
        ds: first.ds.or(second.ds),
        in_dns: first.in_dns.or(second.in_dns),
        mail: first.mail.or(second.mail),
        mail_servers: if first.mail_servers.is_empty() { second.mail_servers } else { first.mail_servers },
        statements: Vec::new(),
    }
}

fn earliest(one: Option<SystemTime>, two: Option<SystemTime>) -> Option<SystemTime> {
    [one, two].into_iter().flatten().min()
}

impl Report {
    /// This report, with what the DNS says in place of what it said before.
    pub(super) fn beside_dns(self, dns: &Self) -> Self {
        let servers = |own: Vec<String>, dns: &Vec<String>| if own.is_empty() { dns.clone() } else { own };
        Self {
            name_servers: servers(self.name_servers, &dns.name_servers),
            ds: dns.ds.clone().or(self.ds),
            in_dns: dns.in_dns,
            mail: dns.mail,
            mail_servers: dns.mail_servers.clone(),
            ..self
        }
    }
}

impl Said {
    fn statement(&self, at: SystemTime) -> Statement {
        let said = match &self.outcome {
            Ok(report) if self.role == Role::Dns && report.in_dns == Some(true) => Ok(super::Standing::Active),
            Ok(report) => Ok(report.standing(at, Duration::ZERO)),
            // It has nothing to say, which is no failure.
            Err(SourceError::NoService { .. }) => Ok(super::Standing::Unknown),
            Err(error) => Err(chain(error).into()),
        };
        Statement { source: Cow::Borrowed(self.name), said, took: self.took }
    }
}

/// An error with all that it stems from.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
