//! The files that one audit log consists of: `audit.jsonl`, and beside it those that were rotated out, named for the number of their first record:
//! `audit.jsonl.00000000000000000001`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Take};
use std::path::{Path, PathBuf};

use super::jsonl::file::identity;
use super::jsonl::open_settled;

/// Of a number, so that names sort as numbers do.
const DIGITS: usize = 20;

/// The files of the log at `path` that are there, the oldest first and `path` itself last.
///
/// # Errors
/// Where its folder can't be read.
pub fn segments(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = rotated_files(path)?;
    if path.exists() {
        files.push(path.to_owned());
    }
    Ok(files)
}

fn rotated_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut rotated: Vec<PathBuf> = Vec::new();
    for entry in folder.read_dir()? {
        let name = entry?.file_name();
        let number = path.file_name().and_then(|log| name.to_str()?.strip_prefix(log.to_str()?)?.strip_prefix('.'));
        if number.is_some_and(|number| number.len() == DIGITS && number.bytes().all(|byte| byte.is_ascii_digit())) {
            rotated.push(path.with_file_name(name));
        }
    }
    rotated.sort_unstable();
    Ok(rotated)
}

/// The number of its first record by which `file` is named, where it was rotated out.
pub(super) fn first_seq(file: &Path) -> Option<u64> {
    let (_, number) = file.file_name()?.to_str()?.rsplit_once('.')?;
    (number.len() == DIGITS).then(|| number.parse().ok())?
}

/// A file of a log, to be read: see [`log_files`].
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    /// The one that may be written is open already.
    open: Option<Take<File>>,
}

impl LogFile {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What stands in it, without what is still being written.
    ///
    /// # Errors
    /// Where it can't be opened.
    pub fn read(self) -> io::Result<impl BufRead + use<>> {
        self.open().map(BufReader::new)
    }

    /// The file itself, and how much of it was written when it was looked for.
    pub(crate) fn open(self) -> io::Result<Take<File>> {
        self.open.map_or_else(|| open_settled(&self.path), Ok)
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

/// The files of the log at `path`, the oldest first, to be read as one: none is missing and none there twice, though the log is rotated meanwhile.
///
/// # Errors
/// Where there are none, or they can't be looked for.
pub fn log_files(path: &Path) -> io::Result<Vec<LogFile>> {
    // Opened before the others are looked for: what is rotated in between is then found twice rather than not at all.
    let open = open_settled(path);
    let identity = open.as_ref().ok().and_then(|open| open.get_ref().metadata().ok()).and_then(|file| identity(&file));
    let rotated = match rotated_files(path) {
        // A pipe has none; of a file, some may be missed.
        Err(error) if path.is_file() => return Err(error),
        rotated => rotated.unwrap_or_default(),
    };
    let is_rotated =
        identity.is_some() && rotated.iter().rev().any(|file| file.metadata().is_ok_and(|file| self::identity(&file) == identity));
    let mut files: Vec<_> = rotated.into_iter().map(|path| LogFile { path, open: None }).collect();
    match open {
        Ok(_) if is_rotated => {}
        Ok(open) => files.push(LogFile { path: path.to_owned(), open: Some(open) }),
        Err(error) if error.kind() == ErrorKind::NotFound && files.is_empty() => return Err(error),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // Whoever reads it meets the error, and has the others.
        Err(_) => files.push(LogFile { path: path.to_owned(), open: None }),
    }
    Ok(files)
}

/// What the log at `path`, whose first record is `seq`, is named once it is rotated out.
pub(super) fn rotated(path: &Path, seq: u64) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{seq:0DIGITS$}"));
    path.with_file_name(name)
}
