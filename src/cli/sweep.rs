//! `reset-gatekeeper sweep`: goes through all accounts, before anybody asks for a reset.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::HumanCount;
use reset_gatekeeper::config::Config;
use reset_gatekeeper::{Reason, SweepEvent, SweepSettings, SweepSummary};
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::progress::{Progress, Terminal};
use super::signals::Signals;
use super::sources::sources;
use super::stores::{audit_log, builder, directory, last_head_kept, state};
use super::{Failure, configuration};

/// How long one source may keep another's answer waiting. No caller waits for it.
const PATIENCE: Duration = Duration::from_secs(8);

/// What the arguments of `sweep` may be.
#[derive(Args)]
pub(crate) struct Sweep {
    /// The configuration, of which [directory], [state], [domains], [policy], [sweep] and [audit] are read
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Un-verify nobody, and list whose address would lose its verification
    #[arg(long)]
    dry_run: bool,
    /// Un-verify also where it concerns a larger share of the accounts than `brake` allows
    #[arg(long)]
    beyond_brake: bool,
}

impl Sweep {
    pub(crate) fn run(self, terminal: Terminal) -> Result<ExitCode, Failure> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(self.sweep(terminal))
    }

    /// Sweeps until all is done, or SIGTERM or SIGINT.
    async fn sweep(self, terminal: Terminal) -> Result<ExitCode, Failure> {
        let config = configuration(Some(&self.config))?;
        let stores = config.swept_stores()?;
        let settings = self.settings(&config);
        let state = state(&stores).await?;
        let (audit, keeping_heads) = audit_log(&config, &stores, state.clone()).await?;
        let directory = directory(&config, &stores, state.clone()).await?;
        let builder = builder(&config, &stores, directory, state.clone()).state(state);
        let gatekeeper = builder.domains(sources(&config, false).await?.patience(PATIENCE)).audit(audit).build()?;
        if stores.state.is_none() {
            terminal.say("without [state] nothing outlives this run, and the next begins anew");
        }
        if config.only_observes() && !self.dry_run {
            terminal.say("`reply.mode` is \"observe\", so nobody is un-verified; `--dry-run` lists who would be");
        }
        let (mut first, mut second) = (Signals::open()?, Signals::open()?);
        let stopped = async {
            first.next().await;
            terminal.say("stopping, once what is under way is written down; a second signal stops at once");
        };
        let (broken, mut breaks) = unbounded_channel();
        let listener = Arc::new(Listener::new(&self, &settings, terminal.clone(), broken));
        let telling = Arc::clone(&listener);
        let start = Instant::now();
        let sweep = gatekeeper.sweep().settings(settings.clone()).told(move |event| telling.tell(&event));
        let swept = tokio::select! {
            swept = sweep.round(stopped) => swept.map(Some).map_err(|error| Failure::new("the sweep broke off", error)),
            () = second.second() => Ok(None),
            Some(error) = breaks.recv() => Err(Failure::new("standard output", error)),
        };
        listener.progress.end();
        // The log closes with the last of what uses it, and then its last head is kept.
        drop((sweep, gatekeeper));
        last_head_kept(keeping_heads).await;
        match swept? {
            Some(summary) => self.end(&summary, &settings, start.elapsed()),
            None => Ok(ExitCode::from(1)),
        }
    }

    fn settings(&self, config: &Config) -> SweepSettings {
        let mut settings = config.sweep().unwrap_or_default();
        settings.dry_run = self.dry_run || config.only_observes();
        settings.beyond_brake = self.beyond_brake;
        settings
    }

    /// Prints what was done, says what is left, and exits with 1 where anything is.
    fn end(&self, summary: &SweepSummary, settings: &SweepSettings, took: Duration) -> Result<ExitCode, Failure> {
        let mut stdout = io::stdout().lock();
        if self.json {
            writeln!(stdout, "{}", serde_json::to_string(&Summary { summary, seconds: took.as_secs_f64() })?)?;
        } else {
            writeln!(stdout, "{}", table(summary, settings.dry_run, took).trim_fmt())?;
        }
        if summary.failed > 0 {
            let failed = HumanCount(summary.failed);
            eprintln!(
                "reset-gatekeeper: domains that could not be checked: {failed}; the audit log says why (`source_failed`), and the next sweep tries again"
            );
        }
        if summary.not_unverified > 0 {
            let accounts = HumanCount(summary.not_unverified);
            eprintln!("reset-gatekeeper: {accounts} accounts could not be un-verified; the next sweep tries again");
        }
        if summary.interrupted {
            eprintln!("reset-gatekeeper: interrupted; the next sweep goes on from here");
        }
        Ok(ExitCode::from(u8::from(summary.failed > 0 || summary.not_unverified > 0 || summary.braked || summary.interrupted)))
    }
}

/// An account whose address would lose its verification.
#[derive(Serialize)]
struct Row<'r> {
    account: &'r str,
    email: &'r str,
    domain: &'r str,
    reason: Reason,
}

#[derive(Serialize)]
struct Summary<'s> {
    #[serde(flatten)]
    summary: &'s SweepSummary,
    seconds: f64,
}

/// Who hears how the sweep goes.
struct Listener {
    terminal: Terminal,
    progress: Progress,
    config: PathBuf,
    brake: f64,
    /// Any domain that was found.
    found: OnceLock<String>,
    lists: bool,
    json: bool,
    has_header: AtomicBool,
    /// Where it is told that nobody reads the list any more.
    broken: UnboundedSender<io::Error>,
}

impl Listener {
    fn new(command: &Sweep, settings: &SweepSettings, terminal: Terminal, broken: UnboundedSender<io::Error>) -> Self {
        Self {
            progress: Progress::new(terminal.clone(), settings.dry_run),
            terminal,
            config: command.config.clone(),
            brake: settings.brake,
            found: OnceLock::new(),
            lists: command.dry_run,
            json: command.json,
            has_header: AtomicBool::new(false),
            broken,
        }
    }

    fn tell(&self, event: &SweepEvent) {
        self.progress.tell(event);
        match event {
            SweepEvent::Found { domain, .. } => drop(self.found.set(domain.to_string())),
            SweepEvent::Unverified { account, domain, reason } if self.lists => {
                let row = Row { account: account.id.as_str(), email: &account.email, domain: domain.as_str(), reason: *reason };
                if let Err(error) = self.terminal.above(|| self.list(&row)) {
                    drop(self.broken.send(error));
                }
            }
            SweepEvent::Braked { would_unverify, accounts } => self.cry(*would_unverify, *accounts),
            _ => {}
        }
    }

    fn list(&self, row: &Row<'_>) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        if self.json {
            return writeln!(stdout, "{}", serde_json::to_string(row)?);
        }
        if !self.has_header.swap(true, Ordering::Relaxed) {
            writeln!(stdout, " {:<12}  {:<38}  {:<30}  reason", "account", "email", "domain")?;
        }
        writeln!(stdout, " {:<12}  {:<38}  {:<30}  {}", row.account, row.email, row.domain, row.reason)
    }

    /// Says that so many would be un-verified that nobody was.
    fn cry(&self, would_unverify: u64, accounts: u64) {
        // As it was written, whatever a product of such numbers is.
        let brake = (self.brake * 1e6).round() / 1e4;
        let config = self.config.display();
        let example = self.found.get().map_or("DOMAIN", String::as_str);
        self.terminal.say(format!(
            "BRAKED: {} of {} accounts with a verified address would be un-verified, more than {brake}% (`sweep.brake`). NOBODY was.",
            HumanCount(would_unverify),
            HumanCount(accounts)
        ));
        self.terminal.say(format!(
            "BRAKED: so many at once are likely a source that is broken. See what each says: reset-gatekeeper check {example} --config {config}"
        ));
        self.terminal.say("BRAKED: `--dry-run` lists them all; where they have lapsed indeed, `--beyond-brake` un-verifies them");
    }
}

fn table(summary: &SweepSummary, dry_run: bool, took: Duration) -> Table {
    let count = |count: u64| HumanCount(count).to_string();
    let (done, accounts) = match dry_run || summary.braked {
        true => ("accounts that would be un-verified", summary.would_unverify),
        false => ("accounts that were un-verified", summary.unverified),
    };
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.add_row(["accounts", &count(summary.accounts)]);
    table.add_row(["with a verified address", &count(summary.verified)]);
    table.add_row(["on domains", &count(summary.domains)]);
    table.add_row(["domains looked at", &count(summary.looked)]);
    table.add_row(["  by asking registries", &count(summary.asked)]);
    table.add_row(["  by asking the DNS alone", &count(summary.polled)]);
    table.add_row(["  by what resets saw", &count(summary.looked.saturating_sub(summary.asked + summary.polled))]);
    table.add_row(["domains not due yet, judged as last seen", &count(summary.not_due)]);
    table.add_row(["domains that could not be checked", &count(summary.failed)]);
    for (code, domains) in &summary.found {
        table.add_row([&format!("found {code}"), &count(*domains)]);
    }
    table.add_row([done, &count(accounts)]);
    table.add_row(["seconds", &format!("{:.1}", took.as_secs_f64())]);
    table
}
