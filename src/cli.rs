//! Arguments and printing, a file for each command.

pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod exempt;
pub(crate) mod generate;
pub(crate) mod progress;
mod reload;
pub(crate) mod serve;
mod signals;
mod sources;
mod stores;
pub(crate) mod sweep;
pub(crate) mod verified;

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use reset_gatekeeper::config::{Config, ConfigError};

/// Why a command could not do its work: what it tells on standard error before it exits with 2.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// What went wrong with `subject`.
    pub(crate) fn new(subject: impl fmt::Display, error: impl Error) -> Self {
        Self(format!("{subject}: {}", chain(&error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(chain(&error))
    }
}

/// The configuration of `file` and of the environment. Warns of passwords in it.
pub(crate) fn configuration(file: Option<&Path>) -> Result<Config, ConfigError> {
    let config = overridden(file, std::iter::empty())?;
    warn_of_secrets(&config);
    Ok(config)
}

/// The same, with flags over it, and without a warning.
fn overridden(file: Option<&Path>, flags: impl Iterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::read(file, variables.chain(flags))
}

fn warn_of_secrets(config: &Config) {
    for key in config.secrets() {
        eprintln!("reset-gatekeeper: warning: `{key}` holds a password; its place is the environment, or a file that `{key}_file` names");
    }
}

/// Runs a command that waits for others more than it works.
pub(crate) fn wait_for(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// `error` with all that caused it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes
        .map(ToString::to_string)
        .fold(error.to_string(), |text, cause| if text.ends_with(&cause) { text } else { format!("{text}: {cause}") })
}
