//! What `serve` needs: the guarded site.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use ipnet::IpNet;
use toml::Spanned;

use super::ConfigError;
use super::layers::Origin;
use super::sections::{self, DirectorySection, GuardSection, Sections};
use super::stores::{StateStore, Store, Stores, masked};
use super::sweep::can_be_swept;
use crate::identifier::Identifies;
use crate::reply::Reply;
use crate::route::Guard;
use crate::target::Missing;

/// The variable that holds the secret of the admin listener.
const ADMIN_TOKEN: &str = "GATEKEEPER_ADMIN_TOKEN";

/// Everything of a configuration that makes a guarded site.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Site {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The application: scheme, host and port.
    pub upstream: Uri,
    /// Networks whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long the application may take to answer.
    pub timeout: Duration,
    /// The listener for the people who run it. `None` for none.
    pub admin: Option<AdminListener>,
    /// The certificate to answer https with. `None` for http.
    pub tls: Option<Tls>,
    /// How a blocked caller is answered.
    pub reply: Reply,
    /// The recovery endpoints.
    pub guards: Vec<Guard>,
    /// What it keeps.
    pub stores: Stores,
    /// How often all accounts are swept, as it was written. `None` where they aren't.
    sweep: Option<String>,
}

/// Where health, metrics and verdicts are asked for.
#[derive(Clone)]
#[non_exhaustive]
pub struct AdminListener {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The secret of who may ask for more than health and metrics: of the file that `admin_token_file` names, else of the variable `GATEKEEPER_ADMIN_TOKEN`.
    pub token: Option<String>,
}

/// Without the secret.
impl std::fmt::Debug for AdminListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminListener").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Tls {
    /// The chain of certificates, the server's own first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Site {
    /// What is guarded and how, in one line for who starts it.
    #[must_use]
    pub fn summary(&self) -> String {
        let stores = &self.stores;
        let accounts = match (&stores.directory.store, &stores.directory.queries) {
            (Store::Http { url, .. }, _) => masked(url),
            (Store::Sqlite(file), Some(_)) => file.display().to_string(),
            (Store::Postgres(url), Some(_)) => masked(url),
            (Store::Sqlite(file), None) => format!("the built-in table `accounts` in {}", file.display()),
            (Store::Postgres(url), None) => format!("the built-in table `accounts` in {}", masked(url)),
        };
        let state = stores.state.as_ref().map_or_else(
            || "none that outlives the process, un-verifications of accounts without `unverify` included".to_owned(),
            StateStore::to_string,
        );
        let sweep = self.sweep.as_ref().map_or_else(|| "none".to_owned(), |every| format!("every {every}"));
        let (guards, audit) = (self.guards.len(), stores.audit.display());
        format!("guards: {guards}; accounts: {accounts}; audit log: {audit}; state: {state}; sweep: {sweep}")
    }

    pub(super) fn of(sections: &Sections, origin: &Origin) -> Result<Self, ConfigError> {
        let missing = |key, what| origin.missing(key, what);
        let upstream = sections
            .upstream
            .as_ref()
            .ok_or_else(|| missing("upstream", "the application's address, such as \"http://127.0.0.1:3000\""))?;
        let directory = sections.directory.as_ref().ok_or_else(|| missing("directory.url", "where the accounts are"))?;
        if sections.guards.is_empty() {
            return Err(missing("guard", "at least one recovery endpoint, or nothing is guarded"));
        }
        let guards = sections.guards.iter().map(|section| guard(section, directory.get_ref(), origin));
        let guards = guards.collect::<Result<_, _>>()?;
        let reply = reply(sections, origin)?;
        let stores = Stores::of(sections, origin)?;
        if sections.sweep.is_some() {
            can_be_swept(&stores, sections, origin)?;
        }
        Ok(Self {
            listen: sections.listen.value,
            upstream: upstream.value.0.clone(),
            trusted_proxies: sections.trusted_proxies.iter().map(|network| network.value.0).collect(),
            timeout: sections.timeout.value.0,
            admin: admin(sections, origin)?,
            tls: sections.tls.as_ref().map(|tls| Tls { certificate: origin.beside(&tls.certificate), key: origin.beside(&tls.key) }),
            reply,
            guards,
            stores,
            sweep: sections.sweep.as_ref().map(|sweep| sweep.every.as_str().to_owned()),
        })
    }
}

fn admin(sections: &Sections, origin: &Origin) -> Result<Option<AdminListener>, ConfigError> {
    let Some(listen) = &sections.admin else { return Ok(None) };
    let token = match &sections.admin_token_file {
        Some(file) => Some(origin.secret(file)?),
        None => std::env::var(ADMIN_TOKEN).ok().filter(|token| !token.is_empty()),
    };
    Ok(Some(AdminListener { listen: listen.value, token }))
}

pub(super) fn reply(sections: &Sections, origin: &Origin) -> Result<Reply, ConfigError> {
    let what = "\"refuse\", \"decoy\" or \"observe\"; what each tells a caller is something to choose knowingly";
    let section = sections.reply.as_ref().ok_or_else(|| origin.missing("reply.mode", what))?;
    let mut reply = match section.mode {
        sections::Mode::Refuse => Reply::refuse(),
        sections::Mode::Decoy => Reply::decoy(),
        sections::Mode::Observe => Reply::observe(),
    };
    if let Some(domain) = &section.decoy_domain {
        reply = reply.decoy_domain(domain.get_ref()).map_err(|error| origin.at(domain.span(), format!("`reply.decoy_domain`: {error}")))?;
    }
    if let Some(floor) = &section.floor {
        reply = reply.floor(floor.value.0);
    }
    if let Some(url) = &section.support_url {
        reply = reply.support_url(url);
    }
    Ok(reply)
}

fn guard(section: &Spanned<GuardSection>, directory: &DirectorySection, origin: &Origin) -> Result<Guard, ConfigError> {
    let (span, section) = (section.span(), section.get_ref());
    let identifies = identifies(section.identifies);
    if !is_found_by(directory, section.identifies) {
        let what = format!("`guard.identifies`: no query `directory.lookup.{identifies}` finds an account by it");
        return Err(origin.at(span, what));
    }
    let mut guard = section.path.value.clone().identifies(identifies).missing(match section.missing {
        sections::Missing::Refuse => Missing::Refuse,
        sections::Missing::Pass => Missing::Pass,
    });
    if section.target.0.is_empty() {
        return Err(origin.at(span, "`guard.target`: it lists no place in which an account is named".to_owned()));
    }
    for target in &section.target.0 {
        if let Some(name) = target.value.path_parameter()
            && !guard.has_parameter(name)
        {
            return Err(origin.at(span, format!("`guard.target`: the path has no parameter `{{{name}}}`")));
        }
        guard = guard.target(target.value.clone());
    }
    if let Some(methods) = &section.methods {
        guard = guard.methods(methods.iter().map(|method| method.value.clone()));
    }
    if let Some(decode) = &section.decode {
        guard = guard.decode(decode.value.clone());
    }
    guard = guard.body_limit(section.body_limit.value.0);
    if let Some(limit) = &section.limit {
        guard = guard.limit(limit.value);
    }
    if let Some(host) = &section.host {
        guard = guard.host(host.value.clone());
    }
    Ok(guard)
}

pub(super) const fn identifies(setting: sections::Identifies) -> Identifies {
    match setting {
        sections::Identifies::Email => Identifies::Email,
        sections::Identifies::Username => Identifies::Username,
        sections::Identifies::Id => Identifies::Id,
        sections::Identifies::Token => Identifies::Token,
    }
}

/// Whether accounts can be found by such a name: by a query, or by the built-in table's own or the application's.
fn is_found_by(directory: &DirectorySection, name: sections::Identifies) -> bool {
    let is_http = directory.url.as_ref().is_some_and(|url| url.get_ref().starts_with("http"));
    let is_built_in = directory.lookup.is_empty() && matches!(name, sections::Identifies::Email | sections::Identifies::Id);
    is_http || is_built_in || directory.lookup.contains_key(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_that_says_no_more_is_as_the_library_has_it() {
        let section: GuardSection = toml::from_str("path = '/reset'\ntarget = 'form:email'").unwrap();
        assert_eq!(section.body_limit.value.0, Guard::new("/reset").unwrap().body_limit);
        // And is written as it is read.
        let read: GuardSection = toml::from_str(&toml::to_string(&section).unwrap()).unwrap();
        assert_eq!(read.body_limit, section.body_limit);
    }
}
