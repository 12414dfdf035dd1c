//! Fastly Domain Research, the service that PyPI asks.
//!
//! Its answer is about one domain, in words: `{"domain":"…","zone":"com","status":"undelegated inactive","tags":"generic"}`. `scope=estimate` is
//! never asked for, and an answer of that scope is none: it comes from the DNS alone. Nobody documents a rate; 429 is obeyed.

use async_trait::async_trait;
use http::HeaderValue;
use serde::Deserialize;

use super::words::{self, Service};
use super::{DomainSource, Report, SourceError};
use crate::address::RegistrableDomain;

const SOURCE: &str = "fastly";

/// Where Fastly serves it.
pub const ENDPOINT: &str = "https://api.fastly.com/domain-management/v1/tools/status";

/// Asks Fastly Domain Research.
#[derive(Clone)]
pub struct Fastly {
    service: Service,
    key: HeaderValue,
}

#[derive(Deserialize)]
struct Answer {
    domain: String,
    status: String,
    #[serde(default)]
    scope: Option<String>,
}

impl Fastly {
    /// Asks with an API key, whose account must have the product enabled.
    ///
    /// # Errors
    /// Where the key can't stand in a header.
    pub fn new(api_key: impl AsRef<str>) -> Result<Self, SourceError> {
        let unusable = || SourceError::Unusable { url: ENDPOINT.to_owned(), what: "the API key can't stand in a header" };
        let mut key = HeaderValue::from_str(api_key.as_ref()).map_err(|_| unusable())?;
        key.set_sensitive(true);
        Ok(Self { service: Service::new(ENDPOINT)?, key })
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
impl DomainSource for Fastly {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        let key = self.key.clone();
        let body = self.service.ask(&[("domain", domain.as_str())], |request| request.header("Fastly-Key", key)).await?;
        let unusable = |what| self.service.unusable(what);
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| unusable("no status"))?;
        if !domain.is_named(&answer.domain) {
            return Err(unusable("about another name"));
        }
        if answer.scope.is_some_and(|scope| scope.eq_ignore_ascii_case("estimate")) {
            return Err(unusable("only an estimate"));
        }
        words::report(SOURCE, &answer.status).ok_or_else(|| unusable("it could not tell"))
    }

    fn servers(&self, _: &RegistrableDomain) -> Vec<String> {
        vec![self.service.origin()]
    }
}

/// Without the key.
impl std::fmt::Debug for Fastly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fastly").field("endpoint", &self.service.url.as_str()).finish_non_exhaustive()
    }
}
