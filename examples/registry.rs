//! A registry to try a gatekeeper against: real RDAP over real sockets, with domains that stand as you say.
//!
//! ```text
//! cargo run --example registry -- --bootstrap dns.json good-firm.com lapsed-firm.com=redemption bought-firm.com=2026-01-05..2099-01-01
//! ```
//!
//! `--help` lists the phases. It writes the bootstrap file, prints its base URL and serves until it is killed. A gatekeeper asks it, and no DNS, which has none of these, with
//! `GATEKEEPER__DOMAINS__SOURCES='["rdap"]' GATEKEEPER__DOMAINS__RDAP__BOOTSTRAP=dns.json GATEKEEPER__DOMAINS__RDAP__ALLOW_INSECURE=true`.
//!
//! `NAME` is registered from 2009 to 2099, `NAME=FROM..TO` between those days, and `NAME=PHASE` is in one of the phases below. A line of that form
//! on standard input changes the domain while it runs: type `good-firm.com=redemption`, and that domain has lapsed.

use std::io::Write;
use std::time::SystemTime;

use reset_gatekeeper::testing::{Phase, Registry, time};
use tokio::io::{AsyncBufReadExt, BufReader};

type Failure = Box<dyn std::error::Error>;

const PHASES: [(&str, Phase); 9] = [
    ("active", Phase::Active),
    ("add-period", Phase::AddPeriod),
    ("auto-renew-period", Phase::AutoRenewPeriod),
    ("client-hold", Phase::ClientHold),
    ("server-hold", Phase::ServerHold),
    ("redemption", Phase::Redemption),
    ("pending-delete", Phase::PendingDelete),
    ("reserved", Phase::Reserved),
    ("unregistered", Phase::Unregistered),
];

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let registry = Registry::start().await?;
    let mut bootstrap = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if matches!(argument.as_str(), "--help" | "-h") {
            println!(
                "registry [--bootstrap FILE] [NAME | NAME=FROM..TO | NAME=PHASE]...\nFROM and TO are days such as 2026-01-05; PHASE is one of {}.",
                phases()
            );
            return Ok(());
        }
        if argument == "--bootstrap" {
            bootstrap = arguments.next();
        } else {
            set(&registry, &argument)?;
        }
    }
    if let Some(file) = bootstrap {
        std::fs::write(file, registry.bootstrap_file())?;
    }
    println!("{}", registry.bootstrap_url().trim_end_matches("dns.json"));

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        // Said back when it is done, so that a script can wait for it.
        match set(&registry, line.trim()) {
            Ok(()) => println!("{}", line.trim()),
            Err(error) => eprintln!("{error}"),
        }
        std::io::stdout().flush()?;
    }
    std::future::pending().await
}

/// Registers the domain as `NAME`, `NAME=FROM..TO` or `NAME=PHASE` says.
fn set(registry: &Registry, text: &str) -> Result<(), Failure> {
    let (name, how) = text.split_once('=').unwrap_or((text, "active"));
    if let Some((from, to)) = how.split_once("..") {
        registry.register(name, day(from), day(to));
        return Ok(());
    }
    let (_, phase) =
        PHASES.iter().find(|(word, _)| *word == how).ok_or_else(|| format!("`{how}` is neither FROM..TO nor one of {}", phases()))?;
    registry.register(name, day("2009-01-01"), day("2099-01-01"));
    registry.put(name, *phase);
    Ok(())
}

fn phases() -> String {
    PHASES.map(|(word, _)| word).join(", ")
}

fn day(text: &str) -> SystemTime {
    time(&format!("{text}T00:00:00Z"))
}
