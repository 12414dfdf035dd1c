//! The request of a blocked caller, made into one for an account that nobody has, and the application's answer to it made into one for the caller.
//!
//! 1. A name is replaced by one of the same form and, where that fits, of the same length: an address by a fresh one at a domain that has no mail, a number by
//!    a number, a UUID by a UUID, anything else letter for letter.
//! 2. Whatever else the request holds stays as it is, byte for byte, but for `Content-Length`.
//! 3. Where the answer shows the replacement, in its headers or in a body of text, the caller's own name is put back, in the escape in which it stands
//!    there and in the case into which the application turned it.
//!
//! What a deployment can break: an application that keeps the replacement (in a signed cookie, say) and shows it in a later answer.

mod restore;

use std::ops::Range;

use bytes::Bytes;
use http::Uri;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http_body::Body;
use uuid::Uuid;

pub(crate) use self::restore::{Restoration, html};
use crate::body::Read;
use crate::identifier::Identifier;
use crate::target::{Edit, Requested, Spot, edited, encoded_like};

/// The shortest name by which a replacement is known again in an answer.
const SHORTEST: usize = 8;

/// The longest local part (RFC 5321 §4.5.3.1.1).
const LONGEST_LOCAL_PART: usize = 64;

/// A name of the form of `name`, which is most likely nobody's. Addresses are at `domain`.
pub(crate) fn alike(name: &Identifier, domain: &str) -> String {
    match name {
        Identifier::Email(mailbox) => address(mailbox.as_str(), domain),
        Identifier::Username(text) if text.contains('@') => address(text, domain),
        Identifier::Id(id) if id.as_str().bytes().all(|byte| byte.is_ascii_digit()) => number(),
        Identifier::Id(id) => Uuid::parse_str(id.as_str()).map_or_else(|_| letter_for_letter(id.as_str()), |_| uuid(id.as_str())),
        Identifier::Username(text) | Identifier::Token(text) => letter_for_letter(text),
    }
}

/// An address at `domain` of the length of `name`. What is in upper case there is here too, so that it shows when an application lowers it.
fn address(name: &str, domain: &str) -> String {
    let (name_local, name_domain) = name.rsplit_once('@').unwrap_or((name, ""));
    let length = name.len().saturating_sub(domain.len() + 1).clamp(SHORTEST, LONGEST_LOCAL_PART);
    let mut local: String =
        random(b"abcdefghijklmnopqrstuvwxyz").take(1).chain(random(b"abcdefghijklmnopqrstuvwxyz0123456789")).take(length).collect();
    let mut domain = domain.to_owned();
    let has_upper = |text: &str| text.bytes().any(|byte| byte.is_ascii_uppercase());
    for (part, is_upper) in [(&mut local, has_upper(name_local)), (&mut domain, has_upper(name_domain))] {
        if is_upper && let Some(first) = part.get_mut(..1) {
            first.make_ascii_uppercase();
        }
    }
    format!("{local}@{domain}")
}

/// A number of ten digits, which fits into every column that numbers rows.
fn number() -> String {
    let digits: String = random(b"0123456789").take(9).collect();
    format!("1{digits}")
}

/// A fresh UUID, with hyphens and in upper case as `text` has them.
fn uuid(text: &str) -> String {
    let mut bytes = [0; 16];
    fill(&mut bytes);
    let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
    let written = if text.contains('-') { uuid.hyphenated().to_string() } else { uuid.simple().to_string() };
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { written.to_ascii_uppercase() } else { written }
}

/// `text` with other letters and digits of the same kind in the place of its own, and some more where it is short.
fn letter_for_letter(text: &str) -> String {
    let is_hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let missing = SHORTEST.saturating_sub(text.chars().count());
    let letters = text.chars().chain(std::iter::repeat_n('x', missing));
    let alike: String = letters
        .filter_map(|letter| match letter {
            '0'..='9' => random(b"0123456789").next(),
            'a'..='f' if is_hexadecimal => random(b"abcdef").next(),
            'A'..='F' if is_hexadecimal => random(b"ABCDEF").next(),
            'A'..='Z' => random(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ").next(),
            letter if letter.is_alphabetic() => random(b"abcdefghijklmnopqrstuvwxyz").next(),
            other => Some(other),
        })
        .collect();
    if alike == text { random(b"abcdefghijklmnopqrstuvwxyz").take(SHORTEST).collect() } else { alike }
}

/// Letters of `alphabet` without end.
fn random(alphabet: &'static [u8]) -> impl Iterator<Item = char> {
    std::iter::repeat_with(move || {
        let mut bytes = [0; 4];
        fill(&mut bytes);
        let at = u32::from_le_bytes(bytes) as usize % alphabet.len();
        alphabet.get(at).map_or('x', |byte| char::from(*byte))
    })
}

fn fill(bytes: &mut [u8]) {
    if let Err(error) = getrandom::fill(bytes) {
        // What is not fresh is still looked up before it is used.
        tracing::error!(%error, "the system gives no random numbers");
    }
}

/// A request that names somebody, and the name to put in the place of theirs.
pub(crate) struct Replacement<'r> {
    pub(crate) requested: &'r Requested<'r>,
    pub(crate) name: String,
}

impl Replacement<'_> {
    /// What stands in the request in the place of `text`, which is one of the places in which it names somebody.
    fn written(&self, text: &str) -> Option<String> {
        let inner = text.trim();
        let start = inner.as_ptr() as usize - text.as_ptr() as usize;
        let (before, after) = (text.get(..start)?, text.get(start + inner.len()..)?);
        let new = match &self.requested.guard.decode {
            None => self.name.clone(),
            Some(decode) => decode.write(inner, &self.name)?,
        };
        Some(format!("{before}{new}{after}"))
    }
}

/// Writes `new` at these bytes of a path or a query.
fn edit(range: Range<usize>, new: &str, text: &str) -> Edit {
    let raw = text.get(range.clone()).unwrap_or_default();
    (range, encoded_like(new, raw.as_bytes()))
}

/// Whether every place in which the request names somebody is one whose bytes are known.
pub(crate) fn is_replaceable(requested: &Requested<'_>) -> bool {
    requested.found.iter().all(|found| found.spot != Spot::Path(None))
}

/// The changes that make a request one for nobody, and what puts the names back afterwards.
pub(crate) struct Plan {
    body: Vec<Edit>,
    query: Vec<Edit>,
    path: Vec<Edit>,
    headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) restoration: Restoration,
}

impl Plan {
    /// `None` where a name can't be replaced.
    pub(crate) fn new(uri: &Uri, body: &[u8], replacements: &[Replacement<'_>]) -> Option<Self> {
        let mut plan =
            Self { body: Vec::new(), query: Vec::new(), path: Vec::new(), headers: Vec::new(), restoration: Restoration::default() };
        for replacement in replacements {
            for found in &replacement.requested.found {
                let new = replacement.written(&found.text)?;
                match &found.spot {
                    Spot::Query(range) => plan.query.push(edit(range.clone(), &new, uri.query().unwrap_or_default())),
                    Spot::Path(range) => plan.path.push(edit(range.clone()?, &new, uri.path())),
                    Spot::Header(name) => plan.headers.push((name.clone(), HeaderValue::from_str(&new).ok()?)),
                    spot @ (Spot::Form(_) | Spot::Multipart { .. } | Spot::Json(_)) => plan.body.extend(spot.edits_of_body(body, &new)),
                }
                plan.restoration.add(new.trim(), found.text.trim());
            }
            // An application that decodes what stands there may show the name itself.
            plan.restoration.add(&replacement.name, &replacement.requested.name);
        }
        Some(plan)
    }

    /// Makes the changes.
    pub(crate) fn carry_out<B: Body<Data = Bytes>>(self, parts: &mut Parts, read: &mut Read<B>) -> Option<Restoration> {
        if !self.body.is_empty() {
            let body = edited(&read.bytes(), self.body);
            if parts.headers.contains_key(CONTENT_LENGTH) {
                parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            }
            read.replace(body.into());
        }
        for (name, value) in self.headers {
            parts.headers.insert(name, value);
        }
        if !self.path.is_empty() || !self.query.is_empty() {
            let path = edited(parts.uri.path().as_bytes(), self.path);
            let query = parts.uri.query().map(|query| edited(query.as_bytes(), self.query));
            let whole = query.map_or_else(|| path.clone(), |query| [path.as_slice(), b"?", query.as_slice()].concat());
            let mut uri = std::mem::take(&mut parts.uri).into_parts();
            uri.path_and_query = Some(PathAndQuery::try_from(whole).ok()?);
            parts.uri = Uri::from_parts(uri).ok()?;
        }
        Some(self.restoration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identifier::Identifies;

    fn alike_to(kind: Identifies, text: &str) -> String {
        alike(&Identifier::parse(kind, text).unwrap(), "gatekeeper.invalid")
    }

    #[test]
    fn a_replacement_has_the_form_and_the_length_of_the_name() {
        let address = alike_to(Identifies::Email, "somebody.with.a.name@example.com");
        assert_eq!(address.len(), "somebody.with.a.name@example.com".len());
        assert!(address.ends_with("@gatekeeper.invalid") && address == address.to_lowercase(), "{address}");
        assert_eq!(alike_to(Identifies::Email, "a@example.com").len(), 8 + "@gatekeeper.invalid".len());
        assert!(alike_to(Identifies::Email, "A@Example.com").ends_with("@Gatekeeper.invalid"));
        assert!(alike_to(Identifies::Username, "jo@example.com").ends_with("@gatekeeper.invalid"));
        for (kind, text, is_alike) in [
            (Identifies::Id, "42", (|text| text.parse::<i32>().is_ok()) as fn(&str) -> bool),
            (Identifies::Id, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", |text| text.len() == 36 && Uuid::parse_str(text).is_ok()),
            (Identifies::Id, "6BA7B8109DAD11D180B400C04FD430C8", |text| text.len() == 32 && text == text.to_uppercase()),
            (Identifies::Token, "abcdef01-ABC", |text| text.len() == 12 && text.as_bytes()[8] == b'-'),
            (Identifies::Token, "c0ffee00c0ffee", |text| text.len() == 14 && text.bytes().all(|byte| byte.is_ascii_hexdigit())),
            (Identifies::Username, "jo", |text| text.len() == 8),
        ] {
            let (one, other) = (alike_to(kind, text), alike_to(kind, text));
            assert!(is_alike(&one), "{one}");
            assert_ne!(one, text);
            assert_ne!(one, other, "a fresh one each time");
        }
    }
}
