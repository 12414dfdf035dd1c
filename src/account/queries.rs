//! The queries by which an application's own tables serve as a directory.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use uuid::Uuid;

use crate::identifier::Identifies;

/// The queries for an application's own tables, with `$1` and `$2` for what changes from call to call.
///
/// A lookup and `page` give the columns `id`, `email`, `verified` and `verified_at`, in any order; others are ignored.
///
/// | column | holds | `NULL` is |
/// |---|---|---|
/// | `id` | a key of [its kind](IdKind) | an error |
/// | `email` | text | an account without an address |
/// | `verified` | a boolean, 0 or 1, or one of the texts `t`, `f`, `true`, `false`, `0`, `1` | not verified |
/// | `verified_at` | a timestamp or date, RFC 3339 or SQL text (without a zone, UTC), seconds or (from 1e11) milliseconds since 1970 | not known |
///
/// A value that is none of these is an error about its account, never a guess; `page` gives such an account as not verified, unless it is its key. The queries themselves are checked when the directory is opened.
///
/// ```
/// use reset_gatekeeper::Identifies;
/// use reset_gatekeeper::account::{IdKind, Queries};
///
/// let lookup = "SELECT id, email, confirmed AS verified, confirmed_at AS verified_at FROM users WHERE lower(email) = lower($1)";
/// let queries = Queries {
///     lookup: [(Identifies::Email, lookup.to_owned())].into(),
///     unverify: Some("UPDATE users SET confirmed = false WHERE id = $1".to_owned()),
///     page: None,
///     id: IdKind::Uuid,
/// };
/// # let _ = queries;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Queries {
    /// By the kind of name: the query that finds the accounts for the name `$1`. It need not match every spelling: each is asked for.
    pub lookup: BTreeMap<Identifies, String>,
    /// The statement that takes the verification of the account whose key is `$1` away; the code of the reason is its `$2`, where it has one. Needs a lookup by
    /// key or address, by which the row is read again before it is changed. `None` where the application's tables can't or shan't be written.
    pub unverify: Option<String>,
    /// The query that gives at most `$2` accounts whose key comes after `$1`, in the order of their keys. The first `$1` is 0, the empty text or the nil UUID.
    pub page: Option<String>,
    /// What the keys are.
    pub id: IdKind,
}

impl Queries {
    /// The queries with the names that they have in the configuration.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn lookups(&self) -> impl Iterator<Item = (Identifies, String, &str)> {
        self.lookup.iter().map(|(kind, sql)| (*kind, format!("lookup.{kind}"), sql.as_str()))
    }

    /// The lookup by which a row is read again before it is changed.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn rereads_by(&self) -> Option<Identifies> {
        [Identifies::Id, Identifies::Email].into_iter().find(|kind| self.lookup.contains_key(kind))
    }
}

/// What a directory's keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdKind {
    /// Integers of up to 64 bits.
    #[default]
    Integer,
    /// Texts.
    Text,
    /// UUIDs: of the database's own type, as text, or, in SQLite, as blobs of 16 bytes.
    Uuid,
}

impl IdKind {
    /// The word for it in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Text => "text",
            Self::Uuid => "uuid",
        }
    }

    /// Whether `text` is a key of this kind in a form about which no two programs differ.
    ///
    /// Programs read `042`, `+42`, `4_2` and `４２` as 42 or as nothing, so a request that names its account like that is to be refused. An integer has its one
    /// canonical decimal form, within 64 bits. A UUID is 32 hexadecimal digits in either case, with four hyphens or none. A text is anything but empty.
    ///
    /// ```
    /// use reset_gatekeeper::account::IdKind;
    ///
    /// assert!(IdKind::Integer.admits("42"));
    /// assert!(!IdKind::Integer.admits("042"));
    /// ```
    #[must_use]
    pub fn admits(self, text: &str) -> bool {
        match self {
            Self::Integer => integer(text).is_some(),
            Self::Text => !text.is_empty(),
            Self::Uuid => uuid(text).is_some(),
        }
    }
}

impl fmt::Display for IdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

pub(super) fn integer(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

pub(super) fn uuid(text: &str) -> Option<Uuid> {
    // The parser also knows braces and URNs, which databases and applications seldom do.
    matches!(text.len(), 32 | 36).then(|| Uuid::try_parse(text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_in_its_one_form_only() {
        for (kind, keys, others) in [
            (
                IdKind::Integer,
                &["0", "42", "-1", "9223372036854775807", "-9223372036854775808"][..],
                &["", "-0", "042", "+42", " 42", "42 ", "4_2", "４２", "4.0", "1e3", "0x2a", "9223372036854775808", "a"][..],
            ),
            (IdKind::Text, &["0", "042", "a b", "é"], &[""]),
            (
                IdKind::Uuid,
                &["67e55044-10b1-426f-9247-bb680e5fe0c8", "67E5504410B1426F9247BB680E5FE0C8"],
                &[
                    "",
                    "42",
                    "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
                    "urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8",
                    "67e55044-10b1-426f-9247-bb680e5fe0c",
                    "67e5504410b1-426f-9247-bb680e5fe0c8a",
                ],
            ),
        ] {
            for key in keys {
                assert!(kind.admits(key), "{kind} {key:?}");
            }
            for other in others {
                assert!(!kind.admits(other), "{kind} {other:?}");
            }
        }
    }
}
