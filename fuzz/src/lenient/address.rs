//! Addresses.

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization;

use super::{decoded, id};
use crate::BLOCKED;

/// Which habit reads the blocked account's address in this value.
pub(super) fn who_reads(value: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(value);
    let latin: String = value.iter().map(|byte| char::from(*byte)).collect();
    let texts = if value.is_ascii() { vec![&*text] } else { vec![&*text, &latin] };
    for text in texts {
        let readings: [(&str, Vec<String>); 9] = [
            ("a database that folds case", vec![text.to_owned()]),
            ("a language that ends texts at NUL or at a line's end", text.split(['\0', '\r', '\n']).map(str::to_owned).collect()),
            ("a list of addresses", outside_quotes(text)),
            ("a display name", text.split(['<', '>']).map(str::to_owned).collect()),
            ("comments", vec![without_comments(text)]),
            ("needless quotes", vec![unquoted(text)]),
            ("encoded words", vec![encoded_words(text)]),
            ("a second decoding", vec![percent_decode_str(text).decode_utf8_lossy().into_owned()]),
            ("references to characters", vec![references(text)]),
        ];
        let found = readings.into_iter().find(|(_, readings)| readings.iter().any(|reading| folded(reading) == BLOCKED));
        if let Some((reader, _)) = found {
            return Some(reader);
        }
    }
    None
}

/// CVE-2019-19844 and its kin: case mapping, compatibility forms, what isn't seen, IDNA's dots; and what is taken away around.
fn folded(text: &str) -> String {
    let is_ignored = |c: char| c.is_control() || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}');
    if text.is_ascii() {
        let is_around = |c: char| c.is_ascii_whitespace() || c.is_ascii_control();
        return text.trim_matches(is_around).trim_end_matches('.').replace(|c: char| c.is_ascii_control(), "").to_ascii_lowercase();
    }
    let text: String = text.nfkc().filter(|c| !is_ignored(*c)).collect();
    let text: String = text.to_uppercase().to_lowercase().nfkc().collect();
    text.trim().replace('\u{3002}', ".").trim_end_matches('.').to_owned()
}

/// CVE-2023-7028: several mailboxes in one value. Blanks, commas and semicolons part them, but for those in quotes.
fn outside_quotes(text: &str) -> Vec<String> {
    let mut is_quoted = false;
    let parted = text.split(|c: char| {
        is_quoted ^= c == '"';
        !is_quoted && (c.is_ascii_whitespace() || matches!(c, ',' | ';'))
    });
    parted.map(str::to_owned).collect()
}

fn without_comments(text: &str) -> String {
    let mut depth = 0_usize;
    let mut kept = String::new();
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            c if depth == 0 && !c.is_whitespace() => kept.push(c),
            _ => {}
        }
    }
    kept
}

/// RFC 5321 §4.1.2: quotes that are not needed should not be there, and mean nothing.
fn unquoted(text: &str) -> String {
    text.replace(['"', '\\'], "")
}

/// RFC 2047, which Ruby's Mail and PHP's `mb_decode_mimeheader` read inside addresses too.
fn encoded_words(text: &str) -> String {
    let mut read = String::new();
    let mut rest = text;
    while let Some((before, word)) = rest.split_once("=?") {
        let mut parts = word.splitn(3, '?');
        let (Some(charset), Some(coding), Some(coded)) = (parts.next(), parts.next(), parts.next()) else { break };
        let Some((coded, after)) = coded.split_once("?=") else { break };
        let bytes = match coding {
            "b" | "B" => id::base64_bytes(coded.as_bytes()),
            _ => percent_decode_str(&coded.replace('=', "%").replace('_', " ")).collect(),
        };
        read.push_str(before);
        read.push_str(&decoded(&bytes, Some(charset)));
        rest = after;
    }
    read + rest
}

/// `&#98;`, which qs reads where it is asked to.
fn references(text: &str) -> String {
    let mut read = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("&#") {
        read.push_str(before);
        let (number, after) = after.split_once(';').unwrap_or((after, ""));
        read.extend(number.parse().ok().and_then(char::from_u32));
        rest = after;
    }
    read + rest
}
