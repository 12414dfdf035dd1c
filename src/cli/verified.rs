//! `reset-gatekeeper verified`: an address was verified again, outside the application's own knowledge.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use reset_gatekeeper::account::Directory;
use reset_gatekeeper::audit::Tracing;
use reset_gatekeeper::{Gatekeeper, Identifier, Mailbox};

use super::sources::sources;
use super::{Failure, chain, configuration, stores};

/// What the arguments of `verified` may be.
#[derive(Args)]
pub(crate) struct Verified {
    /// The address
    email: String,
    /// The configuration, of which [directory], [state] and [domains] are read
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Verified {
    /// Ends an un-verification that is kept in the state, and sets the moment after which a new registration of the domain counts.
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let config = configuration(Some(&self.config))?;
        let stores = config.stores()?;
        let mailbox = Mailbox::parse(&self.email)?;
        let state = stores::lasting_state(&stores).await?;
        let directory = Arc::new(stores::directory(&config, &stores, state.clone()).await?);
        if directory.verified(mailbox.as_str()).await? {
            let builder = Gatekeeper::builder().directory(Arc::clone(&directory)).domains(sources(&config, true).await?);
            let gatekeeper = builder.audit(Tracing).timeout(config.cache.timeout).state(state).build()?;
            if let Err(error) = gatekeeper.record_verification(mailbox.as_str()).await {
                eprintln!("reset-gatekeeper: warning: how its domain looks now is not known: {}", chain(&error));
            }
            let accounts = directory.find(&Identifier::Email(mailbox.clone())).await?;
            // The application's own flag is its to give back.
            let told = match accounts.iter().all(|account| account.verified) {
                true => "is verified as of now",
                false => {
                    "was verified again, which is noted, but the directory itself says that it is not: resets stay blocked until it says so"
                }
            };
            println!("{} {told}", mailbox.as_str());
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("reset-gatekeeper: no account has the address {}", mailbox.as_str());
        Ok(ExitCode::from(1))
    }
}
