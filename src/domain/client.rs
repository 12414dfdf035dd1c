//! The HTTP client for registries: no question takes long, answers much, or leads anywhere but to a public https server.
//!
//! 1. Redirects are followed (RFC 7480 §5.2), three at most.
//! 2. Servers are https on public addresses. A name is checked when it is resolved for the connection, so an answer that changes
//!    between check and use (DNS rebinding) leads nowhere. `allow_insecure` lifts both, for tests.
//! 3. Bodies of over a mebibyte and answers of over ten seconds are cut off. At most 64 questions are under way at a time, and at most eight
//!    to one server, so that one which hangs keeps nobody from asking the others.
//! 4. A server is asked sixteen times a second, and a hundred times at once after a pause. Who comes too early waits, ten seconds at most; more fail at once. Where the
//!    [pace](Pace) is set higher, more are under way.
//! 5. A server that answers 429 or 503 with `Retry-After` (RFC 9110 §10.2.3, RFC 7480 §5.5) is not asked before that is over. Meanwhile questions fail at
//!    once, as the answer did, with the time that is left.
//! 6. A question is asked a second time, a moment later, where the server can't be connected to or broke off before any answer, and where it answered 502,
//!    503 or 504 without `Retry-After`. A question that ran out of time is not, nor one that got any other answer: the second would be the same.
//! 7. A server that failed five different questions in a row is left alone for five seconds, then tried by one question alone. A failure is no answer, one that breaks
//!    off or is waited for in vain, or one of 5xx; a refusal (4xx, 501) is none.
//!
//! Where a question is redirected, these count for the server that was asked, not for the one that it led to.
//!
//! No question is asked twice at a time to take the quicker answer (hedging). Registries limit how often they are asked, and are slow when they have much
//! to do, so twice the questions would make slow servers slower. Who waits is served by what the cache remembers instead.

mod breaker;
mod pace;
mod server;
pub(crate) mod wait;

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use http::header::{ACCEPT, HeaderMap};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};
use tokio::sync::Semaphore;
use tracing::{Instrument, Span, field};

pub(super) use self::pace::Pace;
use self::server::{Server, Servers};
use crate::domain::SourceError;
use crate::outbound::{self, Limits};

const MAX_BODY: usize = 1 << 20;
const MAX_REDIRECTS: usize = 3;
const LIMITS: Limits = Limits { connect: Duration::from_secs(3), whole: Duration::from_secs(10) };

/// The second try comes once to twice this much later, so that those who failed together don't come together again.
const SECOND_TRY_AFTER: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    permits: Arc<Semaphore>,
    servers: Arc<Servers>,
    allow_insecure: bool,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A span with the names of OpenTelemetry's conventions. Without the query, in which a key may stand.
fn span(url: &Url) -> Span {
    tracing::debug_span!(
        "GET",
        "http.request.method" = "GET",
        "server.address" = url.host_str(),
        "server.port" = url.port_or_known_default(),
        "url.path" = url.path(),
        "http.response.status_code" = field::Empty,
    )
}

/// How one try failed.
struct Failed {
    outcome: Result<Answer, Box<SourceError>>,
    /// Whether a second try may go better.
    may_pass: bool,
}

impl Client {
    pub(super) fn new(allow_insecure: bool, pace: Pace) -> Result<Self, SourceError> {
        let mut builder = outbound::client(LIMITS)
            .pool_max_idle_per_host(pace.under_way() / 2)
            .redirect(Policy::custom(move |attempt| follow(attempt, allow_insecure)));
        if !allow_insecure {
            builder = builder.dns_resolver(Arc::new(PublicAddresses));
        }
        let http = builder.build().map_err(|error| transport("the HTTP client", error))?;
        let permits = Arc::new(Semaphore::new(pace.under_way_in_all()));
        Ok(Self { http, permits, servers: Arc::new(Servers::new(pace)), allow_insecure })
    }

    /// Whether `url` may be asked.
    pub(super) fn permits(&self, url: &Url) -> bool {
        is_permitted(url, self.allow_insecure)
    }

    pub(super) async fn get(&self, url: &Url, accept: &'static str) -> Result<Answer, SourceError> {
        self.get_with(url, accept, HeaderMap::new()).await
    }

    /// As [`get`](Self::get), with further headers such as conditions (RFC 9110 §13.1).
    pub(super) async fn get_with(&self, url: &Url, accept: &'static str, headers: HeaderMap) -> Result<Answer, SourceError> {
        if !self.permits(url) {
            return Err(SourceError::Unusable { url: url.to_string(), what: "the server is not https on a public address" });
        }
        let server = self.servers.of(url);
        let second_try = ExponentialBuilder::new().with_min_delay(SECOND_TRY_AFTER).with_max_times(1).with_jitter();
        (|| self.try_once(&server, url, accept, headers.clone()).instrument(span(url)))
            .retry(second_try)
            .sleep(tokio::time::sleep)
            .when(|failed| failed.may_pass && server.is_up().is_ok())
            .await
            .or_else(|failed| failed.outcome.map_err(|error| *error))
    }

    async fn try_once(&self, server: &Server, url: &Url, accept: &'static str, headers: HeaderMap) -> Result<Answer, Failed> {
        let failed = |error: reqwest::Error| Failed { may_pass: may_pass(&error), ..transport(url.as_str(), error).into() };
        let asked = server.enter(&self.permits, url.as_str()).await.map_err(|spared| spared.into_error(url))?;
        let sent = self.http.get(url.clone()).headers(headers).header(ACCEPT, accept).send().await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => {
                // A server that redirects to nowhere did answer.
                if error.is_redirect() {
                    asked.answered(302)
                } else {
                    asked.failed()
                }
                return Err(failed(error));
            }
        };
        let (status, retry_after) = (response.status().as_u16(), wait::retry_after(response.headers()));
        Span::current().record("http.response.status_code", status);
        asked.heard(status, retry_after);
        let headers = std::mem::take(response.headers_mut());
        let body = outbound::body(response, MAX_BODY).await;
        // An answer that breaks off is none, however it began.
        if body.is_ok() {
            asked.answered(status)
        } else {
            asked.failed()
        }
        let body = body.map_err(|error| transport(url.as_str(), error))?;
        let body = body.ok_or_else(|| SourceError::Unusable { url: url.to_string(), what: "over a mebibyte long" })?;
        let answer = Answer { status, retry_after, headers, body };
        if matches!(status, 502..=504) && retry_after.is_none() {
            return Err(Failed { outcome: Ok(answer), may_pass: true });
        }
        Ok(answer)
    }
}

impl From<SourceError> for Failed {
    fn from(error: SourceError) -> Self {
        Self { outcome: Err(Box::new(error)), may_pass: false }
    }
}

/// Whether the question surely got no answer, and what kept it from one may be over in a moment. A certificate that is not trusted stays so.
fn may_pass(error: &reqwest::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
    let passes = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref().is_some_and(hyper::Error::is_incomplete_message)
            || cause.downcast_ref::<io::Error>().is_some_and(|error| {
                matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | UnexpectedEof)
            })
    };
    !error.is_timeout() && std::iter::successors(error.source(), |cause| (*cause).source()).any(passes)
}

pub(super) fn transport(url: &str, error: reqwest::Error) -> SourceError {
    SourceError::Transport { url: url.to_owned(), source: error.without_url().into() }
}

fn follow(attempt: Attempt<'_>, allow_insecure: bool) -> reqwest::redirect::Action {
    if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error("too many redirects")
    } else if is_permitted(attempt.url(), allow_insecure) {
        attempt.follow()
    } else {
        attempt.error("redirected to a server that is not https on a public address")
    }
}

fn is_permitted(url: &Url, allow_insecure: bool) -> bool {
    let address = url.host_str().map(|host| host.trim_matches(['[', ']']).parse::<IpAddr>());
    match (url.scheme(), address) {
        ("http" | "https", Some(_)) if allow_insecure => true,
        ("https", Some(Ok(address))) => is_public(address),
        ("https", Some(Err(_))) => true, // a name, whose addresses are checked when it is resolved
        _ => false,
    }
}

/// Resolves names as the system does, and hides what is not public.
struct PublicAddresses;

impl Resolve for PublicAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<_> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(Box::<dyn Error + Send + Sync>::from("no public address"));
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether `address` is one that anybody on the internet may have (the IANA special-purpose registries, RFC 6890).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => address.to_ipv4_mapped().map_or_else(|| is_public_v6(address), is_public_v4),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0                              // this network
        || a >= 224                            // multicast, reserved, broadcast
        || (a == 100 && (64..128).contains(&b)) // shared address space
        || (a == 192 && b == 0 && c == 0)      // protocol assignments
        || (a == 192 && b == 88 && c == 99)    // 6to4 relays
        || (a == 198 && (b == 18 || b == 19))) // benchmarking
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Global unicast is 2000::/3, in which some ranges are special or lead on to IPv4.
    (0x2000..0x4000).contains(&a)
        && !(a == 0x2001 && b < 0x0200)        // protocol assignments, Teredo
        && !(a == 0x2001 && b == 0x0db8)       // documentation
        && a != 0x2002                         // 6to4
        && !(a == 0x3fff && b < 0x1000) // documentation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_https_servers_are_asked() {
        for url in ["https://rdap.example/", "https://8.8.8.8/", "https://[2606:4700::1111]/"] {
            assert!(is_permitted(&Url::parse(url).unwrap(), false), "{url}");
        }
        for url in [
            "http://rdap.example/",
            "ftp://rdap.example/",
            "file:///etc/passwd",
            "https://127.0.0.1/",
            "https://0x7f.1/",
            "https://10.0.0.1/",
            "https://172.16.0.1/",
            "https://192.168.1.1/",
            "https://169.254.169.254/latest/meta-data/",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://255.255.255.255/",
            "https://224.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[fe80::1]/",
            "https://[fd00::1]/",
            "https://[64:ff9b::a00:1]/",
            "https://[2002:a00:1::]/",
            "https://[2001:db8::1]/",
        ] {
            assert!(!is_permitted(&Url::parse(url).unwrap(), false), "{url}");
        }
        assert!(is_permitted(&Url::parse("http://127.0.0.1:8080/").unwrap(), true));
        assert!(!is_permitted(&Url::parse("file:///etc/passwd").unwrap(), true));
    }

    #[tokio::test]
    async fn a_name_with_only_private_addresses_does_not_resolve() {
        assert!(PublicAddresses.resolve("localhost".parse().unwrap()).await.is_err());
    }
}
