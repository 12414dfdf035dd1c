//! A whole request, written as HTTP/1.1 has it: request line, header lines, an empty line, body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reset_gatekeeper_fuzz::{Message, gate, lenient};

fuzz_target!(|input: &[u8]| {
    if let Some(message) = read(input) {
        gate().attack(&message, lenient::finds);
    }
});

fn read(input: &[u8]) -> Option<Message> {
    let end = input.windows(2).position(|pair| pair == b"\n\n")?;
    let head = std::str::from_utf8(&input[..end]).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, uri) = (first.next()?, first.next()?);
    let headers: Option<Vec<_>> = lines.map(|line| line.split_once(':').map(|(name, value)| (name, value.trim().as_bytes()))).collect();
    Message::new(method, uri, &headers?, &input[end + 2..])
}
