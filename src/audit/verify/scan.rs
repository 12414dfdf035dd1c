//! One file, read in blocks that several threads look through.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::Verifier;
use super::chains::Chain;
use super::coverage::{Coverage, Span};
use crate::audit::Head;
use crate::audit::jsonl::MAX_LINE;
use crate::audit::link::Link;

/// How much a thread looks through at a time.
const BLOCK: u64 = 512 << 10;

/// More would wait for the disk.
const MAX_THREADS: usize = 8;

/// What is wrong with a file.
pub(super) enum Bad {
    /// One of its lines, counting from 1.
    Line { line: u64, what: &'static str },
    /// It can't be read.
    Io(io::Error),
}

/// A file that is whole.
pub(super) struct Scan {
    /// Its end.
    pub(super) head: Head,
    /// The line of the record that has the number of the one that was kept, and its end.
    pub(super) kept: Option<(u64, Head)>,
    pub(super) signed: Coverage,
    pub(super) lines: u64,
}

/// What a block holds, up to its first bad line.
#[derive(Default)]
struct Found {
    lines: u64,
    /// What its first line builds on, and what comes after its last good one.
    ends: Option<(Head, Head)>,
    kept: Option<(u64, Head)>,
    signed: Vec<Span>,
    bad: Option<&'static str>,
}

type Answer = io::Result<Found>;

/// Proves that the lines of `file` go on after `chain`, each after the one before, as `asked`.
pub(super) fn scan(file: impl Read + Send, chain: &Chain, asked: &Verifier) -> Result<Scan, Bad> {
    let mut scan = Scan { head: chain.head.clone(), kept: None, signed: chain.signed, lines: 0 };
    let mut blocks = Blocks { file, rest: Vec::new(), is_done: false };
    let Some(first) = blocks.next() else { return Ok(scan) };
    if blocks.is_done {
        scan.add(first.map(|block| looked_through(&block, asked)))?;
        return Ok(scan);
    }
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let (work, queue) = sync_channel(threads);
    let (order, answers) = sync_channel::<Receiver<Answer>>(2 * threads);
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| look_through(&queue, asked));
        }
        scope.spawn(move || {
            for block in std::iter::once(first).chain(blocks) {
                let (answer, answered) = sync_channel::<Answer>(1);
                // Nobody asks for more after the first bad line.
                if order.send(answered).is_err() || work.send((block, answer)).is_err() {
                    break;
                }
            }
        });
        answers.into_iter().flat_map(|answer| answer.recv()).try_for_each(|answer| scan.add(answer))
    })?;
    Ok(scan)
}

type Work = (io::Result<Vec<u8>>, SyncSender<Answer>);

fn look_through(queue: &Mutex<Receiver<Work>>, asked: &Verifier) {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok((block, answer)) = next() {
        // Nobody may ask for it any more.
        drop(answer.send(block.map(|block| looked_through(&block, asked))));
    }
}

impl Scan {
    /// Adds the next block.
    fn add(&mut self, block: Answer) -> Result<(), Bad> {
        let found = block.map_err(Bad::Io)?;
        let bad = |lines, what| Err(Bad::Line { line: lines + 1, what });
        if let Some((before, after)) = found.ends {
            if before != self.head {
                return bad(self.lines, NO_SUCCESSOR);
            }
            self.head = after;
        }
        self.kept = self.kept.take().or_else(|| found.kept.map(|(line, head)| (self.lines + line, head)));
        found.signed.into_iter().for_each(|span| self.signed.add(span));
        self.lines += found.lines;
        found.bad.map_or(Ok(()), |what| bad(self.lines, what))
    }
}

const NO_SUCCESSOR: &str = "it does not follow the line before";

fn looked_through(block: &[u8], asked: &Verifier) -> Found {
    let mut found = Found::default();
    let (mut first, mut last) = (None, None::<Link<'_>>);
    for line in lines(block) {
        let link = match proven(line, last, asked) {
            Ok(link) => link,
            Err(what) => {
                found.bad = Some(what);
                break;
            }
        };
        found.lines += 1;
        if asked.kept.as_ref().is_some_and(|(_, kept)| kept.seq == link.seq) {
            found.kept = Some((found.lines, link.head()));
        }
        if let Some(signed) = link.signed.filter(|_| !asked.public_keys.is_empty()) {
            found.signed.push(Span { first: link.seq.saturating_sub(signed.records - 1), last: link.seq });
        }
        first = first.or(Some(link));
        last = Some(link);
    }
    found.ends = first.zip(last).map(|(first, last)| (first.before(), last.head()));
    found
}

/// The place of `line`, which is to come after `last`.
fn proven<'l>(line: &'l [u8], last: Option<Link<'_>>, asked: &Verifier) -> Result<Link<'l>, &'static str> {
    let link = line.strip_suffix(b"\n").ok_or("a partial line").and_then(Link::of)?;
    if last.is_some_and(|last| link.seq - 1 != last.seq || link.prev != last.hash) {
        return Err(NO_SUCCESSOR);
    }
    match &link.signed {
        Some(signed) if !asked.public_keys.is_empty() && !signed.is_by(&asked.public_keys) => {
            Err("its signature is valid by none of the public keys")
        }
        _ => Ok(link),
    }
}

/// The lines of `block`, with their ends.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = block;
    std::iter::from_fn(move || {
        let line;
        (line, rest) = rest.split_at_checked(memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1))?;
        (!line.is_empty()).then_some(line)
    })
}

/// A file in blocks of whole lines. The last may lack its end.
struct Blocks<R> {
    file: R,
    rest: Vec<u8>,
    is_done: bool,
}

impl<R: Read> Iterator for Blocks<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let mut block = std::mem::take(&mut self.rest);
        loop {
            match self.file.by_ref().take(BLOCK).read_to_end(&mut block) {
                Ok(read) => self.is_done = (read as u64) < BLOCK || block.len() as u64 > MAX_LINE + BLOCK,
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(error));
                }
            }
            if self.is_done {
                return (!block.is_empty()).then_some(Ok(block));
            }
            if let Some(end) = memchr::memrchr(b'\n', &block) {
                self.rest = block.split_off(end + 1);
                return Some(Ok(block));
            }
        }
    }
}
