//! The chain of an audit log: each line builds on the hash of the one before.
//!
//! A line is the record as JSON, followed by `seq` (counting from 1), `prev` (the hash of the line before; of the first, 64 zeros), in some lines a
//! [signature](super::signature), and `hash`: SHA-256, in hexadecimal, of the line's bytes before `,"hash"`, which hold `prev`. One changed byte anywhere shows.

use std::io;

use sha2::{Digest, Sha256};

use super::format::Format;
use super::{Record, Signer};

const FIRST_PREV: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const HASH_MEMBER: &str = ",\"hash\":\"";

/// The end of a chain: what the next line builds on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The number of the last record, 0 where there is none.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Head {
    /// The head after the record `seq`, whose hash is `hash`.
    #[must_use]
    pub fn new(seq: u64, hash: impl Into<String>) -> Self {
        Self { seq, hash: hash.into() }
    }

    pub(super) fn start() -> Self {
        Self { seq: 0, hash: FIRST_PREV.to_owned() }
    }

    /// Writes `record` as the next line, which signs it and those before it of which there are so many in all.
    pub(super) fn append(
        &mut self,
        record: &Record,
        format: Format,
        signs: Option<(&Signer, usize)>,
        lines: &mut Vec<u8>,
    ) -> io::Result<()> {
        let start = lines.len();
        format.open(record, self.seq + 1, lines)?;
        serde_json::to_writer(&mut *lines, record)?;
        lines.pop(); // the closing brace
        lines.extend_from_slice(format!(",\"seq\":{},\"prev\":\"{}\"", self.seq + 1, self.hash).as_bytes());
        if let Some((signer, records)) = signs {
            lines.extend_from_slice(format!(",\"signs\":{records}").as_bytes());
            let signature = signer.signature(lines.get(start..).unwrap_or_default()).map_err(io::Error::other)?;
            lines.extend_from_slice(format!(",\"signature\":\"{signature}\"").as_bytes());
        }
        let hash = hex::encode(Sha256::digest(lines.get(start..).unwrap_or_default()));
        lines.extend_from_slice(format!("{HASH_MEMBER}{hash}\"}}{}\n", format.close()).as_bytes());
        *self = Self { seq: self.seq + 1, hash };
        Ok(())
    }
}
