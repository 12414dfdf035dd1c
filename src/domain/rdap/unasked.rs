//! Registries that are not among the sources: only which of them have a service is known.

use async_trait::async_trait;

use super::Rdap;
use crate::address::RegistrableDomain;
use crate::domain::{DomainSource, Report, SourceError};

/// Tells for which domains there is a registry to ask, and asks none. Where there is one, nobody else may vouch for a registration.
#[derive(Debug)]
pub struct Unasked(Rdap);

impl Rdap {
    /// This source with no registry asked, to stand for the registries among [`Sources`](crate::domain::Sources) that are asked without them.
    #[must_use]
    pub const fn unasked(self) -> Unasked {
        Unasked(self)
    }
}

#[async_trait]
impl DomainSource for Unasked {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        let top_level = domain.top_level().to_owned();
        // Not by what is loaded alone: nobody else would ever load the list again.
        let has_server = self.0.bases(domain)?.is_some();
        Err(if has_server { SourceError::NotAsked { top_level } } else { SourceError::NoService { top_level } })
    }
}
