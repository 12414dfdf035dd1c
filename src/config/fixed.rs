//! What of a configuration takes effect at a start alone, and in which keys of it two of them differ.

use std::collections::BTreeSet;
use std::path::Path;

use toml::{Table, Value};

use super::{Config, ConfigError};

/// What can be changed while it is served by.
const CHANGEABLE: [&str; 6] = ["upstream", "timeout", "trusted_proxies", "tls", "reply", "guard"];

/// Keys that name a file, and stand for what it holds.
const FILES: [(&str, &str); 4] =
    [("directory", "url_file"), ("directory", "token_file"), ("state", "url_file"), ("audit", "signing_key_file")];

/// All of a configuration that takes effect at a start alone, as it was, secrets included.
pub struct Fixed(Table);

/// Without the secrets.
impl std::fmt::Debug for Fixed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Fixed").field(&self.0.keys().collect::<Vec<_>>()).finish()
    }
}

impl Config {
    /// What takes effect at a start alone, as it is written: all but `upstream`, `timeout`, `trusted_proxies`, `[tls]`, the guards and `[reply]`, of which only whether there
    /// is TLS, and whether the reply observes.
    ///
    /// # Errors
    /// Where a file that it names can't be read.
    pub fn fixed(&self) -> Result<Fixed, ConfigError> {
        let unwritable = |error: toml::ser::Error| self.origin.at(0..0, error.to_string());
        let mut table = Table::try_from(&self.sections).map_err(unwritable)?;
        for key in CHANGEABLE {
            table.remove(key);
        }
        let held = |value: &mut Value| match value.as_str() {
            Some(file) => self.origin.secret(Path::new(file)).map(|held| *value = Value::String(held)),
            None => Ok(()),
        };
        table.get_mut("admin_token_file").map_or(Ok(()), held)?;
        for (section, key) in FILES {
            table.get_mut(section).and_then(|section| section.get_mut(key)).map_or(Ok(()), held)?;
        }
        // The sweep and the admin listener go by it too.
        let observes = Table::from_iter([("mode".to_owned(), Value::Boolean(self.only_observes()))]);
        table.insert("reply".to_owned(), Value::Table(observes));
        // Whoever asks a port by TLS must not find it open without.
        table.insert("tls".to_owned(), Value::Boolean(self.sections.tls.is_some()));
        Ok(Fixed(table))
    }
}

impl Fixed {
    /// The keys in which `other` differs.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<String> {
        differing(&self.0, &other.0)
    }
}

fn differing(one: &Table, other: &Table) -> Vec<String> {
    let keys: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let below = |key: &String| match (one.get(key), other.get(key)) {
        (Some(Value::Table(one)), Some(Value::Table(other))) => {
            differing(one, other).iter().map(|below| format!("{key}.{below}")).collect()
        }
        (one, other) if one == other => Vec::new(),
        _ => vec![key.clone()],
    };
    keys.into_iter().flat_map(below).collect()
}
