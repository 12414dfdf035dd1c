//! Reading JSON without copying what isn't kept, and without minding what isn't as it should be.
//!
//! A type says by [`Lenient`] what it makes of a text, a number, a list or an object. What it says nothing about, `null` too, leaves its default: a member of
//! the wrong type counts as absent. Nothing else is looked at, however much of it there is and however deep it is nested. Of a repeated member the last counts.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// What a value of JSON is read as.
pub(super) trait Lenient<'de>: Default {
    fn text(_: Cow<'de, str>) -> Self {
        Self::default()
    }

    fn number(_: Number) -> Self {
        Self::default()
    }

    fn boolean(_: bool) -> Self {
        Self::default()
    }

    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        rest(&mut items)?;
        Ok(Self::default())
    }

    fn object<A: MapAccess<'de>>(mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

/// Reads a whole body. `None` where it is no JSON.
pub(super) fn from_slice<'de, T: Lenient<'de>>(body: &'de [u8]) -> Option<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = As::new().deserialize(&mut deserializer).ok()?;
    deserializer.end().is_ok().then_some(value)
}

/// The next item of a list.
pub(super) fn item<'de, T: Lenient<'de>, A: SeqAccess<'de>>(items: &mut A) -> Result<Option<T>, A::Error> {
    items.next_element_seed(As::new())
}

/// All items of a list, one after the other.
pub(super) fn each<'de, T: Lenient<'de>, A: SeqAccess<'de>>(mut items: A, mut take: impl FnMut(T)) -> Result<(), A::Error> {
    while let Some(item) = item(&mut items)? {
        take(item);
    }
    Ok(())
}

/// Passes over what is left of a list, which must be done before its end is met.
pub(super) fn rest<'de, A: SeqAccess<'de>>(items: &mut A) -> Result<(), A::Error> {
    while items.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

/// The name of an object's next member.
pub(super) fn name<'de, A: MapAccess<'de>>(members: &mut A) -> Result<Option<Text<'de>>, A::Error> {
    members.next_key_seed(As::new())
}

/// The value of the member whose name was read last.
pub(super) fn value<'de, T: Lenient<'de>, A: MapAccess<'de>>(members: &mut A) -> Result<T, A::Error> {
    members.next_value_seed(As::new())
}

/// Declares a type for an object of which some members are read.
macro_rules! object {
    ($(#[$doc:meta])* $type:ident { $($field:ident: $of:ty = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(super) struct $type<'de> { $(pub(super) $field: $of,)* body: std::marker::PhantomData<&'de ()> }

        impl<'de> $crate::domain::rdap::lenient::Lenient<'de> for $type<'de> {
            fn object<A: serde::de::MapAccess<'de>>(mut members: A) -> Result<Self, A::Error> {
                use $crate::domain::rdap::lenient::{name, value};
                let mut object = Self::default();
                while let Some(name) = name(&mut members)? {
                    match name.get().unwrap_or_default() {
                        $($name => object.$field = value(&mut members)?,)*
                        _ => drop(members.next_value::<serde::de::IgnoredAny>()?),
                    }
                }
                Ok(object)
            }
        }
    };
}
pub(super) use object;

/// A text that is part of the body, unless it has escapes.
#[derive(Default)]
pub(super) struct Text<'de>(pub(super) Option<Cow<'de, str>>);

impl Text<'_> {
    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }

    pub(super) fn is(&self, other: &str) -> bool {
        self.get().is_some_and(|text| text.eq_ignore_ascii_case(other))
    }

    /// The text as a value of its own, where it isn't empty.
    pub(super) fn filled(self) -> Option<String> {
        self.0.filter(|text| !text.trim().is_empty()).map(Cow::into_owned)
    }
}

impl<'de> Lenient<'de> for Text<'de> {
    fn text(text: Cow<'de, str>) -> Self {
        Self(Some(text))
    }
}

/// A number or an identifier, which some servers write as text.
#[derive(Default)]
pub(super) enum Figure<'de> {
    #[default]
    None,
    Text(Cow<'de, str>),
    Number(Number),
}

impl Figure<'_> {
    pub(super) const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn is(&self, number: u64) -> bool {
        match self {
            Self::None => false,
            Self::Text(text) => text.trim().parse() == Ok(number),
            Self::Number(figure) => figure.as_u64() == Some(number),
        }
    }
}

impl fmt::Display for Figure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl<'de> Lenient<'de> for Figure<'de> {
    fn text(text: Cow<'de, str>) -> Self {
        Self::Text(text)
    }

    fn number(number: Number) -> Self {
        Self::Number(number)
    }
}

/// A truth, which some servers write as text.
#[derive(Default)]
pub(super) struct Truth(pub(super) Option<bool>);

impl<'de> Lenient<'de> for Truth {
    fn text(text: Cow<'de, str>) -> Self {
        Self(text.parse().ok())
    }

    fn boolean(is: bool) -> Self {
        Self(Some(is))
    }
}

/// Whether there is anything but `null`.
#[derive(Default)]
pub(super) struct Presence(pub(super) bool);

impl<'de> Lenient<'de> for Presence {
    fn text(_: Cow<'de, str>) -> Self {
        Self(true)
    }

    fn number(_: Number) -> Self {
        Self(true)
    }

    fn boolean(_: bool) -> Self {
        Self(true)
    }

    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        rest(&mut items)?;
        Ok(Self(true))
    }

    fn object<A: MapAccess<'de>>(mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self(true))
    }
}

struct As<T>(PhantomData<T>);

impl<T> As<T> {
    const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Lenient<'de>> DeserializeSeed<'de> for As<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Lenient<'de>> Visitor<'de> for As<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<T, E> {
        Ok(T::text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<T, E> {
        Ok(T::number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<T, E> {
        Ok(T::number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<T, E> {
        Ok(Number::from_f64(number).map_or_else(T::default, T::number))
    }

    fn visit_bool<E>(self, is: bool) -> Result<T, E> {
        Ok(T::boolean(is))
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<T, A::Error> {
        T::list(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::object(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    object! {
        /// Two members.
        Thing {
            text: Text<'de> = "text",
            truth: Truth = "truth",
        }
    }

    #[test]
    fn what_is_of_the_wrong_type_counts_as_absent() {
        for (body, text, truth) in [
            (r#"{"text":"a","truth":true}"#, Some("a"), Some(true)),
            (r#"{"text":"\u0061","truth":"false"}"#, Some("a"), Some(false)),
            (r#"{"text":"b","text":"a"}"#, Some("a"), None),
            (r#"{"text":null,"truth":null}"#, None, None),
            (r#"{"text":7,"truth":-7}"#, None, None),
            (r#"{"text":[["a"],{}],"truth":{"truth":[true]},"text":1.5}"#, None, None),
            (r#"{"other":{"text":"a"}}"#, None, None),
            (r#"[{"text":"a"}]"#, None, None),
            ("7", None, None),
        ] {
            let thing: Thing<'_> = from_slice(body.as_bytes()).unwrap();
            assert_eq!((thing.text.get(), thing.truth.0), (text, truth), "{body}");
        }
        for body in ["", "{", r#"{"text":"a"} more"#, r#"{"text":"a",}"#, "<html>"] {
            assert!(from_slice::<Thing<'_>>(body.as_bytes()).is_none(), "{body}");
        }
    }
}
