//! The file, as the thread that writes it has it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::{Head, MAX_GROUP, MAX_LINE, Waiting};
use crate::audit::{AuditError, Record};

const FIRST_MEMBER: &[u8] = b"{\"id\":\"";

/// How often and how many times it is looked whether another writer has let go of the file: for three seconds or so, which is less than anybody waits for a record.
const LOOK_EVERY: Duration = Duration::from_micros(200);
const LOOKS: u32 = 12_000;

/// Why a group was not kept, for everybody who waits for it.
#[derive(Debug, Clone)]
pub(super) enum Unkept {
    Io { operation: String, source: Arc<io::Error> },
    Damaged { file: String, what: String },
}

impl From<Unkept> for AuditError {
    fn from(unkept: Unkept) -> Self {
        match unkept {
            Unkept::Io { operation, source } => Self::Io { operation, source },
            Unkept::Damaged { file, what } => Self::Damaged { file, what },
        }
    }
}

pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// Of the file when it was last looked at, up to the line that `head` is of.
    length: u64,
    pub(super) head: Head,
    /// Whether a failed write may have left something behind `length`. The file then stays locked: who built on a line that was never synced could lose it.
    torn: bool,
}

impl Log {
    pub(super) fn open(path: PathBuf) -> Result<Self, Unkept> {
        let opened = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let file = opened.map_err(failed("opening", &path))?;
        let mut log = Self { path, file, length: 0, head: Head::start(), torn: false };
        log.locked(|log| {
            (log.length, log.head) = read_end(&log.file, &log.path, None)?;
            log.file.sync_all().map_err(failed("syncing", &log.path))?;
            // The file's name must be as durable as its content.
            match log.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                Some(folder) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("syncing the folder of", &log.path)),
                None => Ok(()),
            }
        })?;
        Ok(log)
    }

    /// Keeps what waits, group by group, until the last sender is gone.
    pub(super) fn write_groups(mut self, mut waiting: mpsc::Receiver<Waiting>, heads: &watch::Sender<Head>) {
        let mut group = Vec::new();
        while waiting.blocking_recv_many(&mut group, MAX_GROUP) > 0 {
            let kept = self.keep(group.iter().flat_map(|waiting| &waiting.records));
            heads.send_if_modified(|head| {
                *head != self.head && {
                    head.clone_from(&self.head);
                    true
                }
            });
            for waiting in group.drain(..) {
                // Whoever waited may have gone.
                drop(waiting.kept.send(kept.clone().map_err(AuditError::from)));
            }
        }
    }

    fn keep<'a>(&mut self, records: impl Iterator<Item = &'a Record>) -> Result<(), Unkept> {
        let kept = self.locked(|log| {
            log.catch_up()?;
            log.append(records).map_err(failed("writing", &log.path))
        });
        kept.inspect_err(|error| {
            let error = &AuditError::from(error.clone()) as &dyn std::error::Error;
            tracing::error!(file = %self.path.display(), error, "audit records could not be kept");
        })
    }

    /// Does `work` while no other writer may write.
    fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Unkept>) -> Result<T, Unkept> {
        if !self.torn {
            lock(&self.file).map_err(failed("locking", &self.path))?;
        }
        let done = work(self);
        if !self.torn {
            self.file.unlock().map_err(failed("unlocking", &self.path))?;
        }
        done
    }

    /// Goes on from where others left the file.
    fn catch_up(&mut self) -> Result<(), Unkept> {
        if self.torn {
            self.file.set_len(self.length).map_err(failed("cutting off a partial record from", &self.path))?;
            self.torn = false;
        }
        let length = self.file.metadata().map_err(failed("reading", &self.path))?.len();
        if length < self.length {
            return Err(damaged(&self.path, "lines were cut off its end"));
        }
        if length > self.length {
            (self.length, self.head) = read_end(&self.file, &self.path, Some((self.length, &self.head)))?;
        }
        Ok(())
    }

    /// Writes and syncs `records`, or leaves nothing of them before the next.
    fn append<'a>(&mut self, mut records: impl Iterator<Item = &'a Record>) -> io::Result<()> {
        let (mut lines, mut head) = (Vec::new(), self.head.clone());
        records.try_for_each(|record| head.append(record, &mut lines))?;
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        match &written {
            Ok(()) => (self.length, self.head) = (self.length + lines.len() as u64, head),
            Err(_) => self.torn = self.file.set_len(self.length).is_err(),
        }
        written
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Unkept {
    move |source| Unkept::Io { operation: format!("{what} the audit log {}", path.display()), source: Arc::new(source) }
}

fn damaged(path: &Path, what: &str) -> Unkept {
    Unkept::Damaged { file: path.display().to_string(), what: what.to_owned() }
}

/// Locks `file`, once whoever writes it has synced a group.
fn lock(file: &File) -> io::Result<()> {
    wait_for(|| file.try_lock())
}

/// The length of `file` while nobody writes it: up to there it ends in a whole line, and stays as it is.
pub(super) fn settled_length(file: &File) -> io::Result<u64> {
    wait_for(|| file.try_lock_shared())?;
    let length = file.metadata().map(|metadata| metadata.len());
    file.unlock()?;
    length
}

fn wait_for(try_lock: impl Fn() -> Result<(), TryLockError>) -> io::Result<()> {
    for _ in 0..LOOKS {
        match try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK_EVERY),
            outcome => return outcome.map_err(io::Error::from),
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "another process keeps it locked"))
}

/// Cuts off a partial last line, and reads where the chain ends: of all the file, or of what came after a length and a head that are `known`.
fn read_end(mut file: &File, path: &Path, known: Option<(u64, &Head)>) -> Result<(u64, Head), Unkept> {
    let read = || failed("reading", path);
    let length = file.metadata().map_err(read())?.len();
    let known_length = known.map_or(0, |(length, _)| length);
    let start = length.saturating_sub(2 * MAX_LINE).max(known_length);
    file.seek(SeekFrom::Start(start)).map_err(read())?;
    let mut tail = Vec::new();
    file.take(2 * MAX_LINE).read_to_end(&mut tail).map_err(read())?;

    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    if start > known_length && whole == 0 {
        return Err(damaged(path, "it ends in a line that is no record"));
    }
    let (lines, torn) = tail.split_at(whole);
    let mut lines = lines.strip_suffix(b"\n").into_iter().flat_map(|lines| lines.split(|byte| *byte == b'\n'));
    let first = lines.next();
    let head = match (lines.next_back().or(first), known) {
        (None, known) => known.map_or_else(Head::start, |(_, head)| head.clone()),
        (Some(last), _) => head_of(last).map_err(|what| damaged(path, &format!("its last line: {what}")))?.1,
    };
    if let (Some((_, known)), Some(first)) = (known, first)
        && start == known_length
        && !head_of(first).is_ok_and(|(before, _)| before == *known)
    {
        return Err(damaged(path, "it goes on after another record than the last that was seen of it"));
    }
    if !torn.is_empty() {
        // Another program's file, named by mistake, must not lose its end. A file system may leave zeros where it had no time to write.
        if !torn.iter().zip(FIRST_MEMBER).all(|(found, written)| found == written) && torn.iter().any(|byte| *byte != 0) {
            return Err(damaged(path, "it ends in a partial line that is no record"));
        }
        tracing::warn!(file = %path.display(), bytes = torn.len(), "cutting off a partial last line of the audit log, left by a crash or a loss of power");
        file.set_len(length - torn.len() as u64).map_err(read())?;
    }
    Ok((length - torn.len() as u64, head))
}

fn head_of(line: &[u8]) -> Result<(Head, Head), &'static str> {
    Head::of(std::str::from_utf8(line).map_err(|_| "not a record")?)
}
