//! WHOIS (RFC 3912), for the country registries that have no RDAP service.
//!
//! Answers are text for people, each registry's in a form of its own, so only registries whose form is known are asked: see the table in `servers.rs`. What is read is
//! when the name was created, when it ends, and in which state it is.
//!
//! 1. That a name was not found proves nothing: servers say so also for names that exist, when they are asked too often or about what they don't keep. It is no answer, like an
//!    empty one, a notice of too many questions, and terms of use alone.
//! 2. Servers are at public addresses, by the table alone: no answer leads to another server.
//! 3. An answer of over ten seconds or 64 KiB is cut off, and four questions are under way at a time.
//!
//! The protocol is a line each way. The crates that speak it bring lists of servers, referrals and their own resolvers, and none reads dates, so it stands here.

mod servers;
mod text;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use self::servers::{SERVERS, Server};
use super::client::is_public;
use super::{DomainSource, Report, SourceError};
use crate::address::RegistrableDomain;

const SOURCE: &str = "whois";
const PORT: u16 = 43;
const MAX_ANSWER: u64 = 64 << 10;
const MAX_QUESTIONS: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks registries by WHOIS.
pub struct Whois {
    /// By top-level domain.
    addresses: HashMap<String, String>,
    allow_insecure: bool,
    permits: Semaphore,
}

impl Whois {
    /// Asks the servers that are known.
    #[must_use]
    pub fn new() -> Self {
        Self { addresses: HashMap::new(), allow_insecure: false, permits: Semaphore::new(MAX_QUESTIONS) }
    }

    /// Asks about names of one of the known top-level domains at another server, `host:port`.
    #[must_use]
    pub fn server(mut self, top_level: impl Into<String>, address: impl Into<String>) -> Self {
        self.addresses.insert(top_level.into(), address.into());
        self
    }

    /// Permits servers on loopback and private addresses. For tests; off by default.
    #[must_use]
    pub const fn allow_insecure(mut self, allow: bool) -> Self {
        self.allow_insecure = allow;
        self
    }

    /// The server for names below `top_level` and where it is asked, `host:port`. `None` where it has none that is known.
    fn server_for(&self, top_level: &str) -> Option<(&'static Server, String)> {
        let server = SERVERS.iter().find(|server| server.top_levels.contains(&top_level))?;
        let address = self.addresses.get(top_level).cloned().unwrap_or_else(|| format!("{}:{PORT}", server.host));
        Some((server, address))
    }

    async fn ask(&self, address: &str, question: &str) -> Result<String, SourceError> {
        let failed = |source: std::io::Error| SourceError::Transport { url: format!("whois://{address}"), source: source.into() };
        let permit = self.permits.acquire().await;
        let found = tokio::net::lookup_host(address).await.map_err(failed)?;
        let permitted: Vec<SocketAddr> = found.filter(|found| self.allow_insecure || is_public(found.ip())).collect();
        let mut stream = TcpStream::connect(&*permitted).await.map_err(failed)?;
        stream.write_all(format!("{question}\r\n").as_bytes()).await.map_err(failed)?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await.map_err(failed)?;
        drop(permit);
        // Old servers write Latin-1, in which every byte is a letter; what is read is ASCII, or Japanese in UTF-8.
        Ok(String::from_utf8(answer).unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect()))
    }
}

impl Default for Whois {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl DomainSource for Whois {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        let top_level = domain.top_level();
        let no_service = || SourceError::NoService { top_level: top_level.to_owned() };
        let (server, address) = self.server_for(top_level).ok_or_else(no_service)?;
        let question = server.question.replace("{}", domain.as_str());
        let late = |_| SourceError::Timeout { domain: domain.as_str().into(), limit: TIMEOUT };
        let answer = tokio::time::timeout(TIMEOUT, self.ask(&address, &question)).await.map_err(late)??;
        text::read(&answer, domain, server).map_err(|what| SourceError::Unusable { url: format!("whois://{address}"), what })
    }

    fn servers(&self, domain: &RegistrableDomain) -> Vec<String> {
        self.server_for(domain.top_level()).map(|(_, address)| format!("whois://{address}")).into_iter().collect()
    }
}

impl fmt::Debug for Whois {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whois").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
