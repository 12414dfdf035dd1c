//! The registries' own word: the Registration Data Access Protocol (RFC 7480, RFC 9082, RFC 9083).
//!
//! 1. The authoritative server is the one that an override names, or IANA's bootstrap file (RFC 9224), or else our own table of servers that the file
//!    lacks. A registry below a top-level domain, such as that of `uk.com`, has a server of its own or none.
//! 2. It is asked for the registrable domain in A-labels and lower case (RFC 9082 §3.1.3).
//! 3. 200 with a domain object about that name is a report; 404 says that the name is not registered (RFC 7480 §5.3), where its body is RDAP's. One that any server
//!    might send counts where the server's `help` is RDAP's (RFC 9082 §3.1.6). All else says nothing, and is an error.
//! 4. Where the registry renewed the registration by itself, the registrar is asked whether its holder did, by the link in the answer.
//!
//! What a deployment can break: an override that leads to a server which is not the registry's makes every domain of that suffix look unregistered.

mod bootstrap;
mod entities;
mod help;
mod lenient;
mod members;
mod registrar;
mod response;
mod unasked;
mod unlisted;

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Url;

use bootstrap::{Bootstrap, Services, base_url};
use help::{Help, Helps};
use response::{NotFound, read_with_links};

use crate::address::RegistrableDomain;
use crate::clock::{Clock, SystemClock};
use crate::domain::client::{Client, Pace};
use crate::domain::{DomainSource, Report, SourceError};

pub use response::read;
pub use unasked::Unasked;

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
    unlisted: Services,
    helps: Helps,
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
        RdapBuilder {
            bootstrap: IANA_BOOTSTRAP.to_owned(),
            overrides: Vec::new(),
            allow_insecure: false,
            starts_without: false,
            pace: Pace::default(),
        }
    }

    /// Whether the registry of `domain` has a server, as far as anybody knows: then it has the word about it, and the DNS has none.
    ///
    /// # Errors
    /// Where that can't be told, as the bootstrap file could not be loaded yet.
    pub fn serves(&self, domain: &RegistrableDomain) -> Result<bool, SourceError> {
        match self.overrides.find(domain) {
            Some(_) => Ok(true),
            None => Ok(self.listed(&*self.bootstrap.loaded()?, domain).is_some()),
        }
    }

    /// The base URLs for `domain` that may be asked, the first one first. `None` where its registry has none, as far as anybody knows.
    fn bases(&self, domain: &RegistrableDomain) -> Result<Option<Vec<Url>>, SourceError> {
        match self.overrides.find(domain) {
            Some(bases) => Ok(Some(bases.to_vec())),
            None => Ok(self.listed(&*self.bootstrap.services(&self.client)?, domain).map(<[Url]>::to_vec)),
        }
    }

    /// What `services` have for `domain` or, where they don't list it at all, our own table.
    fn listed<'a>(&'a self, services: &'a Services, domain: &RegistrableDomain) -> Option<&'a [Url]> {
        services.find(domain).or_else(|| self.unlisted.find(domain))
    }

    async fn ask(&self, base: &Url, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        let url = base.join(&format!("domain/{domain}")).map_err(|_| unusable(base, "no base URL"))?;
        let answer = self.client.get(&url, ACCEPT).await?;
        match answer.status {
            200 => {
                let (mut report, links) = read_with_links(&answer.body, domain).map_err(|what| unusable(&url, what))?;
                if calls_renewals_reregistrations(&url) {
                    report.reregistered_at = None;
                }
                // The time saves a question and decides nothing.
                if registrar::is_needed(&report, SystemClock.now()) {
                    self.ask_registrar(&mut report, &links, &url, domain).await;
                }
                Ok(report)
            }
            404 => match response::not_found(&answer.body) {
                NotFound::Rdap => Ok(Report::unregistered(SOURCE)),
                NotFound::Foreign => Err(unusable(&url, "a 404 that is not RDAP's")),
                NotFound::Anybody => match self.helps.of(base, &self.client, ACCEPT).await {
                    Help::Speaks => Ok(Report::unregistered(SOURCE)),
                    Help::Silent => Err(unusable(&url, "a 404 from a server that doesn't answer `help` either")),
                    Help::Unreached => Err(unusable(&url, "a 404 that could not be confirmed by `help`")),
                },
            },
            status => Err(SourceError::Refused { url: url.to_string(), status, retry_after: answer.retry_after }),
        }
    }

    /// Adds what the registrar says to a report on `asked`. One that fails, or speaks of something else, adds nothing.
    async fn ask_registrar(&self, report: &mut Report, links: &[Cow<'_, str>], asked: &Url, domain: &RegistrableDomain) {
        let Some(url) = registrar::question(links, asked, |url| self.client.permits(url)) else { return };
        match tokio::time::timeout(registrar::PATIENCE, self.client.get(&url, ACCEPT)).await {
            Ok(Ok(answer)) if answer.status == 200 => match read(&answer.body, domain) {
                Ok(registrars) => registrar::add(report, registrars),
                Err(what) => tracing::debug!(%url, what, "the registrar's answer can't be used"),
            },
            Ok(Ok(answer)) => tracing::debug!(%url, answer.status, "the registrar did not answer"),
            Ok(Err(error)) => tracing::debug!(error = &error as &dyn std::error::Error, "the registrar could not be asked"),
            Err(_) => tracing::debug!(%url, "the registrar took too long"),
        }
    }
}

fn unusable(url: &Url, what: &'static str) -> SourceError {
    SourceError::Unusable { url: url.to_string(), what }
}

/// Google's registry reports renewals as `reregistration` and restores as `reinstantiation`; its names re-registered in earnest have a
/// new `registration`.
fn calls_renewals_reregistrations(url: &Url) -> bool {
    url.host_str().is_some_and(|host| host.ends_with(".google"))
}

#[async_trait]
impl DomainSource for Rdap {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        let suffix = domain.second_level_registry().unwrap_or(domain.top_level());
        let Some(bases) = self.bases(domain)? else {
            return Err(SourceError::NoService { top_level: suffix.to_owned() });
        };
        // A registry whose servers may not be asked, as they have no https, is no registry without a service.
        let mut answer = Err(SourceError::Unusable { url: suffix.to_owned(), what: "its registry has no server that may be asked" });
        // RFC 9224 §4: the URLs are alternatives. Only one that can't be reached calls for the next.
        for base in bases {
            answer = self.ask(&base, domain).await;
            if !matches!(answer, Err(SourceError::Transport { .. })) {
                break;
            }
        }
        answer
    }

    fn servers(&self, domain: &RegistrableDomain) -> Vec<String> {
        let origins = |bases: &[Url]| bases.first().map(|base| base.origin().ascii_serialization());
        let origin = match (self.overrides.find(domain), self.bootstrap.loaded()) {
            (Some(bases), _) => origins(bases),
            (None, Ok(services)) => self.listed(&services, domain).and_then(origins),
            // Whoever it will be.
            (None, Err(_)) => Some(SOURCE.to_owned()),
        };
        Vec::from_iter(origin)
    }
}

/// Settings of an [`Rdap`] source.
#[derive(Debug, Clone)]
pub struct RdapBuilder {
    bootstrap: String,
    overrides: Vec<(String, String)>,
    allow_insecure: bool,
    starts_without: bool,
    pace: Pace,
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

    /// Permits servers without https and on loopback or private addresses, and asks none but those of the bootstrap file and of overrides. For tests; off by
    /// default.
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

    /// How often a server is asked a second, at most; after a pause, a second's worth at once, or a hundred. Sixteen by default, which is as much as registries
    /// publish that publish a limit. Where it is more, more questions are under way at a time, up to 64 to one server and 256 to all, and more wait: ten seconds' worth.
    #[must_use]
    pub const fn pace(mut self, per_second: NonZeroU32) -> Self {
        self.pace = Pace::new(per_second);
        self
    }

    /// Loads the bootstrap file.
    ///
    /// # Errors
    /// Where the bootstrap file can't be had or read, or the base URL of an override is none.
    pub async fn build(self) -> Result<Rdap, SourceError> {
        let client = Client::new(self.allow_insecure, self.pace)?;
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
        let unlisted = if self.allow_insecure { Services::default() } else { unlisted::services() };
        Ok(Rdap { client, bootstrap, overrides, unlisted, helps: Helps::default() })
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

    /// An override wins over the bootstrap file, and that over our own table.
    #[tokio::test]
    async fn our_own_table_serves_what_the_bootstrap_file_does_not_list() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            r#"{"services":[[["com"],["https://com.example/"]],[["de"],["https://de.example/"]],[["ch"],["http://ch.example/"]]]}"#,
        )
        .unwrap();
        let builder = Rdap::builder().bootstrap(file.path().display().to_string()).server("io", "https://io.example/");
        let (strict, lenient) = (builder.clone().build().await.unwrap(), builder.allow_insecure(true).build().await.unwrap());
        for (name, base, among_the_insecure) in [
            ("example.com", "https://com.example/", true),
            ("example.de", "https://de.example/", true),
            ("example.io", "https://io.example/", true),
            ("example.us", "https://rdap.nic.us/", false),
            ("example.uk.com", "https://rdap.centralnic.com/uk.com/", false),
            ("uk.com", "https://com.example/", true),
            ("example.it.com", "", false),
            ("example.ch", "", true),
            ("example.zz", "", false),
        ] {
            let domain = RegistrableDomain::of(name).unwrap();
            let first = strict.bases(&domain).unwrap().unwrap_or_default().first().map(Url::to_string).unwrap_or_default();
            assert_eq!(first, base, "{name}");
            let origin = Url::parse(base).ok().map(|base| base.origin().ascii_serialization());
            assert_eq!(strict.servers(&domain), Vec::from_iter(origin), "{name}");
            assert_eq!(strict.serves(&domain).unwrap(), !base.is_empty() || name == "example.ch", "{name}: one without https is one");
            assert_eq!(lenient.serves(&domain).unwrap(), among_the_insecure, "{name}");
        }
    }
}
