//! The HTTP client for registries: no question takes long, answers much, or leads anywhere but to a public https server.
//!
//! 1. Redirects are followed (RFC 7480 §5.2), three at most.
//! 2. Servers are https on public addresses. A name is checked when it is resolved for the connection, so an answer that changes
//!    between check and use (DNS rebinding) leads nowhere. `allow_insecure` lifts both, for tests.
//! 3. Bodies of over a mebibyte and answers of over ten seconds are cut off. At most 64 questions are under way at a time, and at most eight
//!    to one server, so that one which hangs keeps nobody from asking the others.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use http::header::{ACCEPT, HeaderMap, RETRY_AFTER};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};
use tokio::sync::Semaphore;

use crate::answer;
use crate::domain::SourceError;

const MAX_BODY: usize = 1 << 20;
const MAX_QUESTIONS: usize = 64;
const MAX_QUESTIONS_TO_A_SERVER: usize = 8;
const MAX_REDIRECTS: usize = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    permits: Arc<Semaphore>,
    /// By origin. Only servers that the bootstrap file, our own table or an override names get here, and the registrars that these link to.
    permits_by_server: Arc<DashMap<String, Arc<Semaphore>>>,
    allow_insecure: bool,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Client {
    pub(super) fn new(allow_insecure: bool) -> Result<Self, SourceError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(4)
            .no_proxy()
            .user_agent(concat!("reset-gatekeeper/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::custom(move |attempt| follow(attempt, allow_insecure)));
        if !allow_insecure {
            builder = builder.dns_resolver(Arc::new(PublicAddresses));
        }
        let http = builder.build().map_err(|error| transport("the HTTP client", error))?;
        let permits = Arc::new(Semaphore::new(MAX_QUESTIONS));
        Ok(Self { http, permits, permits_by_server: Arc::default(), allow_insecure })
    }

    /// Whether `url` may be asked.
    pub(super) fn permits(&self, url: &Url) -> bool {
        is_permitted(url, self.allow_insecure)
    }

    fn server(&self, url: &Url) -> Arc<Semaphore> {
        let permits = || Arc::new(Semaphore::new(MAX_QUESTIONS_TO_A_SERVER));
        Arc::clone(&self.permits_by_server.entry(url.origin().ascii_serialization()).or_insert_with(permits))
    }

    pub(super) async fn get(&self, url: &Url, accept: &'static str) -> Result<Answer, SourceError> {
        self.get_with(url, accept, HeaderMap::new()).await
    }

    /// As [`get`](Self::get), with further headers such as conditions (RFC 9110 §13.1).
    pub(super) async fn get_with(&self, url: &Url, accept: &'static str, headers: HeaderMap) -> Result<Answer, SourceError> {
        if !self.permits(url) {
            return Err(SourceError::Unusable { url: url.to_string(), what: "the server is not https on a public address" });
        }
        let failed = |error: reqwest::Error| transport(url.as_str(), error);
        let server = self.server(url);
        let _permits = (server.acquire().await, self.permits.acquire().await);
        let mut response = self.http.get(url.clone()).headers(headers).header(ACCEPT, accept).send().await.map_err(failed)?;
        let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
        let headers = std::mem::take(response.headers_mut());
        let body = answer::body(response, MAX_BODY).await.map_err(failed)?;
        let body = body.ok_or_else(|| SourceError::Unusable { url: url.to_string(), what: "over a mebibyte long" })?;
        Ok(Answer { status, retry_after, headers, body })
    }
}

fn transport(url: &str, error: reqwest::Error) -> SourceError {
    SourceError::Transport { url: url.to_owned(), source: error.without_url().into() }
}

/// The delay in seconds (RFC 9110 §10.2.3). A date is not taken: the server's clock may be any.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
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
