//! A path, asked for with a form and with a link.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reset_gatekeeper_fuzz::{Message, gate, lenient};

fuzz_target!(|input: &str| {
    let headers = [("content-type", &b"application/x-www-form-urlencoded"[..])];
    for (method, body) in [("POST", &b""[..]), ("POST", b"email=b@example.com"), ("PUT", b"email=b%40example.com"), ("GET", b"")] {
        if let Some(message) = Message::new(method, input, &headers, body) {
            gate().attack(&message, lenient::finds);
        }
    }
});
