//! `reset-gatekeeper audit`: the log, verified and read back.

mod show;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use reset_gatekeeper::audit::{Head, Intact, PublicKey, Verifier, VerifyError};

use self::show::Show;
use super::{Failure, chain, configuration, stores};

/// What can be done with an audit log.
#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Prove that no record was changed, removed or reordered
    Verify(Verify),
    /// Read the log back
    Show(Show),
}

/// What the arguments of `audit verify` may be.
#[derive(Args)]
pub(crate) struct Verify {
    /// The logs, each with the files that were rotated out of it; files that were moved elsewhere count to the log that they are of
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The configuration whose [state] knows how far its log had got: without it, lines cut off the end don't show
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The public key, as PEM, of what the log is signed with: without it, a log that was rewritten as a whole doesn't show. Again for a log whose key was changed
    #[arg(long = "public-key", value_name = "FILE")]
    public_keys: Vec<PathBuf>,
    /// The number of the first record that must be signed, of a log that is older than its key
    #[arg(long, value_name = "NUMBER", requires = "public_keys")]
    signed_from: Option<u64>,
    /// The oldest files are kept elsewhere, so the chain need not begin with the first record
    #[arg(long)]
    archived: bool,
}

impl AuditCommand {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Verify(verify) => super::wait_for(verify.run()),
            Self::Show(show) => show.run(),
        }
    }
}

impl Verify {
    /// Exits with the worst: unreadable over broken over intact.
    async fn run(self) -> Result<ExitCode, Failure> {
        let mut verifier = Verifier::new().archived(self.archived);
        for file in &self.public_keys {
            verifier = verifier.public_key(public_key(file)?);
        }
        if let Some(seq) = self.signed_from {
            verifier = verifier.signed_from(seq);
        }
        if let Some(config) = &self.config
            && let Some((log, head)) = kept(config).await?
        {
            verifier = verifier.kept(log, head);
        }
        let mut stdout = std::io::stdout().lock();
        let mut worst = 0;
        for outcome in verifier.verify(&self.files) {
            match outcome {
                Ok(intact) => writeln!(stdout, "{}", self.told(&intact))?,
                Err(error) => {
                    let exit = if matches!(error, VerifyError::Unreadable { .. }) { 2 } else { 1 };
                    eprintln!("reset-gatekeeper: {}", chain(&error));
                    worst = worst.max(exit);
                }
            }
        }
        Ok(ExitCode::from(worst))
    }

    fn told(&self, intact: &Intact) -> String {
        let log = intact.files.last().map_or(Path::new(""), PathBuf::as_path).display();
        let older = match intact.files.len() {
            0 | 1 => String::new(),
            2 => " and the file before it".to_owned(),
            files => format!(" and {} files before it", files - 1),
        };
        let begins = if intact.first > 1 { format!(" from number {} on", intact.first) } else { String::new() };
        let unchecked = if self.config.is_some() && !intact.is_end_known {
            "; the end is not known from the state, so lines may be missing there"
        } else {
            ""
        };
        let signed = match (self.public_keys.is_empty(), self.signed_from) {
            (true, _) => String::new(),
            (false, None) => ", signed".to_owned(),
            (false, Some(seq)) => format!(", signed from number {seq} on"),
        };
        format!("{log}{older}: intact, {} records{begins}{signed}{unchecked}", intact.records())
    }
}

fn public_key(file: &Path) -> Result<PublicKey, Failure> {
    let key = std::fs::read_to_string(file).map_err(|error| Failure::new(file.display(), error))?;
    PublicKey::from_pem(&key).map_err(|error| Failure::new(file.display(), error))
}

/// The log of a configuration, and how far it had got.
async fn kept(config: &Path) -> Result<Option<(PathBuf, Head)>, Failure> {
    let stores = configuration(Some(config))?.stores()?;
    let head = stores::state(&stores).await?.audit_head(&stores.audit).await?;
    Ok(head.map(|head| (stores.audit, head)))
}
