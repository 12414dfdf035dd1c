//! Records as lines of JSON in a file, chained by hashes and synced to disk.
//!
//! 1. A line is the record as JSON, followed by `seq` (counting from 1), `prev` (the hash of the line before; of the first, 64 zeros) and
//!    `hash`: SHA-256, in hexadecimal, of the line's bytes before `,"hash"`, which hold `prev`. One changed byte anywhere shows.
//! 2. A record counts as kept when the file is synced. Records that wait together share one sync.
//! 3. A line that could not be written whole is cut off again, so a full disk tears nothing.
//! 4. At the start, a partial last line (power was lost while it was written, so nobody was answered) is cut off, and said; the chain
//!    goes on after the last whole line. The file is locked while it is open, since two writers would break the chain.
//!
//! What a deployment can break: whoever can write the file can cut whole lines off its end, which shows only beside a [`Head`] kept elsewhere.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot, watch};

use crate::audit::{AuditError, AuditSink, Record};

const FIRST_PREV: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const FIRST_MEMBER: &[u8] = b"{\"id\":\"";
const HASH_MEMBER: &str = ",\"hash\":\"";

/// How many requests may wait for one sync; more wait for the next.
const MAX_GROUP: usize = 1024;

/// A line of over a mebibyte was not written by us.
const MAX_LINE: u64 = 1 << 20;

/// An audit log in a file.
///
/// Cloning shares the file. It is closed when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct JsonLines {
    queue: mpsc::Sender<Waiting>,
    heads: watch::Receiver<Head>,
}

struct Waiting {
    records: Vec<Record>,
    kept: oneshot::Sender<Result<(), AuditError>>,
}

impl JsonLines {
    /// Opens the log at `path`, creating it where it is missing, and goes on with its chain.
    ///
    /// # Errors
    /// Where the file can't be opened, is in use by another process, or does not end in a record of ours.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, AuditError> {
        let path = path.as_ref().to_owned();
        let log = tokio::task::spawn_blocking(move || Log::open(path)).await.map_err(|_| AuditError::Closed)??;
        let (queue, waiting) = mpsc::channel(MAX_GROUP);
        let (head, heads) = watch::channel(log.head.clone());
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || log.write_groups(waiting, &head))
            .map_err(|error| io_error("starting the thread that writes the audit log", error))?;
        Ok(Self { queue, heads })
    }

    /// The end of the chain, and every later one as records are kept: for who keeps it elsewhere.
    #[must_use]
    pub fn heads(&self) -> watch::Receiver<Head> {
        self.heads.clone()
    }
}

#[async_trait]
impl AuditSink for JsonLines {
    async fn record(&self, records: Vec<Record>) -> Result<(), AuditError> {
        let (kept, answer) = oneshot::channel();
        self.queue.send(Waiting { records, kept }).await.map_err(|_| AuditError::Closed)?;
        answer.await.map_err(|_| AuditError::Closed)?
    }
}

fn io_error(operation: impl Into<String>, source: io::Error) -> AuditError {
    AuditError::Io { operation: operation.into(), source: Arc::new(source) }
}

/// The end of a chain: what the next line builds on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The number of the last record, 0 where there is none.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Head {
    /// The head after the record `seq`, whose hash is `hash`.
    #[must_use]
    pub fn new(seq: u64, hash: impl Into<String>) -> Self {
        Self { seq, hash: hash.into() }
    }

    fn start() -> Self {
        Self { seq: 0, hash: FIRST_PREV.to_owned() }
    }

    /// Writes `record` as the next line.
    fn append(&mut self, record: &Record, lines: &mut Vec<u8>) -> serde_json::Result<()> {
        let start = lines.len();
        serde_json::to_writer(&mut *lines, record)?;
        lines.pop(); // the closing brace
        lines.extend_from_slice(format!(",\"seq\":{},\"prev\":\"{}\"", self.seq + 1, self.hash).as_bytes());
        let hash = hex::encode(Sha256::digest(lines.get(start..).unwrap_or_default()));
        lines.extend_from_slice(format!("{HASH_MEMBER}{hash}\"}}\n").as_bytes());
        *self = Self { seq: self.seq + 1, hash };
        Ok(())
    }

    /// The head after `line`, if that is whole and unaltered in itself. Says which head it builds on.
    fn of(line: &str) -> Result<(Self, Self), &'static str> {
        let (hashed, rest) = line.rsplit_once(HASH_MEMBER).ok_or("not a record")?;
        let hash = rest.strip_suffix("\"}").ok_or("not a record")?;
        if hex::encode(Sha256::digest(hashed.as_bytes())) != hash {
            return Err("its hash does not fit its content");
        }
        let record: Value = serde_json::from_str(line).map_err(|_| "not a record")?;
        let seq = record.get("seq").and_then(Value::as_u64).filter(|seq| *seq > 0).ok_or("not a record")?;
        let prev = record.get("prev").and_then(Value::as_str).ok_or("not a record")?;
        Ok((Self { seq: seq - 1, hash: prev.to_owned() }, Self { seq, hash: hash.to_owned() }))
    }
}

struct Log {
    path: PathBuf,
    file: File,
    length: u64,
    head: Head,
    /// Whether a failed write may have left something behind `length`.
    torn: bool,
}

impl Log {
    fn open(path: PathBuf) -> Result<Self, AuditError> {
        let operation = |what: &str| format!("{what} the audit log {}", path.display());
        let options = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut file = options.map_err(|error| io_error(operation("opening"), error))?;
        lock(&file).map_err(|error| io_error(operation("locking"), error))?;
        let (length, head) = recover(&mut file, &path)?;
        file.sync_all().map_err(|error| io_error(operation("syncing"), error))?;
        // The file's name must be as durable as its content.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_error(operation("syncing the folder of"), error))?;
        }
        Ok(Self { path, file, length, head, torn: false })
    }

    /// Keeps what waits, group by group, until the last sender is gone.
    fn write_groups(mut self, mut waiting: mpsc::Receiver<Waiting>, heads: &watch::Sender<Head>) {
        let mut group = Vec::new();
        while waiting.blocking_recv_many(&mut group, MAX_GROUP) > 0 {
            let outcome = self.keep(group.iter().flat_map(|waiting| &waiting.records));
            heads.send_if_modified(|head| {
                *head != self.head && {
                    head.clone_from(&self.head);
                    true
                }
            });
            for waiting in group.drain(..) {
                let answer = outcome
                    .as_ref()
                    .map_err(|(operation, source)| AuditError::Io { operation: operation.clone(), source: Arc::clone(source) });
                // Whoever waited may have gone.
                drop(waiting.kept.send(answer.copied()));
            }
        }
    }

    fn keep<'a>(&mut self, mut records: impl Iterator<Item = &'a Record>) -> Result<(), (String, Arc<io::Error>)> {
        let mut lines = Vec::new();
        let mut head = self.head.clone();
        let written =
            records.try_for_each(|record| head.append(record, &mut lines).map_err(io::Error::from)).and_then(|()| self.write(&lines));
        match written {
            Ok(()) => {
                self.head = head;
                Ok(())
            }
            Err(error) => {
                tracing::error!(file = %self.path.display(), error = &error as &dyn std::error::Error, "audit records could not be kept");
                Err((format!("writing the audit log {}", self.path.display()), Arc::new(error)))
            }
        }
    }

    /// Writes and syncs `lines`, or leaves nothing of them before the next.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
        }
        self.torn = true;
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        let length = if written.is_ok() { self.length + lines.len() as u64 } else { self.length };
        if written.is_err() {
            self.file.set_len(length)?;
        }
        (self.length, self.torn) = (length, false);
        written
    }
}

/// Locks `file`. A sink that was just dropped lets go of it when its thread has written what waited.
fn lock(file: &File) -> io::Result<()> {
    const TRIES: u32 = 100;
    for _ in 0..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            outcome => return outcome.map_err(io::Error::from),
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "another process is using it"))
}

/// Cuts off a partial last line, and reads where the chain ends.
fn recover(file: &mut File, path: &Path) -> Result<(u64, Head), AuditError> {
    let failed = |error| io_error(format!("reading the audit log {}", path.display()), error);
    let damaged = |what: &str| AuditError::Damaged { file: path.display().to_string(), what: what.to_owned() };
    let length = file.metadata().map_err(failed)?.len();
    let start = length.saturating_sub(2 * MAX_LINE);
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut tail = Vec::new();
    file.take(2 * MAX_LINE).read_to_end(&mut tail).map_err(failed)?;

    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    if start > 0 && whole == 0 {
        return Err(damaged("it ends in a line that is no record"));
    }
    let (lines, torn) = tail.split_at(whole);
    let head = match lines.strip_suffix(b"\n").and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next()) {
        None => Head::start(),
        Some(last) => {
            let last = std::str::from_utf8(last).map_err(|_| damaged("its last line is no record"))?;
            Head::of(last).map_err(|what| damaged(&format!("its last line: {what}")))?.1
        }
    };
    let length = length - torn.len() as u64;
    if !torn.is_empty() {
        // Another program's file, named by mistake, must not lose its end. A file system may leave zeros where it had no time to write.
        if !torn.iter().zip(FIRST_MEMBER).all(|(found, written)| found == written) && torn.iter().any(|byte| *byte != 0) {
            return Err(damaged("it ends in a partial line that is no record"));
        }
        tracing::warn!(file = %path.display(), bytes = torn.len(), "cutting off a partial last line of the audit log, left by a crash or a loss of power");
        file.set_len(length).map_err(failed)?;
    }
    Ok((length, head))
}

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

/// Proves that no record of the log at `path` was changed, removed from its middle or reordered, and counts them.
///
/// # Errors
/// Where the file can't be read, or names its first bad line.
pub fn verify(path: impl AsRef<Path>) -> Result<u64, VerifyError> {
    verify_up_to(path, None)
}

/// The same, and that the record whose [`Head`] was `kept` is still there: without it, lines that were cut off the end don't show.
///
/// # Errors
/// As [`verify`].
pub fn verify_up_to(path: impl AsRef<Path>, kept: Option<&Head>) -> Result<u64, VerifyError> {
    let path = path.as_ref();
    let file = || path.display().to_string();
    let unreadable = |source| VerifyError::Unreadable { file: file(), source };
    let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut head = Head::start();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let broken = |what| VerifyError::Broken { file: file(), line: head.seq + 1, what };
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes).map_err(unreadable)? == 0 {
            let is_cut = kept.is_some_and(|kept| kept.seq > head.seq);
            return if is_cut { Err(broken("records are missing from here on")) } else { Ok(head.seq) };
        }
        let line = bytes.strip_suffix(b"\n").ok_or_else(|| broken("a partial line"))?;
        let line = std::str::from_utf8(line).map_err(|_| broken("not a record"))?;
        let (before, after) = Head::of(line).map_err(broken)?;
        if before != head {
            return Err(broken("it does not follow the line before"));
        }
        if kept.is_some_and(|kept| kept.seq == after.seq && *kept != after) {
            return Err(broken("it is another record than the one that was kept"));
        }
        head = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Event;

    fn record(path: &str) -> Record {
        let (parts, ()) = http::Request::post(path).body(()).unwrap().into_parts();
        Record {
            id: uuid::Uuid::nil(),
            time: std::time::SystemTime::UNIX_EPOCH,
            event: Event::ResetBlocked,
            verdict: "block",
            enforced: true,
            reasons: Vec::new(),
            notices: Vec::new(),
            account: None,
            domain: None,
            request: Some(crate::audit::RequestRecord::of(&parts)),
        }
    }

    /// Whoever writes a line anew can give it a hash that fits, but not the next line's `prev`.
    #[test]
    fn a_line_written_anew_with_a_fitting_hash_shows_at_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let (mut head, mut lines) = (Head::start(), Vec::new());
        head.append(&record("/one"), &mut lines).unwrap();
        let (mut forged_head, mut forged) = (head.clone(), lines.clone());
        head.append(&record("/two"), &mut lines).unwrap();
        let third = lines.len();
        head.append(&record("/three"), &mut lines).unwrap();
        std::fs::write(&file, &lines).unwrap();
        assert_eq!(verify(&file).unwrap(), 3);

        forged_head.append(&record("/other"), &mut forged).unwrap();
        forged.extend_from_slice(&lines[third..]);
        std::fs::write(&file, &forged).unwrap();
        assert!(matches!(verify(&file), Err(VerifyError::Broken { line: 3, .. })));
    }
}
