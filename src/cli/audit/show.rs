//! `audit show`: records, one a line, in columns for people.

use std::io::{BufRead, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Args;
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;
use reset_gatekeeper::Reason;
use reset_gatekeeper::audit::{EmailKey, Emails, Event, log_files, native};
use reset_gatekeeper::config::AUDIT_KEY;
use serde_json::Value;

use super::super::Failure;

const EVENTS: [&str; 5] = [
    Event::ResetBlocked.as_str(),
    Event::ResetAllowed.as_str(),
    Event::EmailUnverified.as_str(),
    Event::DomainChanged.as_str(),
    Event::SourceFailed.as_str(),
];

const FAINT: Style = Style::new().dimmed();

/// What the arguments of `audit show` may be.
#[derive(Args)]
pub(crate) struct Show {
    /// The log, with the files that were rotated out of it
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
    /// Only records before this moment
    #[arg(long, value_name = "RFC3339")]
    until: Option<Timestamp>,
    /// Only records of this event
    #[arg(long, value_parser = PossibleValuesParser::new(EVENTS))]
    event: Option<String>,
    /// Only records with this reason code among others
    #[arg(long, value_name = "CODE", value_parser = PossibleValuesParser::new(Reason::ALL.iter().map(|reason| reason.as_str())))]
    reason: Option<String>,
    /// Only the record that a blocked caller was given this reference to
    #[arg(long, value_name = "ID")]
    reference: Option<String>,
    /// Print the records as they are, one JSON object a line
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        // Strips the colours where nobody would see them.
        let mut coloured = anstream::stdout().lock();
        let mut print = |line: &str| if self.json { writeln!(std::io::stdout(), "{line}") } else { writeln!(coloured, "{line}") };
        for file in log_files(&self.file).map_err(|error| Failure::new(self.file.display(), error))? {
            let name = file.path().display().to_string();
            let lines = file.read().map_err(|error| Failure::new(&name, error))?.lines();
            for (number, line) in lines.enumerate() {
                let line = line.map_err(|error| Failure::new(&name, error))?;
                let Ok(record) = native(&line).and_then(|(_, record)| serde_json::from_str::<Value>(record)) else {
                    eprintln!("reset-gatekeeper: {name}:{}: not a record", number + 1);
                    continue;
                };
                if !self.selects(&record) {
                    continue;
                }
                match print(&if self.json { line } else { columns(&record) }) {
                    // Whoever read it has seen enough.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                    printed => printed?,
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn selects(&self, record: &Value) -> bool {
        let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let is = |wanted: &Option<String>, pointers: &[&'static str]| {
            wanted.as_ref().is_none_or(|wanted| pointers.iter().any(|pointer| text(pointer).eq_ignore_ascii_case(wanted)))
        };
        let is_timely = || {
            let time = text("/time").parse::<Timestamp>();
            time.is_ok_and(|time| self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until))
        };
        let is_account = |account: &String| {
            let hashed = Some(written(account));
            is(&self.account, &["/account/email", "/account/id"]) || is(&hashed, &["/account/email", "/account/id"])
        };
        self.account.as_ref().is_none_or(is_account)
            && is(&self.domain, &["/domain/name"])
            && is(&self.event, &["/event"])
            && is(&self.reference, &["/id"])
            && self.reason.as_ref().is_none_or(|wanted| codes(record, "/reasons").any(|code| code == wanted))
            && (self.since.is_none() && self.until.is_none() || is_timely())
    }
}

/// `address` as a log has it whose addresses are hashed, where the environment holds the key.
fn written(address: &str) -> String {
    let key = std::env::var_os(AUDIT_KEY).and_then(|key| EmailKey::new(key.as_encoded_bytes()).ok());
    key.map_or(Emails::Plain, Emails::Hashed).written(address)
}

fn codes<'a>(record: &'a Value, pointer: &str) -> impl Iterator<Item = &'a str> {
    record.pointer(pointer).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// When, what, about whom, why, and how the domain stood; and then the request.
fn columns(record: &Value) -> String {
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).map(printable);
    let list = |pointer| printable(&codes(record, pointer).collect::<Vec<_>>().join(","));
    let or_dash = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());

    let observed = if record.pointer("/enforced") == Some(&Value::Bool(false)) { " (observed)" } else { "" };
    let event = text("/event").unwrap_or_default();
    let colour = Style::new().fg_color(colour(&event).map(Into::into));
    let expires = text("/domain/expires_at").map(|at| format!(", expires {at}")).unwrap_or_default();
    let domain = text("/domain/name").map(|name| format!("{name} {}{expires}", text("/domain/standing").unwrap_or_default()));
    let mut line = format!(
        "{FAINT}{:24}{FAINT:#}  {colour}{:16}{colour:#}  {:28}  {:22}  {:30}",
        or_dash(text("/time")),
        event + observed,
        or_dash(text("/account/email")),
        or_dash(Some(list("/reasons"))),
        or_dash(domain),
    );
    let more = [
        Some(list("/notices")).filter(|notices| !notices.is_empty()).map(|notices| format!("notice: {notices}")),
        text("/exemption/by").map(|by| format!("exempted by {by}: {}", text("/exemption/reason").unwrap_or_default())),
        text("/request/path").map(|path| format!("{} {path}", text("/request/method").unwrap_or_default())),
        text("/request/client").map(|client| format!("from {client}")),
        text("/id").map(|id| format!("{FAINT}reference {id}{FAINT:#}")),
    ];
    for part in more.into_iter().flatten() {
        line.push_str("  ");
        line.push_str(&part);
    }
    line
}

/// Red what was stopped or lost, green what went through.
fn colour(event: &str) -> Option<AnsiColor> {
    match event {
        "reset_blocked" => Some(AnsiColor::Red),
        "reset_allowed" => Some(AnsiColor::Green),
        "email_unverified" => Some(AnsiColor::Yellow),
        _ => None,
    }
}

/// What others wrote must not move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char }).collect()
}
