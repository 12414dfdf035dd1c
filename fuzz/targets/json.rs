//! A JSON body, and before it, on a line that begins with `?`, a query.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reset_gatekeeper_fuzz::{Message, gate, lenient};

fuzz_target!(|input: &[u8]| {
    let (query, body) = match input.iter().position(|byte| *byte == b'\n') {
        Some(end) if input.starts_with(b"?") => (&input[..end], &input[end + 1..]),
        _ => (&b""[..], input),
    };
    let Ok(query) = std::str::from_utf8(query) else { return };
    for path in ["/api/password-reset", "/api/nested", "/anyhow", "/by-query", "/put-only"] {
        for content_type in ["application/json", "application/vnd.api+json; charset=utf-8"] {
            if let Some(message) = Message::new("POST", &format!("{path}{query}"), &[("content-type", content_type.as_bytes())], body) {
                gate().attack(&message, lenient::finds);
            }
        }
    }
});
