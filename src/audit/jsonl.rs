//! Records as lines of JSON in a file, chained by hashes and synced to disk.
//!
//! 1. A line is a record and its place in the [chain](Head). With a [signer](JsonLinesBuilder::signer), the last line of each group signs it.
//! 2. A record counts as kept when the file is synced. Records that wait together, a group, share one sync.
//! 3. Several processes of one machine may write one file, and it stays one chain: the file is locked while a group is written, and each goes on after what others
//!    wrote meanwhile. Who can't have the file for three seconds keeps nothing, and says so.
//! 4. A line that could not be written whole is cut off again before the next writer's turn, so a full disk tears nothing. After a failure, who
//!    asks without a record whether one could be kept has that tried by a file beside the log (`audit.jsonl.probe`), which is removed again.
//! 5. A partial last line (power was lost or a process killed while it was written, so nobody was answered) is cut off, at the start and at any later time, and said; the
//!    chain goes on after the last whole line. Where the file got shorter, or goes on with what is no record of ours, nothing is added to it.
//! 6. Who reads the log back reads up to where it ended between two groups, so that a line that is being written is none that is torn. The file is locked only while its
//!    length is read, so that a long log keeps no writer waiting.
//! 7. A file that would grow too large by a group, or whose first record is too old, is renamed for the number of that record (see [`segments`]), and the group goes
//!    into a new one at the path. The chain runs on: the first `prev` of a file is the last hash of the one before. A file that can't be renamed grows on.
//! 8. The log is in the file that is at the path. Whoever finds another one there than the one that it has open, or none, since somebody rotated, moved or deleted it,
//!    goes over: first through what was rotated since, and then on after the last record that it saw, in a new file if need be. A file that goes on after any other
//!    record is none of this log's, and nothing is added to it.
//! 9. A log whose file is missing or empty when it is opened goes on after its newest rotated file, or after the head that is kept elsewhere where that is further
//!    on ([`known_head`](JsonLinesBuilder::known_head)): it says that records are missing, and shows it for good by the number that the new file begins with.
//!
//! What a deployment can break: whoever can write the file can cut whole lines off its end, which shows to who has it open, and to others only beside a [`Head`]
//! kept elsewhere ([`still_holds`](crate::audit::still_holds)). It can be written anew as a whole too, which shows there and where the log is signed. A file system that
//! does not pass locks on (flock), as some that machines share, breaks the chain. A file may be moved at any time, but that it is emptied in place, as `copytruncate` does,
//! is damage. A log that is moved while nothing has it open begins anew, unless its head is kept elsewhere.
//! Whoever may read the file can keep it locked, and so stop every reset: let nobody read it who need not. Where the path is a symbolic link, the link is what is
//! rotated: name the file itself.
//!
//! [`segments`]: crate::audit::segments

pub(super) mod file;
mod log;
mod rotation;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Take};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};

use self::log::Log;
use super::chain::Head;
use crate::audit::{AuditError, AuditSink, Emails, Format, Record, Signer};
use crate::concurrency::thread;

/// How many requests may wait for one sync; more wait for the next.
const MAX_GROUP: usize = 1024;

/// A line of over a mebibyte was not written by us.
pub(super) const MAX_LINE: u64 = 1 << 20;

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

/// An audit log that is to be opened.
#[derive(Debug, Clone)]
pub struct JsonLinesBuilder {
    path: PathBuf,
    format: Format,
    rotate_at: Option<u64>,
    rotate_every: Option<Duration>,
    known_head: Option<Head>,
    emails: Emails,
    signer: Option<Signer>,
}

impl JsonLinesBuilder {
    /// How its lines look. As the [record](Record) itself by default. Lines of another format that are there already stay as they are.
    #[must_use]
    pub const fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// How many bytes a file may have before the next begins. Without end by default. What is kept together stays in one file, even where that is more.
    #[must_use]
    pub const fn rotate_at(mut self, bytes: u64) -> Self {
        self.rotate_at = Some(bytes);
        self
    }

    /// How long after its first record a file takes others, by the times that records bear; the next begins with the first that is later. For ever by default.
    #[must_use]
    pub const fn rotate_every(mut self, age: Duration) -> Self {
        self.rotate_every = Some(age);
        self
    }

    /// How far the log had got by what is kept elsewhere: where its file is missing, it goes on from there.
    #[must_use]
    pub fn known_head(mut self, head: Head) -> Self {
        self.known_head = Some(head);
        self
    }

    /// How e-mail addresses stand there. Plain by default.
    #[must_use]
    pub fn emails(mut self, emails: Emails) -> Self {
        self.emails = emails;
        self
    }

    /// Signs what is recorded, so that it shows where the log was rewritten as a whole. Nobody does by default.
    #[must_use]
    pub fn signer(mut self, signer: Signer) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Opens the log, creating it where it is missing, and goes on with its chain.
    ///
    /// # Errors
    /// Where the file can't be opened, another process keeps it locked, or it does not end in a record of ours.
    pub async fn open(self) -> Result<JsonLines, AuditError> {
        let log = tokio::task::spawn_blocking(move || Log::open(self)).await.map_err(|_| AuditError::Closed)??;
        let (queue, waiting) = mpsc::channel(MAX_GROUP);
        let (head, heads) = watch::channel(log.head.clone());
        thread::Builder::new().name("audit".to_owned()).spawn(move || log.write_groups(waiting, &head)).map_err(|error| {
            AuditError::Io { operation: "starting the thread that writes the audit log".to_owned(), source: Arc::new(error) }
        })?;
        Ok(JsonLines { queue, heads })
    }
}

impl JsonLines {
    /// The log at `path`, to be opened.
    pub fn builder(path: impl Into<PathBuf>) -> JsonLinesBuilder {
        JsonLinesBuilder {
            path: path.into(),
            format: Format::default(),
            emails: Emails::default(),
            rotate_at: None,
            rotate_every: None,
            known_head: None,
            signer: None,
        }
    }

    /// Opens the log at `path` as it is by default.
    ///
    /// # Errors
    /// As [`JsonLinesBuilder::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, AuditError> {
        Self::builder(path.as_ref()).open().await
    }

    /// Goes over to the file that is at the path, as the next record would do by itself: for who moved it, and wants it to have an end.
    ///
    /// # Errors
    /// Where that can't be opened, or is none of this log's.
    pub async fn reopen(&self) -> Result<(), AuditError> {
        self.record(Vec::new()).await
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

/// The file of a log at `path` as it stands now, without what is still being written.
///
/// Where it stays locked for three seconds, or its file system knows no locks, it is read as far as it goes, be that the middle of a line. So is what is no file, such
/// as a pipe.
///
/// # Errors
/// Where it can't be opened.
pub fn read_log(path: &Path) -> io::Result<impl BufRead + use<>> {
    open_settled(path).map(BufReader::new)
}

/// The same, for who has a buffer.
pub(super) fn open_settled(path: &Path) -> io::Result<Take<File>> {
    let file = File::open(path)?;
    let is_file = file.metadata()?.is_file();
    let length = if is_file { file::settled_length(&file).unwrap_or(u64::MAX) } else { u64::MAX };
    Ok(file.take(length))
}
