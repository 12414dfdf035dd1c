//! The words that registries have for what becomes of a registration.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A registry's word about a registration (RFC 9083 §10.2.2, RFC 8056 §2). Only words that decide something have a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Created at most five days ago; can be deleted for a refund.
    AddPeriod,
    /// Extended by the registry itself at its end, for which the registrar may be refunded within 45 days.
    AutoRenewPeriod,
    /// Taken out of the DNS by the registrar.
    ClientHold,
    /// Taken out of the DNS by the registry.
    ServerHold,
    /// About to be dropped; together with a redemption period, still in that.
    PendingDelete,
    /// Deleted, and restorable.
    RedemptionPeriod,
    /// A restore was asked for and its report is awaited.
    PendingRestore,
    /// Not registered yet.
    PendingCreate,
    /// Deleted, and shown to some.
    Removed,
    /// Run out, in the words of some country registries.
    Expired,
    /// Exists for the registry's own reasons; has no ordinary holder (also `administrative`).
    Reserved,
    /// Anything else, in lower case with single blanks.
    Other(Box<str>),
}

impl From<&str> for Status {
    /// Reads a status however it is spelled: registries also send EPP's camel case, underscores, and WHOIS's links behind the word.
    fn from(text: &str) -> Self {
        let words = normalised(text);
        match &*words {
            "add period" | "addperiod" => Self::AddPeriod,
            "auto renew period" | "autorenewperiod" => Self::AutoRenewPeriod,
            "client hold" | "clienthold" => Self::ClientHold,
            "server hold" | "serverhold" => Self::ServerHold,
            "pending delete" | "pendingdelete" | "pending delete scheduled for release" => Self::PendingDelete,
            "redemption period" | "redemptionperiod" | "pending delete restorable" => Self::RedemptionPeriod,
            "pending restore" | "pendingrestore" => Self::PendingRestore,
            "pending create" | "pendingcreate" => Self::PendingCreate,
            "removed" => Self::Removed,
            "expired" => Self::Expired,
            "reserved" | "administrative" => Self::Reserved,
            _ => Self::Other(words.into()),
        }
    }
}

fn normalised(status: &str) -> Cow<'_, str> {
    // As RFC 8056 §2 spells them, and most registries do: lower case, single blanks, and no link behind.
    let bytes = status.as_bytes();
    let is_plain = bytes.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b' ')
        && !bytes.starts_with(b" ")
        && !bytes.ends_with(b" ")
        && !bytes.windows(2).any(|pair| pair == b"  ")
        && !bytes.windows(4).any(|word| word == b"http");
    if is_plain {
        return Cow::Borrowed(status);
    }
    let word = status.split("http").next().unwrap_or_default();
    let mut spaced = String::with_capacity(word.len() + 4);
    let mut after_lower = false;
    for c in word.chars() {
        if after_lower && c.is_ascii_uppercase() {
            spaced.push(' ');
        }
        spaced.push(if matches!(c, '_' | '-') { ' ' } else { c.to_ascii_lowercase() });
        after_lower = c.is_ascii_lowercase();
    }
    spaced.split_whitespace().collect::<Vec<_>>().join(" ").into()
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddPeriod => "add period",
            Self::AutoRenewPeriod => "auto renew period",
            Self::ClientHold => "client hold",
            Self::ServerHold => "server hold",
            Self::PendingDelete => "pending delete",
            Self::RedemptionPeriod => "redemption period",
            Self::PendingRestore => "pending restore",
            Self::PendingCreate => "pending create",
            Self::Removed => "removed",
            Self::Expired => "expired",
            Self::Reserved => "reserved",
            Self::Other(words) => words,
        })
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(String::deserialize(deserializer)?.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_however_it_is_spelled() {
        for text in [
            "redemption period",
            "redemptionPeriod",
            "Redemption_Period",
            "redemptionPeriod https://icann.org/epp#redemptionPeriod",
            " REDEMPTION  PERIOD ",
            "REDEMPTIONPERIOD",
        ] {
            assert_eq!(Status::from(text), Status::RedemptionPeriod, "{text}");
        }
        assert_eq!(Status::from("clientDeleteProhibited"), Status::Other("client delete prohibited".into()));
    }
}
