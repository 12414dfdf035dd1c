//! What a recovery request names its account by: an address, a username, a key, or a token.
//!
//! An application may be laxer about a name than its directory is, and then the gate would look for somebody else than the application does.
//! So a name is refused where programs differ about it:
//!
//! 1. An address is one [`Mailbox`].
//! 2. No name holds a control character or one that isn't seen. White space around it is ignored.
//! 3. No name holds a percent-encoded character, which a program that decodes twice would take for another.
//! 4. A username that has other spellings (NFKC, lower case) is looked up in all of them.
//! 5. Whether a key is one that the directory can hold, the [directory](crate::account::Directory::admits) says. Where it holds no such key, but one that laxer
//!    programs read in it (`042`, `4_2`, `42-jo`), the request is refused. No key holds a digit of another script than ours.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

use crate::account::AccountId;
use crate::address::{AddressError, Mailbox, is_invisible, is_percent_encoded};

/// Which of an account's names a guard's target holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Identifies {
    /// Its e-mail address.
    #[default]
    Email,
    /// The name by which its holder logs in.
    Username,
    /// The directory's key.
    Id,
    /// A secret that the application handed out for it.
    Token,
}

impl Identifies {
    /// The word for it in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Username => "username",
            Self::Id => "id",
            Self::Token => "token",
        }
    }
}

impl fmt::Display for Identifies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one request names its account by.
#[derive(Clone, PartialEq, Eq)]
pub enum Identifier {
    /// An e-mail address.
    Email(Mailbox),
    /// The name by which the account's holder logs in.
    Username(String),
    /// The directory's key.
    Id(AccountId),
    /// A secret that the application handed out.
    Token(String),
}

/// Why a text names no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifierError {
    /// It should be an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// It is empty, or holds a character that programs drop or cut a text off at.
    #[error("the name holds nothing, or what can't be seen")]
    Invisible,
    /// It holds a percent-encoded character, which some programs decode.
    #[error("the name holds percent-encoded characters")]
    Encoded,
    /// It is a key with digits beyond ASCII, which some programs read as numbers.
    #[error("the key has digits that only some programs read")]
    Digits,
}

impl Identifier {
    /// Reads `text` as a name of this kind.
    ///
    /// # Errors
    /// Where programs may differ about whom it names.
    pub fn parse(kind: Identifies, text: &str) -> Result<Self, IdentifierError> {
        let text = text.trim();
        match kind {
            Identifies::Email => Ok(Self::Email(Mailbox::parse(text)?)),
            _ if text.is_empty() || text.chars().any(is_invisible) => Err(IdentifierError::Invisible),
            _ if is_percent_encoded(text) => Err(IdentifierError::Encoded),
            Identifies::Username => Ok(Self::Username(text.to_owned())),
            Identifies::Id if text.chars().any(|c| c.is_numeric() && !c.is_ascii()) => Err(IdentifierError::Digits),
            Identifies::Id => Ok(Self::Id(text.into())),
            Identifies::Token => Ok(Self::Token(text.to_owned())),
        }
    }

    /// Which kind of name this is.
    #[must_use]
    pub const fn kind(&self) -> Identifies {
        match self {
            Self::Email(_) => Identifies::Email,
            Self::Username(_) => Identifies::Username,
            Self::Id(_) => Identifies::Id,
            Self::Token(_) => Identifies::Token,
        }
    }

    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Email(mailbox) => mailbox.as_str(),
            Self::Username(text) | Self::Token(text) => text,
            Self::Id(id) => id.as_str(),
        }
    }

    /// All texts under which a directory may have stored this name, without repetition; most names have one or two. A directory looks for each of them.
    #[must_use]
    pub fn spellings(&self) -> Vec<String> {
        let mut spellings = match self {
            Self::Email(mailbox) => mailbox.spellings().chain([mailbox.as_str().to_owned()]).collect(),
            Self::Username(name) => {
                let unified: String = name.nfkc().collect();
                // Upper case first makes one of dotless i and i, of the two small sigmas, of long s and s.
                let folded = unified.to_uppercase().to_lowercase();
                vec![name.clone(), unified.to_lowercase().nfkc().collect(), folded.nfkc().collect(), unified]
            }
            Self::Id(id) => vec![id.as_str().to_owned()],
            Self::Token(token) => vec![token.clone()],
        };
        spellings.sort_unstable();
        spellings.dedup();
        spellings
    }
}

impl Identifier {
    /// The keys that laxer programs than a directory read in this one, where it is no whole number in its plain form: `042`, `+42`, `4_2` (Python, Ruby), `42-jo`
    /// (Ruby, PHP, MySQL, `parseInt`), `0x2a`, `4.2e1` (JavaScript).
    pub(crate) fn lax_keys(&self) -> Vec<Self> {
        let Self::Id(id) = self else { return Vec::new() };
        let text = id.as_str();
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        let leading = |also: &[char]| {
            let is_part = |(at, c): (usize, char)| c.is_ascii_digit() || (at == 0 && c == '-') || also.contains(&c);
            unsigned.chars().enumerate().take_while(|part| is_part(*part)).map(|(_, c)| c).filter(|c| *c != '_').collect::<String>()
        };
        let lower = unsigned.to_ascii_lowercase();
        let of_radix =
            |(prefix, radix)| lower.strip_prefix(prefix).and_then(|digits| i64::from_str_radix(&digits.replace('_', ""), radix).ok());
        // A number beyond these bounds is not exact, and no key.
        let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
        let mut numbers: Vec<i64> = [leading(&[]), leading(&['_'])].iter().filter_map(|digits| digits.parse().ok()).collect();
        numbers.extend([("0x", 16), ("0o", 8), ("0b", 2)].into_iter().filter_map(of_radix));
        numbers.extend(lower.parse().ok().and_then(whole));
        numbers.sort_unstable();
        numbers.dedup();
        numbers.iter().map(i64::to_string).filter(|number| number != text).map(|number| Self::Id(number.into())).collect()
    }
}

/// Without the name where it is a secret.
impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Email(mailbox) => f.debug_tuple("Email").field(&mailbox.as_str()).finish(),
            Self::Username(name) => f.debug_tuple("Username").field(name).finish(),
            Self::Id(id) => f.debug_tuple("Id").field(id).finish(),
            Self::Token(_) => f.debug_tuple("Token").finish_non_exhaustive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_differ_about_names_nobody() {
        for text in ["", "  ", "a\0b", "a\u{200b}", "a\u{ad}b", "a\r\nb", "\u{feff}a", "\u{fffd}a"] {
            for kind in [Identifies::Username, Identifies::Id, Identifies::Token] {
                assert_eq!(Identifier::parse(kind, text), Err(IdentifierError::Invisible), "{text:?}");
            }
        }
        for kind in [Identifies::Username, Identifies::Id, Identifies::Token] {
            assert_eq!(Identifier::parse(kind, "%61b"), Err(IdentifierError::Encoded));
            assert!(Identifier::parse(kind, "a%b").is_ok());
        }
        assert!(Identifier::parse(Identifies::Email, "a@b").is_err());
    }

    #[test]
    fn a_username_is_looked_up_in_all_its_spellings() {
        for (name, spellings) in [
            ("jo", &["jo"][..]),
            (" Jo ", &["Jo", "jo"]),
            ("mıke", &["mike", "mıke"]),
            ("Ｊo", &["Jo", "jo", "Ｊo"]),
            ("Иван", &["Иван", "иван"]),
        ] {
            assert_eq!(Identifier::parse(Identifies::Username, name).unwrap().spellings(), spellings);
        }
    }

    #[test]
    fn a_key_is_known_for_the_numbers_that_some_program_reads_in_it() {
        for (key, numbers) in [
            ("42", &[][..]),
            ("-1", &[]),
            ("abc", &[]),
            ("042", &["42"]),
            ("+42", &["42"]),
            ("4_2", &["4", "42"]),
            ("42-jo", &["42"]),
            ("42.0", &["42"]),
            ("0x2a", &["0", "42"]),
            ("4.2e1", &["4", "42"]),
            ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", &["6"]),
        ] {
            let keys = Identifier::parse(Identifies::Id, key).unwrap().lax_keys();
            assert_eq!(keys.iter().map(Identifier::as_str).collect::<Vec<_>>(), numbers, "{key}");
        }
        for key in ["４２", "٤٢", "4²"] {
            assert_eq!(Identifier::parse(Identifies::Id, key), Err(IdentifierError::Digits), "{key}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        assert_eq!(format!("{:?}", Identifier::Token("secret".to_owned())), "Token(..)");
    }
}
