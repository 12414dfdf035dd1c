//! Requests that must not be forwarded, since they could be read in two ways or nobody here can serve them.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, StatusCode, Version};

use super::headers::Present;
use crate::reply::Answer;

const fn bad(detail: &'static str) -> Answer {
    Answer::failed(StatusCode::BAD_REQUEST, detail)
}

/// Refuses what must not be forwarded. What passes has at most one `Host`, and it is the one that counts.
///
/// `is_known` tells hosts that have been found proper before.
pub(super) fn check<B>(request: &mut Request<B>, present: Present, is_known: impl FnOnce(&HeaderValue) -> bool) -> Result<(), Answer> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Answer::failed(StatusCode::NOT_IMPLEMENTED, "This method is not implemented."));
    }
    // RFC 9112 §3.2: origin form, absolute form, or the asterisk of OPTIONS.
    let path = request.uri().path();
    let is_asterisk = path == "*" && *request.method() == Method::OPTIONS;
    if !path.starts_with('/') && !is_asterisk {
        return Err(bad("The request target is not a path."));
    }
    settle_host(request, is_known)?;
    if present.transfer_encoding {
        check_framing(request.headers())?;
    }
    // RFC 9110 §10.1.1: the only expectation there is. The server meets it by itself.
    if present.expect && request.headers().get(EXPECT).is_some_and(|expected| !expected.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Answer::failed(StatusCode::EXPECTATION_FAILED, "This expectation can't be met."));
    }
    Ok(())
}

fn settle_host<B>(request: &mut Request<B>, is_known: impl FnOnce(&HeaderValue) -> bool) -> Result<(), Answer> {
    const IMPROPER: Answer = bad("The request names no proper host.");
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, is_only) = (hosts.next(), hosts.next().is_none());
    if !is_only {
        return Err(bad("The request names several hosts."));
    }
    let Some(authority) = request.uri().authority() else {
        return match host {
            Some(host) if is_known(host) || is_host(host.as_bytes()) => Ok(()),
            Some(_) => Err(IMPROPER),
            // RFC 9112 §3.2
            None if request.version() == Version::HTTP_11 => Err(bad("The request names no host.")),
            None => Ok(()),
        };
    };
    let differs = |host: &HeaderValue| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
    if request.version() == Version::HTTP_2 && host.is_some_and(differs) {
        // RFC 9113 §8.3.1
        return Err(bad("The request names several hosts."));
    }
    // RFC 9112 §3.2.2: of a target in absolute form, the authority counts and `Host` doesn't.
    let host = HeaderValue::from_str(authority.as_str()).ok().filter(|host| is_host(host.as_bytes())).ok_or(IMPROPER)?;
    request.headers_mut().insert(HOST, host);
    Ok(())
}

/// hyper refuses most that could be read in two ways, and resolves `Content-Length` beside `Transfer-Encoding` as RFC 9112 §6.3 has it: the
/// length is removed, and the connection closed after the answer. What is left is a coding that would get lost on the way.
fn check_framing(headers: &HeaderMap) -> Result<(), Answer> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
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
