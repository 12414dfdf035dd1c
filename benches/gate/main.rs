//! What the gate costs, beside what people already put around a handler: `cargo bench`.
//!
//! 1. Passing: what a layer adds to a request for another route.
//! 2. Decision: what the gate adds to a guarded request whose domain is remembered, beside `axum::Form` reading the same request.
//! 3. Memory: a remembered domain with the check that it has not run out, beside a `moka` cache with a time to live; and the bytes that it takes.
//! 4. Waiters: ten thousand that wait for one domain which is being looked up, beside moka's `get_with`.
//! 5. Reading: a registry's answer about a domain, beside the response types of ICANN's own client.
//!
//! All peers of a case take turns in one process, so what slows the machine slows all alike: the ratios mean something, the nanoseconds only
//! on this machine. Services are called in process, on requests made beforehand, and what the bare service needs is subtracted. Most of what a
//! layer adds to a request that passes is moving it about, 256 bytes at a time. Nothing is asserted but that every call succeeds.

mod decision;
mod memory;
mod meter;
mod passing;
mod rdap;
mod service;
mod waiters;

use meter::{Cost, Failure};

/// One line of the last table: what ours costs beside a peer.
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) ours: Cost,
    pub(crate) peer: Cost,
    /// The ratio that is not to be exceeded, where there is one.
    pub(crate) goal: Option<f64>,
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let rows = passing::rows(&runtime)?
        .into_iter()
        .chain(decision::rows(&runtime)?)
        .chain(memory::rows(&runtime)?)
        .chain(waiters::rows(&runtime)?)
        .chain(rdap::rows()?);
    let rows: Vec<_> = rows.collect();
    memory::bytes(&runtime)?;
    println!("{:54} {:>9} {:>9} {:>7} {:>6}   allocations", "case", "ours ns", "peer ns", "ratio", "goal");
    for Row { case, ours, peer, goal } in rows {
        let goal = goal.map_or_else(|| "-".to_owned(), |goal| format!("{goal:.2}"));
        let ratio = ours.nanoseconds / peer.nanoseconds;
        println!(
            "{case:54} {:9.1} {:9.1} {ratio:7.2} {goal:>6}   {:.1} / {:.1}",
            ours.nanoseconds, peer.nanoseconds, ours.allocations, peer.allocations
        );
    }
    Ok(())
}
