//! What names an account by its key: plainly, in base64, in base36 and in a token.

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use reset_gatekeeper_fuzz::{Message, gate, lenient};

fuzz_target!(|input: &[u8]| {
    let escaped = percent_encode(input, NON_ALPHANUMERIC).to_string();
    let coded = URL_SAFE_NO_PAD.encode(input);
    let form = [("content-type", &b"application/x-www-form-urlencoded"[..])];
    let messages = [
        Message::new("POST", "/id", &form, format!("id={escaped}").as_bytes()),
        Message::new("GET", &format!("/base64/{escaped}"), &[], b""),
        Message::new("GET", &format!("/base64/{coded}"), &[], b""),
        Message::new("GET", &format!("/base36/{escaped}"), &[], b""),
        Message::new("GET", &format!("/jwt/{escaped}"), &[], b""),
        Message::new("GET", &format!("/jwt/e30.{coded}.x"), &[], b""),
    ];
    for message in messages.iter().flatten() {
        gate().attack(message, lenient::finds);
    }
});
