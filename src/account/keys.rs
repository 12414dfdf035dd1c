//! Keys in the forms in which SQL databases hold them.

use uuid::Uuid;

use crate::account::columns::{self, Value};
use crate::account::queries::{IdKind, integer, uuid};
use crate::account::{Account, AccountId, DirectoryError};

/// A key, or another name, in the form in which a database holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Integer(i64),
    Text(String),
    Uuid(Uuid),
}

impl Key {
    fn text(&self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Text(text) => text.clone(),
            Self::Uuid(uuid) => uuid.hyphenated().to_string(),
        }
    }
}

impl IdKind {
    /// The forms in which a database may hold the key `text`: none where it is no key.
    pub(super) fn forms(self, text: &str) -> Vec<Key> {
        match self {
            Self::Integer => integer(text).map(Key::Integer).into_iter().collect(),
            Self::Text if text.is_empty() => Vec::new(),
            Self::Text => vec![Key::Text(text.to_owned())],
            Self::Uuid => uuid(text).map_or_else(Vec::new, |uuid| {
                let written = [uuid.hyphenated().to_string(), uuid.simple().to_string()];
                let upper = written.clone().map(|text| text.to_ascii_uppercase());
                let mut texts: Vec<String> = written.into_iter().chain(upper).chain([text.to_owned()]).collect();
                texts.sort_unstable();
                texts.dedup();
                texts.into_iter().map(Key::Text).chain([Key::Uuid(uuid)]).collect()
            }),
        }
    }

    /// What comes before every key, in each of the forms that keys may be held in.
    pub(super) fn before_all(self) -> Vec<Key> {
        match self {
            Self::Integer => vec![Key::Integer(0)],
            Self::Text => vec![Key::Text(String::new())],
            Self::Uuid => vec![Key::Text(Uuid::nil().to_string()), Key::Uuid(Uuid::nil())],
        }
    }
}

impl Value {
    fn key(self, kind: IdKind) -> Result<Key, String> {
        match (kind, self) {
            (IdKind::Integer, Self::Integer(number)) => Ok(Key::Integer(number)),
            (IdKind::Text, Self::Text(text)) if !text.is_empty() => Ok(Key::Text(text)),
            (IdKind::Uuid, Self::Uuid(uuid)) => Ok(Key::Uuid(uuid)),
            // As it stands, so that it is found and sorted as it stands.
            (IdKind::Uuid, Self::Text(text)) if uuid(&text).is_some() => Ok(Key::Text(text)),
            (IdKind::Uuid, Self::Bytes(bytes)) if bytes.len() == 16 => {
                Uuid::from_slice(&bytes).map(Key::Uuid).map_err(|error| error.to_string())
            }
            (kind, value) => Err(format!("{}, which is no key where `directory.id` is \"{kind}\"", value.describe())),
        }
    }
}

/// An account, and its key as the database holds it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) key: Key,
    pub(super) account: Account,
}

/// How a row is read: [`Cells::read`] or [`Cells::listed`].
pub(super) type Reading = fn(Cells, IdKind) -> Result<Stored, DirectoryError>;

/// One row of a lookup or a page.
#[derive(Debug)]
pub(super) struct Cells {
    pub(super) id: Value,
    pub(super) email: Value,
    pub(super) verified: Value,
    pub(super) verified_at: Value,
}

impl Cells {
    pub(super) fn read(self, kind: IdKind) -> Result<Stored, DirectoryError> {
        let key = self.id.key(kind).map_err(columns::no_key)?;
        let account = columns::account(AccountId::from(key.text()), self.email, &self.verified, &self.verified_at)?;
        Ok(Stored { key, account })
    }

    /// The same in a list, where only the key must be readable.
    pub(super) fn listed(self, kind: IdKind) -> Result<Stored, DirectoryError> {
        let key = self.id.key(kind).map_err(columns::no_key)?;
        let account = columns::listed(AccountId::from(key.text()), self.email, &self.verified, &self.verified_at);
        Ok(Stored { key, account })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_the_kind_that_was_agreed() {
        let uuid = Uuid::from_u128(7);
        for (kind, value, key) in [
            (IdKind::Integer, Value::Integer(42), "42"),
            (IdKind::Text, Value::Text("042".to_owned()), "042"),
            (IdKind::Uuid, Value::Uuid(uuid), "00000000-0000-0000-0000-000000000007"),
            (IdKind::Uuid, Value::Bytes(uuid.as_bytes().to_vec()), "00000000-0000-0000-0000-000000000007"),
            (IdKind::Uuid, Value::Text(uuid.simple().to_string()), "00000000000000000000000000000007"),
        ] {
            assert_eq!(value.clone().key(kind).unwrap().text(), key, "{value:?}");
        }
        for (kind, value) in [
            (IdKind::Integer, Value::Text("42".to_owned())),
            (IdKind::Integer, Value::Null),
            (IdKind::Text, Value::Integer(42)),
            (IdKind::Text, Value::Text(String::new())),
            (IdKind::Uuid, Value::Bytes(vec![0; 15])),
            (IdKind::Uuid, Value::Text("7".to_owned())),
        ] {
            assert!(value.clone().key(kind).is_err(), "{value:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_not_looked_for() {
        let uuid = "67E55044-10B1-426F-9247-BB680E5FE0C8";
        assert_eq!(IdKind::Integer.forms("42"), [Key::Integer(42)]);
        assert_eq!(IdKind::Text.forms("042"), [Key::Text("042".to_owned())]);
        assert_eq!(IdKind::Uuid.forms(uuid).len(), 5);
        for (kind, text) in [(IdKind::Integer, "042"), (IdKind::Text, ""), (IdKind::Uuid, "42")] {
            assert_eq!(kind.forms(text), []);
        }
    }
}
