//! The command `reset-gatekeeper`.

mod cli;

use std::io::IsTerminal;
use std::process::ExitCode;

use self::cli::progress::Terminal;
use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(version, about = "Stops password resets for accounts whose e-mail domain has lapsed or changed hands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Guard a web application: a reverse proxy in front of it
    ///
    /// SIGTERM and SIGINT stop it once what is under way is answered. SIGHUP has it open its audit log again, and read its configuration again: guards, reply, upstream, timeout, trusted proxies
    /// and certificate change while it serves. Where anything else changed, or the configuration is wrong, nothing changes, and a line says why.
    Serve(cli::serve::Serve),
    /// Check live how the domains of e-mail addresses stand, and whether a reset would be allowed
    Check(cli::check::Check),
    /// Check the domains of all accounts, and un-verify the addresses on those that have lapsed or were registered anew
    Sweep(cli::sweep::Sweep),
    /// Say that an account's address was verified again, now
    Verified(cli::verified::Verified),
    /// Let an account or a domain pass what would block it, for a while: given, listed and taken back
    #[command(subcommand)]
    Exempt(cli::exempt::ExemptCommand),
    /// The audit log, verified and read back
    #[command(subcommand)]
    Audit(cli::audit::AuditCommand),
    /// The configuration
    #[command(subcommand)]
    Config(cli::config::ConfigCommand),
    /// Man pages and shell completions
    #[command(subcommand)]
    Generate(cli::generate::GenerateCommand),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let usual = match arguments.command {
        Command::Serve(_) | Command::Exempt(_) => "warn",
        // It tells by itself what the brake kept from being done.
        Command::Sweep(_) => "error,reset_gatekeeper::sweep::unverification=off",
        _ => "error",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let terminal = Terminal::new();
    let stderr = terminal.clone();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stderr().is_terminal());
    subscriber.with_writer(move || stderr.clone()).init();
    let exit = match arguments.command {
        Command::Serve(serve) => serve.run(),
        Command::Sweep(sweep) => sweep.run(terminal),
        Command::Verified(verified) => cli::wait_for(verified.run()),
        Command::Check(check) => cli::wait_for(check.run()),
        Command::Exempt(exempt) => cli::wait_for(exempt.run()),
        Command::Audit(audit) => audit.run(),
        Command::Config(config) => config.run(),
        Command::Generate(generate) => generate.run(Arguments::command()),
    };
    exit.unwrap_or_else(|failure| {
        eprintln!("reset-gatekeeper: {failure}");
        ExitCode::from(2)
    })
}
