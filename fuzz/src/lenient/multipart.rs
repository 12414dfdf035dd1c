//! Multipart bodies of any subtype (Rack reads `multipart/mixed` and `multipart/related` as forms too), with any line ends.

use percent_encoding::percent_decode_str;

use super::{Value, decoded, form, id, parameter};

/// What every habit finds for the field of this path.
pub(super) fn named(body: &[u8], content_type: &str, path: &[&str]) -> Vec<Value> {
    let text = String::from_utf8_lossy(body);
    let mut values = Vec::new();
    // Some take the boundary from the header, others from the first line.
    let first_line = text.trim_start().lines().next().and_then(|line| line.strip_prefix("--")).map(|line| line.trim().to_owned());
    for boundary in [parameter(content_type, "boundary"), first_line].into_iter().flatten().filter(|boundary| !boundary.is_empty()) {
        let parts: Vec<(Vec<String>, &str)> = text.split(&format!("--{boundary}")).skip(1).flat_map(part).collect();
        // RFC 7578 §4.6: aiohttp and Jetty read the charset of all parts from a part of this name.
        let charset =
            parts.iter().find(|(lines, _)| names(lines).iter().any(|name| name == "_charset_")).map(|(_, content)| content.trim());
        for (lines, content) in &parts {
            let is_it = |name: &String| form::names(name).iter().any(|(_, name)| form::is_at(name, path));
            if names(lines).iter().any(is_it) {
                let charset = header(lines, "content-type").and_then(|value| parameter(value, "charset")).or(charset.map(str::to_owned));
                let bytes = match header(lines, "content-transfer-encoding").unwrap_or_default().trim().to_ascii_lowercase().as_str() {
                    "base64" => id::base64_bytes(content.as_bytes()),
                    "quoted-printable" => percent_decode_str(&content.replace('=', "%")).collect(),
                    _ => content.as_bytes().to_vec(),
                };
                values.push(Value::new("lax multipart", decoded(&bytes, charset.as_deref())));
                values.push(Value::new("lax multipart", bytes));
            }
        }
    }
    values
}

/// Header lines and content of a part, parted where one of the usual line ends stands twice.
fn part(text: &str) -> Vec<(Vec<String>, &str)> {
    let lines = |head: &str| -> Vec<String> {
        // A line that begins with a blank goes on with the one before.
        let head = head.replace("\r\n", "\n").replace('\r', "\n").replace("\n ", " ").replace("\n\t", " ");
        head.split('\n').map(str::to_owned).collect()
    };
    let parted = |end: &&str| text.split_once(*end).map(|(head, content)| (lines(head), content.trim_end_matches(['\r', '\n', '-'])));
    ["\r\n\r\n", "\n\n", "\r\r"].iter().filter_map(parted).collect()
}

fn header<'l>(lines: &'l [String], name: &str) -> Option<&'l str> {
    lines.iter().find_map(|line| line.split_once(':').filter(|(other, _)| other.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// All names that a part may have: the first, the last, quoted or not, with escapes or without, and as RFC 8187 has them.
fn names(lines: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    for line in lines.iter().filter(|line| line.trim_start().to_ascii_lowercase().starts_with("content-disposition")) {
        for (at, _) in line.to_ascii_lowercase().match_indices("name").filter(|(at, _)| line.is_char_boundary(*at)) {
            let is_of_file = line.get(..at).is_some_and(|before| before.to_ascii_lowercase().ends_with("file"));
            let Some(rest) = line.get(at + "name".len()..).filter(|_| !is_of_file) else { continue };
            let rest = rest.trim_start();
            if let Some(value) = rest.strip_prefix('=').map(str::trim_start) {
                let quoted = value.strip_prefix('"').and_then(|quoted| quoted.split('"').next());
                names.push(quoted.unwrap_or_else(|| value.split([';', ' ']).next().unwrap_or_default()).to_owned());
                names.push(value.replace(['"', '\\'], "").split(';').next().unwrap_or_default().trim().to_owned());
            } else if let Some(value) = rest.strip_prefix("*=") {
                let value = value.rsplit('\'').next().unwrap_or_default().split(';').next().unwrap_or_default();
                names.push(percent_decode_str(value).decode_utf8_lossy().into_owned());
            }
        }
    }
    names
}
