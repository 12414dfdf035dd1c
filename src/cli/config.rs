//! `reset-gatekeeper config check`: whether a configuration is valid, and what it amounts to.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, configuration};

/// What can be done with a configuration.
#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Validate it, and print what is in effect, with secrets masked. Connects to nothing
    Check {
        /// The configuration
        file: PathBuf,
    },
}

impl ConfigCommand {
    /// Prints the effective configuration, or says what is wrong with it.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Self::Check { file } = self;
        let config = configuration(Some(&file))?;
        config.sources()?;
        config.audit()?;
        config.webhook()?;
        if config.is_of_site() {
            config.site()?;
        } else if config.sweep().is_some() {
            config.swept_stores()?;
        }
        write!(std::io::stdout().lock(), "{}", config.effective()?)?;
        Ok(ExitCode::SUCCESS)
    }
}
