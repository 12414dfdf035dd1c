//! What the gate costs, beside what people already put around a handler: `cargo bench --bench gate`, or some of its parts:
//! `cargo bench --bench gate -- passing decision memory waiters reading cold`.
//!
//! 1. Passing: what a layer adds to a request for another route.
//! 2. Decision: what the gate adds to a guarded request whose domain is remembered, beside `axum::Form` reading the same request.
//! 3. Memory: a remembered domain with the check that it has not run out, beside a `moka` cache with a time to live; and the bytes that it takes.
//! 4. Waiters: ten thousand that wait for one domain which is being looked up, beside moka's `get_with`.
//! 5. Reading: a registry's answer about a domain, beside the response types of ICANN's own client.
//! 6. Cold: the whole verdict about a domain that nobody has looked at yet, beside one bare question to the same registry by `reqwest`.
//!
//! All peers of a case take turns in one process, so what slows the machine slows all alike: the ratios mean something, the nanoseconds only
//! on this machine. Services are called in process, on requests made beforehand, and what the bare service needs is subtracted. Most of what a
//! layer adds to a request that passes is moving it about, 256 bytes at a time. Nothing is asserted but that every call succeeds.

mod cold;
mod decision;
mod memory;
mod meter;
#[path = "../common/parts.rs"]
mod parts;
mod passing;
mod rdap;
mod service;
#[path = "../common/table.rs"]
mod table;
mod waiters;

use meter::{Cost, Failure};
pub(crate) use table::Row;

/// What ours costs beside a peer, in nanoseconds.
pub(crate) fn row(case: impl Into<String>, ours: Cost, peer: Cost, goal: Option<f64>) -> Row {
    Row { case: case.into(), unit: "ns", ours: ours.nanoseconds, peer: peer.nanoseconds, goal }
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |section: &str| named.is_empty() || named.iter().any(|name| name == section);
    let mut rows = Vec::new();
    if is_wanted("passing") {
        rows.extend(passing::rows(&runtime)?);
    }
    if is_wanted("decision") {
        rows.extend(decision::rows(&runtime)?);
    }
    if is_wanted("memory") {
        rows.extend(memory::rows(&runtime)?);
        memory::bytes(&runtime)?;
    }
    if is_wanted("waiters") {
        rows.extend(waiters::rows(&runtime)?);
    }
    if is_wanted("reading") {
        rows.extend(rdap::rows()?);
    }
    if is_wanted("cold") {
        rows.extend(cold::rows()?);
    }
    table::print(&rows);
    Ok(())
}
