//! Requests for resets, spelled in all the ways in which servers and readers of bodies take them for the same.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Empty, Full};
use serde_json::json;

use crate::dice::Dice;
use crate::ledger::Who;
use crate::traffic::Body;

pub(crate) fn traceparent(trace: &str) -> String {
    format!("00-{trace}-00f067aa0ba902b7-01")
}

pub(crate) fn stranger(dice: &mut Dice) -> Who {
    Who::Stranger(format!("stranger{}@steady-{}.org", dice.below(1_000_000_000), dice.below(8)))
}

/// The address with letters in any case.
pub(crate) fn spelled(email: &str, dice: &mut Dice) -> String {
    email.chars().map(|letter| if dice.chance(0.3) { letter.to_ascii_uppercase() } else { letter }).collect()
}

/// Each byte escaped, or none that needn't be.
fn escaped(email: &str, dice: &mut Dice) -> String {
    let everything = dice.chance(0.3);
    let escape = |byte: u8| if everything || !byte.is_ascii_alphanumeric() { format!("%{byte:02X}") } else { char::from(byte).to_string() };
    email.bytes().map(escape).collect()
}

/// A request for a reset for `email`.
pub(crate) fn reset(address: SocketAddr, trace: &str, email: &str, dice: &mut Dice) -> Request<Body> {
    const PATHS: [&str; 12] = [
        "/reset",
        "/reset",
        "/reset",
        "/reset",
        "/Reset",
        "//reset",
        "/reset/",
        "/./reset",
        "/a/../reset",
        "/%72eset",
        "/reset;v=1",
        "/RESET//",
    ];
    let path = PATHS[dice.below(PATHS.len())];
    let uri = |path: &str| format!("http://{address}{path}").parse::<Uri>().unwrap();
    let request = Request::post(uri(path)).header("traceparent", traceparent(trace)).header(ACCEPT, "application/json");
    let form = "application/x-www-form-urlencoded";
    let full = |text: String| Full::new(Bytes::from(text)).boxed();
    let request = match dice.below(6) {
        0 => request.header(CONTENT_TYPE, "application/json").body(full(json!({ "email": email }).to_string())),
        1 => {
            let escaped: String = email.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
            request.header(CONTENT_TYPE, "application/vnd.api+json").body(full(format!("{{\"x\":[1],\"email\":\"{escaped}\"}}")))
        }
        2 => request.uri(uri(&format!("{path}?x=1&email={}", escaped(email, dice)))).body(Empty::new().boxed()),
        3 => {
            let part = format!("--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\n{email}\r\n--b--\r\n");
            request.header(CONTENT_TYPE, "multipart/form-data; boundary=b").body(full(part))
        }
        4 => {
            let request = request.uri(uri("/confirm")).header("X-HTTP-Method-Override", Method::PUT.as_str());
            request.header(CONTENT_TYPE, form).body(full(format!("email={}", escaped(email, dice))))
        }
        _ => request.header(CONTENT_TYPE, form).body(full(format!("x=1&email={}", escaped(email, dice)))),
    };
    request.unwrap()
}
