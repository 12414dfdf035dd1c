//! `reset-gatekeeper audit`: the log, verified and read back.

use std::io::{BufRead, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use reset_gatekeeper::audit::{Head, VerifyError, read_log, verify_up_to};
use serde_json::Value;

use super::{Failure, chain, configuration, stores};

/// What can be done with an audit log.
#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Prove that no record was changed, removed or reordered
    Verify {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The configuration whose [state] knows how far its log had got: without it, lines cut off the end don't show
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Read the log back
    Show(Show),
}

/// What the arguments of `audit show` may be.
#[derive(Args)]
pub(crate) struct Show {
    /// The file
    file: PathBuf,
    /// Only records about this account: its address, in any case, or its id
    #[arg(long, value_name = "EMAIL")]
    account: Option<String>,
    /// Only records about this registrable domain
    #[arg(long)]
    domain: Option<String>,
    /// Only records from this moment on
    #[arg(long, value_name = "RFC3339")]
    since: Option<Timestamp>,
    /// Print the records as they are, one JSON object a line
    #[arg(long)]
    json: bool,
}

impl AuditCommand {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Verify { files, config } => super::wait_for(verify_all(&files, config.as_deref())),
            Self::Show(show) => show.run(),
        }
    }
}

/// Exits with the worst: unreadable over broken over intact.
async fn verify_all(files: &[PathBuf], config: Option<&Path>) -> Result<ExitCode, Failure> {
    let kept = match config {
        Some(config) => kept(config).await?,
        None => None,
    };
    let mut stdout = std::io::stdout().lock();
    let mut worst = 0;
    for file in files {
        let kept = kept.as_ref().filter(|(log, _)| is_same_file(log, file)).map(|(_, head)| head);
        match verify_up_to(file, kept) {
            Ok(records) => {
                let unchecked = if config.is_some() && kept.is_none() {
                    "; the end is not known from the state, so lines may be missing there"
                } else {
                    ""
                };
                writeln!(stdout, "{}: intact, {records} records{unchecked}", file.display())?;
            }
            Err(error) => {
                let exit = if matches!(error, VerifyError::Unreadable { .. }) { 2 } else { 1 };
                eprintln!("reset-gatekeeper: {}", chain(&error));
                worst = worst.max(exit);
            }
        }
    }
    Ok(ExitCode::from(worst))
}

/// The log of a configuration, and how far it had got.
async fn kept(config: &Path) -> Result<Option<(PathBuf, Head)>, Failure> {
    let stores = configuration(Some(config))?.stores()?;
    let head = stores::state(&stores).await?.audit_head(&stores.audit).await?;
    Ok(head.map(|head| (stores.audit, head)))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

impl Show {
    fn run(self) -> Result<ExitCode, Failure> {
        let mut stdout = std::io::stdout().lock();
        for (number, line) in lines(&self.file)?.enumerate() {
            let line = line.map_err(|error| Failure::new(self.file.display(), error))?;
            let Ok(record) = serde_json::from_str::<Value>(&line) else {
                eprintln!("reset-gatekeeper: {}:{}: not a record", self.file.display(), number + 1);
                continue;
            };
            if !self.selects(&record) {
                continue;
            }
            let shown = if self.json { line } else { readable(&record) };
            match writeln!(stdout, "{shown}") {
                // Whoever read it has seen enough.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                written => written?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn selects(&self, record: &Value) -> bool {
        let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let is = |wanted: &Option<String>, pointers: &[&'static str]| {
            wanted.as_ref().is_none_or(|wanted| pointers.iter().any(|pointer| text(pointer).eq_ignore_ascii_case(wanted)))
        };
        let is_recent = |since| text("/time").parse::<Timestamp>().is_ok_and(|time| time >= since);
        is(&self.account, &["/account/email", "/account/id"]) && is(&self.domain, &["/domain/name"]) && self.since.is_none_or(is_recent)
    }
}

fn lines(file: &Path) -> Result<impl Iterator<Item = std::io::Result<String>> + use<>, Failure> {
    read_log(file).map(BufRead::lines).map_err(|error| Failure::new(file.display(), error))
}

/// When, what, about whom, and why, in one line.
fn readable(record: &Value) -> String {
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str);
    let list = |pointer| {
        let codes = record.pointer(pointer).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        codes.collect::<Vec<_>>().join(", ")
    };
    let observed = if record.pointer("/enforced") == Some(&Value::Bool(false)) { " (observed)" } else { "" };
    let mut line = format!("{}  {}{observed}", text("/time").unwrap_or("?"), text("/event").unwrap_or("?"));
    let expires = text("/domain/expires_at").map(|at| format!(", expires {at}")).unwrap_or_default();
    let parts = [
        text("/account/email").map(str::to_owned),
        Some(list("/reasons")).filter(|reasons| !reasons.is_empty()),
        Some(list("/notices")).filter(|notices| !notices.is_empty()).map(|notices| format!("notice: {notices}")),
        text("/domain/name").map(|name| format!("{name} {}{expires}", text("/domain/standing").unwrap_or("?"))),
        text("/request/path").map(|path| format!("{} {path}", text("/request/method").unwrap_or("?"))),
        text("/request/client").map(|client| format!("from {client}")),
        text("/id").map(|id| format!("reference {id}")),
    ];
    for part in parts.into_iter().flatten() {
        line.push_str("  ");
        line.push_str(&part);
    }
    line
}
