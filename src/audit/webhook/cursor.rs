//! The log, read from a position on, through files that are rotated out meanwhile.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::audit::chain::Head;
use crate::audit::jsonl::MAX_LINE;
use crate::audit::jsonl::file::{identity, settled_length};
use crate::audit::link::Link;
use crate::audit::segments::first_seq;
use crate::audit::{LogFile, log_files};
use crate::metrics;

/// How much is read at once: whole lines of this many bytes and one more.
const MAX_READ: usize = 4 << 20;

/// A line of the log.
pub(super) struct Entry {
    pub(super) head: Head,
    pub(super) line: String,
}

pub(super) struct Cursor {
    log: PathBuf,
    /// The last record that was read. `None` before the first.
    last: Option<Head>,
    /// Whether the log is known to be the one that `last` is of.
    is_known: bool,
    open: Option<Open>,
}

/// A file of the log, which stays the same when it is renamed.
struct Open {
    reader: BufReader<File>,
    offset: u64,
    /// How long it was when it was last read.
    length: u64,
    identity: Option<(u64, u64)>,
}

impl Cursor {
    pub(super) fn new(log: PathBuf, last: Option<Head>) -> Self {
        Self { log, is_known: last.is_none(), last, open: None }
    }

    /// The next records, `limit` at most. None where there are none yet.
    pub(super) fn read(&mut self, limit: usize) -> io::Result<Vec<Entry>> {
        if self.open.is_none() && !self.advance()? {
            return Ok(Vec::new());
        }
        loop {
            let entries = self.read_open(limit)?;
            if !entries.is_empty() || !self.advance()? {
                return Ok(entries);
            }
        }
    }

    fn next(&self) -> u64 {
        self.last.as_ref().map_or(1, |last| last.seq + 1)
    }

    /// Reads on in the file that is open.
    fn read_open(&mut self, limit: usize) -> io::Result<Vec<Entry>> {
        let Some(open) = &mut self.open else { return Ok(Vec::new()) };
        let end = settled_length(open.reader.get_ref())?;
        if end < open.offset {
            // Lines were cut off, or it was emptied.
            (self.open, self.is_known) = (None, self.last.is_none());
            return Ok(Vec::new());
        }
        open.length = end;
        // What was read ahead may have been written anew.
        open.reader.seek(SeekFrom::Start(open.offset))?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while open.offset < end && entries.len() < limit && bytes < MAX_READ {
            let Some(line) = open.line(end)? else { break };
            let Some(head) = place(&line) else {
                metrics::passed_over("unreadable", 1);
                tracing::error!(file = %self.log.display(), "a line of the audit log is no record, and is not delivered");
                continue;
            };
            match &self.last {
                Some(last) if head == *last => self.is_known = true,
                Some(last) if head.seq == last.seq && !self.is_known => {
                    self.begin_anew("it is another log than the one that was delivered before");
                    return self.read(limit);
                }
                Some(last) if head.seq <= last.seq => {}
                Some(_) | None => {
                    bytes += line.len();
                    self.is_known = true;
                    self.last = Some(head.clone());
                    entries.push(Entry { head, line });
                }
            }
        }
        Ok(entries)
    }

    /// Goes over to the file in which the next record is, if that is another than the one that is open.
    fn advance(&mut self) -> io::Result<bool> {
        if self.is_at_end()? {
            // Nothing comes after the file that is written.
            if !self.is_known && self.open.as_ref().is_some_and(|open| open.offset > 0) {
                self.begin_anew("it ends before the last record that was delivered");
                return Ok(true);
            }
            return Ok(false);
        }
        let next = self.next();
        let identity = self.open.as_ref().map(|open| open.identity);
        let (mut holds, mut follows) = (None, None);
        for (first, file) in files(&self.log)? {
            if first <= next {
                holds = Some((first, file));
            } else if follows.is_none() {
                follows = Some((first, file));
            }
        }
        if let Some((first, file)) = holds
            && let Some(file) = file.open()?
            && Some(file.identity) != identity
        {
            self.open = Some(file);
            // Where it holds older ones too, it is to be seen whether they are those that were delivered.
            self.is_known &= first == next;
            return Ok(true);
        }
        let Some((first, file)) = follows else { return Ok(false) };
        // What was written before the file was rotated out is read first.
        if let Some(open) = &self.open
            && open.length < settled_length(open.reader.get_ref())?
        {
            return Ok(true);
        }
        let Some(file) = file.open()? else { return Ok(true) };
        if self.last.is_some() {
            metrics::passed_over("missing", first.saturating_sub(next));
            tracing::error!(file = %self.log.display(), from = next, to = first - 1, "audit records were moved away before they were delivered, and are missed");
        }
        (self.open, self.is_known) = (Some(file), true);
        Ok(true)
    }

    /// Whether the file that is open is the one that is written.
    fn is_at_end(&self) -> io::Result<bool> {
        let Some(open) = &self.open else { return Ok(false) };
        match self.log.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            found => found.map(|found| identity(&found) == open.identity),
        }
    }

    fn begin_anew(&mut self, why: &str) {
        tracing::error!(file = %self.log.display(), why, "the audit log is delivered from its beginning");
        *self = Self::new(self.log.clone(), None);
    }
}

impl Open {
    fn new(file: File) -> io::Result<Self> {
        let identity = identity(&file.metadata()?);
        Ok(Self { reader: BufReader::new(file), offset: 0, length: 0, identity })
    }

    /// The next whole line before `end`.
    fn line(&mut self, end: u64) -> io::Result<Option<String>> {
        let mut bytes = Vec::new();
        let length = self.reader.by_ref().take(MAX_LINE.min(end - self.offset)).read_until(b'\n', &mut bytes)? as u64;
        // A partial line, which the next writer cuts off.
        if bytes.pop_if(|last| *last == b'\n').is_none() && length < MAX_LINE {
            return Ok(None);
        }
        self.offset += length;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// A file of the log that has records.
enum Segment {
    /// Named for the number of its first record, and not opened yet: there may be more of them than a process may have open.
    Rotated(LogFile),
    Written(Open),
}

impl Segment {
    /// `None` where it was moved away meanwhile.
    fn open(self) -> io::Result<Option<Open>> {
        match self {
            Self::Written(open) => Ok(Some(open)),
            Self::Rotated(file) => match file.open() {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                file => Open::new(file?.into_inner()).map(Some),
            },
        }
    }
}

/// The files of the log that have records, the oldest first, each with the number of its first.
fn files(log: &Path) -> io::Result<Vec<(u64, Segment)>> {
    let files = match log_files(log) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        files => files?,
    };
    let mut found = Vec::new();
    for file in files {
        if let Some(first) = first_seq(file.path()) {
            found.push((first, Segment::Rotated(file)));
        } else {
            let file = file.open()?;
            let (end, mut open) = (file.limit(), Open::new(file.into_inner())?);
            if let Some(head) = open.line(end)?.and_then(|line| place(&line)) {
                open.offset = 0;
                found.push((head.seq, Segment::Written(open)));
            }
        }
    }
    Ok(found)
}

/// The place in the chain that `line` says to have. Whether it is unaltered is not for the delivery to prove.
fn place(line: &str) -> Option<Head> {
    Link::written(line).map(|(link, _)| link.head())
}
