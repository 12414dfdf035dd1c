//! `reset-gatekeeper exempt`: the one way past a block, given, listed and taken back.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use reset_gatekeeper::config::{Config, Stores};
use reset_gatekeeper::{AccountError, AddressError, Clock, Exempt, KeptExemption, NewExemption, State, SystemClock};
use uuid::Uuid;

use super::{Failure, configuration, stores};

/// What can be done with exemptions.
#[derive(Subcommand)]
pub(crate) enum ExemptCommand {
    /// Let an account, or all accounts on a domain, pass what would block them. One that they have is replaced
    Add(Add),
    /// List the exemptions
    List(List),
    /// Take an exemption back
    Remove(Remove),
}

/// What the arguments of `exempt add` may be.
#[derive(Args)]
pub(crate) struct Add {
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    end: End,
    /// Why, in a line
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    by: By,
    /// The configuration, of which [state] and [directory] are read
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// All accounts on this domain; of an address or a host, its registrable domain
    #[arg(long)]
    domain: Option<String>,
    /// The account with this address, or this id
    #[arg(long, value_name = "EMAIL|ID")]
    account: Option<String>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct End {
    /// When it ends, 90 days from now at the latest; a date is its first moment, in UTC
    #[arg(long, value_name = "RFC3339|DATE", value_parser = moment)]
    until: Option<SystemTime>,
    /// How long it lasts, such as 30d
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    lasts: Option<Duration>,
}

#[derive(Args)]
struct By {
    /// Who does it; $USER by default
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
}

/// What the arguments of `exempt list` may be.
#[derive(Args)]
pub(crate) struct List {
    /// Also those that ended within the last year, and those that were taken back
    #[arg(long)]
    all: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// The configuration, of which [state] is read
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// What the arguments of `exempt remove` may be.
#[derive(Args)]
pub(crate) struct Remove {
    /// The exemption's id
    id: Uuid,
    #[command(flatten)]
    by: By,
    /// The configuration, of which [state] is read
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Why there is nothing to do.
#[derive(Debug, thiserror::Error)]
enum ExemptError {
    #[error("$USER is not set: say who does it, with --by")]
    Nameless,
    #[error("it would end at no time that there is")]
    Endless,
}

impl ExemptCommand {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Add(add) => add.run().await,
            Self::List(list) => list.run().await,
            Self::Remove(remove) => remove.run().await,
        }
    }
}

impl Add {
    async fn run(self) -> Result<ExitCode, Failure> {
        let by = self.by.name()?;
        let now = SystemClock.now();
        let until = self.end.after(now)?;
        let (config, stores, state) = opened(&self.config).await?;
        let exempt = match (&self.whom.domain, &self.whom.account) {
            (Some(name), _) => domain(name, &config)?,
            (None, account) => {
                let directory = stores::directory(&config, &stores, state.clone()).await?;
                match Exempt::account(account.as_deref().unwrap_or_default(), &directory).await {
                    Ok(exempt) => exempt,
                    Err(error @ AccountError::Unknown(_)) => {
                        eprintln!("reset-gatekeeper: {error}");
                        return Ok(ExitCode::from(1));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let before = state.exemptions(now).await?;
        let exemption = state.exempt(NewExemption { exempt, until, reason: self.reason, by }, now).await?;
        for replaced in before.iter().filter(|before| before.exempt == exemption.exempt) {
            eprintln!("reset-gatekeeper: it takes the place of {}, until {}", replaced.id, rfc3339(replaced.until));
        }
        println!("{} is exempt until {}: {}", exemption.exempt, rfc3339(exemption.until), exemption.id);
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    async fn run(self) -> Result<ExitCode, Failure> {
        let (_, _, state) = opened(&self.config).await?;
        let now = SystemClock.now();
        let mut kept = state.all_exemptions().await?;
        kept.retain(|kept| self.all || kept.holds(now));
        let mut stdout = std::io::stdout().lock();
        if self.json {
            for kept in &kept {
                writeln!(stdout, "{}", serde_json::to_string(kept)?)?;
            }
        } else {
            writeln!(stdout, "{}", table(&kept))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Remove {
    async fn run(self) -> Result<ExitCode, Failure> {
        let by = self.by.name()?;
        let (_, _, state) = opened(&self.config).await?;
        if state.remove_exemption(self.id, &by, SystemClock.now()).await? {
            println!("{} is taken back", self.id);
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("reset-gatekeeper: no exemption {} is in force", self.id);
        Ok(ExitCode::from(1))
    }
}

impl By {
    fn name(&self) -> Result<String, ExemptError> {
        let name = self.by.clone().or_else(|| std::env::var("USER").ok().filter(|name| !name.is_empty()));
        name.ok_or(ExemptError::Nameless)
    }
}

impl End {
    fn after(&self, now: SystemTime) -> Result<SystemTime, ExemptError> {
        self.until.or_else(|| now.checked_add(self.lasts?)).ok_or(ExemptError::Endless)
    }
}

async fn opened(config: &Path) -> Result<(Config, Stores, State), Failure> {
    let config = configuration(Some(config))?;
    let stores = config.stores()?;
    let state = stores::lasting_state(&stores).await?;
    Ok((config, stores, state))
}

/// The domain that `text` names. Where it is another than what was written, or more hangs on it than may be meant, that is said.
fn domain(text: &str, config: &Config) -> Result<Exempt, AddressError> {
    let exempt = Exempt::domain(text)?;
    if let Exempt::Domain(domain) = &exempt {
        if domain.as_str() != text {
            eprintln!("reset-gatekeeper: the registrable domain of {text} is {domain}: all accounts on it are exempt");
        }
        if config.cache.providers.contains(domain) {
            eprintln!(
                "reset-gatekeeper: warning: {domain} is a mailbox provider's: an exemption for the account alone leaves the others guarded"
            );
        }
    }
    Ok(exempt)
}

fn moment(text: &str) -> Result<SystemTime, jiff::Error> {
    let moment = text.parse::<Timestamp>().or_else(|_| text.parse::<DateTime>().and_then(|civil| TimeZone::UTC.to_timestamp(civil)))?;
    moment.try_into()
}

fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| String::from("?"), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn table(kept: &[KeptExemption]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(["id", "exempt", "until", "reason", "by", "given", "taken back"]);
    for KeptExemption { exemption, removed_at, removed_by, .. } in kept {
        let removed = removed_at.map(|at| format!("{} by {}", rfc3339(at), removed_by.as_deref().unwrap_or("?")));
        table.add_row([
            exemption.id.to_string(),
            exemption.exempt.to_string(),
            rfc3339(exemption.until),
            exemption.reason.clone(),
            exemption.by.clone(),
            rfc3339(exemption.given_at),
            removed.unwrap_or_default(),
        ]);
    }
    table
}
