//! Taking turns: every peer makes one batch of calls a round, the first of a round being another each time.

use std::error::Error;
use std::time::Instant;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// How many calls are measured as one. Few enough for all their requests to stay in the processor's cache, and for the runtime not to
/// break in on them.
pub(crate) const CALLS: usize = 64;

/// What is looked at in a batch of [`CALLS`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Meter {
    Nanoseconds,
    Allocations,
}

impl Meter {
    /// How much of it one of [`CALLS`] takes.
    pub(crate) fn per_call(self, calls: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
        self.each_of(CALLS, calls)
    }

    /// How much of it one of `number` calls takes.
    #[expect(clippy::disallowed_methods, reason = "it is the machine's own time that is measured")]
    pub(crate) fn each_of(self, number: usize, calls: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
        let (mut outcome, mut sum) = (Ok(()), 0.0);
        match self {
            // Opting out leaves of the counting no more than a look at a thread's own variable.
            Self::Nanoseconds => allocation_counter::opt_out(|| {
                let start = Instant::now();
                outcome = calls();
                sum = start.elapsed().as_nanos() as f64;
            }),
            Self::Allocations => sum = allocation_counter::measure(|| outcome = calls()).count_total as f64,
        }
        outcome.map(|()| sum / number as f64)
    }
}

/// One of those that are compared.
pub(crate) struct Peer<'a> {
    name: &'static str,
    batch: Box<dyn FnMut(Meter) -> Result<f64, Failure> + 'a>,
}

impl<'a> Peer<'a> {
    pub(crate) fn new(name: &'static str, batch: impl FnMut(Meter) -> Result<f64, Failure> + 'a) -> Self {
        Self { name, batch: Box::new(batch) }
    }
}

/// What one call costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// The median of all rounds.
    pub(crate) nanoseconds: f64,
    pub(crate) allocations: f64,
}

impl Cost {
    /// What is left without `bare`.
    pub(crate) fn beyond(self, bare: Self) -> Self {
        Self { nanoseconds: self.nanoseconds - bare.nanoseconds, allocations: self.allocations - bare.allocations }
    }
}

/// Measures `peers` and prints what each costs, with the quartiles of its rounds.
pub(crate) fn compare<const N: usize>(case: &str, peers: [Peer<'_>; N]) -> Result<[Cost; N], Failure> {
    compare_in(8_000, case, peers)
}

/// Whether it is measured in earnest: `cargo test --benches` only wants to see that it runs.
pub(crate) fn is_in_earnest() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// In so many rounds.
pub(crate) fn compare_in<const N: usize>(rounds: usize, case: &str, mut peers: [Peer<'_>; N]) -> Result<[Cost; N], Failure> {
    let rounds = if is_in_earnest() { rounds } else { 8 };
    let mut times = [const { Vec::new() }; N];
    for round in 0..rounds {
        let mut turns: Vec<_> = peers.iter_mut().zip(&mut times).collect();
        turns.rotate_left(round % N);
        for (peer, times) in turns {
            times.push((peer.batch)(Meter::Nanoseconds)?);
        }
    }
    println!("{case}");
    let mut costs = [Cost { nanoseconds: 0.0, allocations: 0.0 }; N];
    for ((peer, times), cost) in peers.iter_mut().zip(&mut times).zip(&mut costs) {
        times.sort_by(f64::total_cmp);
        let quantile = |quarters: usize| times.get(times.len() * quarters / 4).copied().unwrap_or_default();
        *cost = Cost { nanoseconds: quantile(2), allocations: (peer.batch)(Meter::Allocations)? };
        let (name, Cost { nanoseconds, allocations }) = (peer.name, *cost);
        println!("  {name:52} {nanoseconds:9.1} ns ({:.1} to {:.1}), {allocations:.1} allocations", quantile(1), quantile(3));
    }
    println!();
    Ok(costs)
}
