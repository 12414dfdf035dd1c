//! Values that stand in the configuration as text: read by what they are for, and printed as they were written.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use http::Uri;
use ipnet::IpNet;
use serde::de::{SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limit::Limit;

/// A value and the text that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text<T> {
    text: String,
    pub(super) value: T,
}

impl<T: fmt::Display> Text<T> {
    pub(super) fn from_valid(value: T) -> Self {
        Self { text: value.to_string(), value }
    }
}

impl<T> Text<T> {
    /// `value`, which is written as `text`.
    pub(super) fn written(text: &str, value: T) -> Self {
        Self { text: text.to_owned(), value }
    }

    /// The text, as it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let value = text.parse().map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}")))?;
        Ok(Self { text, value })
    }
}

impl<T> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// One value, or a list of them.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<T>, E> {
                T::deserialize(serde::de::value::StrDeserializer::new(text)).map(|one| vec![one])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, many: A) -> Result<Vec<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(many))
            }
        }
        deserializer.deserialize_any(Either(PhantomData)).map(Self)
    }
}

/// `"90s"`, `"12h"`, `"14d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let duration = humantime::parse_duration(text);
        duration.map(Self).map_err(|error| format!("it is no duration such as \"90s\", \"12h\" or \"14d\": {error}"))
    }
}

/// As it would be written by hand: in the largest unit of which it is a whole number.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
        let whole = units.into_iter().find(|(_, length)| milliseconds > 0 && milliseconds.is_multiple_of(*length));
        let (unit, length) = whole.unwrap_or(("s", 1_000));
        write!(f, "{}{unit}", milliseconds / length)
    }
}

/// After how long something is done again: a duration above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval(pub(super) Duration);

impl FromStr for Interval {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let interval = humantime::parse_duration(text).ok().filter(|interval| !interval.is_zero());
        interval.map(Self).ok_or("it is no duration above zero such as \"90s\", \"12h\" or \"14d\"")
    }
}

/// `"10/s"`: how many a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate(pub(super) f64);

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let limit = text.parse::<Limit>().map_err(|_| "it is no rate such as \"10/s\": a number from 1 on, and one of s, m, h, d")?;
        Ok(Self(limit.per_second()))
    }
}

/// `"10%"`: a part of all, which are 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share(pub(super) f64);

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
        percent.map(|percent| Self(percent / 100.0)).ok_or("it is no share such as \"10%\": from 0% to 100%")
    }
}

/// `"64KiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) usize);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = text.parse::<ByteSize>().ok().and_then(|size| usize::try_from(size.as_u64()).ok());
        size.map(Self).ok_or_else(|| "it is no size such as \"64KiB\"".to_owned())
    }
}

/// `"100MiB"`: how large something may get, above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let size = text.parse::<ByteSize>().ok().map(|size| size.as_u64()).filter(|size| *size > 0);
        size.map(Self).ok_or("it is no size above zero such as \"100MiB\"")
    }
}

/// Scheme, host and port of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upstream(pub(super) Uri);

impl FromStr for Upstream {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is no URL")?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_web || uri.host().is_none() {
            return Err("it is no URL such as \"http://127.0.0.1:3000\"");
        }
        match (uri.path(), uri.query()) {
            ("/" | "", None) => Ok(Self(uri)),
            _ => Err("requests keep their own path, so it must have none"),
        }
    }
}

/// A network in CIDR form, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network(pub(super) IpNet);

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| "it is no network such as \"10.0.0.0/8\"")
    }
}

/// The resolver that is asked: the system's, or one at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolver {
    System,
    At(SocketAddr),
}

impl FromStr for Resolver {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == "system" {
            return Ok(Self::System);
        }
        let address = text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53)));
        address.map(Self::At).map_err(|_| "it is neither \"system\" nor an address such as \"127.0.0.1:5353\"")
    }
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::At(address) => address.fmt(f),
        }
    }
}
