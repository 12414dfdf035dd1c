//! How e-mail addresses stand in the record: as they are, or hashed under a key, for those who must not keep them.
//!
//! 1. An address is hashed in ASCII lower case, so that the same one looks the same in every record, and who has the key finds it.
//! 2. It is hashed wherever it may stand: as the account's address or its key, in the request's path, plain, percent-encoded or as a token of base64, and in what was
//!    written about an exemption. Rather too much is hashed there than too little: of a path, the whole segment.
//! 3. The domain stays as it is, being what the record is about.
//!
//! What a deployment can break: the key. Who has it can try addresses; who loses it finds none of the old ones again. A new key makes new hashes.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Record;
use crate::address::{decoded_once_more, is_percent_encoded};
use crate::exemption::Exempt;

/// How a hashed address begins.
const PREFIX: &str = "hmac-sha256:";

/// As long as the hash, which RFC 2104 §3 has for the least.
const SHORTEST_KEY: usize = 32;

/// Whether `text` is what [`Emails::Hashed`] makes of an address.
#[cfg(feature = "admin")]
pub(crate) fn is_hashed(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// How many times a path may be encoded over.
const ENCODINGS: usize = 4;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true);

/// How e-mail addresses are written.
#[derive(Debug, Clone, Default)]
pub enum Emails {
    /// As they are.
    #[default]
    Plain,
    /// As `hmac-sha256:` and the HMAC (RFC 2104) of the address in ASCII lower case, in hexadecimal.
    Hashed(EmailKey),
}

/// The key that addresses are hashed with.
#[derive(Clone)]
pub struct EmailKey(Arc<hmac::Key>);

/// A key that is too short to keep addresses from being guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key has at least {SHORTEST_KEY} bytes")]
pub struct EmailKeyError;

impl EmailKey {
    /// The key that consists of these bytes: random ones, at least 32.
    ///
    /// # Errors
    /// Where they are fewer.
    pub fn new(bytes: &[u8]) -> Result<Self, EmailKeyError> {
        if bytes.len() < SHORTEST_KEY {
            return Err(EmailKeyError);
        }
        Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, bytes))))
    }
}

/// Without the key.
impl fmt::Debug for EmailKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailKey").finish_non_exhaustive()
    }
}

impl Emails {
    /// `address` as records have it.
    #[must_use]
    pub fn written(&self, address: &str) -> String {
        match self {
            Self::Plain => address.to_owned(),
            Self::Hashed(EmailKey(key)) => {
                let tag = hmac::sign(key, address.trim().to_ascii_lowercase().as_bytes());
                format!("{PREFIX}{}", hex::encode(tag))
            }
        }
    }

    /// `record` as it is written.
    pub(super) fn masked<'r>(&self, record: &'r Record) -> Cow<'r, Record> {
        if matches!(self, Self::Plain) {
            return Cow::Borrowed(record);
        }
        let mut record = record.clone();
        if let Some(account) = &mut record.account {
            account.email = self.written(&account.email);
            if has_at(account.id.as_str()) {
                account.id = self.written(account.id.as_str()).into();
            }
        }
        if let Some(request) = &mut record.request {
            request.path = self.masked_path(&request.path);
        }
        if let Some(exemption) = &mut record.exemption {
            if let Exempt::Account(id) = &mut exemption.exempt
                && has_at(id.as_str())
            {
                *id = self.written(id.as_str()).into();
            }
            exemption.reason = self.masked_words(&exemption.reason);
            exemption.by = self.masked_words(&exemption.by);
        }
        Cow::Owned(record)
    }

    fn masked_path(&self, path: &str) -> String {
        let segment = |segment| address_in(segment).map_or(Cow::Borrowed(segment), |address| self.written(&address).into());
        path.split('/').map(segment).collect::<Vec<_>>().join("/")
    }

    fn masked_words(&self, text: &str) -> String {
        let parts = text.split_inclusive(is_separator).map(|part| {
            let word = part.trim_end_matches(is_separator);
            let separator = part.strip_prefix(word).unwrap_or_default();
            if has_at(word) { self.written(word) + separator } else { part.to_owned() }
        });
        parts.collect()
    }
}

/// The address in a segment of a path, however it is encoded there; all of one that is encoded over too often to be known.
fn address_in(segment: &str) -> Option<String> {
    let mut text = Cow::Borrowed(segment);
    for _ in 0..ENCODINGS {
        let Some(decoded) = decoded_once_more(&text) else { break };
        text = decoded.into();
    }
    if is_percent_encoded(&text) {
        return Some(segment.to_owned());
    }
    if has_at(&text) {
        return text.split(is_separator).find(|word| has_at(word)).map(str::to_owned);
    }
    // A token, or a part of one: of base64, as links have it (`YUBleGFtcGxlLmNvbQ`), beside a signature, or the claims of a JSON Web Token (RFC 7519 §3).
    let parts = text.split(['.', ':', '~', ',', '!']).chain(text.split('-')).chain([&*text]);
    parts.filter_map(of_base64).find_map(|text| text.split(is_separator).find(|word| is_address(word)).map(str::to_owned))
}

fn of_base64(text: &str) -> Option<String> {
    let alphabets = [&URL_SAFE, &STANDARD];
    let decoded = alphabets.into_iter().find_map(|alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text).ok())?;
    Some(String::from_utf8_lossy(&decoded).into_owned())
}

/// Also those that stand for one, were a program to fold them.
fn has_at(text: &str) -> bool {
    text.contains(['@', '\u{ff20}', '\u{fe6b}'])
}

fn is_address(word: &str) -> bool {
    word.split_once('@').is_some_and(|(local, host)| !local.is_empty() && host.contains('.')) && !word.contains(char::is_control)
}

fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, ',' | ';' | ':' | '<' | '>' | '(' | ')' | '[' | ']' | '{' | '}' | '"' | '\'' | '/' | '\\' | '|' | '?' | '&' | '=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed() -> Emails {
        Emails::Hashed(EmailKey::new(&[7; 32]).unwrap())
    }

    /// RFC 4231 §4.3's construction, by another program: `printf a@example.com | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707…`.
    #[test]
    fn an_address_is_hashed_in_lower_case() {
        let expected = "hmac-sha256:571624277575d5089bddb39577f871a35b8fa88eeb45f1bce53b0181f992ce2e";
        assert_eq!(hashed().written("a@example.com"), expected);
        assert_eq!(hashed().written("A@Example.COM"), expected);
        assert_eq!(Emails::Plain.written("A@Example.COM"), "A@Example.COM");
    }

    #[test]
    fn a_path_shows_no_address_however_it_is_encoded() {
        let base64 = |text: &str| GeneralPurpose::new(&URL_SAFE, LENIENT).encode(text);
        let token = format!("e30.{}.c2ln", base64(r#"{"sub":"a@example.com","n":1}"#));
        for segment in [
            "a@example.com".to_owned(),
            "a%40example.com".to_owned(),
            "a%2540example.com".to_owned(),
            "%61%40%65xample.com".to_owned(),
            "A@EXAMPLE.com".to_owned(),
            "mailto:a@example.com".to_owned(),
            "x=1;email=a@example.com".to_owned(),
            base64("a@example.com"),
            base64("a@example.com").replace('=', ""),
            format!("{}-c2lnbmF0dXJl", base64("a@example.com").replace('=', "")),
            format!("{}:c2lnbmF0dXJl", base64("a@example.com").replace('=', "")),
            token,
        ] {
            let expected = format!("/reset/{}/now", hashed().written("a@example.com"));
            assert_eq!(hashed().masked_path(&format!("/reset/{segment}/now")), expected, "{segment}");
        }
        for path in ["/", "/accounts/password_reset/", "/reset/NDI/c9x-1a2b3c", "/reset/6ba7b810-9dad-11d1-80b4-00c04fd430c8", "*"] {
            assert_eq!(hashed().masked_path(path), path);
        }
    }

    #[test]
    fn of_a_text_only_the_address_is_hashed() {
        let expected = format!("asked by <{}>, by phone", hashed().written("a@example.com"));
        assert_eq!(hashed().masked_words("asked by <a@example.com>, by phone"), expected);
    }

    #[test]
    fn a_short_key_is_none_and_no_key_is_printed() {
        assert_eq!(EmailKey::new(&[7; 31]).unwrap_err(), EmailKeyError);
        assert_eq!(format!("{:?}", hashed()), "Hashed(EmailKey { .. })");
    }
}
