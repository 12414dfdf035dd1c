//! One answer from many: several sources, asked side by side.
//!
//! 1. All sources are asked at the same time. Once half the time that a caller waits has passed, the registry's answer is not held back for sources that
//!    are still silent, and at seven eighths no other's about the registration is. Who is silent then counts as failed.
//! 2. Whether the name is registered is for registration sources to say: the registry itself (RDAP), status services, WHOIS. A lapse that any of them
//!    proves counts: of "registered" and "not registered" the latter, of statuses all, of dates the latest beginning and the earliest end. What is kept back
//!    (reserved names) is for the registry to say where it answers.
//! 3. Handle, registrar and name servers are the registry's where it gives them, else the first other's.
//! 4. The DNS adds whether the name and its mail servers exist, never a date, and never that the name is registered, but where the registry has no service at all:
//!    there a name that the DNS has is registered, and one that it lacks is not, as long as no other source serves the domain, be it that it fails.
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

use super::{DNS, Delegation, DomainSource, Mail, Report, SourceError, Statement, Status};
use crate::address::RegistrableDomain;
use crate::clock::{Clock, SystemClock};
use crate::metrics;

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
        self.member(Role::Dns, DNS, source)
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

    fn dns_member(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.role == Role::Dns)
    }

    /// Whether the registry told, or there is none to wait for.
    fn is_told_by_registry(&self, answers: &Answers) -> bool {
        let registries = || self.members.iter().zip(answers).filter(|(member, _)| member.role == Role::Registry);
        if registries().next().is_none() { is_told(answers) } else { registries().all(|(_, answer)| answer.is_some()) && is_told(answers) }
    }

    /// What all members say, in their order.
    async fn ask(&self, domain: &RegistrableDomain) -> Vec<Said> {
        let start = Instant::now();
        let mut asked: FuturesUnordered<_> = (self.members.iter().enumerate())
            .map(|(place, member)| async move {
                let outcome = member.source.report(domain).await;
                if !matches!(outcome, Err(SourceError::NoService { .. })) {
                    metrics::asked(member.name, outcome.is_ok(), start.elapsed());
                }
                (place, outcome, start.elapsed())
            })
            .collect();
        let mut answers: Answers = self.members.iter().map(|_| None).collect();
        let all = async {
            while let Some(answer) = asked.next().await {
                put(&mut answers, answer);
            }
        };
        if tokio::time::timeout(self.patience, all).await.is_err() {
            // The registry's word is worth more waiting than another's.
            let registry = async {
                while !self.is_told_by_registry(&answers)
                    && let Some(answer) = asked.next().await
                {
                    put(&mut answers, answer);
                }
            };
            drop(tokio::time::timeout(self.patience / 4 * 3, registry).await);
            while !is_told(&answers)
                && let Some(answer) = asked.next().await
            {
                put(&mut answers, answer);
            }
        }
        let too_late = || (Err(SourceError::Timeout { domain: domain.as_str().into(), limit: self.patience }), start.elapsed());
        let said = |(member, answer): (&Member, Option<_>)| {
            let (outcome, took) = answer.unwrap_or_else(|| {
                metrics::asked(member.name, false, start.elapsed());
                too_late()
            });
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
        match self.dns_member() {
            Some(member) => member.source.mail(host).await,
            None => Ok(None),
        }
    }

    async fn delegation(&self, domain: &RegistrableDomain) -> Result<Option<Delegation>, SourceError> {
        match self.dns_member() {
            Some(member) => member.source.delegation(domain).await,
            None => Ok(None),
        }
    }

    fn servers(&self, domain: &RegistrableDomain) -> Vec<String> {
        let counting = self.members.iter().filter(|member| member.role != Role::Dns);
        let mut servers: Vec<String> = counting.flat_map(|member| member.source.servers(domain)).collect();
        servers.sort_unstable();
        servers.dedup();
        servers
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members.iter().map(|member| member.name)).finish()
    }
}

/// What the members said so far and how long each took, in the members' order.
type Answers = Vec<Option<(Result<Report, SourceError>, Duration)>>;

fn put(answers: &mut Answers, (place, outcome, took): (usize, Result<Report, SourceError>, Duration)) {
    if let Some(slot) = answers.get_mut(place) {
        *slot = Some((outcome, took));
    }
}

/// Whether anybody told whether the domain is registered.
fn is_told(answers: &Answers) -> bool {
    answers.iter().flatten().any(|(outcome, _)| outcome.as_ref().is_ok_and(|report| report.registered.is_some()))
}

/// The one report that follows from what was said `at` some moment.
fn merge(said: Vec<Said>, at: SystemTime) -> Result<Report, SourceError> {
    let statements: Vec<Statement> = said.iter().map(|said| said.statement(at)).collect();
    // A source that serves the domain and fails, as WHOIS does that finds nothing, is not outvoted by the DNS.
    let is_no_service = |said: &&Said| matches!(said.outcome, Err(SourceError::NoService { .. }));
    let has_no_service = said.iter().any(|said| said.role == Role::Registry)
        && said.iter().filter(|said| said.role != Role::Dns).all(|said| is_no_service(&said));
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
            Err(SourceError::NoService { .. } | SourceError::NotAsked { .. }) => Ok(super::Standing::Unknown),
            Err(error) => Err(chain(error).into()),
        };
        Statement { source: Cow::Borrowed(self.name), said, took: self.took }
    }
}

/// An error with all that it stems from.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{History, Sighting, Standing};
    use super::*;
    use crate::clock::parse;
    use crate::policy::{Evidence, OnUnknown, Policy, judge};

    fn at(text: &str) -> SystemTime {
        parse(text).unwrap()
    }

    fn said(role: Role, outcome: Result<Report, SourceError>) -> Said {
        let name = match role {
            Role::Registry => "rdap",
            Role::Registration => "fastly",
            Role::Dns => "dns",
        };
        Said { role, name, outcome, took: Duration::ZERO }
    }

    fn no_service() -> Result<Report, SourceError> {
        Err(SourceError::NoService { top_level: "zz".to_owned() })
    }

    fn failed() -> Result<Report, SourceError> {
        Err(SourceError::Unusable { url: "https://rdap.example/".to_owned(), what: "no JSON" })
    }

    fn dns(in_dns: Option<bool>) -> Result<Report, SourceError> {
        let mail = in_dns.map(|in_dns| if in_dns { Mail::Accepted } else { Mail::NoHost });
        Ok(Report { in_dns, mail, ..Report::about_nothing("dns") })
    }

    fn with(status: &str) -> Result<Report, SourceError> {
        let mut report = Report::registered("fastly");
        report.statuses = vec![status.into()];
        Ok(report)
    }

    /// Where a domain stands by what was said, and by whose word. `None` where nobody could tell.
    fn standing(said: Vec<Said>) -> Option<(Standing, String)> {
        let now = at("2026-01-31");
        let report = merge(said, now).ok()?;
        Some((report.standing(now, Duration::ZERO), report.source.into_owned()))
    }

    #[test]
    fn what_several_sources_say_is_one_answer_by_the_rule() {
        use Role::{Dns, Registration, Registry};
        use Standing::{Active, Redemption, Unregistered};
        let registered = || Ok(Report::registered("rdap"));
        let gone = |name: &'static str| Ok(Report::unregistered(name));
        type Row = (Vec<Said>, Option<(Standing, &'static str)>);
        let rows: Vec<Row> = vec![
            // The registry's word, whatever the DNS says.
            (vec![said(Registry, registered()), said(Dns, dns(Some(true)))], Some((Active, "rdap"))),
            (vec![said(Registry, registered()), said(Dns, dns(Some(false)))], Some((Active, "rdap"))),
            (vec![said(Registry, registered()), said(Dns, failed())], Some((Active, "rdap"))),
            (vec![said(Registry, gone("rdap")), said(Dns, dns(Some(true)))], Some((Unregistered, "rdap"))),
            // The DNS never vouches where the registry has a service.
            (vec![said(Registry, failed()), said(Dns, dns(Some(true)))], None),
            (vec![said(Registry, failed()), said(Dns, dns(Some(false)))], None),
            (vec![said(Dns, dns(Some(true)))], None),
            // Where it has none, it does.
            (vec![said(Registry, no_service()), said(Dns, dns(Some(true)))], Some((Active, "dns"))),
            (vec![said(Registry, no_service()), said(Dns, dns(Some(false)))], Some((Unregistered, "dns"))),
            (vec![said(Registry, no_service()), said(Dns, dns(None))], None),
            (vec![said(Registry, no_service()), said(Dns, failed())], None),
            (vec![said(Registry, no_service())], None),
            // But not beside another's word about the registration.
            (vec![said(Registry, no_service()), said(Registration, with("active")), said(Dns, dns(Some(false)))], Some((Active, "fastly"))),
            (
                vec![said(Registry, no_service()), said(Registration, gone("fastly")), said(Dns, dns(Some(true)))],
                Some((Unregistered, "fastly")),
            ),
            (vec![said(Registry, no_service()), said(Registration, failed()), said(Dns, dns(Some(true)))], None),
            (vec![said(Registry, no_service()), said(Registration, no_service()), said(Dns, dns(Some(true)))], Some((Active, "dns"))),
            // A status service alone will do.
            (vec![said(Registration, with("active"))], Some((Active, "fastly"))),
            (vec![said(Registry, failed()), said(Registration, with("active"))], Some((Active, "fastly"))),
            // A lapse that any of them proves counts.
            (vec![said(Registry, registered()), said(Registration, with("redemption period"))], Some((Redemption, "rdap"))),
            (vec![said(Registry, registered()), said(Registration, gone("fastly"))], Some((Unregistered, "fastly"))),
            (vec![said(Registry, gone("rdap")), said(Registration, with("active"))], Some((Unregistered, "rdap"))),
            // That a name is kept back is for the registry to say.
            (vec![said(Registry, registered()), said(Registration, with("reserved"))], Some((Active, "rdap"))),
            (vec![], None),
        ];
        for (row, (said, expected)) in rows.into_iter().enumerate() {
            assert_eq!(standing(said), expected.map(|(standing, source)| (standing, source.to_owned())), "row {row}");
        }
    }

    #[test]
    fn the_doubt_of_the_dns_is_kept_beside_the_failure_of_all_others() {
        let error = merge(vec![said(Role::Registry, failed()), said(Role::Dns, dns(Some(false)))], at("2026-01-31")).unwrap_err();
        let SourceError::Undecided { dns, .. } = error else { unreachable!("{error:?}") };
        assert_eq!(dns.mail, Some(Mail::NoHost));
    }

    #[test]
    fn of_dates_the_latest_beginning_and_the_earliest_end_count() {
        let dated = |from: &str, until: &str| {
            let mut report = Report::registered("rdap");
            (report.registered_at, report.expires_at) = (parse(from), parse(until));
            Ok(report)
        };
        let said =
            vec![said(Role::Registry, dated("2009-01-01", "2030-01-01")), said(Role::Registration, dated("2010-01-01", "2029-01-01"))];
        let report = merge(said, at("2026-01-31")).unwrap();
        assert_eq!((report.registered_at, report.expires_at), (parse("2010-01-01"), parse("2029-01-01")));
        assert_eq!(report.statements.len(), 2);
    }

    fn any_report() -> impl Strategy<Value = Report> {
        let statuses = ["active", "client hold", "pending delete", "redemption period", "auto renew period", "add period", "removed"];
        let dates = prop::collection::vec(prop::option::of(0..4_000_000_000_u64), 4);
        (any::<Option<bool>>(), prop::collection::vec(prop::sample::select(statuses.to_vec()), 0..4), dates).prop_map(
            |(registered, statuses, dates)| {
                let moment = |place: usize| dates[place].map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
                Report {
                    registered,
                    statuses: statuses.into_iter().map(Status::from).collect(),
                    registered_at: moment(0),
                    reregistered_at: moment(1),
                    expires_at: moment(2),
                    registrar_expires_at: moment(3),
                    ..Report::about_nothing("test")
                }
            },
        )
    }

    fn is_allowed(said: Vec<Said>, now: SystemTime) -> bool {
        let sighting = merge(said, now).ok().map(|report| {
            let history = Arc::new(History::beginning(&report, now));
            Sighting { history, ..Sighting::first(report, now) }
        });
        let mail = sighting.as_ref().and_then(|sighting| sighting.report.mail);
        let verified_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        let domain = sighting.as_ref();
        let evidence = Evidence { verified: true, verified_at, requested_is_stored: true, domain, mail, over_limit: false };
        judge(&Policy { on_unknown: OnUnknown::Block, ..Policy::default() }, &evidence, now).is_allowed()
    }

    proptest! {
        /// More evidence of a lapse never makes a verdict milder: what one registration source blocks, no further one lets through.
        #[test]
        fn another_word_about_the_registration_never_lets_a_blocked_reset_through(one in any_report(), two in any_report(), now in 1_100_000_000..3_000_000_000_u64) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            let first = || said(Role::Registry, Ok(one.clone()));
            if one.registered.is_some() && !is_allowed(vec![first()], now) {
                prop_assert!(!is_allowed(vec![first(), said(Role::Registration, Ok(two.clone()))], now));
                prop_assert!(!is_allowed(vec![first(), said(Role::Dns, dns(Some(true)))], now));
            }
            // And a lapse by the second counts beside whatever the first says.
            if two.registered.is_some() && two.phase(now, Duration::ZERO).is_lapsed() {
                prop_assert!(!is_allowed(vec![first(), said(Role::Registration, Ok(two))], now));
            }
        }
    }
}
