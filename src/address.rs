//! E-mail addresses and the domains whose registration they hang on: what can't be parsed can't exist.
//!
//! A [`Mailbox`] is one addr-spec (RFC 5322 §3.4.1, internationalised by RFC 6532) that no other program reads as a different one:
//!
//! 1. White space around it is ignored; display names, comments, lists and address literals are refused.
//! 2. Its text is in NFKC and equal to its own case folding but for ASCII letters, so neither a compatibility form (full width, ligature,
//!    long s, Kelvin sign) nor a letter that folds into another (dotless i, sharp s) can stand for a plain one.
//! 3. Its domain is in one IDNA form, all A-labels or all U-labels (RFC 5890 §2.3.2.1), and round-trips between both.
//! 4. Its local part has no quotes or escapes that it could do without (RFC 5321 §4.1.2 asks for that), and no encoded words (RFC 2047), which some
//!    mail libraries decode even there, nor percent-encoded characters, which a program that decodes a form twice would take for others.
//! 5. It has a [`RegistrableDomain`]: public suffix plus one label, by the ICANN section of the Public Suffix List and a table of the registries below it.

mod registries;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use email_address::{EmailAddress, Options};
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::{UnicodeNormalization, is_nfkc};

/// Why a text is not a mailbox or has no registrable domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Not one addr-spec.
    #[error("not one e-mail address")]
    NotAddrSpec,
    /// Another program might fold the spelling into a different address.
    #[error("the spelling stands for more than one address")]
    Foldable,
    /// The domain is an address literal, an IP address, or not a host name in one IDNA form.
    #[error("not a domain name in one IDNA form")]
    NotDomain,
    /// The domain is itself a public suffix, so nobody can register it.
    #[error("no registrable domain")]
    NotRegistrable,
}

/// One addr-spec, whose domain is registrable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    text: String,
    at: usize,
    host: String,
    domain: RegistrableDomain,
}

impl Mailbox {
    /// Reads `text` as one mailbox.
    ///
    /// # Errors
    /// Says which of the rules above is broken.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let options = Options::default().without_display_text();
        let parsed = EmailAddress::parse_with_options(text, options).map_err(|_| AddressError::NotAddrSpec)?;
        if !is_its_own_folding(text) || !is_written_plainly(parsed.local_part()) || is_percent_encoded(text) {
            return Err(AddressError::Foldable);
        }
        let at = parsed.local_part().len();
        let host = host_name(text.get(at + 1..).unwrap_or_default())?;
        let domain = RegistrableDomain::of_host(&host)?;
        Ok(Self { text: parsed.into(), at, host, domain })
    }

    /// The address as it was written, without the white space around it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands before the `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The mail domain in A-labels and lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The domain whose registration decides who can receive this mailbox's mail.
    #[must_use]
    pub fn domain(&self) -> &RegistrableDomain {
        &self.domain
    }

    /// The ways in which a directory may have stored this address, in ASCII lower case: with its domain in A-labels and,
    /// for an international domain, in U-labels.
    pub fn spellings(&self) -> impl Iterator<Item = String> + '_ {
        let unicode = is_international(&self.host)
            .then(|| Uts46::new().to_unicode(self.host.as_bytes(), AsciiDenyList::STD3, Hyphens::Check).0.into_owned());
        let spelling = |host: &str| {
            let mut text = String::with_capacity(self.at + 1 + host.len());
            text.push_str(self.local_part());
            text.make_ascii_lowercase();
            text.push('@');
            text.push_str(host);
            text
        };
        std::iter::once(spelling(&self.host)).chain(unicode.map(move |host| spelling(&host)))
    }

    /// Whether `stored` is this address but for ASCII case. The two forms of an international domain count as equal.
    #[must_use]
    pub fn equals(&self, stored: &str) -> bool {
        self.text.eq_ignore_ascii_case(stored)
            || Self::parse(stored)
                .is_ok_and(|stored| self.host == stored.host && self.local_part().eq_ignore_ascii_case(stored.local_part()))
    }
}

/// The mail domain of `text` as it is written, where its local part is so plain that nothing but this decides whether it is a mailbox, and on which domain.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn plain_host(text: &str) -> Option<&str> {
    let (local, host) = text.split_once('@')?;
    let is_plain = |atom: &[u8]| !atom.is_empty() && atom.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-_".contains(byte));
    (local.len() <= 64 && local.as_bytes().split(|byte| *byte == b'.').all(is_plain)).then_some(host)
}

/// A public suffix plus one label, in A-labels and lower case: the name that is registered, lapses and is sold.
///
/// Cloning shares the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistrableDomain(Arc<str>);

impl RegistrableDomain {
    /// The registrable domain that `host` belongs to: `a.b.example.co.uk` belongs to `example.co.uk`, and `someone.github.io` to
    /// `github.io`, since the private section of the list names no registrations. But for a few registries in it: `a.example.uk.com` belongs to
    /// `example.uk.com`, whose holder pays for that name.
    ///
    /// # Errors
    /// Where `host` is no domain name in one IDNA form, or is itself a public suffix.
    pub fn of(host: &str) -> Result<Self, AddressError> {
        let host = host.trim();
        if !is_its_own_folding(host) {
            return Err(AddressError::Foldable);
        }
        Self::of_host(&host_name(host)?)
    }

    fn of_host(host: &str) -> Result<Self, AddressError> {
        let suffix = registries::suffix_above(host).or_else(|| icann_suffix(host)).ok_or(AddressError::NotRegistrable)?;
        let labels = host.strip_suffix(suffix).and_then(|rest| rest.strip_suffix('.')).ok_or(AddressError::NotRegistrable)?;
        let start = labels.rfind('.').map_or(0, |dot| dot + 1);
        host.get(start..).map(|name| Self(name.into())).ok_or(AddressError::NotRegistrable)
    }

    /// The name, in A-labels and lower case, without trailing dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` is this very domain, in whichever IDNA form and case, and with or without trailing dot.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        host_name(name.strip_suffix('.').unwrap_or(name)).is_ok_and(|name| *name == *self.0)
    }

    /// The suffix of the registry that has the name, where that is another than the top-level domain's, such as `uk.com`.
    pub(crate) fn second_level_registry(&self) -> Option<&str> {
        registries::suffix_above(&self.0)
    }

    /// The name's last label.
    #[must_use]
    pub fn top_level(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or_default()
    }
}

/// As [`RegistrableDomain::of`] has it.
impl FromStr for RegistrableDomain {
    type Err = AddressError;

    fn from_str(host: &str) -> Result<Self, AddressError> {
        Self::of(host)
    }
}

impl Serialize for RegistrableDomain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RegistrableDomain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for RegistrableDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest suffix of `host` that the ICANN section lists, or the last label where it lists none (the list's rule `*`).
fn icann_suffix(host: &str) -> Option<&str> {
    let mut name = host;
    loop {
        let suffix = psl::suffix(name.as_bytes())?;
        let length = suffix.as_bytes().len();
        let text = name.get(name.len() - length..)?;
        if suffix.typ() != Some(psl::Type::Private) {
            return Some(text);
        }
        // A private rule stands below an ICANN one: look for it among the labels after the first.
        name = text.split_once('.')?.1;
    }
}

/// `host` in A-labels and lower case, if it is a host name (RFC 1123 §2.1) in one IDNA form.
fn host_name(host: &str) -> Result<String, AddressError> {
    let lower = host.to_ascii_lowercase();
    let name = if is_international(&lower) {
        let uts46 = Uts46::new();
        let ascii = uts46
            .to_ascii(lower.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Verify)
            .map_err(|_| AddressError::NotDomain)?;
        let (unicode, valid) = uts46.to_unicode(ascii.as_bytes(), AsciiDenyList::STD3, Hyphens::Check);
        valid.map_err(|_| AddressError::NotDomain)?;
        // Anything that was mapped on the way (ideographic dots, ignored characters, mixed forms) equals neither.
        if lower != ascii && lower != unicode {
            return Err(AddressError::NotDomain);
        }
        ascii.into_owned()
    } else {
        lower
    };
    let is_ip_address = name.bytes().rev().take_while(|byte| *byte != b'.').all(|byte| byte.is_ascii_digit());
    if name.len() > 253 || is_ip_address || !name.as_bytes().split(|byte| *byte == b'.').all(is_label) {
        return Err(AddressError::NotDomain);
    }
    Ok(name)
}

fn is_label(label: &[u8]) -> bool {
    (1..=63).contains(&label.len())
        && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        && !label.starts_with(b"-")
        && !label.ends_with(b"-")
}

fn is_international(host: &str) -> bool {
    !host.is_ascii() || host.contains("xn--")
}

/// Whether no normalisation or case folding, but that of ASCII letters, makes `text` another.
fn is_its_own_folding(text: &str) -> bool {
    text.is_ascii()
        || (is_nfkc(text)
            && text.chars().filter(|c| !c.is_ascii()).all(|c| {
                !is_invisible(c)
                    && !c.is_whitespace()
                    && c.to_lowercase().eq([c])
                    && c.to_uppercase().flat_map(char::to_lowercase).nfc().eq([c])
            }))
}

/// Whether a local part is spelled as it is after any program took away needless quotes and escapes, and decoded encoded words.
fn is_written_plainly(local: &str) -> bool {
    let Some(quoted) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return !local.contains("=?") };
    let is_needed = |escaped: &str| escaped.starts_with(['"', '\\']);
    let mut rest = quoted;
    while let Some((_, escaped)) = rest.split_once('\\') {
        if !is_needed(escaped) {
            return false;
        }
        rest = escaped.get(1..).unwrap_or_default();
    }
    let is_atext = |c: char| c.is_ascii_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let is_dot_atom = quoted.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext));
    !is_dot_atom && !quoted.contains("=?")
}

/// Whether a program that decodes once more (RFC 3986 §2.1, and `%u0062` as IIS has it) finds something to decode.
pub(crate) fn is_percent_encoded(text: &str) -> bool {
    let are_digits = |digits: Option<&str>| digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    text.split('%').skip(1).any(|rest| {
        let unicode = rest.strip_prefix(['u', 'U']).map(|rest| rest.get(..4));
        are_digits(rest.get(..2)) || unicode.is_some_and(are_digits)
    })
}

/// What a program that decodes once more makes of `text`. `None` where that changes nothing. Done again and again, it comes to an end.
pub(crate) fn decoded_once_more(text: &str) -> Option<String> {
    if !is_percent_encoded(text) {
        return None;
    }
    // `%u0065` as IIS has it says the same as `%65` of all that a name or an address is made of.
    let plain = text.replace("%u00", "%").replace("%U00", "%");
    let decoded = percent_decode_str(&plain).decode_utf8_lossy().into_owned();
    (decoded != text).then_some(decoded)
}

/// Control characters, and those that are drawn as nothing: some programs drop them, others end a text at them. And what stands for bytes that are no UTF-8.
pub(crate) fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain_of(text: &str) -> Result<String, AddressError> {
        Mailbox::parse(text).map(|mailbox| mailbox.domain().to_string())
    }

    #[test]
    fn a_mailbox_hangs_on_the_registrable_domain_of_the_icann_section() {
        for (text, domain) in [
            ("a@example.com", "example.com"),
            ("  a@Example.COM\t", "example.com"),
            ("a@mail.example.co.uk", "example.co.uk"),
            ("a@someone.github.io", "github.io"),
            ("a@github.io", "github.io"),
            ("a@x.blogspot.co.uk", "blogspot.co.uk"),
            ("a@b.s3.dualstack.us-east-1.amazonaws.com", "amazonaws.com"),
            ("a@mail.shop.uk.com", "shop.uk.com"),
            ("a@shop.eu.com", "shop.eu.com"),
            ("a@uk.com", "uk.com"),
            ("a@notuk.com", "notuk.com"),
            ("a@bücher.uk.com", "xn--bcher-kva.uk.com"),
            ("a@x.example", "x.example"),
            ("a@city.kawasaki.jp", "city.kawasaki.jp"),
            ("\"two words\"@example.com", "example.com"),
            ("\"a\\\"b\"@example.com", "example.com"),
            ("\".a\"@example.com", "example.com"),
            ("o'brien+tag@example.com", "example.com"),
            ("100%sure%@example.com", "example.com"),
            ("jürgen@example.de", "example.de"),
            ("a@bücher.example", "xn--bcher-kva.example"),
            ("a@xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("a@shop.公司.cn", "shop.xn--55qx5d.cn"),
            ("μαΐου@example.gr", "example.gr"),
            ("用户@例子.中国", "xn--fsqu00a.xn--fiqs8s"),
        ] {
            assert_eq!(domain_of(text).as_deref(), Ok(domain), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_plain_mailbox_is_refused() {
        for text in [
            "",
            " ",
            "a",
            "@",
            "a@",
            "@example.com",
            "a@b@example.com",
            "a@example.com,b@example.com",
            "a@example.com b@example.com",
            "a@example.com;b@example.com",
            "A <a@example.com>",
            "<a@example.com>",
            "a(comment)@example.com",
            "a@example.com(comment)",
            "a@(comment)example.com",
            "a@[127.0.0.1]",
            "a@[IPv6:::1]",
            "a@127.0.0.1",
            "a@com",
            "a@co.uk",
            "a@localhost",
            "a@example.com.",
            "a@.example.com",
            "a@example..com",
            ".a@example.com",
            "a.@example.com",
            "a..b@example.com",
            "a@-example.com",
            "a@exa_mple.com",
            "a@exa mple.com",
            "a@example.com\0",
            "a\0@example.com",
            "a@example.com\r\nBcc: b@example.com",
            "a\r\n@example.com",
            "mailto:a@example.com",
            "a%40example.com",
        ] {
            assert!(domain_of(text).is_err(), "{text:?} gives {:?}", domain_of(text));
        }
        assert!(domain_of(&format!("{}@example.com", "a".repeat(65))).is_err());
        assert!(domain_of(&format!("a@{}.com", "a".repeat(64))).is_err());
    }

    #[test]
    fn what_another_program_might_fold_into_a_different_address_is_refused() {
        for text in [
            "mıke@example.com",           // dotless i: upper case is I
            "mİke@example.com",           // dotted capital I
            "miſter@example.com",         // long s
            "mi\u{212a}e@example.com",    // Kelvin sign
            "ａ@example.com",             // full width
            "a＠example.com",             // full-width at sign
            "a@ｅxample.com",             // full width in the domain
            "a@example。com",             // ideographic full stop
            "a@example．com",             // full-width full stop
            "a@example｡com",              // half-width ideographic full stop
            "groß@example.com",           // sharp s: upper case is SS
            "a@faß.de",                   // IDNA2003 has fass.de, IDNA2008 another name
            "Éa@example.com",             // upper case beyond ASCII
            "e\u{301}@example.com",       // not NFC
            "ﬁ@example.com",              // ligature
            "a\u{200b}@example.com",      // zero-width space
            "a\u{ad}@example.com",        // soft hyphen
            "a@exam\u{ad}ple.com",        // soft hyphen, dropped by IDNA
            "\u{fffd}a@example.com",      // bytes that are no UTF-8
            "a@bücher.xn--bcher-kva.com", // both IDNA forms in one name
            "a@xn--a.com",                // no A-label
            "a@xn--example.com",          // no A-label
            "\"a\"@example.com",          // quotes for nothing
            "\"a.b\"@example.com",        // the same
            "\"a\\b c\"@example.com",     // an escape for nothing
            "=?utf-8?q?a?=@example.com",  // an encoded word
            "%61@example.com",            // percent-encoded
            "%00a@example.com",           // the same
            "x%u0061@example.com",        // the same, as IIS has it
        ] {
            assert!(domain_of(text).is_err(), "{text} gives {:?}", domain_of(text));
        }
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    mod plain {
        use proptest::prelude::*;

        use super::*;

        const HOSTS: [&str; 12] = [
            "example.com",
            "Mail.Example.co.uk",
            "bücher.example",
            "xn--bcher-kva.example",
            "example.com ",
            "exa%6dple.com",
            "co.uk",
            "a@example.com",
            "=?x?=.com",
            "[127.0.0.1]",
            "\u{338}a.com",
            "",
        ];

        proptest! {
            /// What a sweep skips the reading of is what reading would say.
            #[test]
            fn where_a_local_part_is_plain_the_host_alone_decides(
                local in "[ -~]{0,8}|[a-z0-9._+-]{1,70}|\\PC{0,4}",
                host in prop_oneof!["[a-z@.%= -]{0,12}", prop::sample::select(&HOSTS[..]).prop_map(str::to_owned)],
            ) {
                let text = format!("{local}@{host}");
                if let Some(host) = plain_host(&text) {
                    let other = Mailbox::parse(&format!("a@{host}"));
                    prop_assert_eq!(Mailbox::parse(&text).map(|mailbox| mailbox.domain), other.map(|mailbox| mailbox.domain));
                }
            }
        }
    }

    #[test]
    fn equality_is_but_for_ascii_case_and_idna_form() {
        let mailbox = Mailbox::parse("Jo@bücher.example").unwrap();
        assert!(mailbox.equals("jo@xn--bcher-kva.example"));
        assert!(mailbox.equals("JO@BüCHER.example"));
        assert!(!mailbox.equals("jó@bücher.example"));
        assert!(!mailbox.equals("jo@bucher.example"));
        assert_eq!(mailbox.spellings().collect::<Vec<_>>(), ["jo@xn--bcher-kva.example", "jo@bücher.example"]);
        assert!(!Mailbox::parse("mike@example.com").unwrap().equals("mıke@example.com"));
    }
}
