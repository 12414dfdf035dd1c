//! A urlencoded body, and before it, on a line that begins with `?`, a query. A form of another name, of a nested one, and one that may name a method.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reset_gatekeeper_fuzz::{Message, gate, lenient};

fuzz_target!(|input: &[u8]| {
    let (query, body) = match input.iter().position(|byte| *byte == b'\n') {
        Some(end) if input.starts_with(b"?") => (&input[..end], &input[end + 1..]),
        _ => (&b""[..], input),
    };
    let Ok(query) = std::str::from_utf8(query) else { return };
    for path in ["/password-reset", "/nested", "/anyhow", "/put-only", "/id", "/by-path/x@example.com/reset"] {
        let headers = [("content-type", &b"application/x-www-form-urlencoded"[..])];
        if let Some(message) = Message::new("POST", &format!("{path}{query}"), &headers, body) {
            gate().attack(&message, lenient::finds);
        }
    }
});
