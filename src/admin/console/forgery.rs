//! Whether a form was sent from a page of ours: browsers send a basic login along with whatever another site makes them send.
//!
//! 1. A form carries a token that only who sees the pages knows: a digest of the admin token and of who is logged in. So it is the same at all replicas.
//! 2. The browser must not say that another site sent it: `Sec-Fetch-Site` (Fetch Metadata §2.4), and where it says nothing, `Origin` (RFC 6454 §7).

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};
use sha2::{Digest, Sha256};

use super::super::access::Token;
use super::{Failure, Frame};

/// What the forms of `who` carry.
pub(super) fn token(admin: &Token, who: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(b"reset-gatekeeper console");
    digest.update(admin.digest());
    digest.update(Sha256::digest(who));
    hex::encode(digest.finalize())
}

/// Refuses what was not sent from a page of ours.
pub(super) fn check(frame: &Frame, sent: &str, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
    // Of equal length where it is ours, and compared as digests, so that the time tells nothing.
    let is_ours = !frame.token.is_empty() && Sha256::digest(sent) == Sha256::digest(&frame.token);
    if is_ours && is_of_this_site(uri, headers) { Ok(()) } else { Err(Failure::Foreign) }
}

fn is_of_this_site(uri: &Uri, headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).or_else(|| uri.authority().map(|authority| authority.as_str()));
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    origin.zip(host).is_some_and(|((_, origin), host)| origin.eq_ignore_ascii_case(host))
}
