//! `reset-gatekeeper generate`: man pages and shell completions, for who packages or installs the command.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use clap_complete::{Shell, generate};

use super::Failure;

/// What can be generated.
#[derive(Subcommand)]
pub(crate) enum GenerateCommand {
    /// Write a man page for each command
    Man {
        /// Where to, such as /usr/local/share/man/man1
        folder: PathBuf,
    },
    /// Print what completes the command in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl GenerateCommand {
    /// Generates it from `command`, which knows all arguments.
    pub(crate) fn run(self, mut command: clap::Command) -> Result<ExitCode, Failure> {
        match self {
            Self::Man { folder } => {
                let written = std::fs::create_dir_all(&folder).and_then(|()| clap_mangen::generate_to(command, &folder));
                written.map_err(|error| Failure::new(folder.display(), error))?;
            }
            Self::Completions { shell } => std::io::stdout().lock().write_all(completions(shell, &mut command).as_bytes())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The script that completes `command` in `shell`.
fn completions(shell: Shell, command: &mut clap::Command) -> String {
    let (name, mut script) = (command.get_name().to_owned(), Vec::new());
    generate(shell, command, &name, &mut script);
    // That of bash spells a name with a hyphen in two ways, and so completes no subcommand (clap-rs/clap#6421).
    String::from_utf8_lossy(&script).replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
}
