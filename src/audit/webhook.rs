//! Records pushed to a web server of the operator's, as they are written: each at least once, and those about one account in their order.
//!
//! 1. They are read from the log's [files](super::segments), from a position that the state keeps, so that nothing waits in memory and nothing is lost while the server is
//!    away. Where nothing is kept yet, the oldest record is the first.
//! 2. The position moves on when a batch was taken as a whole. What was under way when a process ended is sent again.
//! 3. Of one account, or of one domain where a record is about no account, the next is sent when the one before was taken. Different ones go side by side.
//! 4. Any answer of 2xx takes a record, and 410 ends the delivery until the process starts again. All else is tried again for ever, a quarter of a second later at first, five
//!    minutes at most, or when `Retry-After` says so, within an hour.
//! 5. But for what the server refuses for what it is (413, 422; of security event tokens 400 with `invalid_request`, RFC 8935 §2.4): once a day has passed since
//!    it first refused any after the position, by the clock and however often the process began anew, what it has refused five times is passed over. So is a line that is no record, or, where
//!    the webhook's format is not the line's, that a later version wrote; what needs no reading is sent as it stands. Each is told, with its number and its reference.
//! 6. A request is signed as [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md) has it, with the record's id as
//!    `webhook-id`, by which the second of two is known. Security event tokens are signed themselves.
//! 7. The server is https, or on loopback. Redirects are not followed, an answer is waited for fifteen seconds, and no more than 4 KiB of it are read.
//! 8. Of several processes that write one log, one delivers (a lock on the file `audit.jsonl.delivery` beside it, which the system lets go of when a process ends). Processes with
//!    logs of their own deliver their own.
//!
//! What a deployment can break: files that are moved away before they were delivered are missed, which is said. A log that begins anew is delivered from its beginning.

mod cursor;
mod message;
mod progress;
mod risc;
mod secret;
mod send;

use std::fs::{File, TryLockError};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Url;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use self::cursor::{Cursor, Entry};
use self::message::Message;
use self::progress::Progress;
use self::send::{Gone, Sender};
use super::chain::Head;
use super::format::Format;
use crate::clock::{Clock, SystemClock};
use crate::metrics;
use crate::state::{Position, State};

pub use self::risc::{Risc, SigningKeyError};
pub use self::secret::{WebhookSecret, WebhookSecretError};

/// How many records are read at once, after which the position is kept.
const BATCH: usize = 512;

/// How many requests are under way at once.
const LANES: usize = 32;

/// How often it is looked for what others wrote, and for their end where they deliver.
const GLANCE: Duration = Duration::from_secs(1);

/// How long to wait after the log or the state failed.
const PAUSE: Duration = Duration::from_secs(5);

/// Where records are pushed to, and how.
#[derive(Clone)]
pub struct Webhook {
    url: Url,
    payload: Payload,
    clock: Arc<dyn Clock>,
}

/// Without what may be a secret in the URL.
impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("origin", &self.url.origin().ascii_serialization()).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
enum Payload {
    Signed(WebhookSecret, Format),
    Risc(Risc),
}

/// Why nothing can be pushed there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The address is none.
    #[error("it is no URL such as \"https://example.org/hook\"")]
    NotUrl,
    /// Others could read on the way, or answer.
    #[error("it is neither https nor on loopback")]
    Insecure,
    /// The HTTP client can't be made.
    #[error("the HTTP client can't be made")]
    Client(#[source] reqwest::Error),
}

impl Webhook {
    /// Records in `format`, signed with `secret`.
    ///
    /// # Errors
    /// Where `url` is none, or neither https nor on loopback.
    pub fn new(url: &str, secret: WebhookSecret, format: Format) -> Result<Self, WebhookError> {
        Self::of(url, Payload::Signed(secret, format))
    }

    /// Security event tokens, to a receiver as RFC 8935 has it.
    ///
    /// # Errors
    /// Where `url` is none, or neither https nor on loopback.
    pub fn risc(url: &str, risc: Risc) -> Result<Self, WebhookError> {
        Self::of(url, Payload::Risc(risc))
    }

    fn of(url: &str, payload: Payload) -> Result<Self, WebhookError> {
        Ok(Self { url: checked(url)?, payload, clock: Arc::new(SystemClock) })
    }

    /// Who tells the time. The machine's clock by default.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Delivers the log at `path` in the background, from where `state` knows it to have got. `heads` tells of [new records](super::JsonLines::heads); what others write is
    /// seen within a second.
    ///
    /// # Errors
    /// Where the HTTP client can't be made.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(self, path: impl Into<PathBuf>, heads: watch::Receiver<Head>, state: State) -> Result<Delivering, WebhookError> {
        let sender = Sender::new(&self.url, &self.payload, Arc::clone(&self.clock)).map_err(WebhookError::Client)?;
        // Not the URL itself, which may hold a secret.
        let webhook = hex::encode(Sha256::digest(self.url.as_str()));
        let progress = Progress { log: path.into(), webhook, state, clock: self.clock, position: Mutex::new(Position::default()) };
        let delivery = Delivery { payload: self.payload, sender, progress, heads };
        Ok(Delivering(tokio::spawn(delivery.run())))
    }
}

fn checked(url: &str) -> Result<Url, WebhookError> {
    let url = Url::parse(url).map_err(|_| WebhookError::NotUrl)?;
    let host = url.host_str().ok_or(WebhookError::NotUrl)?;
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback => Ok(url),
        "http" => Err(WebhookError::Insecure),
        _ => Err(WebhookError::NotUrl),
    }
}

/// A delivery in the background. It ends when this is dropped: what was not taken by then is sent after the next start.
#[derive(Debug)]
#[must_use = "a delivery ends when this is dropped"]
pub struct Delivering(JoinHandle<()>);

impl Drop for Delivering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Delivery {
    payload: Payload,
    sender: Sender,
    progress: Progress,
    heads: watch::Receiver<Head>,
}

impl Delivery {
    async fn run(mut self) {
        let _lock = self.locked().await;
        let mut cursor = Cursor::new(self.log().to_owned(), self.progress.resume().await);
        loop {
            let read = tokio::task::spawn_blocking(move || {
                let entries = cursor.read(BATCH);
                (cursor, entries)
            });
            let Ok((back, entries)) = read.await else { return };
            cursor = back;
            match entries {
                Ok(entries) if entries.is_empty() => self.news().await,
                Ok(entries) => {
                    self.tell_lag(entries.first().map_or(0, |first| first.head.seq.saturating_sub(1)));
                    if let Err(Gone) = self.deliver(&entries).await {
                        tracing::error!(
                            webhook = self.sender.name(),
                            "the webhook is gone (410): nothing is delivered until the next start"
                        );
                        return;
                    }
                    if let Some(last) = entries.last() {
                        self.progress.reached(&last.head).await;
                        self.tell_lag(last.head.seq);
                    }
                }
                Err(error) => {
                    tracing::error!(file = %self.log().display(), error = &error as &dyn std::error::Error, "the audit log can't be read for the webhook");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn log(&self) -> &Path {
        &self.progress.log
    }

    fn tell_lag(&self, taken: u64) {
        metrics::undelivered(self.heads.borrow().seq.saturating_sub(taken));
    }

    /// Waits until no other process delivers this log.
    async fn locked(&self) -> File {
        let mut path = self.log().to_owned().into_os_string();
        path.push(".delivery");
        loop {
            match lock(Path::new(&path)) {
                Ok(Some(file)) => return file,
                Ok(None) => tokio::time::sleep(GLANCE).await,
                Err(error) => {
                    tracing::error!(file = %Path::new(&path).display(), error = &error as &dyn std::error::Error, "the webhook's lock can't be had");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Waits for a record, of this process or of another.
    async fn news(&mut self) {
        if let Ok(Err(_)) = tokio::time::timeout(GLANCE, self.heads.changed()).await {
            // The log is closed here, and may be written by others still.
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Has everything taken or passed over, whatever time it takes.
    async fn deliver(&self, entries: &[Entry]) -> Result<(), Gone> {
        let lanes = message::lanes(entries, &self.payload, self.progress.clock.now());
        let sent = stream::iter(lanes.into_values().map(Ok));
        sent.try_for_each_concurrent(LANES, |lane: Vec<Message>| async move {
            stream::iter(&lane).map(Ok).try_for_each(|message| self.sender.deliver(message, &self.progress)).await
        })
        .await
    }
}

/// `None` where another process has it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
