//! The registries' own word: the Registration Data Access Protocol (RFC 7480, RFC 9082, RFC 9083).
//!
//! 1. The authoritative server is the one that IANA's bootstrap file names (RFC 9224), or that an override names.
//! 2. It is asked for the registrable domain in A-labels and lower case (RFC 9082 §3.1.3).
//! 3. 200 with a domain object about that name is a report; 404 says that the name is not registered (RFC 7480 §5.3), where its body
//!    is empty or an RDAP error object and not some web server's page. All else says nothing, and is an error.
//!
//! What a deployment can break: an override that leads to a server which is not the registry's, or to the wrong path on one that is,
//! makes every domain of that suffix look unregistered.

mod bootstrap;
mod response;

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Url;

use bootstrap::{Bootstrap, Services, base_url};

use crate::address::RegistrableDomain;
use crate::domain::client::Client;
use crate::domain::{DomainSource, Report, SourceError};

pub use response::read;

const SOURCE: &str = "rdap";
const ACCEPT: &str = "application/rdap+json, application/json;q=0.9";

/// Where IANA publishes the bootstrap file for domain names (RFC 9224 §3).
pub const IANA_BOOTSTRAP: &str = "https://data.iana.org/rdap/dns.json";

/// Asks the registries by RDAP.
#[derive(Debug)]
pub struct Rdap {
    client: Client,
    bootstrap: Arc<Bootstrap>,
    overrides: Services,
}

impl Rdap {
    /// Asks the servers that IANA lists, over https alone.
    ///
    /// # Errors
    /// Where IANA's file can't be had.
    pub async fn iana() -> Result<Self, SourceError> {
        Self::builder().build().await
    }

    /// Settings other than those of [`Rdap::iana`].
    #[must_use]
    pub fn builder() -> RdapBuilder {
        RdapBuilder { bootstrap: IANA_BOOTSTRAP.to_owned(), overrides: Vec::new(), allow_insecure: false, starts_without: false }
    }

    async fn ask(&self, base: &Url, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        let unusable = |url: &Url, what| SourceError::Unusable { url: url.to_string(), what };
        let url = base.join(&format!("domain/{domain}")).map_err(|_| unusable(base, "no base URL"))?;
        let answer = self.client.get(&url, ACCEPT).await?;
        match answer.status {
            200 => {
                let mut report = read(&answer.body, domain).map_err(|what| unusable(&url, what))?;
                if calls_renewals_reregistrations(&url) {
                    report.reregistered_at = None;
                }
                Ok(report)
            }
            // The registry of .com and .net sends no body at all.
            404 if answer.body.is_empty() || response::is_error(&answer.body, 404) => Ok(Report::unregistered(SOURCE)),
            404 => Err(unusable(&url, "a 404 that is not RDAP's")),
            status => Err(SourceError::Refused { url: url.to_string(), status, retry_after: answer.retry_after }),
        }
    }
}

/// Google's registry reports renewals as `reregistration` and restores as `reinstantiation`; its names re-registered in earnest have a
/// new `registration`.
fn calls_renewals_reregistrations(url: &Url) -> bool {
    url.host_str().is_some_and(|host| host.ends_with(".google"))
}

#[async_trait]
impl DomainSource for Rdap {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        let services;
        let bases = match self.overrides.find(domain) {
            Some(bases) => bases,
            None => {
                services = self.bootstrap.services(&self.client)?;
                services.find(domain).unwrap_or_default()
            }
        };
        let mut answer = Err(SourceError::NoService { top_level: domain.top_level().to_owned() });
        // RFC 9224 §4: the URLs are alternatives. Only one that can't be reached calls for the next.
        for base in bases.iter().filter(|base| self.client.permits(base)) {
            answer = self.ask(base, domain).await;
            if !matches!(answer, Err(SourceError::Transport { .. })) {
                break;
            }
        }
        answer
    }
}

/// Settings of an [`Rdap`] source.
#[derive(Debug, Clone)]
pub struct RdapBuilder {
    bootstrap: String,
    overrides: Vec<(String, String)>,
    allow_insecure: bool,
    starts_without: bool,
}

impl RdapBuilder {
    /// The bootstrap file: a URL, or the path of a file in the form of RFC 9224.
    #[must_use]
    pub fn bootstrap(mut self, location: impl Into<String>) -> Self {
        self.bootstrap = location.into();
        self
    }

    /// The base URL of the server for `suffix` (such as `io`), whatever the bootstrap file says about it.
    #[must_use]
    pub fn server(mut self, suffix: impl Into<String>, base: impl Into<String>) -> Self {
        self.overrides.push((suffix.into(), base.into()));
        self
    }

    /// Permits servers without https and on loopback or private addresses. For tests; off by default.
    #[must_use]
    pub const fn allow_insecure(mut self, allow: bool) -> Self {
        self.allow_insecure = allow;
        self
    }

    /// Starts even where the bootstrap file is at a URL and can't be had now, as a whole site must not be down for it. It is asked for again soon; until it is
    /// there, no domain can be looked up but those of an [override](Self::server).
    #[must_use]
    pub const fn starts_without_bootstrap(mut self, starts: bool) -> Self {
        self.starts_without = starts;
        self
    }

    /// Loads the bootstrap file.
    ///
    /// # Errors
    /// Where the bootstrap file can't be had or read, or the base URL of an override is none.
    pub async fn build(self) -> Result<Rdap, SourceError> {
        let client = Client::new(self.allow_insecure)?;
        let mut overrides = Services::default();
        for (suffix, base) in self.overrides {
            let unusable = |what| SourceError::Unusable { url: base.clone(), what };
            let url = base_url(&base).ok_or_else(|| unusable("no URL"))?;
            if !client.permits(&url) {
                return Err(unusable("the server is not https on a public address"));
            }
            overrides.add(&suffix, vec![url]);
        }
        let bootstrap = Bootstrap::load(self.bootstrap, self.starts_without, &client).await?;
        Ok(Rdap { client, bootstrap, overrides })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_googles_registry_calls_renewals_reregistrations() {
        for (url, is_googles) in [("https://rdap.example.google/", true), ("https://rdap.example/", false), ("https://notgoogle/", false)] {
            assert_eq!(calls_renewals_reregistrations(&Url::parse(url).unwrap()), is_googles, "{url}");
        }
    }
}
