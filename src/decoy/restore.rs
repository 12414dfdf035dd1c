//! Puts the caller's own name back where an answer shows the one that stood in for it.

use aho_corasick::{AhoCorasick, Match, MatchKind};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use mime::Mime;

use crate::target::percent_encoded;

/// What stood in for what.
#[derive(Debug, Default)]
pub(crate) struct Restoration {
    pairs: Vec<Pair>,
}

#[derive(Debug, PartialEq, Eq)]
struct Pair {
    replacement: String,
    own: String,
}

/// How a text is written where it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// As the content is escaped.
    Content,
    Percent,
    /// As HTML, with this for `@`.
    Html(&'static str),
    /// As a JSON string, with this for `@`.
    Json(&'static str),
}

const ESCAPES: [Escape; 8] = [
    Escape::Content,
    Escape::Percent,
    Escape::Html("@"),
    Escape::Html("&#64;"),
    Escape::Html("&#x40;"),
    Escape::Html("&commat;"),
    Escape::Json("@"),
    Escape::Json("\\u0040"),
];

/// What kind of text an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Markup,
    Json,
    Plain,
}

impl Escape {
    fn write(self, text: &str, kind: Kind) -> String {
        match (self, kind) {
            (Self::Percent, _) => percent_encoded(text),
            (Self::Html(at), _) => html(text).replace('@', at),
            (Self::Json(at), _) => json(text).replace('@', at),
            (Self::Content, Kind::Markup) => html(text),
            (Self::Content, Kind::Json) => json(text),
            (Self::Content, Kind::Plain) => text.to_owned(),
        }
    }
}

/// `text` as it stands in HTML, between tags or in quotes.
pub(crate) fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#x27;")
}

/// `text` between the quotes of a JSON string (RFC 8259 §7).
fn json(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

impl Restoration {
    pub(crate) fn add(&mut self, replacement: &str, own: &str) {
        let pair = Pair { replacement: replacement.to_owned(), own: own.to_owned() };
        if !self.pairs.contains(&pair) {
            self.pairs.push(pair);
        }
    }

    /// Whether the body of an answer with these headers can be read.
    pub(crate) fn reads(headers: &HeaderMap) -> bool {
        headers.get_all(CONTENT_ENCODING).iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    }

    /// `body`, of an answer with these headers, as the caller may see it.
    pub(crate) fn body(&self, headers: &HeaderMap, body: &Bytes) -> Bytes {
        self.restored(body, kind(headers)).map_or_else(|| body.clone(), Bytes::from)
    }

    /// Puts the caller's name back in all headers.
    pub(crate) fn headers(&self, headers: &mut HeaderMap) {
        for (name, value) in headers.iter_mut().filter(|(name, _)| *name != CONTENT_LENGTH) {
            if let Some(restored) = self.restored(value.as_bytes(), Kind::Plain) {
                match HeaderValue::from_bytes(&restored) {
                    Ok(restored) => *value = restored,
                    Err(_) => tracing::warn!(%name, "a header shows a name that no caller sent"),
                }
            }
        }
    }

    /// `None` where there is nothing to put back.
    fn restored(&self, text: &[u8], kind: Kind) -> Option<Vec<u8>> {
        if self.pairs.is_empty() {
            return None;
        }
        let written: Vec<(&Pair, Escape)> = self.pairs.iter().flat_map(|pair| ESCAPES.map(|escape| (pair, escape))).collect();
        let patterns = written.iter().map(|(pair, escape)| escape.write(&pair.replacement, kind));
        let search = AhoCorasick::builder().ascii_case_insensitive(true).match_kind(MatchKind::LeftmostFirst).build(patterns).ok()?;
        let (mut restored, mut at) = (Vec::with_capacity(text.len()), 0);
        for found in search.find_iter(text) {
            // Of patterns that are written alike the first is found: the one of the content's own escape.
            let Some((pair, escape)) = written.get(found.pattern().as_usize()) else { continue };
            restored.extend_from_slice(text.get(at..found.start()).unwrap_or_default());
            restored.extend_from_slice(escape.write(&as_lowered(pair, text, found, kind, *escape), kind).as_bytes());
            at = found.end();
        }
        restored.extend_from_slice(text.get(at..).unwrap_or_default());
        (at > 0).then_some(restored)
    }
}

/// The caller's name in the case into which the application turned what stood in for it: each part of an address by itself.
fn as_lowered(pair: &Pair, text: &[u8], found: Match, kind: Kind, escape: Escape) -> String {
    let shown = text.get(found.range()).unwrap_or_default();
    let in_case = |written: &str, shown: &[u8], own: &str| {
        let written = escape.write(written, kind);
        match shown {
            shown if shown == written.as_bytes() => own.to_owned(),
            shown if shown == written.to_ascii_lowercase().as_bytes() => own.to_lowercase(),
            shown if shown == written.to_ascii_uppercase().as_bytes() => own.to_uppercase(),
            _ => own.to_owned(),
        }
    };
    match (pair.replacement.rsplit_once('@'), pair.own.rsplit_once('@')) {
        (Some((local, domain)), Some((own_local, own_domain))) => {
            let shown_local = shown.get(..escape.write(local, kind).len()).unwrap_or_default();
            let shown_domain = shown.get(shown.len().saturating_sub(escape.write(domain, kind).len())..).unwrap_or_default();
            format!("{}@{}", in_case(local, shown_local, own_local), in_case(domain, shown_domain, own_domain))
        }
        _ => in_case(&pair.replacement, shown, &pair.own),
    }
}

/// What no type tells to be escaped is taken as it stands: a made-up name is long enough to be no accident anywhere.
fn kind(headers: &HeaderMap) -> Kind {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<Mime>().ok());
    let Some(content_type) = content_type else { return Kind::Plain };
    let is = |name: mime::Name<'_>| content_type.subtype() == name || content_type.suffix() == Some(name);
    if is(mime::JSON) {
        Kind::Json
    } else if is(mime::XML) || is(mime::HTML) {
        Kind::Markup
    } else {
        Kind::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restore(content_type: &str, body: &str) -> String {
        let mut restoration = Restoration::default();
        restoration.add("Xq3kd91h@Gatekeeper.invalid", "O'Neil+x@Example.com");
        restoration.add("kfj39fk2", "jo\"<é");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]);
        String::from_utf8(restoration.body(&headers, &Bytes::from(body.to_owned())).to_vec()).unwrap()
    }

    #[test]
    fn a_name_is_put_back_in_the_escape_in_which_it_stands() {
        for (content_type, shown, own) in [
            ("text/plain", "<Xq3kd91h@Gatekeeper.invalid>", "<O'Neil+x@Example.com>"),
            ("text/html; charset=utf-8", "<p>Xq3kd91h@Gatekeeper.invalid</p>", "<p>O&#x27;Neil+x@Example.com</p>"),
            ("text/html", "Xq3kd91h&#64;Gatekeeper.invalid", "O&#x27;Neil+x&#64;Example.com"),
            ("text/html", "?e=Xq3kd91h%40Gatekeeper.invalid&", "?e=O%27Neil%2Bx%40Example.com&"),
            ("text/html", "kfj39fk2", "jo&quot;&lt;é"),
            ("application/json", r#"{"e":"Xq3kd91h\u0040Gatekeeper.invalid"}"#, r#"{"e":"O'Neil+x\u0040Example.com"}"#),
            ("application/problem+json", r#"{"e":"kfj39fk2"}"#, r#"{"e":"jo\"<é"}"#),
            ("application/x-ndjson", "kfj39fk2", "jo\"<é"),
            ("html", "kfj39fk2", "jo\"<é"),
            ("text/html", "nothing of it", "nothing of it"),
        ] {
            assert_eq!(restore(content_type, shown), own);
        }
    }

    #[test]
    fn a_name_is_put_back_in_the_case_into_which_it_was_turned() {
        for (shown, own) in [
            ("xq3kd91h@gatekeeper.invalid", "o'neil+x@example.com"),
            ("Xq3kd91h@gatekeeper.invalid", "O'Neil+x@example.com"),
            ("XQ3KD91H@GATEKEEPER.INVALID", "O'NEIL+X@EXAMPLE.COM"),
        ] {
            assert_eq!(restore("text/plain", shown), own);
        }
    }
}
