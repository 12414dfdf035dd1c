//! What it costs to keep records, and to prove them: `cargo bench --bench audit`.
//!
//! 1. Group commit: 64 writers that each wait for a record to be on the disk before they have the next, through `JsonLines`, beside 64 that write and sync
//!    each line for itself, in turn. Both keep the same records in files of one folder, and take turns.
//! 2. Proof: a log of a million records, beside SHA-256 alone over its lines by one thread.
//! 3. Delivery: a log pushed to a receiver on loopback, beside the same bodies posted by a bare client in the same order: one after another where all are about one
//!    account, 32 at once where they are about many. They take turns.
//!
//! The folder is that of the build, so a build on a disk measures that disk. Nothing is asserted but that every record is kept.

#[path = "common/table.rs"]
mod table;

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use futures_util::{StreamExt, TryStreamExt, stream};
use reset_gatekeeper::State;
use reset_gatekeeper::audit::{AuditSink, Format, JsonLines, Record, Webhook, WebhookSecret, read_log, verify};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use table::Row;

type Failure = Box<dyn Error + Send + Sync>;

const WRITERS: usize = 64;
const ROUNDS: u64 = 3;
const ROUND: Duration = Duration::from_secs(3);
const PROVEN: usize = 1_000_000;
const DELIVERED: usize = 20_000;

fn main() -> Result<(), Failure> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut group, mut single) = (Rate::default(), Rate::default());
    for _ in 0..ROUNDS {
        single.add(synced_singly(&folder.path().join("single.jsonl"))?);
        group.add(runtime.block_on(grouped(&folder.path().join("group.jsonl")))?);
    }
    let (group, single) = (group.a_second(), single.a_second());
    let mut rows = vec![row("a record of 64 writers, synced in groups / each by itself", group, single, Some(1.0 / 80.0))];
    rows.push(runtime.block_on(proof(&folder.path().join("proven.jsonl")))?);
    for (accounts, at_once) in [(1, 1), (10_000, 32)] {
        rows.push(runtime.block_on(delivery(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?.path(), accounts, at_once))?);
    }
    table::print(&rows);
    Ok(())
}

/// What one of ours takes beside one of the peer's, where so many of each are done a second.
fn row(case: impl Into<String>, ours: f64, peer: f64, goal: Option<f64>) -> Row {
    Row { case: case.into(), unit: "us", ours: 1e6 / ours, peer: 1e6 / peer, goal }
}

/// How many in how much time.
#[derive(Default, Clone, Copy)]
struct Rate {
    count: u64,
    time: Duration,
}

impl Rate {
    fn add(&mut self, other: Self) {
        (self.count, self.time) = (self.count + other.count, self.time + other.time);
    }

    fn a_second(self) -> f64 {
        self.count as f64 / self.time.as_secs_f64()
    }
}

#[expect(clippy::disallowed_methods, reason = "it is the machine's own time that is measured")]
fn now() -> Instant {
    Instant::now()
}

fn record() -> Result<Record, Failure> {
    Ok(serde_json::from_value(serde_json::json!({
        "id": "019b0000-0000-7000-8000-000000000000", "time": "2026-01-31T12:00:00.123Z", "event": "reset_blocked", "verdict": "block", "enforced": true,
        "reasons": ["domain_redemption"],
        "account": {"id": "42", "email": "a@example.com", "verified": true, "verified_at": "2021-05-04T00:00:00Z"},
        "domain": {"name": "example.com", "standing": "redemption", "registered_at": "2009-01-01T00:00:00Z", "expires_at": "2026-01-01T00:00:00Z",
                   "checked_at": "2026-01-31T12:00:00Z", "source": "rdap", "cached": true, "stale": false},
        "request": {"method": "POST", "path": "/accounts/password_reset/", "client": "203.0.113.7", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"},
    }))?)
}

async fn grouped(file: &Path) -> Result<Rate, Failure> {
    let (log, record, start) = (JsonLines::open(file).await?, record()?, now());
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (log, record) = (log.clone(), record.clone());
        writers.spawn(async move {
            let mut count = 0;
            while start.elapsed() < ROUND {
                log.record(vec![record.clone()]).await?;
                count += 1;
            }
            Ok::<u64, Failure>(count)
        });
    }
    let mut count = 0;
    while let Some(written) = writers.join_next().await {
        count += written??;
    }
    Ok(Rate { count, time: start.elapsed() })
}

/// The same lines, without the work of making them.
fn synced_singly(file: &Path) -> Result<Rate, Failure> {
    let mut line = serde_json::to_vec(&record()?)?;
    line.extend_from_slice(&[b'0'; 163]); // as long as `seq`, `prev` and `hash`
    line.push(b'\n');
    let file = Mutex::new(OpenOptions::new().append(true).create(true).open(file)?);
    let (count, start) = (AtomicU64::new(0), now());
    let write = |file: &mut File| file.write_all(&line).and_then(|()| file.sync_data());
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    while start.elapsed() < ROUND {
                        write(&mut file.lock().unwrap_or_else(PoisonError::into_inner))?;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    std::io::Result::Ok(())
                })
            })
            .collect();
        writers.into_iter().try_for_each(|writer| writer.join().map_err(|_| std::io::Error::other("a writer broke off"))?)
    })?;
    Ok(Rate { count: count.into_inner(), time: start.elapsed() })
}

async fn proof(file: &Path) -> Result<Row, Failure> {
    let (log, records) = (JsonLines::open(file).await?, vec![record()?; 1_000]);
    for _ in 0..PROVEN / records.len() {
        log.record(records.clone()).await?;
    }
    let bytes = file.metadata()?.len();
    let (mut proven, mut alone) = (Rate::default(), Rate::default());
    for _ in 0..ROUNDS {
        let start = now();
        let count = verify(file)?;
        let proof = Rate { count, time: start.elapsed() };
        let (start, mut reader, mut line) = (now(), read_log(file)?, Vec::new());
        let mut digests = 0_u8;
        while reader.read_until(b'\n', &mut line)? > 0 {
            digests ^= Sha256::digest(&line).first().copied().unwrap_or_default();
            line.clear();
        }
        std::hint::black_box(digests);
        let hashed = Rate { count, time: start.elapsed() };
        proven.add(proof);
        alone.add(hashed);
    }
    let case = format!("proof of a record of {} bytes / SHA-256 alone, by one thread", bytes / PROVEN as u64);
    Ok(row(case, proven.a_second(), alone.a_second(), None))
}

/// Takes everything, and counts it.
struct Receiver {
    url: String,
    taken: watch::Receiver<usize>,
}

impl Receiver {
    async fn start() -> Result<Self, Failure> {
        let (count, taken) = watch::channel(0);
        let take = move |_: Bytes| {
            count.send_modify(|count| *count += 1);
            async { StatusCode::NO_CONTENT }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        tokio::spawn(async { axum::serve(listener, Router::new().fallback(take)).await });
        Ok(Self { url, taken })
    }
}

async fn delivery(folder: &Path, accounts: usize, at_once: usize) -> Result<Row, Failure> {
    let file = folder.join("audit.jsonl");
    let (log, record) = (JsonLines::open(&file).await?, record()?);
    let about = |number: usize| {
        let mut record = record.clone();
        record.account.iter_mut().for_each(|account| account.id = (number % accounts).to_string().as_str().into());
        record
    };
    log.record((0..DELIVERED).map(about).collect()).await?;
    let lines: Vec<String> = std::fs::read_to_string(&file)?.lines().map(str::to_owned).collect();
    let (mut delivered, mut posted) = (Rate::default(), Rate::default());
    for round in 0..ROUNDS {
        delivered.add(pushed(&file, &log, &folder.join(format!("{round}.db"))).await?);
        posted.add(bare(lines.clone(), at_once).await?);
    }
    let (delivered, posted) = (delivered.a_second(), posted.a_second());
    Ok(row(format!("delivery of a record of {accounts} accounts / a bare client, {at_once} at once"), delivered, posted, None))
}

async fn pushed(file: &Path, log: &JsonLines, state: &Path) -> Result<Rate, Failure> {
    let (mut receiver, state) = (Receiver::start().await?, State::open(state).await?);
    let webhook = Webhook::new(&receiver.url, WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?, Format::Native)?;
    let start = now();
    let delivering = webhook.start(file, log.heads(), state)?;
    receiver.taken.wait_for(|taken| *taken >= DELIVERED).await?;
    let time = start.elapsed();
    drop(delivering);
    Ok(Rate { count: DELIVERED as u64, time })
}

async fn bare(bodies: Vec<String>, at_once: usize) -> Result<Rate, Failure> {
    let receiver = Receiver::start().await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let start = now();
    let posts = stream::iter(bodies).map(|body| http.post(&receiver.url).header("content-type", "application/json").body(body).send());
    posts.buffer_unordered(at_once).try_for_each(async |answer| answer.error_for_status().map(drop)).await?;
    Ok(Rate { count: DELIVERED as u64, time: start.elapsed() })
}
