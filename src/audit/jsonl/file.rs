//! One file of a log: locked, and read from its ends.

use std::fs::{File, Metadata, TryLockError};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::MAX_LINE;
use super::log::Unkept;
use crate::audit::chain::Head;
use crate::audit::format::is_beginning;
use crate::audit::link::Link;
use crate::concurrency::thread;

/// As many bytes as a record seldom has.
const PROBE: usize = 16 << 10;

/// How often and how many times it is looked whether another writer has let go of the file: for three seconds or so, which is less than anybody waits for a record.
const LOOK_EVERY: Duration = Duration::from_micros(200);
const LOOKS: u32 = 12_000;

pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Unkept {
    move |source| Unkept::Io { operation: format!("{what} the audit log {}", path.display()), source: Arc::new(source) }
}

pub(super) fn damaged(path: &Path, what: &str) -> Unkept {
    Unkept::Damaged { file: path.display().to_string(), what: what.to_owned() }
}

/// Locks `file`, once whoever writes it has synced a group. What is locked already stays so.
pub(super) fn lock(file: &File) -> io::Result<()> {
    wait_for(|| file.try_lock())
}

/// The length of `file` while nobody writes it: up to there it ends in a whole line, and stays as it is.
pub(in crate::audit) fn settled_length(file: &File) -> io::Result<u64> {
    wait_for(|| file.try_lock_shared())?;
    let length = file.metadata().map(|metadata| metadata.len());
    file.unlock()?;
    length
}

fn wait_for(try_lock: impl Fn() -> Result<(), TryLockError>) -> io::Result<()> {
    for _ in 0..LOOKS {
        match try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(LOOK_EVERY),
            outcome => return outcome.map_err(io::Error::from),
        }
    }
    Err(io::Error::new(ErrorKind::WouldBlock, "another process keeps it locked"))
}

/// Whether `file` is the one that is at `path`: it may have been moved, deleted or replaced since it was opened.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match path.metadata() {
        Ok(found) => Ok(identity(&file.metadata()?) == identity(&found)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What tells a file from all others, wherever it is moved. `None` where an open file is not moved.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have no such number")]
pub(in crate::audit) fn identity(file: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((file.dev(), file.ino()))
}

/// What tells a file from all others, wherever it is moved. `None` where an open file is not moved.
#[cfg(not(unix))]
pub(in crate::audit) fn identity(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// The names in the folder of `path` become as durable as what the files hold.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Proves that a record could be written to the log at `path`, by a file beside it: in the log itself, whoever reads along would find what is no record.
pub(super) fn probe(path: &Path) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".probe");
    let probe = path.with_file_name(name);
    // Whoever may write the folder could have made the name lead elsewhere.
    match std::fs::remove_file(&probe) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let written = File::create_new(&probe).and_then(|mut file| file.write_all(&[0; PROBE]).and_then(|()| file.sync_all()));
    let removed = std::fs::remove_file(&probe);
    written.and(removed)
}

/// The whole line that begins at `start`, without its end. `None` where there is none.
pub(super) fn line_from(mut file: &File, start: u64) -> io::Result<Option<Vec<u8>>> {
    file.seek(SeekFrom::Start(start))?;
    let mut line = Vec::new();
    BufReader::with_capacity(4096, file).take(MAX_LINE).read_until(b'\n', &mut line)?;
    Ok((line.pop() == Some(b'\n')).then_some(line))
}

/// Whether the line of `file` that ends at `end` is the one whose end `head` is.
pub(super) fn holds(mut file: &File, end: u64, head: &Head) -> io::Result<bool> {
    let start = end.saturating_sub(MAX_LINE);
    file.seek(SeekFrom::Start(start))?;
    let mut lines = Vec::new();
    file.take(end - start).read_to_end(&mut lines)?;
    let last = lines.strip_suffix(b"\n").and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next());
    Ok(last.is_some_and(|line| Link::of(line).is_ok_and(|link| link.is(head))))
}

/// Where a file ends.
pub(super) struct End {
    /// The length of its whole lines.
    pub(super) length: u64,
    /// `None` where it has none.
    pub(super) head: Option<Head>,
    /// Whether its last record is signed.
    pub(super) is_signed: bool,
    /// The length of a partial line after them.
    torn: u64,
}

impl End {
    /// Cuts off a partial last line.
    pub(super) fn repair(&self, file: &File, path: &Path) -> Result<(), Unkept> {
        if self.torn > 0 {
            tracing::warn!(
                file = %path.display(),
                bytes = self.torn,
                "cutting off a partial last line of the audit log, left by a crash or a loss of power"
            );
            file.set_len(self.length).map_err(failed("cutting off a partial record from", path))?;
        }
        Ok(())
    }
}

/// Where `file` ends after its first `known` bytes, which are whole lines.
pub(super) fn end(mut file: &File, path: &Path, known: u64) -> Result<End, Unkept> {
    let read = || failed("reading", path);
    let length = file.metadata().map_err(read())?.len();
    let start = length.saturating_sub(2 * MAX_LINE).max(known);
    file.seek(SeekFrom::Start(start)).map_err(read())?;
    let mut tail = Vec::new();
    file.take(2 * MAX_LINE).read_to_end(&mut tail).map_err(read())?;

    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    if start > known && whole == 0 {
        return Err(damaged(path, "it ends in a line that is no record"));
    }
    let (lines, torn) = tail.split_at(whole);
    let last = lines.strip_suffix(b"\n").and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next());
    let link = last.map(Link::of).transpose().map_err(|what| damaged(path, &format!("its last line: {what}")))?;
    let (head, is_signed) = (link.map(|link| link.head()), link.is_some_and(|link| link.signed.is_some()));
    // Another program's file, named by mistake, must not lose its end. A file system may leave zeros where it had no time to write.
    if !is_beginning(torn) && torn.iter().any(|byte| *byte != 0) {
        return Err(damaged(path, "it ends in a partial line that is no record"));
    }
    let torn = torn.len() as u64;
    Ok(End { length: start + tail.len() as u64 - torn, head, is_signed, torn })
}
