//! One line's place in the chain, read without reading the record.

use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use super::chain::Head;
use super::signature::Signed;

const SEQ: &[u8] = b",\"seq\":";
const PREV: &[u8] = b",\"prev\":\"";
const SIGNS: &[u8] = b",\"signs\":";
const SIGNATURE: &[u8] = b",\"signature\":\"";
const HASH: &[u8] = b",\"hash\":\"";
const END: &[u8] = b"\"";
const HEX: usize = 64;
/// The length of 64 bytes in base64.
const BASE64: usize = 86;

/// The place of a line: `seq`, `prev`, a signature if it has one, and `hash`, which are its record's last members in every format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link<'a> {
    /// From 1 on.
    pub(super) seq: u64,
    pub(super) prev: &'a str,
    pub(super) hash: &'a str,
    pub(super) signed: Option<Signed<'a>>,
}

impl<'a> Link<'a> {
    /// The place of `line`, if that is whole and unaltered in itself.
    pub(super) fn of(line: &'a [u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(line).map_err(|_| "not a record")?;
        let (link, hashed) = Self::written(text).ok_or("not a record")?;
        let mut hash = [0; HEX];
        let is_encoded = hex::encode_to_slice(Sha256::digest(hashed), &mut hash).is_ok();
        if !is_encoded || hash != link.hash.as_bytes() {
            return Err("its hash does not fit its content");
        }
        serde_json::from_str::<IgnoredAny>(text).map_err(|_| "not a record")?;
        Ok(link)
    }

    /// What `line` says of its place, and the bytes that its hash is of.
    pub(super) fn written(line: &'a str) -> Option<(Self, &'a [u8])> {
        // What closes a record and its envelope.
        let rest = line.trim_end_matches('}').as_bytes();
        let (rest, hash) = rest.strip_suffix(END)?.split_last_chunk::<HEX>()?;
        let hashed = rest.strip_suffix(HASH)?;
        let signed = signed(hashed);
        let (rest, signed) = signed.map_or((hashed, None), |(rest, signed)| (rest, Some(signed)));
        let (rest, prev) = rest.strip_suffix(END)?.split_last_chunk::<HEX>()?;
        let rest = rest.strip_suffix(PREV)?;
        let (_, seq) = numbered(rest, SEQ)?;
        Some((Self { seq, prev: std::str::from_utf8(prev).ok()?, hash: std::str::from_utf8(hash).ok()?, signed }, hashed))
    }

    /// Whether the line builds on `head`.
    pub(super) fn follows(&self, head: &Head) -> bool {
        self.seq - 1 == head.seq && self.prev == head.hash
    }

    /// Whether the line is the one whose end `head` is.
    pub(super) fn is(&self, head: &Head) -> bool {
        self.seq == head.seq && self.hash == head.hash
    }

    /// What the line builds on.
    pub(super) fn before(&self) -> Head {
        Head::new(self.seq - 1, self.prev)
    }

    /// What the next line builds on.
    pub(super) fn head(&self) -> Head {
        Head::new(self.seq, self.hash)
    }
}

/// What is signed of the bytes that a line's hash is of, and what comes before that is said.
fn signed(hashed: &[u8]) -> Option<(&[u8], Signed<'_>)> {
    let (rest, signature) = hashed.strip_suffix(END)?.split_last_chunk::<BASE64>()?;
    let content = rest.strip_suffix(SIGNATURE)?;
    let (rest, records) = numbered(content, SIGNS)?;
    Some((rest, Signed { records, content, signature }))
}

/// The number from 1 on with which `text` ends, as the member `name`, and what comes before that.
fn numbered<'t>(text: &'t [u8], name: &[u8]) -> Option<(&'t [u8], u64)> {
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (rest, number) = text.split_at_checked(text.len() - digits)?;
    let number = std::str::from_utf8(number).ok()?.parse().ok().filter(|number| *number > 0)?;
    Some((rest.strip_suffix(name)?, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREV: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    /// `start`, closed by a hash that fits and by `end`.
    fn hashed(start: &str, end: &str) -> String {
        format!("{start},\"hash\":\"{}\"}}{end}", hex::encode(Sha256::digest(start)))
    }

    #[test]
    fn a_line_has_the_place_that_its_last_members_say_if_it_is_whole() {
        let start = format!(r#"{{"id":"1","seq":17,"prev":"{PREV}""#);
        let whole = hashed(&start, "");
        let link = Link::of(whole.as_bytes()).unwrap();
        assert_eq!((link.seq, link.prev), (17, PREV));
        assert_eq!((link.before(), link.head()), (Head::new(16, PREV), Head::new(17, link.hash)));
        assert_eq!(link.signed, None);
        let signature = "A".repeat(86);
        let content = format!("{start},\"signs\":3");
        let with_signature = |signature: &str| hashed(&format!("{content},\"signature\":\"{signature}\""), "");
        let line = with_signature(&signature);
        let signed = Link::of(line.as_bytes()).unwrap();
        assert_eq!((signed.seq, signed.prev), (17, PREV));
        assert_eq!(signed.signed, Some(Signed { records: 3, content: content.as_bytes(), signature: signature.as_bytes() }));
        let inner = hashed(&format!(r#"{{"specversion":"1.0","data":{start}"#), "}");
        assert_eq!(Link::of(inner.as_bytes()).unwrap().seq, 17);

        let with = |from: &str, to: &str| hashed(&start.replacen(from, to, 1), "");
        for (bad, why) in [
            (whole.to_uppercase(), "a hash in capitals"),
            (whole.replacen(link.hash, &link.hash.to_uppercase(), 1), "the same hash, written otherwise"),
            (whole.replacen(link.hash, PREV, 1), "another's hash"),
            (whole.replacen("17", "18", 1), "another number than was hashed"),
            (format!("{whole} "), "a blank at its end"),
            (format!("{whole}}}"), "a brace too many"),
            (whole[..whole.len() - 1].to_owned(), "a brace too few"),
            (hashed(&format!("{start} "), ""), "other bytes before the hash"),
            (with(",\"seq\":17", ""), "no number"),
            (with("17", "0"), "a number before the first"),
            (with("17", "-1"), "no whole number"),
            (with("17", "99999999999999999999"), "a number too large"),
            (with(&PREV[1..], ""), "half a hash before it"),
            (with("\"id\":\"1\"", "\"id\""), "no JSON"),
            (with_signature(&signature[1..]), "half a signature"),
            (hashed(&format!("{start},\"signature\":\"{signature}\""), ""), "a signature of no number of records"),
            (String::new(), "nothing"),
        ] {
            assert!(Link::of(bad.as_bytes()).is_err(), "{why}: {bad}");
        }
        assert!(Link::of(&[whole.as_bytes(), b"\xff"].concat()).is_err());
    }
}
