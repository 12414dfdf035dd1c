//! JSON (RFC 8259), in which a pointer (RFC 6901) names a string.
//!
//! Parsers differ in which of two members of the same name they take, and some take one in another case. A batch, which is an array at
//! the top, names several accounts.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Refusal;
use super::name::is_lookalike;

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

    /// The name of a member of the top object.
    pub(super) fn only_token(&self) -> Option<&str> {
        match self.0.as_slice() {
            [token] => Some(token),
            _ => None,
        }
    }
}

/// The one string at `pointer`. `None` where there is none, or null.
pub(super) fn only(pointer: &Pointer, body: &[u8]) -> Result<Option<String>, Refusal> {
    let undecodable = Refusal::undecodable("The body is not JSON.");
    let text = std::str::from_utf8(body).map_err(|_| undecodable)?;
    let mut found = Ok(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let walk = Walk { tokens: &pointer.0, found: &mut found };
    walk.deserialize(&mut deserializer).and_then(|()| deserializer.end()).map_err(|_| undecodable)?;
    found
}

/// Goes down to where `tokens` point, and past everything else.
struct Walk<'w> {
    tokens: &'w [String],
    found: &'w mut Result<Option<String>, Refusal>,
}

impl Walk<'_> {
    fn refuse(&mut self, refusal: Refusal) {
        if self.found.is_ok() {
            *self.found = Err(refusal);
        }
    }

    /// A value that is neither a string nor something that others would look into.
    fn scalar(mut self) {
        if self.tokens.is_empty() {
            self.refuse(Refusal::undecodable("What names the account in the body is not a string."));
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let Some((token, rest)) = self.tokens.split_first() else {
            self.refuse(Refusal::ambiguous("What names the account in the body is an object."));
            return IgnoredAny.visit_map(map).map(drop);
        };
        let mut is_there = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == *token && !is_there {
                is_there = true;
                map.next_value_seed(Walk { tokens: rest, found: self.found })?;
                continue;
            }
            if name == *token {
                self.refuse(Refusal::ambiguous("A member of the body that names the account stands there twice."));
            } else if is_lookalike(&name, token) {
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

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if self.tokens.is_empty() && self.found.is_ok() {
            *self.found = Ok(Some(text.to_owned()));
        }
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar();
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar();
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar();
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Reason;

    fn read(pointer: &str, body: &str) -> Result<Option<String>, Reason> {
        only(&Pointer::parse(pointer).unwrap(), body.as_bytes()).map_err(|refusal| refusal.reason)
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
