//! A message, signed and sent until it is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBuilder};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::message::Message;
use super::progress::Progress;
use super::secret::WebhookSecret;
use super::{LANES, Payload};
use crate::clock::Clock;
use crate::domain::retry_after;
use crate::metrics;
use crate::outbound::{self, Limits};

const LIMITS: Limits = Limits { connect: Duration::from_secs(5), whole: Duration::from_secs(15) };

/// An answer is read so far, which frees the connection for the next.
const MAX_ANSWER: usize = 4 << 10;

const SOONEST: Duration = Duration::from_millis(250);
const LATEST: Duration = Duration::from_secs(300);

/// How often a message is refused before it is passed over: others may have been for a day, and this one for the first time.
const REFUSALS: u32 = 5;

/// The receiver wants nothing more.
#[derive(Debug)]
pub(super) struct Gone;

pub(super) struct Sender {
    http: reqwest::Client,
    url: Url,
    /// `None` where tokens are sent, which are signed themselves.
    secret: Option<WebhookSecret>,
    clock: Arc<dyn Clock>,
    /// Whether the last request was not taken, so that an outage is told of once.
    is_down: AtomicBool,
}

/// What came of a request that was not taken.
struct Untaken {
    fault: Fault,
    why: String,
    retry_after: Option<Duration>,
}

#[derive(Clone, Copy)]
enum Fault {
    /// The receiver takes nothing as it is now.
    Receiver,
    /// The receiver does not take this message.
    Message,
    /// The receiver takes nothing any more.
    Gone,
}

/// What a receiver of security event tokens answers to one that it does not take (RFC 8935 §2.3).
#[derive(Deserialize)]
struct TokenError {
    err: String,
}

impl Sender {
    pub(super) fn new(url: &Url, payload: &Payload, clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        let http = outbound::client(LIMITS).pool_max_idle_per_host(LANES).build()?;
        let secret = match payload {
            Payload::Signed(secret, _) => Some(secret.clone()),
            Payload::Risc(_) => None,
        };
        Ok(Self { http, url: url.clone(), secret, clock, is_down: AtomicBool::new(false) })
    }

    /// Where it is, without what of the URL may be secret.
    pub(super) fn name(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Returns when `message` is taken, or passed over since it was refused for long.
    pub(super) async fn deliver(&self, message: &Message, progress: &Progress) -> Result<(), Gone> {
        let backoff = ExponentialBuilder::new().with_min_delay(SOONEST).with_max_delay(LATEST).with_jitter().without_max_times();
        let mut refusals = 0;
        for wait in backoff.build() {
            let Err(untaken) = self.send(message).await else {
                self.tell_taken();
                return Ok(());
            };
            match untaken.fault {
                Fault::Gone => return Err(Gone),
                Fault::Receiver => self.tell_down(message, &untaken),
                Fault::Message => {
                    refusals += 1;
                    if progress.gives_up().await && refusals >= REFUSALS {
                        self.pass_over(message, &untaken);
                        return Ok(());
                    }
                    if refusals == 1 {
                        self.tell_refused(message, &untaken);
                    }
                }
            }
            tokio::time::sleep(untaken.retry_after.map_or(wait, |asked| asked.max(wait))).await;
        }
        // The waits have no end.
        Err(Gone)
    }

    fn tell_taken(&self) {
        if self.is_down.swap(false, Ordering::Relaxed) {
            tracing::info!(webhook = self.name(), "the webhook takes records again");
        }
    }

    fn tell_down(&self, message: &Message, untaken: &Untaken) {
        if !self.is_down.swap(true, Ordering::Relaxed) {
            tracing::warn!(webhook = self.name(), id = message.id, why = untaken.why, "the webhook takes no records, and is tried again");
        }
    }

    fn tell_refused(&self, message: &Message, untaken: &Untaken) {
        tracing::warn!(
            webhook = self.name(),
            seq = message.seq,
            id = message.id,
            why = untaken.why,
            "the webhook refuses a record, which is tried again for a day"
        );
    }

    fn pass_over(&self, message: &Message, untaken: &Untaken) {
        metrics::passed_over("refused", 1);
        tracing::error!(
            webhook = self.name(),
            seq = message.seq,
            id = message.id,
            why = untaken.why,
            "the webhook has refused a record for a day, and never gets it"
        );
    }

    async fn send(&self, message: &Message) -> Result<(), Untaken> {
        let request = self.http.post(self.url.clone()).headers(self.headers(message)).body(message.body.clone());
        let response = request.send().await.map_err(|error| Untaken::of(&error))?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        // Whether it can be read is of no interest.
        let answer = outbound::body(response, MAX_ANSWER).await.ok().flatten().unwrap_or_default();
        if status.is_success() {
            return Ok(());
        }
        Err(Untaken { fault: self.fault(status, &answer), why: format!("it answered {status}"), retry_after })
    }

    fn fault(&self, status: StatusCode, answer: &[u8]) -> Fault {
        match status {
            StatusCode::GONE => Fault::Gone,
            // RFC 8935 §2.4: the other codes are about keys, parties and rights, which are the same for all tokens.
            StatusCode::BAD_REQUEST if self.secret.is_none() => match serde_json::from_slice(answer) {
                Ok(TokenError { err }) if err == "invalid_request" => Fault::Message,
                Ok(_) | Err(_) => Fault::Receiver,
            },
            // Not 400, with which many answer to a signature that they don't know.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => Fault::Message,
            _ => Fault::Receiver,
        }
    }

    fn headers(&self, message: &Message) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, message.content_type.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(secret) = &self.secret {
            let since = self.clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let timestamp = since.as_secs().to_string();
            let signature = secret.signature(&message.id, &timestamp, &message.body);
            for (name, value) in [("webhook-id", &message.id), ("webhook-timestamp", &timestamp), ("webhook-signature", &signature)] {
                // Ids, numbers and base64 are values of headers.
                headers.extend(HeaderValue::from_str(value).ok().map(|value| (http::HeaderName::from_static(name), value)));
            }
        }
        headers
    }
}

impl Untaken {
    fn of(error: &reqwest::Error) -> Self {
        let why = if error.is_timeout() {
            "it did not answer in time"
        } else if error.is_connect() {
            "it can't be connected to"
        } else {
            "the connection broke off"
        };
        Self { fault: Fault::Receiver, why: why.to_owned(), retry_after: None }
    }
}
