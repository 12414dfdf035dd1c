//! The file, the environment over it, and flags over both, as one table in which every value knows where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::ConfigError;

/// How the names of variables and of flags begin.
const PREFIXES: [&str; 2] = ["GATEKEEPER__", "--"];

/// Spans from here on stand for overrides, not for bytes of the file.
const OVERRIDES: usize = usize::MAX / 2;

/// Where settings came from.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// `None` where there are only defaults and the environment.
    pub(super) file: Option<PathBuf>,
    text: String,
    /// The names of what overrides the file.
    overrides: Vec<String>,
    secrets: Secrets,
}

/// What stood in the files that hold a secret. Each is read once: it may be a pipe.
#[derive(Clone, Default)]
struct Secrets(Arc<Mutex<BTreeMap<PathBuf, String>>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl Origin {
    /// The settings of `file`, overridden by those of `overrides` that are meant for us.
    pub(super) fn read<T: DeserializeOwned>(
        file: Option<&Path>,
        overrides: impl Iterator<Item = (String, String)>,
    ) -> Result<(T, Self), ConfigError> {
        let text = match file {
            Some(file) => std::fs::read_to_string(file).map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?,
            None => String::new(),
        };
        let key = |name: &str| PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).map(str::to_lowercase);
        let overrides: Vec<_> = overrides.filter_map(|(name, value)| Some((key(&name)?, name, value))).collect();
        let names = overrides.iter().map(|(_, name, _)| name.clone()).collect();
        let origin = Self { file: file.map(Path::to_owned), text, overrides: names, secrets: Secrets::default() };
        let mut table = DeTable::parse(&origin.text).map_err(|error| origin.error(&error))?;
        for (at, (key, _, value)) in overrides.iter().enumerate() {
            let keys: Vec<&str> = key.split("__").collect();
            set(table.get_mut(), &keys, value, OVERRIDES + at..OVERRIDES + at);
        }
        let settings = T::deserialize(Deserializer::from(table)).map_err(|error| origin.error(&error))?;
        Ok((settings, origin))
    }

    /// `path`, which is relative to the file.
    pub(super) fn beside(&self, path: &Path) -> PathBuf {
        self.file.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).join(path)
    }

    /// What stands in a file that holds a secret.
    pub(super) fn secret(&self, file: &Path) -> Result<String, ConfigError> {
        let file = self.beside(file);
        let mut secrets = self.secrets.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret) = secrets.get(&file) {
            return Ok(secret.clone());
        }
        let text = std::fs::read_to_string(&file).map_err(|source| ConfigError::Unreadable { file: file.clone(), source })?;
        let secret = text.trim().to_owned();
        secrets.insert(file, secret.clone());
        Ok(secret)
    }

    /// An error about a key that is nowhere.
    pub(super) fn missing(&self, key: &'static str, what: &'static str) -> ConfigError {
        ConfigError::Missing { file: self.file.clone().unwrap_or_default(), key, what }
    }

    fn error(&self, error: &toml::de::Error) -> ConfigError {
        // The key stands only in the printed form.
        let printed = error.to_string();
        let key = printed.rsplit_once("\nin `").and_then(|(_, rest)| rest.split('`').next());
        let what = explained(error.message());
        let what = key.filter(|key| !what.contains(&format!("`{key}`"))).map_or_else(|| what.clone(), |key| format!("`{key}`: {what}"));
        self.at(error.span().unwrap_or_default(), what)
    }

    /// Whether what was read from `span` stands in the file.
    pub(super) fn is_of_file(&self, span: &Range<usize>) -> bool {
        span.start < OVERRIDES
    }

    /// An error about what was read from `span`.
    pub(super) fn at(&self, span: Range<usize>, what: String) -> ConfigError {
        if let Some(at) = span.start.checked_sub(OVERRIDES) {
            return ConfigError::Override { name: self.overrides.get(at).cloned().unwrap_or_default(), what };
        }
        let line = self.text.get(..span.start).map_or(0, |before| before.matches('\n').count()) + 1;
        ConfigError::File { file: self.file.clone().unwrap_or_default(), line, what }
    }
}

/// Puts `text` where `keys` lead: a number, a boolean or an array where it reads as one, else a text.
fn set<'i>(table: &mut DeTable<'i>, keys: &[&str], text: &'i str, span: Range<usize>) {
    let Some((&key, rest)) = keys.split_first() else { return };
    // The parts of a key are lower-case words, so this finds the one that the file has.
    let present = table.iter().find(|(present, _)| present.get_ref().as_ref() == key).map(|(present, _)| present.clone());
    let key = present.unwrap_or_else(|| Spanned::new(span.clone(), key.to_owned().into()));
    if rest.is_empty() {
        let value = DeValue::parse(text).map_or_else(|_| DeValue::String(text.into()), Spanned::into_inner);
        table.insert(key, marked(value, &span));
        return;
    }
    let inner = table.entry(key).or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
    if let DeValue::Table(inner) = inner.get_mut() {
        set(inner, rest, text, span);
    }
}

/// `value` with all in it coming from `span`.
fn marked<'i>(mut value: DeValue<'i>, span: &Range<usize>) -> Spanned<DeValue<'i>> {
    let mark = |inner: &mut Spanned<DeValue<'i>>| {
        let value = std::mem::replace(inner.get_mut(), DeValue::Boolean(false));
        *inner = marked(value, span);
    };
    match &mut value {
        DeValue::Array(array) => array.iter_mut().for_each(mark),
        DeValue::Table(table) => table.iter_mut().for_each(|(_, inner)| mark(inner)),
        _ => {}
    }
    Spanned::new(span.clone(), value)
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
