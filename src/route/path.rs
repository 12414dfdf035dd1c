//! The ways in which servers read a path.
//!
//! Lenient servers percent-decode once, resolve dot segments and repeated slashes (RFC 3986 §5.2.4, §6.2), take backslashes for slashes, and ignore
//! `;parameters`, what follows a NUL, a trailing slash, and the case of letters; strict ones read literally, and many do some of this and not the rest.
//! A path in which any of that makes a difference is read in all those ways. Besides, frameworks route a path with a format (`/reset.json`), with blanks at its
//! end, or beside the script that serves it (`/index.php/reset`, `/reset.php/x`).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// One way to read a path, without trailing slash.
pub(super) struct Reading<'a> {
    /// Decoded once.
    pub(super) spelled: Cow<'a, str>,
    /// With its letters folded, character by character.
    pub(super) folded: Cow<'a, str>,
    /// Whether there may be [other ends](Self::other_ends).
    pub(super) has_other_ends: bool,
}

impl<'a> Reading<'a> {
    fn new(spelled: Cow<'a, str>, folded: Cow<'a, str>) -> Self {
        let has_other_ends = folded.contains('.') || folded.ends_with(is_blank);
        Self { spelled, folded, has_other_ends }
    }

    /// What frameworks route this path to besides: without a format or blanks at its end, and with the script that serves it before or
    /// behind what they compare.
    pub(super) fn other_ends(&self) -> impl Iterator<Item = &str> {
        let path: &str = &self.folded;
        let trimmed = path.trim_end_matches(|c: char| is_blank(c) || matches!(c, '.' | '/'));
        let last = trimmed.rfind('/').map_or(0, |slash| slash + 1);
        let formats = trimmed.match_indices('.').filter(move |(dot, _)| *dot > last).filter_map(move |(dot, _)| trimmed.get(..dot));
        let scripts = path.match_indices(".php/").flat_map(move |(at, _)| [path.get(..at + 4), path.get(at + 4..)]).flatten();
        std::iter::once(trimmed).chain(formats).chain(scripts)
    }
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// Stands for a slash that does not part two segments, since it was encoded.
pub(super) const ENCODED_SLASH: char = '\u{f02f}';

pub(super) fn fold(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) => lower,
        _ => c,
    }
}

/// All ways in which a path is read.
pub(super) enum Readings<'a> {
    /// All servers read it alike.
    Plain(Reading<'a>),
    Several(Vec<Reading<'a>>),
}

impl<'a> Readings<'a> {
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Reading<'a>> {
        match self {
            Self::Plain(reading) => std::slice::from_ref(reading).iter(),
            Self::Several(readings) => readings.iter(),
        }
    }
}

/// How many bytes are read at most, over all ways of reading a path.
const READ_LIMIT: usize = 256 * 1024;

/// How servers differ.
#[derive(Clone, Copy)]
struct Habit {
    /// An encoded slash parts two segments.
    splits_at_encoded_slash: bool,
    /// A backslash parts two segments.
    splits_at_backslash: bool,
    /// One that is there after decoding does.
    splits_at_encoded_backslash: bool,
    /// `;` and what follows it are no part of a segment before it is decoded.
    drops_parameters_first: bool,
    /// Nor are they when it is decoded.
    drops_parameters: bool,
    /// Dot segments are taken away before anything is decoded, and once more after.
    resolves_first: bool,
    /// A NUL ends the path.
    ends_at_nul: bool,
    /// Dot segments, empty segments and a session in parentheses are taken away.
    resolves: bool,
    /// An empty segment is one that `..` takes away (RFC 3986 §5.2.4 does not merge slashes).
    counts_empty: bool,
    /// An encoded slash that parted nothing so far is decoded at last, as by who resolves before decoding.
    decodes_slash_last: bool,
}

impl Habit {
    /// Every combination of the habits that make a difference for `path`.
    fn differing_on(path: &str) -> impl Iterator<Item = Self> {
        let relevant = differences(path);
        (0..1_u16 << relevant.len()).filter_map(move |choice| {
            let chosen = |at: usize| choice & (1 << at) != 0;
            let is_needed = relevant.iter().enumerate().all(|(at, relevant)| *relevant || !chosen(at));
            is_needed.then(|| Self {
                splits_at_encoded_slash: !chosen(0),
                splits_at_backslash: !chosen(1),
                splits_at_encoded_backslash: !chosen(2),
                drops_parameters_first: !chosen(3),
                drops_parameters: !chosen(4),
                resolves: !chosen(5),
                counts_empty: chosen(6),
                ends_at_nul: !chosen(7),
                decodes_slash_last: chosen(8),
                resolves_first: chosen(9),
            })
        })
    }
}

/// How many habits may make one.
const DIFFERENCES: usize = 10;

/// Which habits make a difference for `path`, in the order in which [`Habit::differing_on`] chooses them.
fn differences(path: &str) -> [bool; DIFFERENCES] {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let has_parameters = decoded.contains(';');
    let resolves = has_parameters || ["//", "/.", "\\", "\0", "("].iter().any(|mark| decoded.contains(mark));
    let has_encoded_slash = path.contains("%2f") || path.contains("%2F");
    [
        has_encoded_slash,
        path.contains('\\'),
        decoded.contains('\\'),
        path.contains(';'),
        has_parameters,
        resolves,
        decoded.contains(".."),
        decoded.contains('\0'),
        resolves && has_encoded_slash,
        path.contains("/..") && (path.contains("%2e") || path.contains("%2E")),
    ]
}

/// Whether `path` can be read in all ways that make a difference without much work for who asks little.
pub(crate) fn is_readable(path: &str) -> bool {
    path.len() <= READ_LIMIT >> DIFFERENCES
        || is_plain(path)
        || path.len() <= READ_LIMIT >> differences(path).iter().filter(|differs| **differs).count()
}

/// `path` without trailing slash, if it is in lower case and everybody reads and routes it alike.
pub(super) fn plain(path: &str) -> Option<&str> {
    let mut before = 0;
    let is_plain = path.starts_with('/')
        && path.bytes().all(|byte| {
            let is_repeated = std::mem::replace(&mut before, byte) == b'/' && byte == b'/';
            matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'_') && !is_repeated
        });
    is_plain.then(|| without_trailing_slash(path))
}

/// Reads `path` in every way that makes a difference. One in plain spelling costs no allocation.
pub(super) fn readings(path: &str) -> Readings<'_> {
    if is_plain(path) {
        let path = without_trailing_slash(path);
        return Readings::Plain(Reading::new(path.into(), path.into()));
    }
    let read = |habit| {
        let spelled = read(path, habit);
        let folded: String = spelled.chars().map(fold).collect();
        Reading::new(spelled.into(), folded.into())
    };
    Readings::Several(Habit::differing_on(path).map(read).collect())
}

fn without_trailing_slash(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some("") | None => path,
        Some(path) => path,
    }
}

/// Whether `path` is in lower-case ASCII with nothing that any server would decode, split or take away.
fn is_plain(path: &str) -> bool {
    let mut before = b'/';
    path.starts_with('/')
        && path.bytes().skip(1).all(|byte| {
            let after_slash = std::mem::replace(&mut before, byte) == b'/';
            match byte {
                b'A'..=b'Z' | b'%' | b'\\' | b';' | b'(' | 0x80.. => false,
                b'/' | b'.' => !after_slash,
                _ => true,
            }
        })
}

/// `path` as a server of this habit reads it.
fn read(path: &str, habit: Habit) -> String {
    let without_parameters = |segment: &str, drops: bool| segment.split(';').next().filter(|_| drops).unwrap_or(segment).to_owned();
    let mut segments: Vec<String> = Vec::new();
    let raw = path.strip_prefix('/').unwrap_or(path);
    let undotted = if habit.resolves_first { undotted(raw) } else { raw.into() };
    for segment in undotted.split(|c| c == '/' || (c == '\\' && habit.splits_at_backslash)) {
        let segment = without_parameters(segment, habit.drops_parameters_first);
        let mut decoded = percent_decode_str(&segment).decode_utf8_lossy();
        if !habit.splits_at_encoded_slash {
            decoded = decoded.replace('/', ENCODED_SLASH.encode_utf8(&mut [0; 4])).into();
        }
        let parts = decoded.split(|c| c == '/' || (c == '\\' && habit.splits_at_encoded_backslash));
        segments.extend(parts.map(|part| without_parameters(part, habit.drops_parameters)));
    }
    if habit.ends_at_nul
        && let Some(at) = segments.iter().position(|segment| segment.contains('\0'))
    {
        segments.truncate(at + 1);
        segments.iter_mut().skip(at).for_each(|last| last.truncate(last.find('\0').unwrap_or(last.len())));
    }
    if habit.resolves {
        segments = resolved(segments, habit.counts_empty);
    }
    if habit.decodes_slash_last {
        let split = segments.iter().flat_map(|segment| segment.split(ENCODED_SLASH)).filter(|segment| !segment.is_empty());
        segments = split.map(str::to_owned).collect();
    }
    let path = format!("/{}", segments.join("/"));
    without_trailing_slash(&path).to_owned()
}

/// RFC 3986 §5.2.4, for servers (Jetty was one) that know a dot only where it isn't encoded.
fn undotted(path: &str) -> Cow<'_, str> {
    let mut kept = Vec::new();
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    kept.join("/").into()
}

/// Without what lenient servers take away.
fn resolved(segments: Vec<String>, counts_empty: bool) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(segments.len());
    for segment in segments {
        match segment.as_str() {
            "." => {}
            "" if !counts_empty => {}
            ".." => drop(kept.pop()),
            // ASP.NET's session in the path, `(S(…))`.
            name if name.starts_with('(') && name.ends_with("))") => {}
            name => kept.push(name.to_owned()),
        }
    }
    kept.retain(|segment| !segment.is_empty());
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(path: &str, keeps_slash: bool) -> String {
        let path = if keeps_slash { path.replace("%2f", "%252f") } else { path.to_owned() };
        percent_decode_str(&path).decode_utf8_lossy().into_owned()
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
    fn without_dots(path: &str) -> String {
        let mut kept = Vec::new();
        let segments: Vec<&str> = path[1..].split('/').collect();
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
        path.split('/').map(|segment| segment.split(';').next().unwrap()).collect::<Vec<_>>().join("/")
    }

    /// What servers make of `path`, each in the order of its own steps.
    fn servers(path: &str) -> [(&'static str, String); 10] {
        let slashed = |path: &str| path.replace('\\', "/");
        [
            ("a literal one", decoded(path, false)),
            ("Kestrel", without_dots(&decoded(path, true))),
            ("nginx", without_dots(&merged(&decoded(path, false)))),
            ("IIS", without_dots(&merged(&slashed(&decoded(path, false))))),
            ("Apache", merged(&without_dots(&decoded(path, true)))),
            ("Tomcat", without_dots(&merged(&slashed(&decoded(&without_parameters(path), true))))),
            ("Jetty", merged(&without_dots(&decoded(&without_parameters(path), true)))),
            ("an old Jetty", merged(&decoded(&without_dots(path), true))),
            ("a browser's", decoded(&without_dots(&slashed(&path.replace("%2e", "."))), false)),
            ("Rails", merged(&decoded(path, false))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn what_any_server_takes_for_a_path_is_among_its_readings(
            parts in prop::collection::vec(prop::sample::select(vec![
                "accounts", "reset", "/", "/", "..", ".", ";", "\\", "%2f", "%2f", "%5c", "%3b", "%2e", "x", "/../", "/accounts/reset", "accounts%2freset",
            ]), 1..10)
        ) {
            let path = format!("/{}", parts.concat());
            let readings = readings(&path);
            let is_read = readings.iter().any(|reading| reading.folded == "/accounts/reset" || reading.other_ends().any(|path| path == "/accounts/reset"));
            for (server, read) in servers(&path) {
                prop_assert!(read.trim_end_matches('/') != "/accounts/reset" || is_read, "{server} takes {path}");
            }
        }
    }

    #[test]
    fn a_path_is_read_in_no_more_ways_than_make_a_difference() {
        for (path, ways) in [("/login", 1), ("/Login/%41", 1), ("/a.b/c", 1), ("/a;b", 8), ("/a/../b", 4)] {
            assert_eq!(readings(path).iter().count(), ways, "{path}");
        }
        assert!(matches!(readings("/login/"), Readings::Plain(_)));
        let odd = |pieces| "/x%2fa\\b%5cc;d/..;/../%2e(f)/%00g%3bh".repeat(pieces);
        assert!(is_readable(&odd(6)) && !is_readable(&odd(8)));
        assert!(is_readable(&"/a.%41".repeat(10_000)));
    }
}
