//! `application/x-www-form-urlencoded` (WHATWG URL §5), as body and as query.
//!
//! Parsers agree on `&` and `=`. Some also split at `;`, so what a field would be then is read as well, as a doubtful one. They differ in
//! what they make of broken escapes and of bytes that are no UTF-8, so a value with those has no reading.

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::{percent_decode, percent_decode_str};

use super::Refusal;
use super::name::is_lookalike;
use super::spot::{Found, Spot};

/// One field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(super) name: Cow<'a, str>,
    /// `None` where parsers may differ about it.
    pub(super) value: Option<Cow<'a, str>>,
    /// Where the value stands.
    pub(super) spot: Spot,
    /// Whether only some parsers see a field here.
    pub(super) is_doubtful: bool,
}

/// The fields of `form`, which is a body or a query, as `spot` says.
pub(super) fn fields(form: &str, spot: fn(Range<usize>) -> Spot) -> Result<Vec<Field<'_>>, Refusal> {
    let mut fields = Vec::new();
    let mut start = 0;
    for piece in form.split('&') {
        if !piece.is_empty() {
            fields.push(field(piece, start, spot, false)?);
        }
        if piece.contains(';') {
            let mut start = start;
            for part in piece.split(';') {
                if !part.is_empty() {
                    fields.push(field(part, start, spot, true)?);
                }
                start += part.len() + 1;
            }
        }
        start += piece.len() + 1;
    }
    Ok(fields)
}

fn field(piece: &str, start: usize, spot: fn(Range<usize>) -> Spot, is_doubtful: bool) -> Result<Field<'_>, Refusal> {
    let end = start + piece.len();
    let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
    let spot = spot(end - value.len()..end);
    let name = decoded(name).ok_or(Refusal::undecodable("The name of a field can't be decoded."))?;
    Ok(Field { name, value: decoded(value), spot, is_doubtful })
}

/// `text` without escapes, if each is whole and together they are UTF-8.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(text.into());
    }
    let is_escape = |rest: &[u8]| matches!(rest, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    if !text.as_bytes().split(|byte| *byte == b'%').skip(1).all(is_escape) {
        return None;
    }
    let blanks: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    // As long as it can get, so that it doesn't grow by pieces.
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend(percent_decode_str(&blanks));
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// Whether a laxer reader finds a field that may be taken for `name` in `body`, which is said to be something else.
pub(super) fn may_hold(name: &str, body: &[u8]) -> bool {
    let is_alike = |piece: &[u8]| {
        let raw: Vec<u8> = piece
            .split(|byte| *byte == b'=')
            .next()
            .unwrap_or_default()
            .iter()
            .map(|byte| if *byte == b'+' { b' ' } else { *byte })
            .collect();
        is_lookalike(&percent_decode(&raw).decode_utf8_lossy(), name)
    };
    body.contains(&b'=') && body.split(|byte| matches!(byte, b'&' | b';')).skip(1).any(is_alike)
}

/// The value of the one field called `name`. `None` where there is none.
pub(super) fn only<'a>(name: &str, fields: &'a [Field<'_>]) -> Result<Option<Found<'a>>, Refusal> {
    let mut found = None;
    for field in fields {
        if field.name == name && !field.is_doubtful {
            if found.is_some() {
                return Err(Refusal::ambiguous("The field that names the account stands there twice."));
            }
            let value = field.value.as_deref();
            let text = value.ok_or(Refusal::undecodable("The field that names the account can't be decoded."))?;
            found = Some(Found { text: text.into(), spot: field.spot.clone() });
        } else if field.name == name || is_lookalike(&field.name, name) {
            return Err(Refusal::ambiguous("Another field may be taken for the one that names the account."));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Reason;

    fn read(form: &str) -> Result<Option<String>, Reason> {
        let fields = fields(form, Spot::Form).map_err(|refusal| refusal.reason)?;
        let found = only("email", &fields).map_err(|refusal| refusal.reason)?;
        Ok(found.map(|found| found.text.into_owned()))
    }

    #[test]
    fn the_one_field_is_read_as_every_parser_reads_it() {
        for (form, value) in [
            ("email=a%40example.com", Some("a@example.com")),
            ("csrf=x&email=a@example.com&next=/", Some("a@example.com")),
            ("email=a%2Bb@example.com", Some("a+b@example.com")),
            ("email=a+b", Some("a b")),
            ("%65mail=a", Some("a")),
            ("email=", Some("")),
            ("email", Some("")),
            ("email=a=b", Some("a=b")),
            ("email=j%C3%BCrgen@example.de", Some("jürgen@example.de")),
            ("&&email=a&", Some("a")),
            ("email_confirmed=1&email=a&user-email=b&mail=c", Some("a")),
            ("password=100%&email=a", Some("a")),
            ("", None),
            ("mail=a", None),
        ] {
            assert_eq!(read(form), Ok(value.map(str::to_owned)), "{form}");
        }
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        for form in [
            "email=a&email=b",
            "email=a&email=a",
            "email=a&email[]=b",
            "email[]=a",
            "email%5B%5D=a",
            "email[0]=a",
            "email[x]=a",
            "email[x][y]=a&email=b",
            "email[=a",
            "Email=a",
            "EMAIL=a&email=b",
            "+email=a",
            "email+=a",
            "email%00=a",
            "email%00x=a&email=b",
            "%EF%BB%BFemail=a",
            "emaıl=a",
            "x=1;email=a",
            "email=a;email=b",
            "email=a;b@example.com",
            "x=1;email[]=a",
        ] {
            assert_eq!(read(form), Err(Reason::TargetAmbiguous), "{form}");
        }
        for form in ["email=%FF", "email=%", "email=%4", "email=%zz", "email=%C3", "%FF=a"] {
            assert_eq!(read(form), Err(Reason::TargetUndecodable), "{form}");
        }
    }

    #[test]
    fn a_nested_name_is_known_in_every_spelling() {
        let read = |form| {
            let fields = fields(form, Spot::Form).unwrap();
            only("user[email]", &fields).map(|found| found.map(|found| found.text.into_owned())).map_err(|refusal| refusal.reason)
        };
        assert_eq!(read("user[email]=a&user[name]=b"), Ok(Some("a".to_owned())));
        for form in ["user[email]=a&user.email=b", "user[email][]=a", "user[Email]=a", "user[email][0]=a", "user_email=a", "user[email=a"] {
            assert_eq!(read(form), Err(Reason::TargetAmbiguous), "{form}");
        }
    }

    #[test]
    fn a_value_is_found_where_it_is_written() {
        for form in ["email=X", "a=b&email=X", "a=b;c=d&&%65mail=X&e=f;g", "x;y=1&email=X&"] {
            let fields = fields(form, Spot::Form).unwrap();
            let found = only("email", &fields).unwrap().unwrap();
            let at = form.find('X').unwrap();
            assert_eq!(found.spot, Spot::Form(at..at + 1), "{form}");
        }
    }
}
