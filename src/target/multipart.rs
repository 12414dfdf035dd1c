//! `multipart/form-data` (RFC 7578), as browsers and HTTP clients write it and no otherwise.
//!
//! Multipart parsers differ more than any others: in line ends, in what stands before the first part, in repeated and escaped parameters,
//! in codings of a part. A body is read when writing its parts again gives the same text:
//!
//! 1. It begins with the boundary, and the boundary stands nowhere but between parts.
//! 2. A part's `Content-Disposition` is `form-data; name="…"`, and for a file `; filename="…"`, without escapes.
//! 3. Besides it a part has at most a `Content-Type`, its true `Content-Length`, and a `Content-Transfer-Encoding` that changes nothing.

use std::borrow::Cow;
use std::convert::Infallible;
use std::ops::Range;

use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, HeaderMap};
use mime::Mime;
use multer::{Field as Part, Multipart};

use super::spot::Spot;
use super::{Field, Refusal};

const MALFORMED: Refusal = Refusal::undecodable("The body is not multipart/form-data as browsers write it.");

/// The fields of a form, a file being one without value.
pub(super) async fn fields(content_type: &Mime, body: &Bytes) -> Result<Vec<Field<'static>>, Refusal> {
    let boundary = content_type.get_param(mime::BOUNDARY).ok_or(MALFORMED)?;
    let boundary = boundary.as_str();
    if boundary.is_empty()
        || boundary.len() > 70
        || !boundary.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_-./:?".contains(&byte))
    {
        return Err(MALFORMED);
    }
    let delimiter = format!("--{boundary}");
    let text = std::str::from_utf8(body).map_err(|_| MALFORMED)?;
    if !text.starts_with(&format!("{delimiter}\r\n")) {
        return Err(MALFORMED);
    }

    let stream = futures_util::stream::iter([Ok::<_, Infallible>(body.clone())]);
    let mut parts = Multipart::new(stream, boundary);
    let mut fields = Vec::new();
    let mut written = text.split(&delimiter).skip(1);
    let mut start = delimiter.len();
    while let Some(part) = parts.next_field().await.map_err(|_| MALFORMED)? {
        let whole = written.next().ok_or(MALFORMED)?;
        let head = whole.split_once("\r\n\r\n").ok_or(MALFORMED)?.0;
        fields.push(field(part, head, start).await?);
        start += whole.len() + delimiter.len();
    }
    // The boundary stands once more, at the end. Any other is where a parser with laxer line ends would see another part.
    match (written.next(), written.next()) {
        (Some(end), None) if end.starts_with("--") => Ok(fields),
        _ => Err(MALFORMED),
    }
}

/// Reads a part whose headers are written as `head`, which begins at the byte `start` of the body.
async fn field(part: Part<'_>, head: &str, start: usize) -> Result<Field<'static>, Refusal> {
    let name = part.name().ok_or(MALFORMED)?.to_owned();
    let is_file = part.file_name().is_some();
    // The parser keeps one of repeated headers, and joins folded ones.
    let is_one_line_each = head.split("\r\n").skip(1).filter(|line| !line.contains(['\r', '\n', '\0'])).count() == part.headers().len();
    if !is_one_line_each || !is_plain(part.headers(), &name, part.file_name()) {
        return Err(MALFORMED);
    }
    let length = part.headers().get(CONTENT_LENGTH).cloned();
    let charset = part.content_type().and_then(|content_type| content_type.get_param(mime::CHARSET)).map(|charset| charset == mime::UTF_8);
    let content = part.bytes().await.map_err(|_| MALFORMED)?;
    let is_as_long = length.is_none_or(|length| length.as_bytes() == content.len().to_string().as_bytes());
    // ASCII is the same in every charset that a part may name.
    let is_in_charset = is_file || charset.unwrap_or(true) || content.is_ascii();
    if !is_as_long || !is_in_charset {
        return Err(MALFORMED);
    }
    let value = std::str::from_utf8(&content).ok().filter(|_| !is_file).map(|text| Cow::Owned(text.to_owned()));
    let from = start + head.len() + "\r\n\r\n".len();
    let spot = Spot::Multipart { content: from..from + content.len(), length: stated_length(head, start) };
    Ok(Field { name: name.into(), value, spot, is_doubtful: false })
}

/// Where `head`, which begins at the byte `start`, states the length of its part.
fn stated_length(head: &str, start: usize) -> Option<Range<usize>> {
    let ends = head.match_indices("\r\n").map(|(at, _)| at).chain([head.len()]);
    let mut line_start = 0;
    ends.map(|end| (std::mem::replace(&mut line_start, end + 2), end)).find_map(|(from, to)| {
        let (name, value) = head.get(from..to)?.split_once(':')?;
        let value = value.trim_ascii();
        let from = value.as_ptr() as usize - head.as_ptr() as usize + start;
        name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str()).then(|| from..from + value.len())
    })
}

/// Whether a part has these headers and no others, written as they are read.
fn is_plain(headers: &HeaderMap, name: &str, file_name: Option<&str>) -> bool {
    let quoted = match file_name {
        None => format!("form-data; name=\"{name}\""),
        Some(file_name) => format!("form-data; name=\"{name}\"; filename=\"{file_name}\""),
    };
    // Some clients leave a name that is a token without quotes.
    let is_token = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let token = (is_token && file_name.is_none()).then(|| format!("form-data; name={name}"));
    let is_written = |disposition: &[u8]| disposition == quoted.as_bytes() || token.is_some_and(|token| disposition == token.as_bytes());
    headers.get(CONTENT_DISPOSITION).is_some_and(|disposition| is_written(disposition.as_bytes()))
        && [Some(name), file_name].into_iter().flatten().all(|text| !text.contains(['"', '\\', ';']))
        && headers.iter().all(|(header, value)| match header.as_str() {
            "content-disposition" | "content-length" => true,
            "content-type" => file_name.is_some() || is_plain_text(value.as_bytes()),
            // RFC 7578 §4.7 deprecates it; some clients still send those that change nothing.
            "content-transfer-encoding" => {
                ["7bit", "8bit", "binary"].iter().any(|plain| value.as_bytes().eq_ignore_ascii_case(plain.as_bytes()))
            }
            _ => false,
        })
}

/// Whether a part is text in a charset of which ASCII is a part.
fn is_plain_text(content_type: &[u8]) -> bool {
    let content_type = std::str::from_utf8(content_type).ok().and_then(|text| text.parse::<Mime>().ok());
    content_type.is_some_and(|content_type| {
        content_type.essence_str() == "text/plain"
            && content_type.params().all(|(name, value)| {
                name == mime::CHARSET && [mime::UTF_8.as_str(), "us-ascii", "iso-8859-1"].iter().any(|charset| value == *charset)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::super::form::only;
    use super::*;
    use crate::verdict::Reason;

    async fn read(content_type: &str, body: &str) -> Result<Option<String>, Reason> {
        let fields = fields(&content_type.parse().unwrap(), &Bytes::from(body.to_owned())).await.map_err(|refusal| refusal.reason)?;
        only("email", &fields).map(|found| found.map(|found| found.text.into_owned())).map_err(|refusal| refusal.reason)
    }

    const TYPE: &str = "multipart/form-data; boundary=XX";

    fn part(headers: &str, content: &str) -> String {
        format!("--XX\r\n{headers}\r\n\r\n{content}\r\n")
    }

    #[tokio::test]
    async fn a_form_as_browsers_and_clients_write_it_is_read() {
        let email = part("Content-Disposition: form-data; name=\"email\"", "a@example.com");
        for before in [
            String::new(),
            part("Content-Disposition: form-data; name=csrf", "x"),
            part("Content-Disposition: form-data; name=\"csrf\"\r\nContent-Length: 1", "x"),
            part("Content-Disposition: form-data; name=\"csrf\"\r\nContent-Type: text/plain; charset=ISO-8859-1", "x"),
            part("Content-Disposition: form-data; name=\"csrf\"", "x"),
            part("Content-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\nContent-Type: text/plain", "email=b"),
            part(
                "content-disposition: form-data; name=\"x\"\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-transfer-encoding: 8bit",
                "x",
            ),
        ] {
            let body = format!("{before}{email}--XX--\r\n");
            assert_eq!(read(TYPE, &body).await, Ok(Some("a@example.com".to_owned())), "{body}");
        }
        assert_eq!(read("multipart/form-data; boundary=\"XX\"", &format!("{email}--XX--")).await, Ok(Some("a@example.com".to_owned())));
        assert_eq!(read(TYPE, &format!("{}--XX--\r\n", part("Content-Disposition: form-data; name=\"x\"", "x"))).await, Ok(None));
    }

    #[tokio::test]
    async fn what_parsers_read_differently_is_refused() {
        let disposition = "Content-Disposition: form-data; name=\"email\"";
        let email = part(disposition, "a@example.com");
        let closed = |parts: &str| format!("{parts}--XX--\r\n");
        for body in [
            String::new(),
            "--XX--\r\n".to_owned(),
            email.clone(),
            closed(&format!("preamble\r\n{email}")),
            closed(&email.replace("\r\n", "\n")),
            closed(&part(disposition, "x\n--XX\nContent-Disposition: form-data; name=\"email\"\n\nb@example.com")),
            closed(&part("Content-Disposition: form-data; name=\"x\"; name=\"email\"", "a")),
            closed(&part("Content-Disposition: form-data; name=\"x\"; filename=\"a\\\"; name=\\\"email\"", "a")),
            closed(&part("Content-Disposition: form-data; name=email; x=y", "a")),
            closed(&part("Content-Disposition: form-data; name=\"x; name=email\"", "a")),
            closed(&part("Content-Disposition: form-data; name=\"email\"\r\nContent-Length: 2", "a")),
            closed(&part(&format!("{disposition}\r\nContent-Type: text/plain; charset=iso-8859-1"), "ü")),
            closed(&part("Content-Disposition: form-data; filename=\"a\"", "a")),
            closed(&part("Content-Disposition: form-data; name=\"email\"; filename*=utf-8''a", "a")),
            closed(&part("Content-Disposition: form-data; name=\"x\"\r\nContent-Disposition: form-data; name=\"email\"", "a")),
            closed(&part("Content-Disposition: form-data;\r\n name=\"email\"", "a")),
            closed(&part("Content-Disposition: attachment; name=\"email\"", "a")),
            closed(&part("X: y", "a")),
            closed(&part(&format!("{disposition}\r\nContent-Transfer-Encoding: base64"), "YUBleGFtcGxlLmNvbQ==")),
            closed(&part(&format!("{disposition}\r\nContent-Type: text/plain; charset=utf-16"), "a")),
            closed(&part(&format!("{disposition}\r\nContent-Type: multipart/mixed; boundary=YY"), "--YY\r\n\r\na\r\n--YY--")),
        ] {
            assert_eq!(read(TYPE, &body).await, Err(Reason::TargetUndecodable), "{body}");
        }
        for body in [
            closed(&format!("{email}{email}")),
            closed(&format!("{email}{}", part("Content-Disposition: form-data; name=\"email[]\"", "b"))),
            closed(&part("Content-Disposition: form-data; name=\"Email\"", "b")),
        ] {
            assert_eq!(read(TYPE, &body).await, Err(Reason::TargetAmbiguous), "{body}");
        }
        let file = closed(&part("Content-Disposition: form-data; name=\"email\"; filename=\"a\"", "a"));
        assert_eq!(read(TYPE, &file).await, Err(Reason::TargetUndecodable), "a file names nobody");
        for boundary in ["multipart/form-data", "multipart/form-data; boundary=\"XX,YY\"", "multipart/form-data; boundary=\"Aboundary=XX\""]
        {
            assert_eq!(read(boundary, &closed(&email)).await, Err(Reason::TargetUndecodable), "{boundary}");
        }
        assert!(fields(&"multipart/form-data".parse().unwrap(), &Bytes::from(closed(&email))).await.is_err());
    }
}
