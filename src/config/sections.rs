//! The file's sections, key by key.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, Method};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::text::{Bytes, Interval, Network, OneOrMany, Rate, Resolver, Share, Size, Span, Text, Upstream};
use crate::address::RegistrableDomain;
use crate::domain::cache::CacheSettings;
use crate::domain::rdap::IANA_BOOTSTRAP;
use crate::domain::{domainr, fastly};
use crate::limit::Limit;
use crate::policy::Policy;
use crate::route::Guard;
use crate::target::{Decode, Target};

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sections {
    pub(super) listen: Text<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upstream: Option<Text<Upstream>>,
    pub(super) trusted_proxies: Vec<Text<Network>>,
    pub(super) timeout: Text<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) admin: Option<Text<SocketAddr>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) admin_token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<TlsSection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<ReplySection>,
    #[serde(rename = "guard", skip_serializing_if = "Vec::is_empty")]
    pub(super) guards: Vec<Spanned<GuardSection>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) directory: Option<Spanned<DirectorySection>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<Spanned<StateSection>>,
    pub(super) domains: Domains,
    pub(super) policy: PolicySection,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sweep: Option<SweepSection>,
    pub(super) audit: AuditSection,
}

impl Default for Sections {
    fn default() -> Self {
        Self {
            listen: Text::from_valid(SocketAddr::from(([127, 0, 0, 1], 8080))),
            upstream: None,
            trusted_proxies: Vec::new(),
            timeout: Text::from_valid(Span(Duration::from_secs(30))),
            admin: None,
            admin_token_file: None,
            tls: None,
            reply: None,
            guards: Vec::new(),
            directory: None,
            state: None,
            domains: Domains::default(),
            policy: PolicySection::default(),
            sweep: None,
            audit: AuditSection::default(),
        }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsSection {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplySection {
    pub(super) mode: Mode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) decoy_domain: Option<Spanned<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) floor: Option<Text<Span>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) support_url: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    Refuse,
    Decoy,
    Observe,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GuardSection {
    pub(super) path: Text<Guard>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) methods: Option<Vec<Text<Method>>>,
    pub(super) target: OneOrMany<Text<Target>>,
    #[serde(default)]
    pub(super) missing: Missing,
    #[serde(default)]
    pub(super) identifies: Identifies,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) decode: Option<Text<Decode>>,
    #[serde(default = "body_limit")]
    pub(super) body_limit: Text<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<Text<Limit>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<Text<HeaderValue>>,
}

/// As [`Guard`] has it.
fn body_limit() -> Text<Bytes> {
    Text::written("64KiB", Bytes(65_536))
}

#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Missing {
    #[default]
    Refuse,
    Pass,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Identifies {
    #[default]
    Email,
    Username,
    Id,
    Token,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DirectorySection {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<Spanned<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token_file: Option<PathBuf>,
    #[serde(default)]
    pub(super) id: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unverify: Option<Spanned<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) page: Option<Spanned<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) lookup: BTreeMap<Identifies, Spanned<String>>,
}

impl DirectorySection {
    /// Where the query of this name, such as `lookup.email`, stands.
    pub(super) fn span_of(&self, query: &str) -> Option<Range<usize>> {
        let kinds =
            [("email", Identifies::Email), ("username", Identifies::Username), ("id", Identifies::Id), ("token", Identifies::Token)];
        let query = match query {
            "unverify" => self.unverify.as_ref(),
            "page" => self.page.as_ref(),
            other => {
                let name = other.strip_prefix("lookup.")?;
                kinds.iter().find(|(known, _)| *known == name).and_then(|(_, kind)| self.lookup.get(kind))
            }
        };
        query.map(Spanned::span)
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Id {
    #[default]
    Integer,
    Text,
    Uuid,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StateSection {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<Spanned<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Domains {
    pub(super) sources: Vec<Source>,
    pub(super) timeout: Text<Span>,
    pub(super) fresh_for: Spanned<Text<Span>>,
    pub(super) stale_for: Spanned<Text<Span>>,
    pub(super) providers: Vec<Text<RegistrableDomain>>,
    pub(super) rdap: RdapSection,
    pub(super) fastly: FastlySection,
    pub(super) domainr: DomainrSection,
    pub(super) dns: DnsSection,
}

/// Where a value stands that nobody wrote.
pub(super) const NOWHERE: Range<usize> = 0..0;

impl Default for Domains {
    fn default() -> Self {
        let cache = CacheSettings::default();
        Self {
            sources: vec![Source::Rdap, Source::Dns],
            timeout: Text::from_valid(Span(cache.timeout)),
            fresh_for: Spanned::new(NOWHERE, Text::from_valid(Span(cache.fresh_for))),
            stale_for: Spanned::new(NOWHERE, Text::from_valid(Span(cache.stale_for))),
            providers: cache.providers.iter().cloned().map(Text::from_valid).collect(),
            rdap: RdapSection::default(),
            fastly: FastlySection::default(),
            domainr: DomainrSection::default(),
            dns: DnsSection::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Source {
    Rdap,
    Fastly,
    Domainr,
    Dns,
    Whois,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FastlySection {
    pub(super) endpoint: String,
    pub(super) api_key_env: String,
}

impl Default for FastlySection {
    fn default() -> Self {
        Self { endpoint: fastly::ENDPOINT.to_owned(), api_key_env: "FASTLY_API_KEY".to_owned() }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DomainrSection {
    pub(super) endpoint: String,
    pub(super) client_id_env: String,
}

impl Default for DomainrSection {
    fn default() -> Self {
        Self { endpoint: domainr::ENDPOINT.to_owned(), client_id_env: "DOMAINR_CLIENT_ID".to_owned() }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DnsSection {
    pub(super) resolver: Text<Resolver>,
}

impl Default for DnsSection {
    fn default() -> Self {
        Self { resolver: Text::from_valid(Resolver::System) }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RdapSection {
    pub(super) bootstrap: String,
    pub(super) overrides: BTreeMap<String, String>,
    pub(super) allow_insecure: bool,
}

impl Default for RdapSection {
    fn default() -> Self {
        Self { bootstrap: IANA_BOOTSTRAP.to_owned(), overrides: BTreeMap::new(), allow_insecure: false }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PolicySection {
    pub(super) expiring_within: Text<Span>,
    pub(super) notice_within: Text<Span>,
    pub(super) on_unknown: OnUnknown,
    pub(super) unverify: bool,
}

impl Default for PolicySection {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            expiring_within: Text::from_valid(Span(policy.expiring_within)),
            notice_within: Text::from_valid(Span(policy.notice_within)),
            on_unknown: OnUnknown::Block,
            unverify: policy.unverify,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnUnknown {
    Block,
    Allow,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SweepSection {
    pub(super) every: Text<Interval>,
    pub(super) recheck_after: Text<Interval>,
    pub(super) rate: Text<Rate>,
    pub(super) brake: Text<Share>,
}

/// As [`SweepSettings`](crate::SweepSettings) has it.
impl Default for SweepSection {
    fn default() -> Self {
        Self {
            every: Text::written("24h", Interval(Duration::from_secs(86_400))),
            recheck_after: Text::written("30d", Interval(Duration::from_secs(30 * 86_400))),
            rate: Text::written("10/s", Rate(10.0)),
            brake: Text::written("10%", Share(0.1)),
        }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuditSection {
    pub(super) file: PathBuf,
    pub(super) format: Format,
    pub(super) emails: Emails,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signing_key_file: Option<Spanned<PathBuf>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) webhook: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) webhook_format: Option<WebhookFormat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) risc_issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) risc_audience: Option<String>,
    pub(super) allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rotate_size: Option<Text<Size>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rotate_every: Option<Text<Interval>>,
}

impl Default for AuditSection {
    fn default() -> Self {
        Self {
            file: PathBuf::from("audit.jsonl"),
            format: Format::Native,
            emails: Emails::Plain,
            signing_key_file: None,
            webhook: None,
            webhook_format: None,
            risc_issuer: None,
            risc_audience: None,
            allowed: true,
            rotate_size: None,
            rotate_every: None,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    Native,
    Ocsf,
    CloudEvents,
}

/// Also what only a webhook takes.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WebhookFormat {
    Native,
    Ocsf,
    CloudEvents,
    Risc,
}

impl From<Format> for WebhookFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Native => Self::Native,
            Format::Ocsf => Self::Ocsf,
            Format::CloudEvents => Self::CloudEvents,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Emails {
    Plain,
    Hashed,
}
