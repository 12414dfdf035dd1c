//! Paths, as servers read and frameworks route them.

use percent_encoding::percent_decode;

/// The segments that each server sees, decoded.
pub(super) fn servers(path: &str) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let slashed = |path: &str| path.replace('\\', "/");
    let read: [(&str, String); 10] = [
        ("a literal server", decoded(path, false)),
        ("Kestrel", undotted(&decoded(path, true))),
        ("nginx", undotted(&merged(&decoded(path, false)))),
        ("IIS", undotted(&merged(&slashed(&decoded(path, false))))),
        ("Apache", merged(&undotted(&decoded(path, true)))),
        ("Tomcat", undotted(&merged(&slashed(&decoded(&without_parameters(path), true))))),
        ("Jetty", merged(&undotted(&decoded(&without_parameters(path), true)))),
        ("a browser's", decoded(&undotted(&slashed(&path.replace("%2e", ".").replace("%2E", "."))), false)),
        ("Rails", merged(&decoded(path, false))),
        ("a server that ends paths at NUL", decoded(path, false).split('\0').next().unwrap_or_default().to_owned()),
    ];
    let mut servers = Vec::new();
    for (server, path) in read {
        let segments: Vec<Vec<u8>> = path.split('/').skip(1).map(|segment| segment.as_bytes().to_vec()).collect();
        servers.push((server, segments));
    }
    // Most frameworks part the path first and decode what is in a segment then.
    let parted = |path: &str| path.split('/').skip(1).map(|segment| percent_decode(segment.as_bytes()).collect()).collect();
    servers.push(("a framework that parts first", parted(path)));
    servers.push(("a framework behind a proxy that resolves", parted(&merged(&undotted(path)))));
    servers
}

/// Whether `route` leads here, and what stands for its `*`.
pub(super) fn parameter(route: &str, segments: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut segments = segments;
    while let [rest @ .., last] = segments
        && last.is_empty()
    {
        segments = rest;
    }
    let pattern: Vec<&str> = route.split('/').skip(1).collect();
    let is_parameter_last = pattern.last() == Some(&"*");
    let mut parameter = Vec::new();
    if pattern.len() != segments.len() {
        return None;
    }
    for (at, (wanted, segment)) in pattern.iter().zip(segments).enumerate() {
        let is_last = at + 1 == pattern.len();
        let text = String::from_utf8_lossy(segment);
        // Rails and Spring route a format behind the last segment.
        let base = if is_last && !is_parameter_last { text.split('.').next().unwrap_or_default().trim_end() } else { &text };
        match *wanted {
            "*" if !matches!(&segment[..], b"" | b"." | b"..") => parameter = segment.clone(),
            wanted if base.eq_ignore_ascii_case(wanted) => {}
            _ => return None,
        }
    }
    Some(parameter)
}

fn decoded(path: &str, keeps_slash: bool) -> String {
    let path = if keeps_slash { path.replace("%2f", "%252f").replace("%2F", "%252F") } else { path.to_owned() };
    percent_decode(path.as_bytes()).decode_utf8_lossy().into_owned()
}

fn merged(path: &str) -> String {
    path.chars().fold(String::new(), |mut merged, c| {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
        merged
    })
}

/// RFC 3986 §5.2.4.
fn undotted(path: &str) -> String {
    let mut kept = Vec::new();
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    for (at, segment) in segments.iter().enumerate() {
        let is_dots = matches!(*segment, "." | "..");
        match *segment {
            ".." => drop(kept.pop()),
            "." => {}
            name => kept.push(name),
        }
        if is_dots && at + 1 == segments.len() {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

fn without_parameters(path: &str) -> String {
    path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect::<Vec<_>>().join("/")
}
