//! Requests that must not be forwarded, since they could be read in two ways or nobody here can serve them.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, StatusCode, Version};

use crate::reply::Answer;

const fn bad(detail: &'static str) -> Answer {
    Answer::failed(StatusCode::BAD_REQUEST, detail)
}

/// Refuses what must not be forwarded. What passes has at most one `Host`, and it is the one that counts.
///
/// `is_known` tells hosts that have been found proper before.
pub(super) fn check(parts: &mut Parts, is_known: impl FnOnce(&HeaderValue) -> bool) -> Result<(), Answer> {
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(Answer::failed(StatusCode::NOT_IMPLEMENTED, "This method is not implemented."));
    }
    // RFC 9112 §3.2: origin form, absolute form, or the asterisk of OPTIONS.
    let path = parts.uri.path();
    let is_asterisk = path == "*" && parts.method == Method::OPTIONS;
    if !path.starts_with('/') && !is_asterisk {
        return Err(bad("The request target is not a path."));
    }
    settle_host(parts)?;
    match parts.headers.get(HOST) {
        Some(host) if !is_known(host) && !is_host(host.as_bytes()) => return Err(bad("The request names no proper host.")),
        _ => {}
    }
    check_framing(&parts.headers)?;
    // RFC 9110 §10.1.1: the only expectation there is. The server meets it by itself.
    if parts.headers.get(EXPECT).is_some_and(|expected| !expected.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Answer::failed(StatusCode::EXPECTATION_FAILED, "This expectation can't be met."));
    }
    Ok(())
}

fn settle_host(parts: &mut Parts) -> Result<(), Answer> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, is_only) = (hosts.next(), hosts.next().is_none());
    if !is_only {
        return Err(bad("The request names several hosts."));
    }
    let Some(authority) = parts.uri.authority() else {
        // RFC 9112 §3.2
        return if host.is_none() && parts.version == Version::HTTP_11 { Err(bad("The request names no host.")) } else { Ok(()) };
    };
    if parts.version == Version::HTTP_2 && host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())) {
        // RFC 9113 §8.3.1
        return Err(bad("The request names several hosts."));
    }
    // RFC 9112 §3.2.2: of a target in absolute form, the authority counts and `Host` doesn't.
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| bad("The request names no proper host."))?;
    parts.headers.insert(HOST, host);
    Ok(())
}

/// hyper refuses most that could be read in two ways, and resolves `Content-Length` beside `Transfer-Encoding` as RFC 9112 §6.3 has it: the
/// length is removed, and the connection closed after the answer. What is left is a coding that would get lost on the way.
fn check_framing(headers: &HeaderMap) -> Result<(), Answer> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter().peekable();
    if codings.peek().is_none() {
        return Ok(());
    }
    if headers.contains_key(CONTENT_LENGTH) {
        return Err(bad("The request has two lengths."));
    }
    let is_chunked = codings.next().is_some_and(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    if !is_chunked || codings.next().is_some() {
        // RFC 9112 §6.1
        return Err(Answer::failed(StatusCode::NOT_IMPLEMENTED, "This transfer coding is not implemented."));
    }
    Ok(())
}

/// Whether it is `uri-host [":" port]` (RFC 9110 §7.2), without quotes, blanks and user names.
fn is_host(host: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte);
    !host.is_empty() && !host.starts_with(b":") && host.iter().all(is_allowed)
}
