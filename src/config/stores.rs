//! What a site keeps, whichever command works with it: its directory, its state and its audit log.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::ConfigError;
use super::layers::Origin;
use super::sections::{DirectorySection, Id, Sections};
use super::site::identifies;
use crate::account::{IdKind, Queries};

/// What a site keeps, whoever works with it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stores {
    /// Where the accounts are.
    pub directory: DirectorySettings,
    /// What holds the state. `None` keeps it in memory.
    pub state: Option<StateStore>,
    /// The audit log's file.
    pub audit: PathBuf,
    /// How many bytes a file of the audit log may have. `None` where it grows without end.
    pub rotate_at: Option<u64>,
    /// How long a file of the audit log takes records. `None` where it does for ever.
    pub rotate_every: Option<Duration>,
    /// Whether what was let through is recorded too.
    pub record_allowed: bool,
}

/// The section `[directory]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DirectorySettings {
    /// Where it is.
    pub store: Store,
    /// The application's own queries. `None` for the built-in table, and for a directory that is asked by HTTP.
    pub queries: Option<Queries>,
    /// What its keys are.
    pub keys: IdKind,
}

impl DirectorySettings {
    /// Whether the directory itself takes verifications away. Where it doesn't, the state keeps what was taken.
    #[must_use]
    pub fn unverifies(&self) -> bool {
        self.queries.as_ref().is_none_or(|queries| queries.unverify.is_some())
    }
}

/// What holds the accounts.
#[derive(Clone)]
pub enum Store {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server, by its URL.
    Postgres(String),
    /// The application itself.
    Http {
        /// The base of its endpoints.
        url: String,
        /// The secret that it is asked with.
        token: Option<String>,
    },
}

/// Without the secrets.
impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(file) => f.debug_tuple("Sqlite").field(file).finish(),
            Self::Postgres(url) => f.debug_tuple("Postgres").field(&masked(url)).finish(),
            Self::Http { url, .. } => f.debug_struct("Http").field("url", &masked(url)).finish_non_exhaustive(),
        }
    }
}

/// What holds the state.
#[derive(Clone)]
pub enum StateStore {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server, by its URL.
    Postgres(String),
}

/// Where it is, without the password.
impl std::fmt::Display for StateStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(file) => file.display().fmt(f),
            Self::Postgres(url) => f.write_str(&masked(url)),
        }
    }
}

/// Without the password.
impl std::fmt::Debug for StateStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateStore({self})")
    }
}

impl Stores {
    pub(super) fn of(sections: &Sections, origin: &Origin) -> Result<Self, ConfigError> {
        let directory = sections.directory.as_ref().ok_or_else(|| origin.missing("directory.url", "where the accounts are"))?;
        Ok(Self {
            directory: DirectorySettings {
                store: store(directory, origin)?,
                queries: queries(directory.get_ref()),
                keys: keys(directory.get_ref().id),
            },
            state: state(sections, origin)?,
            audit: origin.beside(&sections.audit.file),
            rotate_at: sections.audit.rotate_size.as_ref().map(|size| size.value.0),
            rotate_every: sections.audit.rotate_every.as_ref().map(|every| every.value.0),
            record_allowed: sections.audit.allowed,
        })
    }
}

fn queries(section: &DirectorySection) -> Option<Queries> {
    let DirectorySection { id, unverify, page, lookup, .. } = section;
    let text = |query: &Spanned<String>| query.get_ref().clone();
    (!lookup.is_empty()).then(|| Queries {
        lookup: lookup.iter().map(|(name, query)| (identifies(*name), text(query))).collect(),
        unverify: unverify.as_ref().map(text),
        page: page.as_ref().map(text),
        id: keys(*id),
    })
}

const fn keys(id: Id) -> IdKind {
    match id {
        Id::Integer => IdKind::Integer,
        Id::Text => IdKind::Text,
        Id::Uuid => IdKind::Uuid,
    }
}

fn store(section: &Spanned<DirectorySection>, origin: &Origin) -> Result<Store, ConfigError> {
    let (span, section) = (section.span(), section.get_ref());
    if section.lookup.is_empty()
        && let Some(query) = section.unverify.as_ref().or(section.page.as_ref())
    {
        return Err(origin.at(query.span(), "`directory.lookup` is missing: queries of your own need one that finds accounts".to_owned()));
    }
    let Some((span, url)) = located("directory", span, section.url.as_ref(), section.url_file.as_deref(), origin)? else {
        return Err(origin.missing("directory.url", "where the accounts are"));
    };
    match url.split_once(':') {
        Some(("sqlite", file)) if !file.is_empty() => Ok(Store::Sqlite(origin.beside(sqlite_file(file)))),
        Some(("postgres" | "postgresql", _)) => Ok(Store::Postgres(url)),
        Some(("https" | "http", _)) => Ok(Store::Http { url, token: token(section, origin)? }),
        _ => Err(origin.at(span, "`directory.url` is none of sqlite:FILE, postgres://…, https://…".to_owned())),
    }
}

/// What the key `url` of a section says, or the file that its `url_file` names, and where that stands.
fn located(
    section: &str,
    span: Range<usize>,
    url: Option<&Spanned<String>>,
    file: Option<&Path>,
    origin: &Origin,
) -> Result<Option<(Range<usize>, String)>, ConfigError> {
    match (url, file) {
        (Some(url), None) => Ok(Some((url.span(), url.get_ref().clone()))),
        (None, Some(file)) => Ok(Some((span, origin.secret(file)?))),
        (Some(url), Some(_)) => Err(origin.at(url.span(), format!("`{section}.url` and `{section}.url_file` exclude each other"))),
        (None, None) => Ok(None),
    }
}

/// The secret of a directory that is asked by HTTP.
fn token(section: &DirectorySection, origin: &Origin) -> Result<Option<String>, ConfigError> {
    match (&section.token_env, &section.token_file) {
        (_, Some(file)) => origin.secret(file).map(Some),
        (Some(name), None) => match std::env::var(name) {
            Ok(token) => Ok(Some(token)),
            Err(_) => {
                let what = "`directory.token_env` names this variable, and it is not set".to_owned();
                Err(ConfigError::Override { name: name.clone(), what })
            }
        },
        (None, None) => Ok(None),
    }
}

fn state(sections: &Sections, origin: &Origin) -> Result<Option<StateStore>, ConfigError> {
    let Some(section) = &sections.state else { return Ok(None) };
    let (span, section) = (section.span(), section.get_ref());
    let Some((span, url)) = located("state", span, section.url.as_ref(), section.url_file.as_deref(), origin)? else {
        return Err(origin.missing("state.url", "where the state is kept"));
    };
    match url.split_once(':') {
        Some(("sqlite", file)) if !file.is_empty() => Ok(Some(StateStore::Sqlite(origin.beside(sqlite_file(file))))),
        Some(("postgres" | "postgresql", _)) => Ok(Some(StateStore::Postgres(url))),
        _ => Err(origin.at(span, "`state.url` is none of sqlite:FILE, postgres://…".to_owned())),
    }
}

/// `sqlite://FILE` is how some programs write `sqlite:FILE`.
fn sqlite_file(file: &str) -> &Path {
    Path::new(file.strip_prefix("//").unwrap_or(file))
}

/// `url` with its password, wherever it stands, masked.
pub(super) fn masked(url: &str) -> String {
    let (rest, query) = url.split_once('?').map_or((url, None), |(rest, query)| (rest, Some(query)));
    let masked = rest.split_once("://").and_then(|(scheme, after)| {
        let (user, host) = after.rsplit_once('@')?;
        let (name, _) = user.split_once(':')?;
        Some(format!("{scheme}://{name}:***@{host}"))
    });
    let secret = |field: &str| match field.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("password") => format!("{name}=***"),
        _ => field.to_owned(),
    };
    let query = query.map(|query| format!("?{}", query.split('&').map(secret).collect::<Vec<_>>().join("&"))).unwrap_or_default();
    masked.unwrap_or_else(|| rest.to_owned()) + &query
}

/// `url` of a server to push to, of which any part but the server may be a secret.
pub(super) fn masked_hook(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "***".to_owned() };
    let (server, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    let host = server.rsplit_once('@').map_or(server, |(_, host)| host);
    let (user, path) = (if host == server { "" } else { "***@" }, if path.len() > 1 { "/***" } else { path });
    format!("{scheme}://{user}{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_masked_wherever_it_stands() {
        for (url, shown) in [
            ("postgres://app:hunter2@db/app", "postgres://app:***@db/app"),
            ("postgres://app:hun/ter@2@db/app?sslmode=require", "postgres://app:***@db/app?sslmode=require"),
            ("postgres://db/app?user=a&password=hunter2", "postgres://db/app?user=a&password=***"),
            ("postgres://app@db/app", "postgres://app@db/app"),
            ("sqlite:app.db", "sqlite:app.db"),
        ] {
            assert_eq!(masked(url), shown);
        }
        for (url, shown) in [
            ("https://hooks.example/services/T0/SECRET", "https://hooks.example/***"),
            ("https://hooks.example?token=SECRET", "https://hooks.example/***"),
            ("https://KEY@hooks.example/", "https://***@hooks.example/"),
            ("https://hooks.example", "https://hooks.example"),
        ] {
            assert_eq!(masked_hook(url), shown);
        }
    }
}
