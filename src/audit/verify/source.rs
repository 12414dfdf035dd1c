//! The files that are to be proven, looked into for where they begin.

use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use super::VerifyError;
use crate::audit::Head;
use crate::audit::jsonl::MAX_LINE;
use crate::audit::link::Link;
use crate::audit::segments::{LogFile, first_seq, log_files, segments};

/// How much is looked into at first.
const PEEK: u64 = 8 << 10;

/// A file and where it begins.
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Which of the logs that were named it is of.
    pub(super) log: usize,
    /// What its first line builds on. `None` where it has none.
    pub(super) first: Result<Option<Head>, &'static str>,
    /// What of it was read, where that can't be had again.
    open: Option<Box<dyn Read + Send>>,
}

impl Source {
    /// The files of `logs`, each once, in the order of their first records; and what of which log can't be read.
    pub(super) fn all<P: AsRef<Path>>(logs: &[P]) -> (Vec<Self>, Vec<(usize, VerifyError)>) {
        let unreadable = |path: &Path, source| VerifyError::Unreadable { file: path.display().to_string(), source };
        let (mut sources, mut failures, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for (log, path) in logs.iter().map(AsRef::as_ref).enumerate() {
            let files = match log_files(path) {
                Ok(files) => files,
                Err(error) => {
                    failures.push((log, unreadable(path, error)));
                    continue;
                }
            };
            for file in files {
                let path = file.path().to_owned();
                let place = path.canonicalize().unwrap_or_else(|_| path.clone());
                if !seen.contains(&place) {
                    seen.push(place);
                    match Self::open(file, log) {
                        Ok(source) => sources.push(source),
                        Err(error) => failures.push((log, unreadable(&path, error))),
                    }
                }
            }
        }
        sources.sort_by_key(Self::order);
        (sources, failures)
    }

    fn open(file: LogFile, log: usize) -> io::Result<Self> {
        let (path, is_written) = (file.path().to_owned(), file.is_open());
        let (mut read, mut rest) = (Vec::new(), file.open()?);
        // A pipe gives less at once than is asked for.
        while !read.contains(&b'\n') && (read.len() as u64) < MAX_LINE {
            if rest.by_ref().take(PEEK).read_to_end(&mut read)? == 0 {
                break;
            }
        }
        let first = match read.iter().position(|byte| *byte == b'\n').and_then(|end| read.get(..end)) {
            Some(line) => Link::of(line).map(|link| Some(link.before())),
            None if read.is_empty() => Ok(None),
            None => Err("a partial line"),
        };
        let open = is_written.then(|| Box::new(Cursor::new(read).chain(rest)) as Box<dyn Read + Send>);
        Ok(Self { path, log, first, open })
    }

    /// One that has no line goes on with whatever there is.
    fn order(&self) -> u64 {
        match &self.first {
            Ok(Some(before)) => before.seq,
            Ok(None) => u64::MAX,
            Err(_) => first_seq(&self.path).map_or(u64::MAX, |seq| seq.saturating_sub(1)),
        }
    }

    pub(super) fn read(self) -> io::Result<Box<dyn Read + Send>> {
        match self.open {
            Some(open) => Ok(open),
            None => Ok(Box::new(crate::audit::jsonl::open_settled(&self.path)?)),
        }
    }
}

/// Whether `file` is of the log at `path`.
pub(super) fn is_of(path: &Path, file: &Path) -> bool {
    let is_same = |one: &Path| one == file || one.canonicalize().is_ok_and(|one| file.canonicalize().is_ok_and(|file| one == file));
    is_same(path) || segments(path).is_ok_and(|files| files.iter().any(|one| is_same(one)))
}
