//! The proof that audit logs are whole.
//!
//! Files are proven in the order of their first records, each as what goes on after another: so a log whose files were moved about is still one chain.

mod scan;
mod source;

use std::io;
use std::path::{Path, PathBuf};

use self::scan::{Bad, Scan, scan};
use self::source::{Source, is_of};
use super::chain::Head;

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

    /// Proves `files`, each with the files that were rotated out of it, and tells of each chain that they make, and of each file that breaks one.
    pub fn verify<P: AsRef<Path>>(&self, files: &[P]) -> Vec<Result<Intact, VerifyError>> {
        let (mut chains, mut failures) = (Chains::default(), Vec::new());
        for source in Source::all(files) {
            let log = source.as_ref().ok().map(|source| source.log);
            if let Err(error) = source.and_then(|source| self.add(&mut chains, source)) {
                chains.interrupt(log);
                failures.push(Err(error));
            }
        }
        failures.into_iter().chain(chains.whole.into_iter().map(|chain| self.end(chain))).collect()
    }

    /// Adds a file to the chain that it goes on with. One that breaks it ends it.
    fn add(&self, chains: &mut Chains, source: Source) -> Result<(), VerifyError> {
        let (path, log) = (source.path.clone(), source.log);
        let broken = |line, what| VerifyError::Broken { file: path.display().to_string(), line, what };
        let unreadable = |source| VerifyError::Unreadable { file: path.display().to_string(), source };
        if chains.broken.contains(&log) {
            return Ok(());
        }
        let before = source.first.as_ref().map_err(|what| broken(1, what))?;
        let Some(mut chain) = chains.take(before.as_ref(), log, self.archived).map_err(|what| broken(1, what))? else { return Ok(()) };
        let kept = self.kept.as_ref().map(|(_, head)| head);
        let Scan { head, kept, lines } = source.read().map_err(unreadable).and_then(|file| {
            scan(file, chain.head, kept).map_err(|bad| match bad {
                Bad::Line { line, what } => broken(line, what),
                Bad::Io(error) => unreadable(error),
            })
        })?;
        chain.kept = chain.kept.or_else(|| kept.map(|(line, head)| (path.clone(), line, head)));
        (chain.head, chain.last_lines) = (head, lines);
        chain.files.push(path);
        chain.logs.push(log);
        chains.whole.push(chain);
        Ok(())
    }

    /// Compares the end of a chain to what was kept of it.
    fn end(&self, chain: Chain) -> Result<Intact, VerifyError> {
        let broken = |file: &Path, line, what| Err(VerifyError::Broken { file: file.display().to_string(), line, what });
        let of_log = self.kept.as_ref().filter(|(log, _)| chain.files.iter().any(|file| is_of(log, file)));
        match (&chain.kept, of_log) {
            (Some((file, line, head)), Some((_, kept))) if head != kept => {
                return broken(file, *line, "it is another record than the one that was kept");
            }
            (None, Some((_, kept))) if kept.seq == chain.before.seq && *kept != chain.before => {
                let file = chain.files.first().map_or(Path::new(""), PathBuf::as_path);
                return broken(file, 1, "it does not follow the record that was kept");
            }
            (None, Some((_, kept))) if kept.seq > chain.head.seq => {
                let (file, line) = (chain.files.last().map_or(Path::new(""), PathBuf::as_path), chain.last_lines + 1);
                return broken(file, line, "records are missing from here on");
            }
            _ => {}
        }
        let is_end_known = chain.kept.is_some_and(|(_, _, head)| self.kept.as_ref().is_some_and(|(_, kept)| head == *kept));
        Ok(Intact { files: chain.files, first: chain.first, head: chain.head, is_end_known })
    }
}

/// Some files that go on after each other.
struct Chain {
    files: Vec<PathBuf>,
    /// Those of the named logs that the files are of.
    logs: Vec<usize>,
    first: u64,
    /// What its first line builds on.
    before: Head,
    head: Head,
    last_lines: u64,
    /// File, line and end of the record that has the number of the one that was kept.
    kept: Option<(PathBuf, u64, Head)>,
}

impl Chain {
    fn after(head: Head) -> Self {
        Self {
            files: Vec::new(),
            logs: Vec::new(),
            first: head.seq.saturating_add(1),
            before: head.clone(),
            head,
            last_lines: 0,
            kept: None,
        }
    }
}

/// The chains that were found so far.
#[derive(Default)]
struct Chains {
    whole: Vec<Chain>,
    /// The logs of which a bad line is known.
    broken: Vec<usize>,
    /// Whether a file is broken or can't be read, so that others have nothing to go on after.
    is_interrupted: bool,
}

impl Chains {
    /// A log is no more intact where one of its files isn't.
    fn interrupt(&mut self, log: Option<usize>) {
        self.is_interrupted = true;
        self.broken.extend(log);
        self.whole.retain(|chain| log.is_none_or(|log| !chain.logs.contains(&log)));
    }

    /// The chain that a file of the log `log` goes on with, which begins after `before`. `None` where that is one that is broken.
    fn take(&mut self, before: Option<&Head>, log: usize, archived: bool) -> Result<Option<Chain>, &'static str> {
        let same_log = self.whole.iter().position(|chain| chain.logs.contains(&log));
        let follows = match before {
            Some(before) => self.whole.iter().position(|chain| chain.head == *before),
            None => same_log,
        };
        let start = Head::start();
        let before = before.unwrap_or(&start);
        let may_begin = (*before == start && same_log.is_none()) || (archived && self.whole.is_empty() && !self.is_interrupted);
        match follows {
            Some(at) => Ok(Some(self.whole.swap_remove(at))),
            None if may_begin => Ok(Some(Chain::after(before.clone()))),
            // After a file that is broken, or is missing as was told.
            None if self.is_interrupted => Ok(None),
            None => Err("the records before it are missing"),
        }
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
        head.append(&record("/one"), Format::Native, &mut lines).unwrap();
        let (mut forged_head, mut forged) = (head.clone(), lines.clone());
        head.append(&record("/two"), Format::Native, &mut lines).unwrap();
        let third = lines.len();
        head.append(&record("/three"), Format::Native, &mut lines).unwrap();
        std::fs::write(&file, &lines).unwrap();
        assert_eq!(verify(&file).unwrap(), 3);

        forged_head.append(&record("/other"), Format::Native, &mut forged).unwrap();
        forged.extend_from_slice(&lines[third..]);
        std::fs::write(&file, &forged).unwrap();
        assert!(matches!(verify(&file), Err(VerifyError::Broken { line: 3, .. })));
    }
}
