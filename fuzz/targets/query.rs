//! A query, and on the line behind it a form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reset_gatekeeper_fuzz::{Message, gate, lenient};

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (query, body) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let Ok(query) = std::str::from_utf8(query) else { return };
    let headers = [("content-type", &b"application/x-www-form-urlencoded"[..])];
    for (method, path, body) in
        [("GET", "/by-query", &b""[..]), ("POST", "/by-query", body), ("PUT", "/anyhow", body), ("POST", "/put-only", body)]
    {
        if let Some(message) = Message::new(method, &format!("{path}?{query}"), &headers, body) {
            gate().attack(&message, lenient::finds);
        }
    }
});
