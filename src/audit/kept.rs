//! Whether a log still has what it ended in, by a [`Head`] that is kept elsewhere.

use std::io::{self, BufRead, Read};
use std::path::Path;

use super::chain::Head;
use super::jsonl::MAX_LINE;
use super::link::Link;
use super::log_files;

/// Whether the log at `path` still has the record that `head` is the end of.
///
/// It has not where that record is another one, the next builds on another one, or none of the two is there although older records are: lines were cut off, or the log
/// was replaced. Where only older files could tell, which were moved elsewhere, it is taken to have it. That all else is whole is for [`verify`](super::verify) to prove.
///
/// # Errors
/// Where a file that could tell can't be read.
pub fn still_holds(path: &Path, head: &Head) -> io::Result<bool> {
    let mut is_later = false;
    for file in log_files(path)?.into_iter().rev() {
        match found(file.read()?, head.seq)? {
            Some(Found::End(end)) => return Ok(end == *head),
            Some(Found::Earlier) => return Ok(false),
            Some(Found::Later) => is_later = true,
            None => {}
        }
    }
    Ok(is_later)
}

/// What a file has of the record of a number.
enum Found {
    /// Its end, by itself or by what builds on it.
    End(Head),
    /// Records before it alone.
    Earlier,
    /// Records after it alone.
    Later,
}

/// `None` where `file` has no records.
fn found(mut file: impl BufRead, seq: u64) -> io::Result<Option<Found>> {
    let (mut found, mut line) = (None, Vec::new());
    while file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
        let line_of = std::str::from_utf8(&line).ok().and_then(|line| Link::written(line.trim_end()));
        match line_of.map(|(link, _)| link) {
            // What decides must not merely say that it is the one.
            Some(link) if link.seq == seq || link.seq - 1 == seq => match Link::of(line.trim_ascii_end()) {
                Ok(link) if link.seq == seq => return Ok(Some(Found::End(link.head()))),
                Ok(link) => return Ok(Some(Found::End(link.before()))),
                Err(_) => return Ok(Some(Found::Earlier)),
            },
            Some(link) if link.seq > seq => return Ok(Some(Found::Later)),
            Some(_) => found = Some(Found::Earlier),
            None => {}
        }
        line.clear();
    }
    Ok(found)
}
