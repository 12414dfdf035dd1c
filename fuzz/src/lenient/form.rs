//! Forms and queries.

use super::{Value, decoded};

/// What every habit finds for the field of this path.
pub(super) fn named(form: &[u8], path: &[&str], charset: Option<&str>) -> Vec<Value> {
    let mut values = Vec::new();
    // Rack before 3, Perl's CGI, Python before 3.9.2 and W3C's advice of 1999 part fields at `;` too.
    for (separators, separated) in [(&b"&"[..], ""), (b"&;", " at `;`")] {
        for piece in form.split(|byte| separators.contains(byte)) {
            let (name, value) = parted(piece);
            let value = unescaped(value);
            for (parser, name) in names(&decoded(&unescaped(name), charset)) {
                if is_at(&name, path) {
                    values.push(Value::new(format!("{parser}{separated}"), decoded(&value, charset)));
                    values.push(Value::new(format!("{parser}{separated}"), value.clone()));
                }
            }
        }
    }
    values
}

fn parted(piece: &[u8]) -> (&[u8], &[u8]) {
    match piece.iter().position(|byte| *byte == b'=') {
        Some(at) => (&piece[..at], &piece[at + 1..]),
        None => (piece, b""),
    }
}

/// Escapes that are whole are decoded, all else stays as it is; `%u0040` is IIS's.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let digits = |bytes: Option<&[u8]>| u32::from_str_radix(std::str::from_utf8(bytes?).ok()?, 16).ok();
    let mut written = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'+' => written.push(b' '),
            b'%' if text.get(at + 1).is_some_and(|next| next.eq_ignore_ascii_case(&b'u')) => {
                if let Some(c) = digits(text.get(at + 2..at + 6)).and_then(char::from_u32) {
                    written.extend(c.to_string().bytes());
                    at += 5;
                }
            }
            b'%' => match digits(text.get(at + 1..at + 3)) {
                Some(byte) => {
                    written.push(byte as u8);
                    at += 2;
                }
                None => written.push(b'%'),
            },
            byte => written.push(*byte),
        }
        at += 1;
    }
    written
}

/// Whether a field that ends up at `found` is the one at `path`, or an element or member of it.
pub(super) fn is_at(found: &[String], path: &[&str]) -> bool {
    found.len() >= path.len() && found.iter().zip(path).all(|(found, wanted)| found == wanted)
}

/// Where each framework puts a field of this name.
pub(super) fn names(name: &str) -> Vec<(&'static str, Vec<String>)> {
    let folded = |text: &str| text.to_uppercase().to_lowercase();
    let mut names = vec![
        ("a strict parser", vec![name.to_owned()]),
        ("PHP", php(name)),
        ("Rack", rack(name).unwrap_or_default()),
        ("qs", qs(name)),
        ("qs with dots", qs(&dots(name))),
        ("ColdFusion", qs(folded(name).trim())),
        ("a program in C", qs(name.split('\0').next().unwrap_or_default())),
        ("Struts", qs(&dots(&name.replace(['\'', '"'], "")))),
        ("Spring", qs(&dots(name.trim_start_matches('!')))),
    ];
    // ASP.NET takes what follows its parameter's name, in any case.
    let parts = name.replace("[]", "").replace('[', ".").replace(']', "").to_lowercase();
    let parts: Vec<String> = parts.split('.').map(str::to_owned).collect();
    names.extend((0..parts.len()).map(|start| ("ASP.NET", parts[start..].to_vec())));
    names
}

/// `a.b` as `a[b]`.
fn dots(name: &str) -> String {
    let mut parts = name.split('.');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| format!("{name}[{part}]"))
}

fn php(name: &str) -> Vec<String> {
    let name = name.split('\0').next().unwrap_or_default().trim_start_matches([' ', '+']);
    let (key, mut rest) = name.split_at(name.find('[').unwrap_or(name.len()));
    if key.is_empty() {
        return Vec::new();
    }
    let underscored = |text: &str| text.replace(['.', ' ', '['], "_");
    let mut path = vec![underscored(key)];
    while let Some(inner) = rest.strip_prefix('[').map(str::trim_start) {
        match inner.split_once(']') {
            Some((token, after)) => {
                path.push(token.to_owned());
                rest = after;
            }
            None if path.len() == 1 => return vec![underscored(name)],
            None => break,
        }
    }
    path
}

fn rack(name: &str) -> Option<Vec<String>> {
    let stripped = name.trim_start_matches(['[', ']']);
    let end = stripped.find(['[', ']']).unwrap_or(stripped.len());
    let (key, after) = stripped.split_at(end);
    let mut path = vec![key.to_owned()];
    match after.trim_start_matches(']') {
        _ if key.is_empty() => return None,
        "" => {}
        "[" => path = vec![name.to_owned()],
        after if after.starts_with("[]") => path.push("[]".to_owned()),
        after => path.extend(rack(after)?),
    }
    Some(path)
}

/// A token is what stands in brackets that hold no other.
fn qs(name: &str) -> Vec<String> {
    let next = |text: &str| {
        text.match_indices('[').find_map(|(open, _)| {
            let close = open + 1 + text[open + 1..].find(['[', ']'])?;
            text[close..].starts_with(']').then_some((open, close))
        })
    };
    let first = next(name);
    let parent = first.map_or(name, |(open, _)| &name[..open]);
    let mut path: Vec<String> = Some(parent).filter(|parent| !parent.is_empty()).map(str::to_owned).into_iter().collect();
    let mut rest = first.map_or("", |(open, _)| &name[open..]);
    while let Some((open, close)) = next(rest) {
        path.push(rest[open + 1..close].to_owned());
        rest = &rest[close + 1..];
    }
    path
}
