//! Keys, and how they are encoded in links.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use unicode_normalization::UnicodeNormalization;

use super::json;

/// Which habit reads `number` in this value.
pub(super) fn who_reads(value: &[u8], number: i128) -> Option<&'static str> {
    let text = String::from_utf8_lossy(value);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let digits: String = text.nfkc().filter(|c| *c != '_').map(ascii_digit).collect();
    if digits.trim().parse() == Ok(number) {
        return Some("Python's int()");
    }
    let sign = text.strip_prefix(['+', '-']).map_or(0, |_| 1);
    let end = text[sign..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |at| sign + at);
    if text[..end].parse() == Ok(number) {
        return Some("Ruby's to_i, PHP's (int), parseInt() or MySQL");
    }
    if text.parse() == Ok(number as f64) {
        return Some("JavaScript's Number()");
    }
    let lower = text.to_ascii_lowercase();
    let radix = [("0x", 16), ("0o", 8), ("0b", 2)];
    radix
        .iter()
        .any(|(prefix, radix)| lower.strip_prefix(prefix).is_some_and(|digits| i128::from_str_radix(digits, *radix) == Ok(number)))
        .then_some("JavaScript's Number()")
}

/// The digits of the scripts in use, which Python's int() reads.
fn ascii_digit(c: char) -> char {
    const ZEROS: [u32; 12] = [0x660, 0x6f0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xe50, 0xff10];
    let digit = ZEROS.iter().find_map(|zero| (c as u32).checked_sub(*zero).filter(|digit| *digit < 10));
    digit.and_then(|digit| char::from_digit(digit, 10)).unwrap_or(c)
}

/// Python's: what is no base64 is skipped, and padding made up for.
pub(super) fn base64_bytes(text: &[u8]) -> Vec<u8> {
    const LAX: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
    );
    let standard = text.iter().map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => *byte,
    });
    let mut digits: Vec<u8> = standard.filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')).collect();
    if digits.len() % 4 == 1 {
        digits.pop();
    }
    LAX.decode(digits).unwrap_or_default()
}

/// Django's `uidb64`.
pub(super) fn base64(segment: &[u8]) -> Vec<Vec<u8>> {
    // Some end at the first padding.
    let unpadded = segment.split(|byte| *byte == b'=').next().unwrap_or_default();
    vec![base64_bytes(segment), base64_bytes(unpadded)]
}

/// allauth's key, `16-token`, by Python's `int(text, 36)`.
pub(super) fn base36(segment: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(segment);
    let digits: String = text.split('-').next().unwrap_or_default().trim().chars().filter(|c| *c != '_').map(ascii_digit).collect();
    i128::from_str_radix(&digits, 36).map(|number| vec![number.to_string().into_bytes()]).unwrap_or_default()
}

/// The claim `sub` of a token whose second part is read in any way.
pub(super) fn jwt(segment: &[u8]) -> Vec<Vec<u8>> {
    let parts: Vec<&[u8]> = segment.split(|byte| *byte == b'.').collect();
    let claims = parts.get(1).map(|claims| base64_bytes(claims)).unwrap_or_default();
    json::named(&claims, &["sub"], None).into_iter().map(|value| value.bytes).collect()
}
