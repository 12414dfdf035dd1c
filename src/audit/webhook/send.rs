//! A message, signed and sent until it is taken.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use backon::{BackoffBuilder, ExponentialBuilder};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, Url};

use super::message::Message;
use super::{LANES, Payload};
use crate::answer;
use crate::clock::{Clock, SystemClock};
use crate::domain::retry_after;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(15);

/// An answer is read so far, which frees the connection for the next.
const MAX_ANSWER: usize = 4 << 10;

const SOONEST: Duration = Duration::from_millis(250);
const LATEST: Duration = Duration::from_secs(300);

/// What a secret of Standard Webhooks begins with, and how many bytes it has.
const SECRET_PREFIX: &str = "whsec_";
const SECRET_LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The secret that the receiver knows requests to be ours by.
#[derive(Clone)]
pub struct WebhookSecret(Arc<hmac::Key>);

/// A text that is no secret of Standard Webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret is `whsec_` and 24 to 64 bytes in base64")]
pub struct WebhookSecretError;

impl WebhookSecret {
    /// Reads a secret: `whsec_` and 24 to 64 bytes in base64.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(text: &str) -> Result<Self, WebhookSecretError> {
        let bytes = text.trim().strip_prefix(SECRET_PREFIX).and_then(|base64| STANDARD.decode(base64).ok());
        let bytes = bytes.filter(|bytes| SECRET_LENGTHS.contains(&bytes.len())).ok_or(WebhookSecretError)?;
        Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes))))
    }
}

/// Without the secret.
impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSecret").finish_non_exhaustive()
    }
}

/// The receiver wants nothing more.
#[derive(Debug)]
pub(super) struct Gone;

pub(super) struct Sender {
    http: reqwest::Client,
    url: Url,
    secret: Option<WebhookSecret>,
    /// Whether the last request was not taken, so that an outage is told of once.
    is_down: AtomicBool,
}

/// What came of a request that was not taken.
struct Untaken {
    why: String,
    retry_after: Option<Duration>,
    is_gone: bool,
}

impl Sender {
    pub(super) fn new(url: &Url, payload: &Payload) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(LANES)
            .no_proxy()
            .redirect(Policy::none())
            .user_agent(concat!("reset-gatekeeper/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let secret = match payload {
            Payload::Signed(secret, _) => Some(secret.clone()),
            Payload::Risc(_) => None,
        };
        Ok(Self { http, url: url.clone(), secret, is_down: AtomicBool::new(false) })
    }

    /// Where it is, without what of the URL may be secret.
    pub(super) fn name(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Returns when `message` is taken.
    pub(super) async fn deliver(&self, message: &Message) -> Result<(), Gone> {
        let backoff = ExponentialBuilder::new().with_min_delay(SOONEST).with_max_delay(LATEST).with_jitter().without_max_times();
        for wait in backoff.build() {
            let Err(untaken) = self.send(message).await else {
                if self.is_down.swap(false, Ordering::Relaxed) {
                    tracing::info!(webhook = self.name(), "the webhook takes records again");
                }
                return Ok(());
            };
            if untaken.is_gone {
                return Err(Gone);
            }
            if !self.is_down.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    webhook = self.name(),
                    id = message.id,
                    why = untaken.why,
                    "the webhook takes no records, and is tried again"
                );
            }
            tokio::time::sleep(untaken.retry_after.map_or(wait, |asked| asked.max(wait))).await;
        }
        // The waits have no end.
        Err(Gone)
    }

    async fn send(&self, message: &Message) -> Result<(), Untaken> {
        let request = self.http.post(self.url.clone()).headers(self.headers(message)).body(message.body.clone());
        let response = request.send().await.map_err(|error| Untaken::of(&error))?;
        let (status, asked) = (response.status(), retry_after(response.headers()));
        read(response).await;
        if status.is_success() {
            return Ok(());
        }
        Err(Untaken { why: format!("it answered {status}"), retry_after: asked, is_gone: status == StatusCode::GONE })
    }

    fn headers(&self, message: &Message) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, message.content_type.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(secret) = &self.secret {
            let since = SystemClock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
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

impl WebhookSecret {
    /// `v1` of Standard Webhooks, "Symmetric signature scheme": HMAC-SHA256 over id, timestamp and body, joined by full stops.
    fn signature(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut signing = hmac::Context::with_key(&self.0);
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            signing.update(part);
        }
        format!("v1,{}", STANDARD.encode(signing.sign()))
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
        Self { why: why.to_owned(), retry_after: None, is_gone: false }
    }
}

async fn read(response: Response) {
    // What it says is of no interest, nor whether it can be read.
    drop(answer::body(response, MAX_ANSWER).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference implementations.
    #[test]
    fn a_request_is_signed_as_the_reference_implementation_signs_it() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_secret_is_told_and_never_printed() {
        for text in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_%%%"] {
            assert_eq!(WebhookSecret::parse(text).unwrap_err(), WebhookSecretError, "{text}");
        }
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(format!("{secret:?}"), "WebhookSecret { .. }");
    }
}
