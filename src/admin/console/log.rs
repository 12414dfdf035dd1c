//! The end of the audit log, the latest record first.
//!
//! 1. It is read from its end, block by block, over all files of the log, so that what happened lately is found at once however long the log is.
//! 2. At most so many [`RECORDS`] are read for a page, and one page at a time reads.
//! 3. A line that can't be read as a record is passed over: one that is being written, or a later version's. Whether the log is intact, `audit verify` says.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::audit::{Record, log_files, native};

/// How many records are read for a page.
const RECORDS: usize = 100_000;

/// How many bytes are read at once. No line is longer.
const BLOCK: u64 = 1 << 20;

/// The audit log that the console shows.
#[derive(Debug, Clone)]
pub(in crate::admin) struct Log {
    file: PathBuf,
    turn: Arc<Semaphore>,
}

/// How much of the log was read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    pub(super) records: usize,
    /// Whether that was enough, or all: the limit cut nothing off.
    pub(super) is_whole: bool,
}

/// A line of the log.
pub(super) struct Line<'l>(&'l [u8]);

impl Line<'_> {
    /// Whether it may tell of `text`, in any case: cheaper than reading the record.
    pub(super) fn mentions(&self, text: &str) -> bool {
        let text = text.as_bytes();
        !text.is_empty() && self.0.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text))
    }

    pub(super) fn record(&self) -> Option<Record> {
        let (_, record) = native(std::str::from_utf8(self.0).ok()?).ok()?;
        serde_json::from_str(record).ok()
    }
}

impl Log {
    pub(in crate::admin) fn new(file: PathBuf) -> Self {
        Self { file, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Gives the lines to `take`, the latest first, until that has enough; what it made of them comes back.
    pub(super) async fn read<T, F>(&self, mut made: T, mut take: F) -> Result<(T, Extent), io::Error>
    where
        T: Send + 'static,
        F: FnMut(&mut T, Line<'_>) -> ControlFlow<()> + Send + 'static,
    {
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(io::Error::other)?;
        let file = self.file.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let extent = read(&file, |line| take(&mut made, line))?;
            Ok((made, extent))
        });
        reading.await.map_err(io::Error::other)?
    }
}

fn read(file: &Path, mut take: impl FnMut(Line<'_>) -> ControlFlow<()>) -> io::Result<Extent> {
    let mut extent = Extent { records: 0, is_whole: true };
    let files = match log_files(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(extent),
        files => files?,
    };
    for segment in files.into_iter().rev() {
        let mut segment = match segment.open() {
            Ok(segment) => segment.into_inner(),
            // Taken elsewhere meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let flow = backwards(&mut segment, |line| {
            if extent.records == RECORDS {
                extent.is_whole = false;
                return ControlFlow::Break(());
            }
            extent.records += 1;
            take(Line(line))
        })?;
        if flow.is_break() {
            break;
        }
    }
    Ok(extent)
}

/// Gives the lines of `file` to `visit`, the last first.
fn backwards(file: &mut File, mut visit: impl FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
    let mut end = file.metadata()?.len();
    // The end of a line that begins before `end`.
    let mut rest = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        file.by_ref().take(end - start).read_to_end(&mut block)?;
        block.append(&mut rest);
        let mut lines = block.rsplit(|byte| *byte == b'\n').peekable();
        while let Some(line) = lines.next() {
            if lines.peek().is_none() && start > 0 {
                rest = line.to_vec();
            } else if !line.is_empty() && visit(line).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if rest.len() as u64 > BLOCK {
            return Err(io::Error::new(ErrorKind::InvalidData, "a line is too long for a record"));
        }
        end = start;
    }
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_come_once_the_last_first_however_they_lie_in_the_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.jsonl");
        let line = |number: usize| format!("{{\"seq\":{number},\"pad\":\"{}\"}}", "x".repeat(number * 7919 % 3000));
        let older: String = (0..1500).map(|number| line(number) + "\n").collect();
        let newer: String = (1500..3000).map(|number| line(number) + "\n").collect();
        assert!(older.len() as u64 > 2 * BLOCK);
        std::fs::write(folder.path().join("audit.jsonl.00000000000000000001"), older).unwrap();
        std::fs::write(&log, newer).unwrap();
        let mut seen = Vec::new();
        let extent = read(&log, |line| {
            seen.push(String::from_utf8(line.0.to_vec()).unwrap());
            ControlFlow::Continue(())
        });
        assert!(extent.unwrap().is_whole);
        assert_eq!(seen, (0..3000).rev().map(line).collect::<Vec<_>>());
    }

    #[test]
    fn a_log_that_is_longer_than_a_page_reads_is_known_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.jsonl");
        std::fs::write(&log, "{}\n".repeat(RECORDS + 1)).unwrap();
        let extent = read(&log, |_| ControlFlow::Continue(())).unwrap();
        assert_eq!((extent.records, extent.is_whole), (RECORDS, false));
        let extent = read(&log, |_| ControlFlow::Break(())).unwrap();
        assert_eq!((extent.records, extent.is_whole), (1, true));
    }
}
