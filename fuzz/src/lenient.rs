//! Parsers that find an account where a strict one would not: one for each habit of a framework that the gate has to reckon with.
//!
//! They are short and take everything. What one of them finds, some application may act upon.

mod address;
mod form;
mod id;
mod json;
mod multipart;
mod path;

use std::collections::HashSet;

use crate::{BLOCKED_ID, Message};

/// Where an application reads whom a reset is for.
#[derive(Clone, Copy)]
enum Place {
    /// A field or member of this path, in whatever the framework merges.
    Named(&'static [&'static str]),
    /// A segment of the path, or a field of its name: ASP.NET Core binds a form's fields before those of the route.
    Segment(&'static str),
    Header(&'static str),
    /// A field that holds a key.
    Id(&'static str),
    /// A segment that holds a key, encoded.
    Encoded(fn(&[u8]) -> Vec<Vec<u8>>),
}

/// The application's routes: path, method and place. `*` is a segment of any text.
const ROUTES: [(&str, &[&str], Place); 13] = [
    ("/password-reset", &["POST"], Place::Named(&["email"])),
    ("/nested", &["POST"], Place::Named(&["user", "email"])),
    ("/api/password-reset", &["POST"], Place::Named(&["email"])),
    ("/api/nested", &["POST"], Place::Named(&["user", "email"])),
    ("/by-query", &["GET", "POST"], Place::Named(&["email"])),
    ("/by-path/*/reset", &["POST"], Place::Segment("email")),
    ("/by-header", &["POST"], Place::Header("x-email")),
    ("/anyhow", &["POST", "PUT", "PATCH", "DELETE"], Place::Named(&["email"])),
    ("/put-only", &["PUT"], Place::Named(&["email"])),
    ("/id", &["POST"], Place::Id("id")),
    ("/base64/*", &["GET"], Place::Encoded(id::base64)),
    ("/base36/*", &["GET"], Place::Encoded(id::base36)),
    ("/jwt/*", &["GET"], Place::Encoded(id::jwt)),
];

/// A value, and whose habit found it.
pub(crate) struct Value {
    pub(crate) parser: String,
    pub(crate) bytes: Vec<u8>,
}

impl Value {
    pub(crate) fn new(parser: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { parser: parser.into(), bytes: bytes.into() }
    }
}

/// Who finds the blocked account in a request that reached the application.
pub fn finds(message: &Message) -> Option<String> {
    let methods = methods(message);
    let mut routed = HashSet::new();
    for (server, segments) in path::servers(message.uri.path()).into_iter().filter(|(_, segments)| routed.insert(segments.clone())) {
        for (route, route_methods, place) in ROUTES {
            let Some(parameter) = path::parameter(route, &segments) else { continue };
            if !route_methods.iter().any(|method| methods.iter().any(|other| other == method)) {
                continue;
            }
            let found = match place {
                Place::Named(path) => blocked_address(named(message, path, true)),
                Place::Segment(name) => {
                    let segment = Value::new("the route", parameter);
                    blocked_address(named(message, &[name], false).into_iter().chain([segment]))
                }
                Place::Header(name) => blocked_address(message.header(name).into_iter().map(|value| Value::new("CGI", value))),
                Place::Id(name) => blocked_id(named(message, &[name], true)),
                Place::Encoded(decoded) => blocked_id(decoded(&parameter).into_iter().map(|name| Value::new("the decoder", name))),
            };
            if let Some(parser) = found {
                return Some(format!("{server}, which routes to {route}, and {parser}"));
            }
        }
    }
    None
}

fn blocked_address(values: impl IntoIterator<Item = Value>) -> Option<String> {
    let mut read = HashSet::new();
    values
        .into_iter()
        .filter(|value| read.insert(value.bytes.clone()))
        .find_map(|value| address::who_reads(&value.bytes).map(|reader| format!("{} with {reader}", value.parser)))
}

fn blocked_id(values: impl IntoIterator<Item = Value>) -> Option<String> {
    let number = BLOCKED_ID.parse().unwrap();
    values.into_iter().find_map(|value| id::who_reads(&value.bytes, number).map(|reader| format!("{} with {reader}", value.parser)))
}

/// The methods that a request may count as (Rack, Symfony, Laravel, Spring, Express): its own, and for a POST those that it names.
fn methods(message: &Message) -> Vec<String> {
    let mut methods = vec![message.method.as_str().to_ascii_uppercase()];
    match methods[0].as_str() {
        "POST" => {
            let headers = ["x-http-method-override", "x-http-method", "x-method-override"];
            let named_in_headers = headers.iter().flat_map(|name| message.header(name)).map(|value| value.to_vec());
            let named = named(message, &["_method"], true).into_iter().map(|value| value.bytes).chain(named_in_headers);
            let upper = |name: Vec<u8>| String::from_utf8_lossy(&name).trim().to_ascii_uppercase();
            methods.extend(named.map(upper));
        }
        "HEAD" => methods.push("GET".to_owned()),
        _ => {}
    }
    methods
}

/// Every value that some framework finds for the field or member of this path in query and body, which many merge. A body without type, or of a plain one,
/// is read by those that are `untyped`.
fn named(message: &Message, path: &[&str], untyped: bool) -> Vec<Value> {
    let mut values = form::named(message.uri.query().unwrap_or_default().as_bytes(), path, None);
    let body = &message.body[..];
    if body.is_empty() {
        return values;
    }
    let coded = message.header("content-encoding").into_iter().any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    if coded && untyped {
        // What it says, only a decoder knows; it may as well be this.
        values.push(Value::new("a server that decodes bodies", crate::BLOCKED));
        values.push(Value::new("a server that decodes bodies", crate::BLOCKED_ID));
    }
    let types = message.header("content-type");
    // Of several types, some take the first, some the last.
    let types = if types.is_empty() { vec![&b""[..]] } else { types };
    for content_type in types {
        let content_type = String::from_utf8_lossy(content_type);
        let lower = content_type.to_lowercase();
        // Who merges the body with the path (ASP.NET Core) is strict about types.
        let essence = lower.split(';').next().unwrap_or_default().trim();
        let is = |word: &str| if untyped { lower.contains(word) } else { essence == word };
        let any = untyped && (lower.is_empty() || is("text/"));
        if is("application/x-www-form-urlencoded") || any {
            values.extend(form::named(body, path, parameter(&content_type, "charset").as_deref()));
        }
        if is(if untyped { "multipart/" } else { "multipart/form-data" }) {
            values.extend(multipart::named(body, &content_type, path));
        }
        if is(if untyped { "json" } else { "application/json" }) || any {
            values.extend(json::named(body, path, parameter(&content_type, "charset").as_deref()));
        }
    }
    values
}

/// The parameter `name` of a header's value, wherever the word stands.
pub(crate) fn parameter(value: &str, name: &str) -> Option<String> {
    let at = value.to_ascii_lowercase().find(&format!("{name}="))? + name.len() + 1;
    let rest = value.get(at..)?;
    let end = |rest: &str| rest.find([';', ',', ' ']).unwrap_or(rest.len());
    // A quoted one ends at the next quote, whatever stands before it.
    Some(rest.strip_prefix('"').and_then(|quoted| quoted.split('"').next()).unwrap_or_else(|| &rest[..end(rest)]).to_owned())
}

/// `bytes` in the charset that a request names: UTF-8 if none, or none that changes ASCII.
pub(crate) fn decoded(bytes: &[u8], charset: Option<&str>) -> String {
    let charset = charset.unwrap_or_default().trim().to_ascii_lowercase();
    let pairs = || bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    match charset.as_str() {
        "utf-7" | "utf7" => utf7(bytes),
        "utf-16" | "utf-16be" => char::decode_utf16(pairs()).filter_map(Result::ok).collect(),
        "utf-16le" => char::decode_utf16(pairs().map(u16::swap_bytes)).filter_map(Result::ok).collect(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// RFC 2152, without its limits.
fn utf7(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut decoded = String::new();
    let mut rest = &*text;
    while let Some(at) = rest.find('+') {
        decoded.push_str(&rest[..at]);
        let coded = &rest[at + 1..];
        let end = coded.find(|c: char| !c.is_ascii_alphanumeric() && c != '/' && c != '+').unwrap_or(coded.len());
        let units = id::base64_bytes(coded[..end].as_bytes());
        let units = units.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        decoded.extend(char::decode_utf16(units).filter_map(Result::ok));
        if end == 0 {
            decoded.push('+');
        }
        rest = coded[end..].strip_prefix('-').unwrap_or(&coded[end..]);
    }
    decoded + rest
}
