//! Files put together to the chains that they make.

use std::path::PathBuf;

use super::Verifier;
use super::coverage::Coverage;
use super::scan::Scan;
use crate::audit::Head;

/// Some files that go on after each other.
pub(super) struct Chain {
    pub(super) files: Vec<PathBuf>,
    /// Those of the named logs that the files are of.
    logs: Vec<usize>,
    /// What its first line builds on.
    pub(super) before: Head,
    pub(super) head: Head,
    pub(super) signed: Coverage,
    pub(super) last_lines: u64,
    /// File, line and end of the record that has the number of the one that was kept.
    pub(super) kept: Option<(PathBuf, u64, Head)>,
}

impl Chain {
    /// One without files, that goes on after `head`.
    fn after(head: Head, signed: Coverage) -> Self {
        Self { files: Vec::new(), logs: Vec::new(), signed, before: head.clone(), head, last_lines: 0, kept: None }
    }

    /// Goes on with what was found in `file` of the log `log`.
    pub(super) fn extend(&mut self, file: PathBuf, log: usize, found: Scan) {
        self.kept = self.kept.take().or_else(|| found.kept.map(|(line, head)| (file.clone(), line, head)));
        (self.head, self.signed, self.last_lines) = (found.head, found.signed, found.lines);
        self.files.push(file);
        self.logs.push(log);
    }
}

/// The chains that were found so far.
#[derive(Default)]
pub(super) struct Chains {
    pub(super) whole: Vec<Chain>,
    /// The logs of which a bad line is known.
    broken: Vec<usize>,
    /// The logs of which a file can't be read.
    unread: Vec<usize>,
}

impl Chains {
    /// A log is no more intact where one of its files isn't.
    pub(super) fn interrupt(&mut self, log: usize) {
        self.broken.push(log);
        self.whole.retain(|chain| !chain.logs.contains(&log));
    }

    /// What comes after a file of the log `log` that can't be read has nothing to go on after, and no end is known to be one.
    pub(super) fn leave_gap(&mut self, log: usize) {
        self.unread.push(log);
    }

    pub(super) fn is_broken(&self, log: usize) -> bool {
        self.broken.contains(&log)
    }

    /// Whether a file may be missing in `chain`, or after it, because it can't be read.
    pub(super) fn has_gap(&self, chain: &Chain) -> bool {
        chain.logs.iter().any(|log| self.unread.contains(log))
    }

    /// Puts a chain back that could not go on.
    pub(super) fn put_back(&mut self, chain: Chain) {
        if !chain.files.is_empty() {
            self.whole.push(chain);
        }
    }

    /// The chain that a file of the log `log` goes on with, which begins after `before`. `None` where that is one that is broken.
    pub(super) fn take(&mut self, before: Option<&Head>, log: usize, asked: &Verifier) -> Result<Option<Chain>, &'static str> {
        let same_log = self.whole.iter().rposition(|chain| chain.logs.contains(&log));
        let follows = match before {
            Some(before) => self.whole.iter().position(|chain| chain.head == *before),
            None => same_log,
        };
        let start = Head::start();
        let before = before.unwrap_or(&start);
        let may_begin = if *before == start {
            same_log.is_none()
        } else {
            self.unread.contains(&log) || (asked.archived && self.whole.is_empty() && self.broken.is_empty())
        };
        match follows {
            Some(at) => Ok(Some(self.whole.swap_remove(at))),
            None if may_begin => {
                let unsigned = asked.signed_from.saturating_sub(1);
                Ok(Some(Chain::after(before.clone(), Coverage::after(before.seq.max(unsigned)))))
            }
            // After a file that is broken.
            None if !self.broken.is_empty() => Ok(None),
            None => Err("the records before it are missing"),
        }
    }
}
