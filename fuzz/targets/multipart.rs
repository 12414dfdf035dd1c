//! A multipart body, its content type on the line before it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reset_gatekeeper_fuzz::{Message, gate, lenient};

fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (content_type, body) = (&input[..end], &input[end + 1..]);
    for path in ["/password-reset", "/nested", "/put-only"] {
        if let Some(message) = Message::new("POST", path, &[("content-type", content_type)], body) {
            gate().attack(&message, lenient::finds);
        }
    }
});
