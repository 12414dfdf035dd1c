//! `gatekeeper.toml`, read into the settings that it stands for. Nothing is decided here.
//!
//! Durations are `"90s"`, `"12h"`, `"14d"`. A variable `GATEKEEPER__POLICY__EXPIRING_WITHIN` overrides `expiring_within` in `[policy]`, and
//! so for every other value. Relative paths are relative to the file. Sections that no command reads yet may be there; only their
//! names are checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use crate::domain::cache::CacheSettings;
use crate::domain::rdap::{IANA_BOOTSTRAP, Rdap, RdapBuilder};
use crate::policy::{OnUnknown, Policy};

const PREFIX: &str = "GATEKEEPER__";

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
}

/// What is wrong with a configuration, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
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
    /// A variable of the environment says what it must not.
    #[error("environment ({variables}): {what}")]
    Environment {
        /// The names of the variables that override the file.
        variables: String,
        /// What is wrong, with the key.
        what: String,
    },
}

impl Config {
    /// The configuration of `file`, overridden by those of `variables` that begin with `GATEKEEPER__`. Without a file, the defaults.
    ///
    /// # Errors
    /// Where the file can't be read, or says what it must not, with line and key.
    pub fn read(file: Option<&Path>, variables: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let text = match file {
            Some(file) => std::fs::read_to_string(file).map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?,
            None => String::new(),
        };
        let in_file = |error: &toml::de::Error| ConfigError::File {
            file: file.unwrap_or(Path::new("")).to_owned(),
            line: line_of(&text, error),
            what: explained(error.message()),
        };
        // The text itself first: only its errors know their line.
        toml::from_str::<Sections>(&text).map_err(|error| in_file(&error))?;
        let mut table: Table = text.parse().map_err(|error| in_file(&error))?;
        let mut names = Vec::new();
        for (name, value) in variables {
            if let Some(path) = name.strip_prefix(PREFIX) {
                let keys: Vec<String> = path.split("__").map(str::to_lowercase).collect();
                override_value(&mut table, &keys, &value);
                names.push(name);
            }
        }
        let sections = Sections::deserialize(table)
            .map_err(|error| ConfigError::Environment { variables: names.join(", "), what: explained(error.message()) })?;
        let folder = file.and_then(Path::parent).unwrap_or(Path::new(""));
        Ok(sections.into_config(folder))
    }
}

fn line_of(text: &str, error: &toml::de::Error) -> usize {
    let start = error.span().map_or(0, |span| span.start);
    text.get(..start).map_or(0, |before| before.matches('\n').count()) + 1
}

/// `message`, naming the nearest of the keys that it lists beside an unknown one.
fn explained(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let nearest =
        names.split_first().and_then(|(unknown, known)| known.iter().min_by_key(|known| strsim::damerau_levenshtein(unknown, known)));
    match nearest {
        Some(nearest) if message.starts_with("unknown") => format!("{message}; did you mean `{nearest}`?"),
        _ => message.to_owned(),
    }
}

fn override_value(table: &mut Table, keys: &[String], text: &str) {
    match keys {
        [] => {}
        [key] => {
            // A number, a boolean or an array where it reads as one, else a text.
            let value = format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
            table.insert(key.clone(), value.unwrap_or_else(|| Value::String(text.to_owned())));
        }
        [key, rest @ ..] => {
            let inner = table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Value::Table(inner) = inner {
                override_value(inner, rest, text);
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    #[serde(default)]
    domains: Domains,
    #[serde(default)]
    policy: PolicySection,
    #[serde(default, rename = "listen")]
    _listen: IgnoredAny,
    #[serde(default, rename = "upstream")]
    _upstream: IgnoredAny,
    #[serde(default, rename = "trusted_proxies")]
    _trusted_proxies: IgnoredAny,
    #[serde(default, rename = "timeout")]
    _timeout: IgnoredAny,
    #[serde(default, rename = "admin")]
    _admin: IgnoredAny,
    #[serde(default, rename = "reply")]
    _reply: IgnoredAny,
    #[serde(default, rename = "guard")]
    _guard: IgnoredAny,
    #[serde(default, rename = "directory")]
    _directory: IgnoredAny,
    #[serde(default, rename = "state")]
    _state: IgnoredAny,
    #[serde(default, rename = "sweep")]
    _sweep: IgnoredAny,
    #[serde(default, rename = "audit")]
    _audit: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Domains {
    #[serde(rename = "sources")]
    _sources: Vec<Source>,
    timeout: Span,
    fresh_for: Span,
    stale_for: Span,
    rdap: RdapSection,
    #[serde(rename = "fastly")]
    _fastly: IgnoredAny,
    #[serde(rename = "domainr")]
    _domainr: IgnoredAny,
    #[serde(rename = "dns")]
    _dns: IgnoredAny,
}

impl Default for Domains {
    fn default() -> Self {
        let cache = CacheSettings::default();
        Self {
            _sources: vec![Source::Rdap],
            timeout: Span(cache.timeout),
            fresh_for: Span(cache.fresh_for),
            stale_for: Span(cache.stale_for),
            rdap: RdapSection::default(),
            _fastly: IgnoredAny,
            _domainr: IgnoredAny,
            _dns: IgnoredAny,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Rdap,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RdapSection {
    bootstrap: String,
    overrides: BTreeMap<String, String>,
    allow_insecure: bool,
}

impl Default for RdapSection {
    fn default() -> Self {
        Self { bootstrap: IANA_BOOTSTRAP.to_owned(), overrides: BTreeMap::new(), allow_insecure: false }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PolicySection {
    expiring_within: Span,
    notice_within: Span,
    on_unknown: OnUnknownSetting,
    unverify: bool,
}

impl Default for PolicySection {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            expiring_within: Span(policy.expiring_within),
            notice_within: Span(policy.notice_within),
            on_unknown: OnUnknownSetting::Block,
            unverify: policy.unverify,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnUnknownSetting {
    Block,
    Allow,
}

struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let duration = humantime::parse_duration(&text);
        duration
            .map(Self)
            .map_err(|error| serde::de::Error::custom(format!("`{text}` is no duration such as \"90s\", \"12h\" or \"14d\": {error}")))
    }
}

impl Sections {
    fn into_config(self, folder: &Path) -> Config {
        let Self { domains, policy, .. } = self;
        let bootstrap = domains.rdap.bootstrap;
        let bootstrap = if bootstrap.contains("://") { bootstrap } else { folder.join(bootstrap).display().to_string() };
        let mut rdap = Rdap::builder().bootstrap(bootstrap).allow_insecure(domains.rdap.allow_insecure);
        for (suffix, base) in domains.rdap.overrides {
            rdap = rdap.server(suffix, base);
        }
        let on_unknown = match policy.on_unknown {
            OnUnknownSetting::Block => OnUnknown::Block,
            OnUnknownSetting::Allow => OnUnknown::Allow,
        };
        Config {
            policy: Policy {
                expiring_within: policy.expiring_within.0,
                notice_within: policy.notice_within.0,
                on_unknown,
                unverify: policy.unverify,
            },
            cache: CacheSettings {
                timeout: domains.timeout.0,
                fresh_for: domains.fresh_for.0,
                stale_for: domains.stale_for.0,
                ..CacheSettings::default()
            },
            rdap,
        }
    }
}
