//! From what stands in a target to the name in it, where an application encodes it: Django's `uidb64`, allauth's key, signed tokens.
//!
//! Every step reads what it writes and refuses the rest. Programs are laxer (Python's decoder skips what is not base64), and what only some of
//! them can read names nobody here.

use std::str::FromStr;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::json;
use super::spot::{Edit, Spot, edited};

const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        // Most programs ignore these bits, and then the text is another spelling of the same name.
        .with_decode_allow_trailing_bits(true),
);

/// How the name is found in what stands in a target: steps, the first one first.
///
/// As text, steps are joined by `|`: `base64url` (RFC 4648 §5, padded or not), `base36` (a number, as Django writes one), `before:SEP` and `after:SEP` (what stands
/// before or after the first `SEP`), `jwt:/claim` (a claim of a JSON Web Token, RFC 7519, which is read and not trusted).
///
/// ```
/// use reset_gatekeeper::Decode;
///
/// let allauth: Decode = "before:-|base36".parse().unwrap();
/// assert!("base32".parse::<Decode>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decode(Vec<Step>);

/// Why a text is no way to decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no way to decode: {what}")]
pub struct DecodeError {
    text: String,
    what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Base64Url,
    Base36,
    Before(String),
    After(String),
    Jwt(json::Pointer),
}

impl FromStr for Decode {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let error = |what| DecodeError { text: text.to_owned(), what };
        let step = |step: &str| match step.split_once(':') {
            None if step == "base64url" => Ok(Step::Base64Url),
            None if step == "base36" => Ok(Step::Base36),
            Some(("before" | "after", "")) => Err(error("a separator follows before: and after:")),
            Some(("before", separator)) => Ok(Step::Before(separator.to_owned())),
            Some(("after", separator)) => Ok(Step::After(separator.to_owned())),
            Some(("jwt", pointer)) => {
                json::Pointer::parse(pointer).map(Step::Jwt).ok_or_else(|| error("the claim of a token is named as in jwt:/sub"))
            }
            _ => Err(error("a step is one of base64url, base36, before:SEP, after:SEP, jwt:/claim")),
        };
        text.split('|').map(step).collect::<Result<_, _>>().map(Self)
    }
}

impl Decode {
    /// The name that is encoded in `text`. `None` where it can't be read.
    pub(crate) fn read(&self, text: &str) -> Option<String> {
        self.0.iter().try_fold(text.to_owned(), |text, step| step.read(&text))
    }

    /// `text` with `name` in the place of the one that is encoded in it.
    pub(crate) fn write(&self, text: &str, name: &str) -> Option<String> {
        write(&self.0, text, name)
    }
}

fn write(steps: &[Step], text: &str, name: &str) -> Option<String> {
    let Some((step, rest)) = steps.split_first() else { return Some(name.to_owned()) };
    let inner = write(rest, &step.read(text)?, name)?;
    step.write(text, &inner)
}

impl Step {
    fn read(&self, text: &str) -> Option<String> {
        match self {
            Self::Base64Url => BASE64URL.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()),
            // Django's reader allows for 13 digits.
            Self::Base36 if text.len() <= 13 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                i64::from_str_radix(text, 36).ok().map(|number| number.to_string())
            }
            Self::Base36 => None,
            Self::Before(separator) => text.split_once(separator).map(|(before, _)| before.to_owned()),
            Self::After(separator) => text.split_once(separator).map(|(_, after)| after.to_owned()),
            Self::Jwt(pointer) => {
                let claims = BASE64URL.decode(parts_of_token(text)?[1]).ok()?;
                json::only(pointer, &claims, true).ok()?.map(|found| found.text.into_owned())
            }
        }
    }

    /// `text` with `inner` in the place of what [`read`](Self::read) finds in it.
    fn write(&self, text: &str, inner: &str) -> Option<String> {
        match self {
            Self::Base64Url => {
                let padding = if text.ends_with('=') { "=".repeat((3 - inner.len() % 3) % 3) } else { String::new() };
                Some(BASE64URL.encode(inner) + &padding)
            }
            Self::Base36 => inner.parse().ok().map(base36),
            Self::Before(separator) => text.split_once(separator).map(|(_, after)| format!("{inner}{separator}{after}")),
            Self::After(separator) => text.split_once(separator).map(|(before, _)| format!("{before}{separator}{inner}")),
            Self::Jwt(pointer) => {
                let [header, claims, signature] = parts_of_token(text)?;
                let claims = BASE64URL.decode(claims).ok()?;
                let spot: Spot = json::only(pointer, &claims, true).ok()??.spot;
                let edits: Vec<Edit> = spot.edits_of_body(&claims, inner);
                let claims = BASE64URL.encode(edited(&claims, edits));
                Some(format!("{header}.{claims}.{signature}"))
            }
        }
    }
}

/// Header, claims and signature (RFC 7515 §7.1).
fn parts_of_token(text: &str) -> Option<[&str; 3]> {
    let parts: Vec<&str> = text.split('.').collect();
    parts.try_into().ok()
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(char::from_digit((number % 36) as u32, 36));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(steps: &str) -> Decode {
        steps.parse().unwrap()
    }

    #[test]
    fn a_name_is_read_and_another_written_in_its_place() {
        let token = |claims: &str| format!("e30.{}.sig", BASE64URL.encode(claims));
        for (steps, text, name, with_77) in [
            ("base64url", "NDI", "42", "Nzc"),
            ("base64url", "NDI=", "42", "Nzc="),
            ("base64url", "NDJ", "42", "Nzc"),
            ("base36", "16", "42", "25"),
            ("base36", "0016", "42", "25"),
            ("before:-|base36", "16-abc-def", "42", "25-abc-def"),
            ("after:--", "x--42", "42", "x--77"),
            ("after:.|before:.|base64url", "x.NDI.y.z", "42", "x.Nzc.y.z"),
            ("jwt:/sub", &token(r#"{"sub":"42","x":1}"#), "42", &token(r#"{"sub":"77","x":1}"#)),
            ("jwt:/user/id", &token(r#"{"user":{"id":42}}"#), "42", &token(r#"{"user":{"id":77}}"#)),
        ] {
            assert_eq!(decode(steps).read(text).as_deref(), Some(name), "{steps} {text}");
            assert_eq!(decode(steps).write(text, "77").as_deref(), Some(with_77), "{steps} {text}");
        }
    }

    #[test]
    fn what_only_some_programs_can_read_names_nobody() {
        for (steps, text) in [
            ("base64url", "N DI"),
            ("base64url", "NDI\n"),
            ("base64url", "N!DI"),
            ("base64url", "N/DI"),
            ("base64url", "_w"),
            ("base64url", "ND=I"),
            ("base36", "1_6"),
            ("base36", " 16"),
            ("base36", "-16"),
            ("base36", "+16"),
            ("base36", "１６"),
            ("base36", ""),
            ("base36", "zzzzzzzzzzzzzz"),
            ("before:-", "16"),
            ("jwt:/sub", "e30.e30"),
            ("jwt:/sub", "e30.e30.x"),
        ] {
            assert_eq!(decode(steps).read(text), None, "{steps} {text}");
        }
    }

    #[test]
    fn a_wrong_step_is_named() {
        for steps in ["", "base32", "before:", "jwt:sub", "base64url|", "before"] {
            let error = steps.parse::<Decode>().unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{steps}` is no way to decode: ")), "{error}");
        }
    }
}
