//! Where in a request a value stands, byte for byte, so that another can be put in its place.

use std::borrow::Cow;
use std::ops::Range;

use http::header::HeaderName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What needs no escape in a form, a query or a path (RFC 3986 §2.3).
pub(crate) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The bytes of a value as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spot {
    /// Of the body, a form's.
    Form(Range<usize>),
    /// Of the body, a part's, and of the header in which the part states its length.
    Multipart { content: Range<usize>, length: Option<Range<usize>> },
    /// Of the body, a JSON literal, with its quotes if it has them.
    Json(Range<usize>),
    /// Of the query.
    Query(Range<usize>),
    /// Of the path. `None` where the path is not spelled plainly enough to tell.
    Path(Option<Range<usize>>),
    /// All of a header.
    Header(HeaderName),
}

/// A value that a request holds.
#[derive(Debug, Clone)]
pub(crate) struct Found<'r> {
    pub(crate) text: Cow<'r, str>,
    pub(crate) spot: Spot,
}

/// One replacement in a text: what is written at these bytes from now on.
pub(crate) type Edit = (Range<usize>, String);

impl Spot {
    /// What to write into the body for `text` to stand here. None where this is no place in the body.
    pub(crate) fn edits_of_body(&self, body: &[u8], text: &str) -> Vec<Edit> {
        match self {
            Self::Form(range) => vec![(range.clone(), encoded_like(text, body.get(range.clone()).unwrap_or_default()))],
            Self::Multipart { content, length } => {
                let length = length.clone().map(|range| (range, text.len().to_string()));
                length.into_iter().chain([(content.clone(), text.to_owned())]).collect()
            }
            Self::Json(range) => {
                let is_quoted = body.get(range.start) == Some(&b'"');
                let literal = is_quoted.then(|| serde_json::to_string(text).unwrap_or_default());
                vec![(range.clone(), literal.unwrap_or_else(|| text.to_owned()))]
            }
            Self::Query(_) | Self::Path(_) | Self::Header(_) => Vec::new(),
        }
    }
}

/// `text` in the place of `raw`, with escapes where that has them: an application that shows what it was sent shows the same of both.
pub(crate) fn encoded_like(text: &str, raw: &[u8]) -> String {
    let has_plus = raw.contains(&b'+');
    let is_plain = |c: char| c.is_ascii() && !"%+&;#?/\\ ".contains(c) && raw.contains(&(c as u8)) && !c.is_ascii_control();
    let encode = |c: char| match c {
        ' ' if has_plus => "+".to_owned(),
        c if is_plain(c) => c.to_string(),
        c => percent_encoded(c.encode_utf8(&mut [0; 4])),
    };
    text.chars().map(encode).collect()
}

/// `text` as it stands in a form, a query or a path.
pub(crate) fn percent_encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// `text` with all of `edits` made, which may come in any order and twice.
pub(crate) fn edited(text: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|(range, _)| range.start);
    let mut written = Vec::with_capacity(text.len());
    let mut at = 0;
    for (range, new) in edits {
        if range.start >= at {
            written.extend_from_slice(text.get(at..range.start).unwrap_or_default());
            written.extend_from_slice(new.as_bytes());
            at = range.end;
        }
    }
    written.extend_from_slice(text.get(at..).unwrap_or_default());
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_is_escaped_where_the_replaced_was() {
        for (raw, text, written) in [
            ("jo@example.com", "x@y.invalid", "x@y.invalid"),
            ("jo%40example.com", "x@y.invalid", "x%40y.invalid"),
            ("+jo@example.com+", " x@y.invalid ", "+x@y.invalid+"),
            ("%20jo@example.com", " x@y.invalid", "%20x@y.invalid"),
            ("a=b:c", "d=e:f", "d=e:f"),
            ("a%3Db&", "d=e&f", "d%3De%26f"),
        ] {
            assert_eq!(encoded_like(text, raw.as_bytes()), written, "{raw}");
        }
    }
}
