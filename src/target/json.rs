//! JSON (RFC 8259), in which a pointer (RFC 6901) names a string.
//!
//! Parsers differ in which of two members of the same name they take, and some take one in another case. A batch, which is an array at
//! the top, names several accounts.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Refusal;
use super::name::is_lookalike;
use super::spot::{Found, Spot};

/// The tokens of a JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    pub(super) fn parse(text: &str) -> Option<Self> {
        // RFC 6901 §4: `~1` is read before `~0`.
        let token = |token: &str| token.replace("~1", "/").replace("~0", "~");
        text.strip_prefix('/').map(|tokens| Self(tokens.split('/').map(token).collect()))
    }

    /// The pointer to the member `name` of the top object.
    pub(super) fn to_member(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }

    /// The member of the top object, where the pointer leads into it.
    pub(super) fn object(&self) -> Option<&str> {
        match self.0.as_slice() {
            [first, _, ..] => Some(first),
            [_] | [] => None,
        }
    }

    /// The pointer to where a framework that nests forms puts the field `name`: `/user/email` for `user[email]`.
    pub(super) fn to_field_of(name: &str) -> Self {
        let mut tokens = name.split('[');
        let first = tokens.next().unwrap_or_default();
        Self(std::iter::once(first).chain(tokens.map(|token| token.trim_end_matches(']'))).map(str::to_owned).collect())
    }

    /// The field that a framework that nests forms puts there.
    pub(super) fn to_field(&self) -> Cow<'_, str> {
        field(&self.0)
    }
}

fn field(tokens: &[String]) -> Cow<'_, str> {
    match tokens {
        [] => "".into(),
        [token] => token.into(),
        [first, rest @ ..] => rest.iter().fold(first.clone(), |name, token| format!("{name}[{token}]")).into(),
    }
}

const NOT_JSON: Refusal = Refusal::undecodable("The body is not JSON.");

/// The one string at `pointer`, or the one whole number where those count. `None` where there is none, or null.
pub(super) fn only(pointer: &Pointer, body: &[u8], counts_numbers: bool) -> Result<Option<Found<'static>>, Refusal> {
    let text = std::str::from_utf8(body).map_err(|_| NOT_JSON)?;
    let mut literal = Ok(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let walk = Walk { tokens: &pointer.0, found: &mut literal };
    walk.deserialize(&mut deserializer).and_then(|()| deserializer.end()).map_err(|_| NOT_JSON)?;
    let Some(literal) = literal? else { return Ok(None) };
    let Some(value) = value(literal, counts_numbers)? else { return Ok(None) };
    let start = literal.as_ptr() as usize - text.as_ptr() as usize;
    Ok(Some(Found { text: value.into(), spot: Spot::Json(start..start + literal.len()) }))
}

/// What `literal` stands for.
fn value(literal: &str, counts_numbers: bool) -> Result<Option<String>, Refusal> {
    match literal.as_bytes().first() {
        Some(b'"') => serde_json::from_str(literal).map(Some).map_err(|_| NOT_JSON),
        Some(b'n') => Ok(None),
        Some(b'[') => Err(Refusal::ambiguous("The body names accounts in an array.")),
        Some(b'{') => Err(Refusal::ambiguous("What names the account in the body is an object.")),
        Some(b'0'..=b'9' | b'-') if counts_numbers && !literal.contains(['.', 'e', 'E']) => Ok(Some(literal.to_owned())),
        _ => Err(Refusal::undecodable("What names the account in the body is not a string.")),
    }
}

/// Goes down to where `tokens` point, and past everything else. What it finds is the literal as it is written.
struct Walk<'w, 'de> {
    tokens: &'w [String],
    found: &'w mut Result<Option<&'de str>, Refusal>,
}

impl Walk<'_, '_> {
    fn refuse(&mut self, refusal: Refusal) {
        if self.found.is_ok() {
            *self.found = Err(refusal);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if !self.tokens.is_empty() {
            return deserializer.deserialize_any(self);
        }
        let literal = <&RawValue>::deserialize(deserializer)?.get();
        if self.found.is_ok() {
            *self.found = Ok(Some(literal));
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Walk<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let Some((token, rest)) = self.tokens.split_first() else { return IgnoredAny.visit_map(map).map(drop) };
        // lodash and others take `user.email` for a path, and first for a name.
        let path = field(self.tokens);
        let is_path = |name: &str| !rest.is_empty() && name.contains(['.', '[']) && is_lookalike(name, &path);
        let mut is_there = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == *token && !is_there {
                is_there = true;
                map.next_value_seed(Walk { tokens: rest, found: self.found })?;
                continue;
            }
            if name == *token {
                self.refuse(Refusal::ambiguous("A member of the body that names the account stands there twice."));
            } else if is_lookalike(&name, token) || is_path(&name) {
                self.refuse(Refusal::ambiguous("Another member of the body may be taken for the one that names the account."));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, seq: A) -> Result<(), A::Error> {
        self.refuse(Refusal::ambiguous("The body names accounts in an array."));
        IgnoredAny.visit_seq(seq).map(drop)
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Reason;

    fn read(pointer: &str, body: &str) -> Result<Option<String>, Reason> {
        let found = only(&Pointer::parse(pointer).unwrap(), body.as_bytes(), false);
        found.map(|found| found.map(|found| found.text.into_owned())).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn the_one_string_is_read() {
        for (pointer, body, value) in [
            ("/email", r#"{"email":"a@example.com"}"#, Some("a@example.com")),
            ("/email", r#"{"x":[{"email":"b"}],"e-mail":"c","\u0065mail":"\u0061@example.com","y":{"email":"d"}}"#, Some("a@example.com")),
            ("/user/email", r#"{"email":"b","user":{"email":"a"}}"#, Some("a")),
            ("/a~1b/c~0d", r#"{"a/b":{"c~d":"a"}}"#, Some("a")),
            ("/email", r#"{"email":null}"#, None),
            ("/email", "{}", None),
            ("/user/email", r#"{"user":"a"}"#, None),
            ("/email", r#""a@example.com""#, None),
        ] {
            assert_eq!(read(pointer, body), Ok(value.map(str::to_owned)), "{body}");
        }
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        for body in [
            r#"{"email":"a","email":"b"}"#,
            r#"{"email":"a","email":"a"}"#,
            r#"{"email":"a","\u0065mail":"b"}"#,
            r#"{"email":"a","Email":"b"}"#,
            r#"{"EMAIL":"a"}"#,
            r#"{"emaıl":"a"}"#,
            r#"{"email[]":"a"}"#,
            r#"{"email\u0000":"a","email":"b"}"#,
            r#"{"email":["a"]}"#,
            r#"{"email":[]}"#,
            r#"{"email":{"$ne":null}}"#,
            r#"[{"email":"a"}]"#,
            "[]",
        ] {
            assert_eq!(read("/email", body), Err(Reason::TargetAmbiguous), "{body}");
        }
        for body in [r#"{"user":{"email":"a"},"user.email":"b"}"#, r#"{"user":{"email":"a"},"user[email]":"b"}"#] {
            assert_eq!(read("/user/email", body), Err(Reason::TargetAmbiguous), "{body}");
        }
        for body in [r#"{"user":{"email":"a"},"user":{"email":"b"}}"#, r#"{"user":[{"email":"a"}]}"#, r#"{"User":{"email":"a"}}"#] {
            assert_eq!(read("/user/email", body), Err(Reason::TargetAmbiguous), "{body}");
        }
        for body in [
            "",
            "{",
            r#"{"email":"a"} x"#,
            r#"{"email":"a",}"#,
            r#"{'email':'a'}"#,
            r#"{email:"a"}"#,
            r#"{"email":"a"/**/}"#,
            "\u{feff}{\"email\":\"a\"}",
            r#"{"email":"\ud800"}"#,
            r#"{"email":NaN}"#,
            r#"{"email":1}"#,
            r#"{"email":true}"#,
            "email=a",
        ] {
            assert_eq!(read("/email", body), Err(Reason::TargetUndecodable), "{body}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(30_000), "}".repeat(30_000));
        assert!(read("/email", &deep).is_err() || read("/email", &deep) == Ok(None));
    }
}
