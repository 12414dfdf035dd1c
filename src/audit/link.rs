//! One line's place in the chain, read without reading the record.

use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use super::chain::Head;

const SEQ: &[u8] = b",\"seq\":";
const PREV: &[u8] = b",\"prev\":\"";
const HASH: &[u8] = b",\"hash\":\"";
const END: &[u8] = b"\"";
const HEX: usize = 64;

/// The place of a line: `seq`, `prev` and `hash`, which are its record's last members in every format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link<'a> {
    /// From 1 on.
    pub(super) seq: u64,
    pub(super) prev: &'a str,
    pub(super) hash: &'a str,
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
        let (rest, prev) = hashed.strip_suffix(END)?.split_last_chunk::<HEX>()?;
        let rest = rest.strip_suffix(PREV)?;
        let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (rest, seq) = rest.split_at_checked(rest.len() - digits)?;
        rest.strip_suffix(SEQ)?;
        let seq = std::str::from_utf8(seq).ok()?.parse().ok().filter(|seq| *seq > 0)?;
        Some((Self { seq, prev: std::str::from_utf8(prev).ok()?, hash: std::str::from_utf8(hash).ok()? }, hashed))
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
            (String::new(), "nothing"),
        ] {
            assert!(Link::of(bad.as_bytes()).is_err(), "{why}: {bad}");
        }
        assert!(Link::of(&[whole.as_bytes(), b"\xff"].concat()).is_err());
    }
}
