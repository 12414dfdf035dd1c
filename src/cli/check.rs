//! `reset-gatekeeper check`: how domains stand right now, and what that means for a reset.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use futures_util::future::{join, join_all};
use jiff::Timestamp;
use reset_gatekeeper::audit::DomainRecord;
use reset_gatekeeper::config::Config;
use reset_gatekeeper::domain::cache::Cache;
use reset_gatekeeper::domain::{Standing, Statement};
use reset_gatekeeper::{AddressError, Clock, Evidence, Mailbox, Notice, Reason, RegistrableDomain, SystemClock, Verdict, judge};
use serde::Serialize;

use super::sources::sources;
use super::{Failure, chain, configuration};

/// What the arguments of `check` may be.
#[derive(Args)]
pub(crate) struct Check {
    /// E-mail addresses or domains
    #[arg(required = true)]
    targets: Vec<String>,
    /// The configuration, of which [domains] and [policy] are read
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// When the addresses were verified; a later registration blocks
    #[arg(long, value_name = "RFC3339")]
    verified_at: Option<Timestamp>,
}

/// What was found about one target.
#[derive(Serialize)]
struct Finding {
    target: String,
    #[serde(flatten)]
    domain: Option<DomainRecord>,
    verdict: &'static str,
    reasons: Vec<Reason>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notices: Vec<Notice>,
    /// What each source said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<Told>,
    #[serde(skip)]
    outcome: Outcome,
}

/// What one source said, or why it could not tell.
#[derive(Serialize)]
struct Told {
    source: String,
    standing: Standing,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    milliseconds: u128,
}

impl Told {
    fn of(statement: &Statement) -> Self {
        let (standing, error) = match &statement.said {
            Ok(standing) => (*standing, None),
            Err(error) => (Standing::Unknown, Some(error.to_string())),
        };
        Self { source: statement.source.to_string(), standing, error, milliseconds: statement.took.as_millis() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Allowed = 0,
    Blocked = 1,
    CouldNotTell = 2,
}

impl Check {
    /// Checks all targets, prints what was found, and exits with the worst.
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let config = configuration(self.config.as_deref())?;
        let sources = sources(&config, false).await?;
        let cache = Cache::new(Arc::new(sources), Arc::new(SystemClock), config.cache.clone());
        let findings = join_all(self.targets.iter().map(|target| self.finding(target, &config, &cache))).await;
        self.print(&findings)?;
        let worst = findings.iter().map(|finding| finding.outcome).max().unwrap_or(Outcome::Allowed);
        Ok(ExitCode::from(worst as u8))
    }

    async fn finding(&self, target: &str, config: &Config, cache: &Cache) -> Finding {
        let (domain, host) = match domain_and_host(target) {
            Ok(found) => found,
            Err(error) => {
                eprintln!("reset-gatekeeper: {target}: {error}");
                let reasons = vec![Reason::TargetInvalid];
                let (notices, sources) = Default::default();
                let target = target.to_owned();
                return Finding { target, domain: None, verdict: "block", reasons, notices, sources, outcome: Outcome::CouldNotTell };
            }
        };
        let since = SystemTime::UNIX_EPOCH;
        let below = host.as_ref().filter(|host| *host != domain.as_str());
        let mail = async { cache.mail(below?, since).await };
        let (sighting, mail) = join(cache.sighting(&domain, since), mail).await;
        let sighting = sighting.inspect_err(|error| eprintln!("reset-gatekeeper: {target}: {}", chain(error))).ok();
        let verified_at = self.verified_at.and_then(|at| at.try_into().ok());
        let mail = if below.is_some() { mail } else { sighting.as_ref().and_then(|sighting| sighting.report.mail) };
        let evidence =
            Evidence { verified: true, verified_at, requested_is_stored: true, domain: sighting.as_ref(), mail, over_limit: false };
        let verdict = judge(&config.policy, &evidence, SystemClock.now());
        let standing = verdict.standing().unwrap_or(Standing::Unknown);
        let sources: Vec<Told> = sighting.iter().flat_map(|sighting| &sighting.report.statements).map(Told::of).collect();
        for told in &sources {
            if let Some(error) = &told.error {
                eprintln!("reset-gatekeeper: {target}: {} could not tell: {error}", told.source);
            }
        }
        Finding {
            target: target.to_owned(),
            domain: Some(DomainRecord::new(domain.as_str(), standing, sighting.as_ref())),
            verdict: verdict.as_str(),
            reasons: verdict.reasons().to_vec(),
            notices: verdict.notices().to_vec(),
            sources,
            outcome: outcome(&verdict),
        }
    }

    fn print(&self, findings: &[Finding]) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        if self.json {
            for finding in findings {
                writeln!(stdout, "{}", serde_json::to_string(finding)?)?;
            }
        } else {
            writeln!(stdout, "{}", table(findings))?;
        }
        Ok(())
    }
}

/// The registrable domain and, of an address, the host that takes its mail.
fn domain_and_host(target: &str) -> Result<(RegistrableDomain, Option<String>), AddressError> {
    if target.contains('@') {
        Mailbox::parse(target).map(|mailbox| (mailbox.domain().clone(), Some(mailbox.host().to_owned())))
    } else {
        RegistrableDomain::of(target).map(|domain| (domain, None))
    }
}

fn outcome(verdict: &Verdict) -> Outcome {
    match verdict.reasons().first() {
        None => Outcome::Allowed,
        Some(Reason::DomainUnknown) => Outcome::CouldNotTell,
        Some(_) => Outcome::Blocked,
    }
}

fn table(findings: &[Finding]) -> Table {
    let day = |time: Option<SystemTime>| {
        time.and_then(|time| Timestamp::try_from(time).ok()).map_or_else(String::new, |time| time.strftime("%Y-%m-%d").to_string())
    };
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(["target", "domain", "standing", "registered", "expires", "verdict", "reasons"]);
    for finding in findings {
        let (name, standing, registered, expires) = match &finding.domain {
            Some(domain) => (domain.name.clone(), domain.standing.to_string(), day(domain.registered_at), day(domain.expires_at)),
            None => Default::default(),
        };
        let reasons: Vec<&str> = finding.reasons.iter().map(|reason| reason.as_str()).collect();
        table.add_row([finding.target.clone(), name, standing, registered, expires, finding.verdict.to_owned(), reasons.join(", ")]);
    }
    table
}
