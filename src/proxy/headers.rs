//! Headers that end here (RFC 9110 §7.6.1), and those that must not reach the application from outside.

use http::header::{CONNECTION, EXPECT, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};

pub(super) const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What becomes of a request's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It goes on.
    Passes,
    /// It is for this hop, and has been heeded.
    Hop,
    /// It tells where a request came from: believed from a trusted proxy only.
    Origin,
    /// Some applications take the path, the host or the environment from it, so that they would see another request than was judged.
    Disguise,
    /// It has an underscore, which CGI and its heirs (WSGI, Rack, PHP) can't tell from a hyphen: it would count as the header that was judged
    /// or set here. The rule of nginx and Apache.
    Lookalike,
}

/// The fate of the header of this name.
///
/// The list of origins: RFC 7239, and what load balancers and frameworks have in its place.
fn fate(name: &str) -> Fate {
    match name {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "proxy-authorization"
        | "proxy-authenticate"
        | "te"
        | "transfer-encoding"
        | "upgrade"
        | "http2-settings"
        | "expect" => Fate::Hop,
        "forwarded"
        | "x-forwarded"
        | "x-real-ip"
        | "x-client-ip"
        | "client-ip"
        | "true-client-ip"
        | "x-cluster-client-ip"
        | "cf-connecting-ip"
        | "cf-connecting-ipv6"
        | "cf-pseudo-ipv4"
        | "cf-visitor"
        | "fastly-client-ip"
        | "fastly-ssl"
        | "fly-client-ip"
        | "do-connecting-ip"
        | "x-remote-ip"
        | "x-remote-addr"
        | "remote-addr"
        | "x-originating-ip"
        | "x-original-forwarded-for"
        | "x-original-host"
        | "x-original-proto"
        | "x-host"
        | "x-http-host-override"
        | "x-envoy-external-address"
        | "x-azure-clientip"
        | "x-azure-socketip"
        | "x-appengine-user-ip"
        | "x-vercel-forwarded-for"
        | "x-proxyuser-ip"
        | "proxy-client-ip"
        | "wl-proxy-client-ip"
        | "front-end-https"
        | "x-scheme"
        | "x-url-scheme" => Fate::Origin,
        "x-original-url"
        | "x-original-uri"
        | "x-rewrite-url"
        | "x-rewrite-uri"
        | "x-script-name"
        | "script-name"
        | "path-info"
        | "x-path-info"
        | "x-envoy-original-path"
        | "proxy" => Fate::Disguise,
        _ if name.starts_with("x-forwarded-") => Fate::Origin,
        _ if name.contains('_') => Fate::Lookalike,
        _ => Fate::Passes,
    }
}

/// Takes from a request's trailers what must not count as its headers where a server merges the two (RFC 9110 §6.5.1).
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    let named: Vec<HeaderName> = trailers.keys().cloned().collect();
    for name in
        named.iter().filter(|name| fate(name.as_str()) != Fate::Passes || is_end_to_end(name.as_str()) || name.as_str().contains("method"))
    {
        trailers.remove(name);
    }
}

/// Without these a message is another one, or can't be delivered: no `Connection` may take them away, and RFC 9110 §7.6.1 forbids to try.
fn is_end_to_end(name: &str) -> bool {
    matches!(name, "host" | "content-length" | "content-type" | "content-encoding" | "cookie" | "authorization" | "trailer")
}

/// Which of the headers that matter here a request has: one look at each name, instead of a search for each of these.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Present {
    pub(super) connection: bool,
    pub(super) expect: bool,
    pub(super) te: bool,
    pub(super) transfer_encoding: bool,
    pub(super) upgrade: bool,
}

impl Present {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in headers.keys() {
            present.connection |= *name == CONNECTION;
            present.expect |= *name == EXPECT;
            present.te |= *name == TE;
            present.transfer_encoding |= *name == TRANSFER_ENCODING;
            present.upgrade |= *name == UPGRADE;
        }
        present
    }
}

/// Removes what must not reach the application. Where a request came from is left only if the peer is trusted.
///
/// `Upgrade` is left too: the caller has decided about it.
pub(super) fn clean_request(headers: &mut HeaderMap, present: Present, is_trusted: bool) {
    if present.connection {
        remove_named(headers, |name| is_end_to_end(name) || fate(name) == Fate::Origin);
    }
    let takes_trailers = present.te && tokens(headers, &TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    let goes = |name: &HeaderName| match fate(name.as_str()) {
        Fate::Passes => false,
        Fate::Hop => *name != UPGRADE,
        Fate::Origin => !is_trusted,
        Fate::Disguise | Fate::Lookalike => true,
    };
    remove_if(headers, goes);
    if takes_trailers {
        // RFC 9110 §10.1.4: it holds for one hop, and `Connection` says so.
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Removes what ends here from an answer.
pub(super) fn clean_response(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        remove_named(headers, is_end_to_end);
    }
    remove_if(headers, |name| {
        *name == CONNECTION
            || *name == TRANSFER_ENCODING
            || *name == UPGRADE
            || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "te")
    });
}

/// Likewise from an answer that changes the protocol (RFC 9110 §15.2.2), which keeps saying so.
pub(super) fn clean_switching(headers: &mut HeaderMap) {
    let protocol = headers.remove(UPGRADE);
    clean_response(headers);
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Removes the headers that `Connection` names, except those that `stays` holds back.
fn remove_named(headers: &mut HeaderMap, stays: impl Fn(&str) -> bool) {
    let is_option =
        |token: &[u8]| [&b"close"[..], b"keep-alive", b"upgrade", b"te"].iter().any(|option| token.eq_ignore_ascii_case(option));
    let named: Vec<_> =
        tokens(headers, &CONNECTION).filter(|token| !is_option(token)).filter_map(|token| HeaderName::from_bytes(token).ok()).collect();
    for name in named.iter().filter(|name| !stays(name.as_str())) {
        headers.remove(name);
    }
}

fn remove_if(headers: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    // Most requests have nothing to lose, and then nothing is allocated.
    let names: Vec<_> = headers.keys().filter(|name| goes(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// The elements of a header that is a list, in all its lines (RFC 9110 §5.6.1).
pub(super) fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> + use<'h> {
    headers.get_all(name).iter().flat_map(split)
}

pub(super) fn split(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}
