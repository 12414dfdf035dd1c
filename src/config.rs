//! `gatekeeper.toml`, read into the settings that it stands for. Nothing is decided here.
//!
//! Durations are `"90s"`, `"12h"`, `"14d"`, sizes `"64KiB"`. A variable `GATEKEEPER__POLICY__EXPIRING_WITHIN` overrides `expiring_within` in `[policy]`, and
//! so for every other value outside `[[guard]]`; a flag overrides both. Relative paths are relative to the file. A secret stands in no file: it comes by a variable, or by a file of its own that the
//! configuration names.

mod audit;
mod domains;
mod fixed;
mod layers;
mod sections;
mod site;
mod stores;
mod sweep;
mod text;
mod webhook;

use std::path::{Path, PathBuf};

use toml::Spanned;

use self::layers::Origin;
use self::sections::{NOWHERE, Sections};
use self::text::{Span, Text};
use crate::account::DirectoryError;
use crate::domain::cache::CacheSettings;
use crate::domain::rdap::{Rdap, RdapBuilder};
use crate::policy::{OnUnknown, Policy};

pub use self::audit::{AUDIT_KEY, AuditSettings};
pub use self::domains::{Endpoint, Nameserver, SourceSettings};
pub use self::fixed::Fixed;
pub use self::site::{AdminListener, Site, Tls};
pub use self::stores::{DirectorySettings, StateStore, Store, Stores};

/// The settings of a file, of the environment, and the defaults of all else.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The section `[policy]`.
    pub policy: Policy,
    /// How reports are remembered, of the section `[domains]`.
    pub cache: CacheSettings,
    /// How registries are asked, of the section `[domains.rdap]`.
    pub rdap: RdapBuilder,
    sections: Sections,
    origin: Origin,
}

/// What is wrong with a configuration, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file can't be read.
    #[error("{} can't be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The file says what it must not.
    #[error("{}:{line}: {what}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The line, counting from 1.
        line: usize,
        /// What is wrong, with the key.
        what: String,
    },
    /// A variable of the environment, or a flag, says what it must not.
    #[error("{name}: {what}")]
    Override {
        /// The variable's name, or the flag's.
        name: String,
        /// What is wrong, with the key.
        what: String,
    },
    /// A key that is needed is nowhere.
    #[error("{}: `{key}` is missing: {what}", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// The key.
        key: &'static str,
        /// What it would say.
        what: &'static str,
    },
}

impl Config {
    /// The configuration of `file`, overridden by those of `overrides` whose names begin with `GATEKEEPER__`, as variables of the environment do, or with `--`, as flags do.
    /// The last one wins. Without a file, the defaults.
    ///
    /// # Errors
    /// Where the file can't be read, or says what it must not, with line and key.
    pub fn read(file: Option<&Path>, overrides: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let (sections, origin) = Origin::read::<Sections>(file, overrides)?;
        sections.domains.can_be(&origin)?;
        let config = Self { policy: policy(&sections), cache: cache(&sections), rdap: rdap(&sections, &origin), sections, origin };
        Ok(config)
    }

    /// `error`, which the directory met when it was opened, where the configuration has the query, or else the address, that it is about.
    #[must_use]
    pub fn directory_error(&self, error: &DirectoryError, told: &str) -> ConfigError {
        let section = self.sections.directory.as_ref();
        let query = match error {
            DirectoryError::Query { query, .. } => Some(query.as_str()),
            _ => None,
        };
        let span = section.and_then(|section| match query {
            Some(query) => section.get_ref().span_of(query),
            None => section.get_ref().url.as_ref().map(Spanned::span),
        });
        let what = format!("`directory.{}`: {told}", query.unwrap_or("url"));
        self.origin.at(span.or_else(|| section.map(Spanned::span)).unwrap_or_default(), what)
    }

    /// Whether any key is there that only a guarded site needs.
    #[must_use]
    pub fn is_of_site(&self) -> bool {
        let Sections { upstream, reply, guards, directory, sweep, .. } = &self.sections;
        // What sweeps may guard nothing itself.
        upstream.is_some() || reply.is_some() || !guards.is_empty() || (directory.is_some() && sweep.is_none())
    }

    /// The settings of a site that is guarded, for the commands that need one.
    ///
    /// # Errors
    /// Where a key that a site needs is missing, or two keys don't go together.
    pub fn site(&self) -> Result<Site, ConfigError> {
        Site::of(&self.sections, &self.origin)
    }

    /// What the site keeps, for the commands that need no more of it.
    ///
    /// # Errors
    /// Where a key that is needed for it is missing, or two keys don't go together.
    pub fn stores(&self) -> Result<Stores, ConfigError> {
        Stores::of(&self.sections, &self.origin)
    }

    /// The keys of the file that hold a secret, whose place is the environment or a file of its own.
    #[must_use]
    pub fn secrets(&self) -> Vec<&'static str> {
        let Sections { directory, state, audit, .. } = &self.sections;
        let urls = [
            ("directory.url", directory.as_ref().and_then(|directory| directory.get_ref().url.as_ref())),
            ("state.url", state.as_ref().and_then(|state| state.get_ref().url.as_ref())),
            ("audit.webhook", audit.webhook.as_ref()),
        ];
        let is_secret = |url: &Spanned<String>| self.origin.is_of_file(&url.span()) && stores::masked(url.get_ref()) != *url.get_ref();
        urls.into_iter().filter(|(_, url)| url.is_some_and(is_secret)).map(|(key, _)| key).collect()
    }

    /// The configuration as it is in effect, in TOML, with secrets masked.
    ///
    /// # Errors
    /// Where it can't be written as TOML.
    pub fn effective(&self) -> Result<String, toml::ser::Error> {
        let mut sections = self.sections.clone();
        let directory = sections.directory.as_mut().and_then(|directory| directory.get_mut().url.as_mut());
        let state = sections.state.as_mut().and_then(|state| state.get_mut().url.as_mut());
        for url in directory.into_iter().chain(state) {
            let masked = stores::masked(url.get_ref());
            *url.get_mut() = masked;
        }
        if let Some(url) = &mut sections.audit.webhook {
            let masked = stores::masked_hook(url.get_ref());
            *url.get_mut() = masked;
        }
        if let Ok(reply) = site::reply(&self.sections, &self.origin)
            && let Some(section) = &mut sections.reply
        {
            section.floor.get_or_insert_with(|| Text::from_valid(Span(reply.floor)));
            let decoy_domain = reply.decoys_at().map(|domain| Spanned::new(NOWHERE, domain.to_owned()));
            section.decoy_domain = section.decoy_domain.take().or(decoy_domain);
        }
        if sections.audit.webhook.is_some() {
            sections.audit.webhook_format.get_or_insert(sections.audit.format.into());
        }
        toml::to_string(&sections)
    }
}

fn policy(sections: &Sections) -> Policy {
    let policy = &sections.policy;
    Policy {
        expiring_within: policy.expiring_within.value.0,
        notice_within: policy.notice_within.value.0,
        on_unknown: match policy.on_unknown {
            sections::OnUnknown::Block => OnUnknown::Block,
            sections::OnUnknown::Allow => OnUnknown::Allow,
        },
        unverify: policy.unverify,
    }
}

fn cache(sections: &Sections) -> CacheSettings {
    let domains = &sections.domains;
    CacheSettings {
        timeout: domains.timeout.value.0,
        fresh_for: domains.fresh_for.get_ref().value.0,
        stale_for: domains.stale_for.get_ref().value.0,
        providers: domains.providers.iter().map(|provider| provider.value.clone()).collect(),
        ..CacheSettings::default()
    }
}

fn rdap(sections: &Sections, origin: &Origin) -> RdapBuilder {
    let rdap = &sections.domains.rdap;
    let bootstrap = &rdap.bootstrap;
    let bootstrap = if bootstrap.contains("://") { bootstrap.clone() } else { origin.beside(Path::new(bootstrap)).display().to_string() };
    let builder = Rdap::builder().bootstrap(bootstrap).allow_insecure(rdap.allow_insecure);
    rdap.overrides.iter().fold(builder, |builder, (suffix, base)| builder.server(suffix, base))
}
