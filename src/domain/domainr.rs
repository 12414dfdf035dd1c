//! Domainr, in its second version: the service that Fastly's grew from, in another form.
//!
//! Its answer lists domains, ours among them, in words: `{"status":[{"domain":"…","zone":"com","status":"active"}]}`. When a registry is late, it answers as well as
//! it can within its own 30 seconds: `unknown` or `undelegated`, which tell nothing.

use async_trait::async_trait;
use serde::Deserialize;

use super::words::{self, Service};
use super::{DomainSource, Report, SourceError};
use crate::address::RegistrableDomain;

const SOURCE: &str = "domainr";

/// Where Domainr serves it.
pub const ENDPOINT: &str = "https://api.domainr.com/v2/status";

/// Asks Domainr.
#[derive(Clone)]
pub struct Domainr {
    service: Service,
    client_id: String,
}

#[derive(Deserialize)]
struct Answer {
    status: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    domain: String,
    status: String,
}

impl Domainr {
    /// Asks with a client identifier, which is a secret: who has it spends the quota.
    ///
    /// # Errors
    /// Where no client for HTTP can be made.
    pub fn new(client_id: impl Into<String>) -> Result<Self, SourceError> {
        Ok(Self { service: Service::new(ENDPOINT)?, client_id: client_id.into() })
    }

    /// Asks at another URL. It may be http and on loopback.
    ///
    /// # Errors
    /// Where it is none.
    pub fn endpoint(self, url: &str) -> Result<Self, SourceError> {
        Ok(Self { service: Service::new(url)?, ..self })
    }
}

#[async_trait]
impl DomainSource for Domainr {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        let parameters = [("domain", domain.as_str()), ("client_id", &self.client_id)];
        let body = self.service.ask(&parameters, |request| request).await?;
        let unusable = |what| self.service.unusable(what);
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| unusable("no status"))?;
        let entry = answer.status.iter().find(|entry| domain.is_named(&entry.domain)).ok_or_else(|| unusable("about another name"))?;
        words::report(SOURCE, &entry.status).ok_or_else(|| unusable("it could not tell"))
    }

    fn servers(&self, _: &RegistrableDomain) -> Vec<String> {
        vec![self.service.origin()]
    }
}

/// Without the client identifier.
impl std::fmt::Debug for Domainr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Domainr").field("endpoint", &self.service.url.as_str()).finish_non_exhaustive()
    }
}
