//! Where a request came from: `X-Forwarded-*` and `Forwarded` (RFC 7239), as the application gets them.
//!
//! From a peer outside `trusted_proxies` nothing is believed, and all is set anew. What a trusted one tells is kept, and the peer itself is
//! added to it. The client is then the right-most address in that chain which is not a trusted proxy's.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    address: IpAddr,
    scheme: &'static str,
    trusted: Arc<[IpNet]>,
    is_trusted: bool,
    x_forwarded_for: Option<HeaderValue>,
    /// The last `Host` and what goes with it: on one connection it seldom changes.
    recent: Option<Recent>,
}

#[derive(Debug)]
struct Recent {
    host: HeaderValue,
    forwarded: HeaderValue,
}

impl Peer {
    pub(super) fn new(address: IpAddr, scheme: &'static str, trusted: Arc<[IpNet]>) -> Self {
        let address = address.to_canonical();
        let is_trusted = is_trusted(&trusted, address);
        let x_forwarded_for = HeaderValue::try_from(address.to_string()).ok();
        Self { address, scheme, trusted, is_trusted, x_forwarded_for, recent: None }
    }

    /// Believes these networks from now on.
    pub(super) fn trust(&mut self, trusted: Arc<[IpNet]>) {
        self.is_trusted = is_trusted(&trusted, self.address);
        self.trusted = trusted;
    }

    pub(super) const fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    pub(super) fn has_named(&self, host: &HeaderValue) -> bool {
        self.recent.as_ref().is_some_and(|recent| recent.host == host)
    }

    /// Tells the application where the request came from, and us who the client is. Headers not to be believed have been removed before.
    pub(super) fn describe(&mut self, headers: &mut HeaderMap) -> IpAddr {
        let host = headers.get(HOST).cloned();
        headers.reserve(4);
        if self.is_trusted {
            return self.extend(headers, host);
        }
        if let Some(address) = &self.x_forwarded_for {
            headers.insert(X_FORWARDED_FOR, address.clone());
        }
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(self.scheme));
        if let Some(forwarded) = self.own_element(host.as_ref()) {
            headers.insert(FORWARDED, forwarded);
        }
        if let Some(host) = host {
            headers.insert(X_FORWARDED_HOST, host);
        }
        self.address
    }

    fn own_element(&mut self, host: Option<&HeaderValue>) -> Option<HeaderValue> {
        let host = host?;
        if let Some(recent) = self.recent.as_ref().filter(|recent| recent.host == host) {
            return Some(recent.forwarded.clone());
        }
        let forwarded = HeaderValue::try_from(self.element(host.to_str().ok())).ok()?;
        self.recent = Some(Recent { host: host.clone(), forwarded: forwarded.clone() });
        Some(forwarded)
    }

    fn element(&self, host: Option<&str>) -> String {
        element(Some(self.address), Some(self.scheme), host)
    }

    /// Adds the peer to what it tells.
    fn extend(&self, headers: &mut HeaderMap, host: Option<HeaderValue>) -> IpAddr {
        let told = joined(headers, &FORWARDED);
        let elements = told.as_deref().and_then(elements);
        let told_for = joined(headers, &X_FORWARDED_FOR);
        let chain: Vec<Cow<'_, str>> = match (&told_for, &elements) {
            (Some(told), _) => told.split(',').map(str::trim).filter(|hop| !hop.is_empty()).map(Cow::Borrowed).collect(),
            (None, Some(elements)) => elements.iter().map(|element| element.node.clone().unwrap_or(Cow::Borrowed("unknown"))).collect(),
            (None, None) => Vec::new(),
        };
        let origin = elements.as_ref().and_then(|elements| elements.first());
        fill(headers, X_FORWARDED_PROTO, origin.and_then(|origin| origin.proto.as_deref()));
        fill(headers, X_FORWARDED_HOST, origin.and_then(|origin| origin.host.as_deref()));

        let own_host = host.as_ref().and_then(|host| host.to_str().ok());
        let forwarded = match (told.as_deref().filter(|_| elements.is_some()), chain.is_empty()) {
            (Some(told), _) => format!("{told}, {}", self.element(own_host)),
            (None, true) => self.element(own_host),
            (None, false) => self.translated(&chain, headers),
        };
        let hops: String =
            chain.iter().flat_map(|hop| [bare(hop), Cow::Borrowed(", ")]).chain([Cow::Owned(self.address.to_string())]).collect();
        let client = self.client(&chain);
        for (name, value) in [(FORWARDED, forwarded), (X_FORWARDED_FOR, hops)] {
            match HeaderValue::try_from(value) {
                Ok(value) => drop(headers.insert(name, value)),
                Err(_) => drop(headers.remove(name)),
            }
        }
        headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(self.scheme));
        if let Some(host) = host {
            headers.entry(X_FORWARDED_HOST).or_insert(host);
        }
        client
    }

    /// `X-Forwarded-For` as RFC 7239 has it. The protocol and the host that were told belong to its first hop.
    fn translated(&self, chain: &[Cow<'_, str>], headers: &HeaderMap) -> String {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let (proto, host) = (text(X_FORWARDED_PROTO), text(X_FORWARDED_HOST));
        let mut forwarded = String::new();
        for (index, hop) in chain.iter().enumerate() {
            let (proto, host) = if index == 0 { (proto, host) } else { (None, None) };
            forwarded.push_str(&element(address(hop), proto, host));
            forwarded.push_str(", ");
        }
        forwarded + &element(Some(self.address), None, None)
    }

    /// The right-most address that is not a trusted proxy's; where all are, the left-most. What is no address can't be seen past.
    fn client(&self, chain: &[Cow<'_, str>]) -> IpAddr {
        let mut client = self.address;
        for hop in chain.iter().rev() {
            match address(hop) {
                Some(address) if is_trusted(&self.trusted, client) => client = address,
                _ => break,
            }
        }
        client
    }
}

fn is_trusted(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// All lines of a list as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Option<Vec<_>> = headers.get_all(name).iter().map(|line| line.to_str().ok()).collect();
    lines.map(|lines| lines.join(", ")).filter(|line| !line.trim().is_empty())
}

fn fill(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) {
    if !headers.contains_key(&name)
        && let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok())
    {
        headers.insert(name, value);
    }
}

/// One element of `Forwarded` (RFC 7239 §4).
fn element(node: Option<IpAddr>, proto: Option<&str>, host: Option<&str>) -> String {
    let mut element = match node {
        // RFC 7239 §6: an IPv6 address is bracketed, and so has to be quoted.
        Some(IpAddr::V6(address)) => format!("for=\"[{address}]\""),
        Some(IpAddr::V4(address)) => format!("for={address}"),
        None => String::from("for=unknown"),
    };
    let is_quotable = |value: &&str| !value.contains(['"', '\\']);
    if let Some(proto) = proto.filter(|proto| proto.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        element += ";proto=";
        element += proto;
    }
    if let Some(host) = host.filter(is_quotable) {
        // A port's colon has to be quoted.
        element += ";host=\"";
        element += host;
        element.push('"');
    }
    element
}

/// What an element of `Forwarded` tells.
#[derive(Debug, Default)]
struct Element<'t> {
    node: Option<Cow<'t, str>>,
    proto: Option<Cow<'t, str>>,
    host: Option<Cow<'t, str>>,
}

/// `None` where it is not as RFC 7239 §4 has it.
fn elements(text: &str) -> Option<Vec<Element<'_>>> {
    split_unquoted(text, ',')?.into_iter().filter(|element| !element.is_empty()).map(one_element).collect()
}

fn one_element(text: &str) -> Option<Element<'_>> {
    let mut element = Element::default();
    for pair in split_unquoted(text, ';')?.into_iter().filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(quoted) => Cow::Owned(quoted.strip_suffix('"')?.replace('\\', "")),
            None => Cow::Borrowed(value),
        };
        match name.to_ascii_lowercase().as_str() {
            "for" => element.node = Some(value),
            "proto" => element.proto = Some(value),
            "host" => element.host = Some(value),
            _ => {}
        }
    }
    Some(element)
}

/// The parts between separators outside of quotes. `None` where a quote stays open.
fn split_unquoted(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text
        .split(|character| {
            let was_escaped = is_escaped;
            is_escaped = is_quoted && !was_escaped && character == '\\';
            is_quoted ^= character == '"' && !was_escaped;
            character == separator && !is_quoted
        })
        .map(str::trim)
        .collect();
    (!is_quoted).then_some(parts)
}

/// The address in a hop of either header, which may have a port, brackets and quotes.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim_matches('"');
    let parsed = hop.parse().or_else(|_| hop.parse().map(|address: SocketAddr| address.ip()));
    parsed.or_else(|_| hop.trim_start_matches('[').trim_end_matches(']').parse()).ok().map(|address: IpAddr| address.to_canonical())
}

/// A hop as `X-Forwarded-For` has it: a bare address, where it is one.
fn bare(hop: &str) -> Cow<'_, str> {
    if hop.contains(['"', '['])
        && let Some(address) = address(hop)
    {
        Cow::Owned(address.to_string())
    } else {
        Cow::Borrowed(hop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_hop_is_read() {
        for (hop, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:4711", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("\"[2001:db8::1]:4711\"", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("unknown", None),
            ("_hidden", None),
            ("", None),
        ] {
            assert_eq!(address(hop), expected.map(|text| text.parse().unwrap()), "{hop}");
        }
    }

    /// RFC 7239 §4
    #[test]
    fn a_separator_in_quotes_separates_nothing() {
        assert_eq!(split_unquoted(r#"a="1,\",2", b"#, ','), Some(vec![r#"a="1,\",2""#, "b"]));
        assert_eq!(split_unquoted(r#"a="1, b"#, ','), None);
        let elements = elements(r#"For="[2001:db8::1]:80";proto=https;host="a;b", for=192.0.2.1"#).unwrap();
        assert_eq!(elements[0].node.as_deref(), Some("[2001:db8::1]:80"));
        assert_eq!(elements[0].host.as_deref(), Some("a;b"));
        assert_eq!(elements[1].node.as_deref(), Some("192.0.2.1"));
    }
}
