//! The log, as the thread that writes it has it.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::file::{damaged, end, failed, line_from, lock, probe, sync_folder};
use super::rotation::First;
use super::{JsonLinesBuilder, MAX_GROUP, Waiting};
use crate::audit::chain::Head;
use crate::audit::link::Link;
use crate::audit::{AuditError, Record, segments};

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
    pub(super) settings: JsonLinesBuilder,
    pub(super) file: File,
    /// Of the file when it was last looked at, up to the line that `head` is of.
    pub(super) length: u64,
    pub(super) head: Head,
    /// The file's first record, where it is known.
    pub(super) first: Option<First>,
    /// Whether a failed write may have left something behind `length`. The file then stays locked: who built on a line that was never synced could lose it.
    pub(super) torn: bool,
    /// Whether the last write failed.
    pub(super) is_failing: bool,
    /// Whether it was said that the file can't be rotated.
    pub(super) is_stuck: bool,
}

impl Log {
    pub(super) fn open(settings: JsonLinesBuilder) -> Result<Self, Unkept> {
        let path = &settings.path;
        let file = super::rotation::open_locked(path)?;
        let end = end(&file, path, 0)?;
        end.repair(&file, path)?;
        if end.is_signed && settings.signer.is_none() {
            tracing::error!(
                file = %path.display(),
                "the audit log is signed, and this process has no key: what it records is not, as `audit verify --public-key` will show"
            );
        }
        let head = match end.head {
            Some(head) => head,
            None => head_before(path, settings.known_head.as_ref())?,
        };
        file.sync_all().map_err(failed("syncing", path))?;
        // The file's name must be as durable as its content.
        sync_folder(path).map_err(failed("syncing the folder of", path))?;
        file.unlock().map_err(failed("unlocking", path))?;
        Ok(Self { settings, file, length: end.length, head, first: None, torn: false, is_failing: false, is_stuck: false })
    }

    /// Keeps what waits, group by group, until the last sender is gone.
    pub(super) fn write_groups(mut self, mut waiting: mpsc::Receiver<Waiting>, heads: &watch::Sender<Head>) {
        let mut group = Vec::new();
        while waiting.blocking_recv_many(&mut group, MAX_GROUP) > 0 {
            let records: Vec<&Record> = group.iter().flat_map(|waiting| &waiting.records).collect();
            let kept = self.keep(&records);
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

    fn keep(&mut self, records: &[&Record]) -> Result<(), Unkept> {
        let kept = self.take_turn().and_then(|()| self.append(records));
        let ended = if self.torn { Ok(()) } else { self.file.unlock().map_err(failed("unlocking", &self.settings.path)) };
        kept.and(ended).inspect_err(|error| {
            let error = &AuditError::from(error.clone()) as &dyn std::error::Error;
            tracing::error!(file = %self.settings.path.display(), error, "audit records could not be kept");
        })
    }

    /// Waits until no other writer may write, and goes on after what they wrote: in the file that is at the path by now.
    pub(super) fn take_turn(&mut self) -> Result<(), Unkept> {
        loop {
            if !self.torn {
                lock(&self.file).map_err(failed("locking", &self.settings.path))?;
            }
            let caught_up = self.catch_up();
            if self.is_in_place()? {
                return caught_up;
            }
            self.go_over(caught_up)?;
        }
    }

    /// Goes on from where others left the file.
    fn catch_up(&mut self) -> Result<(), Unkept> {
        let path = &self.settings.path;
        if self.torn {
            self.file.set_len(self.length).map_err(failed("cutting off a partial record from", path))?;
            self.torn = false;
        }
        let length = self.file.metadata().map_err(failed("reading", path))?.len();
        if length < self.length {
            return Err(damaged(path, "lines were cut off its end"));
        }
        if length > self.length {
            (self.length, self.head) = read_on(&self.file, path, self.length, &self.head)?;
        }
        Ok(())
    }

    /// Writes and syncs `records`, or leaves nothing of them before the next. A group stays in one file.
    fn append(&mut self, records: &[&Record]) -> Result<(), Unkept> {
        let Some(first) = records.first() else { return self.prove_writable() };
        let (mut lines, mut head) = self.lines(records)?;
        if self.is_due(lines.len() as u64, first.time) {
            self.rotate()?;
            // Who opened the log meanwhile may have been quicker.
            (lines, head) = self.lines(records)?;
        }
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.torn = self.file.set_len(self.length).is_err();
            self.is_failing = true;
            return Err(failed("writing", &self.settings.path)(error));
        }
        self.is_failing = false;
        if self.length == 0 {
            self.first = Some(First { seq: self.head.seq.saturating_add(1), time: first.time });
        }
        (self.length, self.head) = (self.length + lines.len() as u64, head);
        Ok(())
    }

    /// Tries whether a write would go well again, for who asks without a record: after one that failed, nobody may be let through to bring the next.
    fn prove_writable(&mut self) -> Result<(), Unkept> {
        if self.is_failing {
            probe(&self.settings.path).map_err(failed("writing beside", &self.settings.path))?;
            self.is_failing = false;
        }
        Ok(())
    }

    /// `records` as the next lines, signed by the last of them, and the head after them.
    fn lines(&self, records: &[&Record]) -> Result<(Vec<u8>, Head), Unkept> {
        let JsonLinesBuilder { path, format, emails, signer, .. } = &self.settings;
        let (mut lines, mut head) = (Vec::new(), self.head.clone());
        for (after, record) in (0..records.len()).rev().zip(records) {
            let signs = signer.as_ref().filter(|_| after == 0).map(|signer| (signer, records.len()));
            head.append(&emails.masked(record), *format, signs, &mut lines).map_err(failed("writing", path))?;
        }
        Ok((lines, head))
    }
}

/// Where `file` ends, which goes on from its first `length` bytes and the `head` there. A partial last line is cut off.
pub(super) fn read_on(file: &File, path: &Path, length: u64, head: &Head) -> Result<(u64, Head), Unkept> {
    let end = end(file, path, length)?;
    let first = line_from(file, length).map_err(failed("reading", path))?;
    if first.is_some_and(|line| !Link::of(&line).is_ok_and(|link| link.follows(head))) {
        return Err(damaged(path, "it goes on after another record than the last that was seen of it"));
    }
    end.repair(file, path)?;
    Ok((end.length, end.head.unwrap_or_else(|| head.clone())))
}

/// What the first record of a log builds on whose file is new: the end of its newest rotated file, or what is `known` of its end from elsewhere.
fn head_before(path: &Path, known: Option<&Head>) -> Result<Head, Unkept> {
    let rotated = segments(path).map_err(failed("looking for the rotated files of", path))?.into_iter().rfind(|file| file != path);
    let rotated = match rotated {
        Some(path) => {
            let file = File::open(&path).map_err(failed("opening", &path))?;
            end(&file, &path, 0)?.head.unwrap_or_else(Head::start)
        }
        None => Head::start(),
    };
    let Some(known) = known.filter(|known| known.seq > rotated.seq) else { return Ok(rotated) };
    tracing::error!(
        file = %path.display(),
        last = rotated.seq,
        known = known.seq,
        "records are missing from the end of the audit log: its file was deleted, emptied or moved away; the log goes on after the last record that is known"
    );
    Ok(known.clone())
}
