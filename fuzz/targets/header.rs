//! An address, in a header and in every other place that can hold one: what one of them reads in it, the gate has to know.

#![no_main]

use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use reset_gatekeeper_fuzz::{Message, gate, lenient};

fuzz_target!(|input: &[u8]| {
    let escaped = percent_encode(input, NON_ALPHANUMERIC).to_string();
    let form = [("content-type", &b"application/x-www-form-urlencoded"[..])];
    let messages = [
        Message::new("POST", "/by-header", &[("x-email", input)], b""),
        Message::new("POST", "/password-reset", &form, format!("email={escaped}").as_bytes()),
        Message::new("GET", &format!("/by-query?email={escaped}"), &[], b""),
        Message::new("POST", &format!("/by-path/{escaped}/reset"), &[], b""),
    ];
    for message in messages.iter().flatten() {
        gate().attack(message, lenient::finds);
    }
});
