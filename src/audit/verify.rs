//! The proof that audit logs are whole.
//!
//! Files are proven in the order of their first records, each as what goes on after another: so a log whose files were moved about is still one chain.

mod chains;
mod coverage;
mod scan;
mod source;

use std::io;
use std::path::{Path, PathBuf};

use self::chains::{Chain, Chains};
use self::coverage::Span;
use self::scan::{Bad, scan};
use self::source::{Source, is_of};
use super::chain::Head;
use super::signature::PublicKey;

/// What is wrong with an audit log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The file can't be read.
    #[error("{file} can't be read")]
    Unreadable {
        /// The file.
        file: String,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// A record was changed, removed, reordered or torn.
    #[error("{file}:{line}: {what}")]
    Broken {
        /// The file.
        file: String,
        /// The first bad line, counting from 1.
        line: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Records are not signed that must be.
    #[error("{file}: not signed: records {first} to {last}")]
    Unsigned {
        /// The log's last file.
        file: String,
        /// The number of the first that isn't.
        first: u64,
        /// The number of the last before the next that is.
        last: u64,
    },
}

/// Proves that no record of the log at `path`, with its rotated files, was changed, removed from its middle or reordered, and counts them.
///
/// # Errors
/// Where a file can't be read, or names its first bad line.
pub fn verify(path: impl AsRef<Path>) -> Result<u64, VerifyError> {
    let chains: Result<Vec<_>, _> = Verifier::new().verify(&[path]).into_iter().collect();
    Ok(chains?.iter().map(Intact::records).sum())
}

/// A chain that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Intact {
    /// Its files, the oldest first.
    pub files: Vec<PathBuf>,
    /// The number of its first record, which is 1 unless older files are kept elsewhere.
    pub first: u64,
    /// Its end.
    pub head: Head,
    /// Whether it reaches as far as is known from elsewhere: else lines that were cut off its end don't show.
    pub is_end_known: bool,
}

impl Intact {
    /// How many records it has.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.head.seq.saturating_add(1).saturating_sub(self.first)
    }
}

/// How logs are proven.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    archived: bool,
    kept: Option<(PathBuf, Head)>,
    public_keys: Vec<PublicKey>,
    signed_from: u64,
}

impl Verifier {
    /// One that asks for all records from the first on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the oldest files may be missing, being kept elsewhere: the chain then begins with what the first line says. Not by default.
    #[must_use]
    pub const fn archived(mut self, archived: bool) -> Self {
        self.archived = archived;
        self
    }

    /// The end of the `log` that was kept elsewhere: its record must still be there.
    #[must_use]
    pub fn kept(mut self, log: impl Into<PathBuf>, head: Head) -> Self {
        self.kept = Some((log.into(), head));
        self
    }

    /// Asks for a signature of each record that is valid by `key`, or by another that is named too, as where the key was changed. Without any key, signatures are not
    /// looked at.
    #[must_use]
    pub fn public_key(mut self, key: PublicKey) -> Self {
        self.public_keys.push(key);
        self
    }

    /// The number of the first record that must be signed, of a log that was begun without a key. All by default. Those before are as they were when the first that is
    /// signed was added, and whatever signature is among them must be valid too.
    #[must_use]
    pub const fn signed_from(mut self, seq: u64) -> Self {
        self.signed_from = seq;
        self
    }

    /// Proves `files`, each with the files that were rotated out of it, and tells of each chain that they make, and of each file that breaks one.
    pub fn verify<P: AsRef<Path>>(&self, files: &[P]) -> Vec<Result<Intact, VerifyError>> {
        let (sources, unreadable) = Source::all(files);
        let (mut chains, mut failures) = (Chains::default(), Vec::new());
        for (log, error) in unreadable {
            chains.leave_gap(log);
            failures.push(Err(error));
        }
        for source in sources {
            let log = source.log;
            if let Err(error) = self.add(&mut chains, source) {
                match error {
                    VerifyError::Unreadable { .. } => chains.leave_gap(log),
                    VerifyError::Broken { .. } | VerifyError::Unsigned { .. } => chains.interrupt(log),
                }
                failures.push(Err(error));
            }
        }
        let whole = std::mem::take(&mut chains.whole);
        failures.into_iter().chain(whole.into_iter().map(|chain| self.end(&chains, chain))).collect()
    }

    /// Adds a file to the chain that it goes on with. One that breaks it ends it.
    fn add(&self, chains: &mut Chains, source: Source) -> Result<(), VerifyError> {
        let (path, log) = (source.path.clone(), source.log);
        let broken = |line, what| VerifyError::Broken { file: path.display().to_string(), line, what };
        if chains.is_broken(log) {
            return Ok(());
        }
        let before = source.first.as_ref().map_err(|what| broken(1, what))?;
        let Some(mut chain) = chains.take(before.as_ref(), log, self).map_err(|what| broken(1, what))? else { return Ok(()) };
        match source.read().map_err(Bad::Io).and_then(|file| scan(file, &chain, self)) {
            Ok(found) => {
                chain.extend(path, log, found);
                chains.whole.push(chain);
                Ok(())
            }
            Err(Bad::Line { line, what }) => Err(broken(line, what)),
            Err(Bad::Io(source)) => {
                chains.put_back(chain);
                Err(VerifyError::Unreadable { file: path.display().to_string(), source })
            }
        }
    }

    /// Compares the end of a chain to what was kept of it, and to what is signed.
    fn end(&self, chains: &Chains, chain: Chain) -> Result<Intact, VerifyError> {
        let broken = |file: &Path, line, what| Err(VerifyError::Broken { file: file.display().to_string(), line, what });
        let (has_gap, last) = (chains.has_gap(&chain), chain.files.last().map_or(Path::new(""), PathBuf::as_path));
        let of_log = self.kept.as_ref().filter(|(log, _)| chain.files.iter().any(|file| is_of(log, file)));
        match (&chain.kept, of_log) {
            (Some((file, line, head)), Some((_, kept))) if head != kept => {
                return broken(file, *line, "it is another record than the one that was kept");
            }
            (None, Some((_, kept))) if kept.seq == chain.before.seq && *kept != chain.before => {
                let file = chain.files.first().map_or(Path::new(""), PathBuf::as_path);
                return broken(file, 1, "it does not follow the record that was kept");
            }
            (None, Some((_, kept))) if kept.seq > chain.head.seq && !has_gap => {
                return broken(last, chain.last_lines + 1, "records are missing from here on");
            }
            _ => {}
        }
        if let Some(Span { first, last: end }) = chain.signed.missing(chain.head.seq).filter(|_| !self.public_keys.is_empty()) {
            return Err(VerifyError::Unsigned { file: last.display().to_string(), first, last: end });
        }
        let is_end_known = chain.kept.is_some_and(|(_, _, head)| self.kept.as_ref().is_some_and(|(_, kept)| head == *kept));
        let first = chain.before.seq.saturating_add(1);
        Ok(Intact { files: chain.files, first, head: chain.head, is_end_known })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Decision, Event, Format, Record};

    fn record(path: &str) -> Record {
        let (parts, ()) = http::Request::post(path).body(()).unwrap().into_parts();
        Record {
            id: uuid::Uuid::nil(),
            time: std::time::SystemTime::UNIX_EPOCH,
            event: Event::ResetBlocked,
            verdict: Decision::Block,
            enforced: true,
            reasons: Vec::new(),
            notices: Vec::new(),
            account: None,
            domain: None,
            exemption: None,
            request: Some(crate::audit::RequestRecord::of(&parts)),
        }
    }

    /// Whoever writes a line anew can give it a hash that fits, but not the next line's `prev`.
    #[test]
    fn a_line_written_anew_with_a_fitting_hash_shows_at_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let (mut head, mut lines) = (Head::start(), Vec::new());
        head.append(&record("/one"), Format::Native, None, &mut lines).unwrap();
        let (mut forged_head, mut forged) = (head.clone(), lines.clone());
        head.append(&record("/two"), Format::Native, None, &mut lines).unwrap();
        let third = lines.len();
        head.append(&record("/three"), Format::Native, None, &mut lines).unwrap();
        std::fs::write(&file, &lines).unwrap();
        assert_eq!(verify(&file).unwrap(), 3);

        forged_head.append(&record("/other"), Format::Native, None, &mut forged).unwrap();
        forged.extend_from_slice(&lines[third..]);
        std::fs::write(&file, &forged).unwrap();
        assert!(matches!(verify(&file), Err(VerifyError::Broken { line: 3, .. })));
    }
}
