//! The section `[domains]`: which sources are asked, and where; and for how long their answers count.

use std::net::SocketAddr;

use super::sections::{Domains, NOWHERE, Source};
use super::text::Resolver;
use super::{Config, ConfigError, Origin};

/// Which sources are asked, and where.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SourceSettings {
    /// Whether the registries are asked.
    pub rdap: bool,
    /// Whether Fastly Domain Research is.
    pub fastly: Option<Endpoint>,
    /// Whether Domainr is.
    pub domainr: Option<Endpoint>,
    /// Whether the DNS is.
    pub dns: Option<Nameserver>,
    /// Whether WHOIS servers are.
    pub whois: bool,
}

/// A service that is asked with a secret.
#[derive(Clone)]
#[non_exhaustive]
pub struct Endpoint {
    /// Where it is.
    pub url: String,
    /// What it is asked with.
    pub secret: String,
}

/// Without the secret.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Who is asked about names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nameserver {
    /// Whom the system asks.
    System,
    /// This resolver.
    At(SocketAddr),
}

impl Domains {
    /// Whether what is fresh may also stand in.
    pub(super) fn can_be(&self, origin: &Origin) -> Result<(), ConfigError> {
        let (fresh, stale) = (self.fresh_for.get_ref(), self.stale_for.get_ref());
        if stale.value.0 >= fresh.value.0 {
            return Ok(());
        }
        let span = Some(self.stale_for.span()).filter(|span| *span != NOWHERE).unwrap_or_else(|| self.fresh_for.span());
        let (fresh, stale) = (fresh.as_str(), stale.as_str());
        let what = format!("`domains.stale_for`, \"{stale}\", must not be shorter than `domains.fresh_for`, \"{fresh}\"");
        Err(origin.at(span, what))
    }
}

impl Config {
    /// Which sources are asked.
    ///
    /// # Errors
    /// Where the variable with the secret of a source that is asked is not set.
    pub fn sources(&self) -> Result<SourceSettings, ConfigError> {
        let domains = &self.sections.domains;
        let asks = |source| domains.sources.contains(&source);
        let fastly = || endpoint(&domains.fastly.endpoint, "domains.fastly.api_key_env", &domains.fastly.api_key_env);
        let domainr = || endpoint(&domains.domainr.endpoint, "domains.domainr.client_id_env", &domains.domainr.client_id_env);
        if domains.sources.is_empty() {
            return Err(self.origin.missing("domains.sources", "at least one of \"rdap\", \"fastly\", \"domainr\", \"dns\", \"whois\""));
        }
        Ok(SourceSettings {
            rdap: asks(Source::Rdap),
            fastly: asks(Source::Fastly).then(fastly).transpose()?,
            domainr: asks(Source::Domainr).then(domainr).transpose()?,
            dns: asks(Source::Dns).then_some(match domains.dns.resolver.value {
                Resolver::System => Nameserver::System,
                Resolver::At(address) => Nameserver::At(address),
            }),
            whois: asks(Source::Whois),
        })
    }
}

fn endpoint(url: &str, key: &str, variable: &str) -> Result<Endpoint, ConfigError> {
    match std::env::var(variable) {
        Ok(secret) if !secret.trim().is_empty() => Ok(Endpoint { url: url.to_owned(), secret: secret.trim().to_owned() }),
        Ok(_) | Err(_) => {
            let what = format!("`{key}` names this variable, and it is not set");
            Err(ConfigError::Override { name: variable.to_owned(), what })
        }
    }
}
