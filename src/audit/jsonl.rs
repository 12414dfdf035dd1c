//! Records as lines of JSON in a file, chained by hashes and synced to disk.
//!
//! 1. A line is the record as JSON, followed by `seq` (counting from 1), `prev` (the hash of the line before; of the first, 64 zeros) and
//!    `hash`: SHA-256, in hexadecimal, of the line's bytes before `,"hash"`, which hold `prev`. One changed byte anywhere shows.
//! 2. A record counts as kept when the file is synced. Records that wait together, a group, share one sync.
//! 3. Several processes of one machine may write one file, and it stays one chain: the file is locked while a group is written, and each goes on after what others
//!    wrote meanwhile. Who can't have the file for three seconds keeps nothing, and says so.
//! 4. A line that could not be written whole is cut off again before the next writer's turn, so a full disk tears nothing.
//! 5. A partial last line (power was lost or a process killed while it was written, so nobody was answered) is cut off, at the start and at any later time, and said; the
//!    chain goes on after the last whole line. Where the file got shorter, or goes on with what is no record of ours, nothing is added to it.
//! 6. Who reads the log back reads up to where it ended between two groups, so that a line that is being written is none that is torn. The file is locked only while its
//!    length is read, so that a long log keeps no writer waiting.
//!
//! What a deployment can break: whoever can write the file can cut whole lines off its end, which shows to who has it open, and to others only beside a [`Head`]
//! kept elsewhere. A file system that does not pass locks on (flock), as some that machines share, breaks the chain. Who has the file open goes on in it when it
//! is moved, and no further when it is emptied: move it while nothing writes it.

mod log;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot, watch};

use self::log::Log;
use crate::audit::{AuditError, AuditSink, Record};

const FIRST_PREV: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const HASH_MEMBER: &str = ",\"hash\":\"";

/// How many requests may wait for one sync; more wait for the next.
const MAX_GROUP: usize = 1024;

/// A line of over a mebibyte was not written by us.
const MAX_LINE: u64 = 1 << 20;

/// An audit log in a file.
///
/// Cloning shares the file, which is closed when the last clone is dropped. Others, in this process or another, may write it too.
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
    /// Where the file can't be opened, another process keeps it locked, or it does not end in a record of ours.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, AuditError> {
        let path = path.as_ref().to_owned();
        let log = tokio::task::spawn_blocking(move || Log::open(path)).await.map_err(|_| AuditError::Closed)??;
        let (queue, waiting) = mpsc::channel(MAX_GROUP);
        let (head, heads) = watch::channel(log.head.clone());
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || log.write_groups(waiting, &head)).map_err(|error| {
            AuditError::Io { operation: "starting the thread that writes the audit log".to_owned(), source: Arc::new(error) }
        })?;
        Ok(Self { queue, heads })
    }

    /// The end of the chain, and every later one as records are kept here: for who keeps it elsewhere. What others write shows with the next record of one's own.
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
    let mut reader = read_log(path).map_err(unreadable)?;
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

/// The log at `path` as it stands now, without what is still being written.
///
/// Where it stays locked for three seconds, or its file system knows no locks, it is read as far as it goes, be that the middle of a line. So is what is no file, such
/// as a pipe.
///
/// # Errors
/// Where it can't be opened.
pub fn read_log(path: &Path) -> io::Result<impl BufRead + use<>> {
    let file = File::open(path)?;
    let is_file = file.metadata()?.is_file();
    let length = if is_file { log::settled_length(&file).unwrap_or(u64::MAX) } else { u64::MAX };
    Ok(BufReader::new(file.take(length)))
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
