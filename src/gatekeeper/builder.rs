//! What a gatekeeper is made of.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{Gatekeeper, Inner};
use crate::account::Directory;
use crate::address::RegistrableDomain;
use crate::audit::AuditSink;
use crate::clock::{Clock, SystemClock};
use crate::domain::DomainSource;
use crate::domain::cache::{Cache, CacheSettings, Store};
use crate::exemption::Exemptions;
use crate::metrics::Metrics;
use crate::policy::Policy;

/// What a [`Gatekeeper`] is made of.
#[derive(Default)]
pub struct GatekeeperBuilder {
    directory: Option<Arc<dyn Directory>>,
    domains: Option<Arc<dyn DomainSource>>,
    audit: Option<Arc<dyn AuditSink>>,
    store: Option<Arc<dyn Store>>,
    exemptions: Option<Arc<dyn Exemptions>>,
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    state: Option<crate::state::State>,
    clock: Option<Arc<dyn Clock>>,
    policy: Policy,
    cache: CacheSettings,
    allowed_unrecorded: bool,
}

/// Why a [`Gatekeeper`] can't be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A part was not given.
    #[error("a gatekeeper needs `{0}`")]
    Missing(&'static str),
    /// A setting makes no sense.
    #[error("`{setting}` {what}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl GatekeeperBuilder {
    /// Where the accounts are.
    #[must_use]
    pub fn directory(mut self, directory: impl Directory) -> Self {
        self.directory = Some(Arc::new(directory));
        self
    }

    /// Who knows how domains stand. What it says is remembered for [`fresh_for`](Self::fresh_for).
    #[must_use]
    pub fn domains(mut self, source: impl DomainSource) -> Self {
        self.domains = Some(Arc::new(source));
        self
    }

    /// Where verdicts are recorded.
    #[must_use]
    pub fn audit(mut self, sink: impl AuditSink) -> Self {
        self.audit = Some(Arc::new(sink));
        self
    }

    /// Whether what was let through is recorded too. It is by default.
    #[must_use]
    pub const fn record_allowed(mut self, record: bool) -> Self {
        self.allowed_unrecorded = !record;
        self
    }

    /// The settings of judging.
    #[must_use]
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How long a report about a domain is used without asking again. One hour by default.
    #[must_use]
    pub const fn fresh_for(mut self, fresh_for: Duration) -> Self {
        self.cache.fresh_for = fresh_for;
        self
    }

    /// How old a report may be that stands in while its source fails. Seven days by default.
    #[must_use]
    pub const fn stale_for(mut self, stale_for: Duration) -> Self {
        self.cache.stale_for = stale_for;
        self
    }

    /// How long the live check may take. Two seconds by default.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.cache.timeout = timeout;
        self
    }

    /// How many domains are remembered. A hundred thousand by default.
    #[must_use]
    pub const fn cache_capacity(mut self, domains: usize) -> Self {
        self.cache.capacity = domains;
        self
    }

    /// Domains of mailbox providers, whose resets wait for no source while what is known of them may stand in. By default
    /// [these](crate::domain::cache::providers::KNOWN).
    #[must_use]
    pub fn providers(mut self, domains: impl IntoIterator<Item = RegistrableDomain>) -> Self {
        self.cache.providers = domains.into_iter().collect();
        self
    }

    /// Where what is seen of domains outlives the process and is shared by replicas. Without it, memory alone has it. It also has the
    /// [exemptions](crate::State::exempt), without which nobody passes a block.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    #[must_use]
    pub fn state(mut self, state: crate::state::State) -> Self {
        self.store = Some(Arc::new(state.clone()));
        self.exemptions = Some(Arc::new(state.clone()));
        self.state = Some(state);
        self
    }

    /// Who tells the time. The machine's clock by default.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Puts everything together.
    ///
    /// # Errors
    /// Names what is missing or makes no sense.
    pub fn build(self) -> Result<Gatekeeper, BuildError> {
        let directory = self.directory.ok_or(BuildError::Missing("directory"))?;
        let source = self.domains.ok_or(BuildError::Missing("domains"))?;
        let audit = self.audit.ok_or(BuildError::Missing("audit"))?;
        let setting = |setting, what| Err(BuildError::Setting { setting, what });
        if self.cache.timeout.is_zero() {
            return setting("timeout", "must not be zero, or no source could ever answer");
        }
        if self.cache.capacity == 0 {
            return setting("cache_capacity", "must not be zero, or every request would ask anew");
        }
        if self.cache.stale_for < self.cache.fresh_for {
            return setting("stale_for", "must not be shorter than `fresh_for`");
        }
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let domains = Cache::over(self.store, source, Arc::clone(&clock), self.cache);
        let inner = Inner {
            directory,
            domains,
            audit,
            exemptions: self.exemptions,
            policy: self.policy,
            clock,
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            state: self.state,
            record_allowed: !self.allowed_unrecorded,
            metrics: Metrics::new(),
            following: OnceLock::new(),
        };
        Ok(Gatekeeper { inner: Arc::new(inner) })
    }
}

impl std::fmt::Debug for GatekeeperBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatekeeperBuilder").field("policy", &self.policy).field("cache", &self.cache).finish_non_exhaustive()
    }
}
