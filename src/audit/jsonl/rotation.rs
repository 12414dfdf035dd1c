//! Which file the log is in: when the next begins, and how a writer gets there after another has begun it.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;

use super::file::{damaged, failed, holds, is_at, line_from, lock, sync_folder};
use super::log::{Log, Unkept, read_on};
use crate::audit::chain::Head;
use crate::audit::link::Link;
use crate::audit::segments::rotated;
use crate::audit::{AuditError, native};
use crate::clock;

/// The first record of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct First {
    pub(super) seq: u64,
    pub(super) time: SystemTime,
}

impl First {
    fn of(file: &File) -> Option<Self> {
        let line = line_from(file, 0).ok()??;
        let seq = Link::of(&line).ok()?.seq;
        let (_, record) = native(std::str::from_utf8(&line).ok()?).ok()?;
        let record: Value = serde_json::from_str(record).ok()?;
        Some(Self { seq, time: record.get("time").and_then(Value::as_str).and_then(clock::parse)? })
    }
}

/// The file at `path`, created where it is missing, once no other writer may write it.
pub(super) fn open_locked(path: &Path) -> Result<File, Unkept> {
    loop {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed("opening", path))?;
        lock(&file).map_err(failed("locking", path))?;
        // Another writer may have rotated it meanwhile.
        if is_at(&file, path).map_err(failed("looking for", path))? {
            return Ok(file);
        }
    }
}

impl Log {
    pub(super) fn is_in_place(&self) -> Result<bool, Unkept> {
        is_at(&self.file, &self.settings.path).map_err(failed("looking for", &self.settings.path))
    }

    /// Whether the file would grow too large by `more` bytes, or is too old for a record of `time`.
    pub(super) fn is_due(&mut self, more: u64, time: SystemTime) -> bool {
        if self.length == 0 {
            return false;
        }
        let is_large = self.settings.rotate_at.is_some_and(|size| self.length + more > size);
        let is_old = |first: First| {
            let age = time.duration_since(first.time).unwrap_or_default();
            self.settings.rotate_every.is_some_and(|every| age >= every)
        };
        if !is_large && self.settings.rotate_every.is_none() {
            return false;
        }
        self.first = self.first.or_else(|| First::of(&self.file));
        is_large || self.first.is_some_and(is_old)
    }

    /// Begins the next file. Where this one can't be moved away, it goes on: what is to be kept matters more.
    pub(super) fn rotate(&mut self) -> Result<(), Unkept> {
        match self.move_away() {
            Ok(()) => {
                self.is_stuck = false;
                self.take_turn()
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_stuck, true) {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(file = %self.settings.path.display(), error, "the audit log can't be rotated, and grows on");
                }
                Ok(())
            }
        }
    }

    fn move_away(&self) -> io::Result<()> {
        let path = &self.settings.path;
        let first = self.first.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its first line is no record"))?;
        let away = rotated(path, first.seq);
        if away.try_exists()? {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is there already", away.display())));
        }
        std::fs::rename(path, &away)?;
        tracing::info!(file = %away.display(), "the audit log was rotated");
        Ok(())
    }

    /// Goes over to the file that goes on where this one, which was moved away, ends: the next that was rotated, or what is at the path, where a new one
    /// begins if need be.
    pub(super) fn go_over(&mut self, caught_up: Result<(), Unkept>) -> Result<(), Unkept> {
        if let Err(error) = caught_up {
            // It is out of the way, and shows what happened to it.
            let error = &AuditError::from(error) as &dyn std::error::Error;
            tracing::error!(file = %self.settings.path.display(), error, "the audit log was moved away damaged, and goes on in a new file");
        }
        let next = rotated(&self.settings.path, self.head.seq.saturating_add(1));
        let opened = File::open(&next);
        let is_known = opened.is_ok();
        if let Ok(file) = opened {
            lock(&file).map_err(failed("locking", &next))?;
            // One that is empty, or a copy of ours, is somebody else's doing.
            if let Ok((length, head)) = self.joined(&file, &next)
                && head.seq > self.head.seq
            {
                self.go_on_in(file, length, head);
                return Ok(());
            }
        }
        let path = &self.settings.path;
        let file = open_locked(path)?;
        match self.joined(&file, path) {
            Ok((length, head)) => {
                sync_folder(path).map_err(failed("syncing the folder of", path))?;
                self.go_on_in(file, length, head);
                Ok(())
            }
            // What was rotated since it was looked for comes first.
            Err(_) if !is_known && next.exists() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Where `file` ends, if it goes on after our head, or is the file that was moved away put back.
    fn joined(&self, file: &File, path: &Path) -> Result<(u64, Head), Unkept> {
        let read = || failed("reading", path);
        let length = file.metadata().map_err(read())?.len();
        let is_copy = self.length > 0 && length >= self.length && holds(file, self.length, &self.head).map_err(read())?;
        let joined = read_on(file, path, if is_copy { self.length } else { 0 }, &self.head);
        joined.map_err(|error| match error {
            Unkept::Damaged { .. } => {
                damaged(path, "another file took its place, which does not go on after the last record that was seen")
            }
            error @ Unkept::Io { .. } => error,
        })
    }

    fn go_on_in(&mut self, file: File, length: u64, head: Head) {
        (self.file, self.length, self.head) = (file, length, head);
        (self.first, self.torn) = (None, false);
    }
}
