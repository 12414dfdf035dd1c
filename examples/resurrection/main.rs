//! The resurrection replay: years of a population's domains that lapse, are sold and come back, of takers who ask for resets and of owners who forget their
//! passwords, with the real gatekeeper and its sweep beside models of other defences.
//!
//! ```text
//! cargo run --release --example resurrection
//! cargo run --release --example resurrection -- --accounts 1000000 --years 3 --seed 1 --plot resurrection.svg
//! ```
//!
//! It prints what the world is made of, and for each defence how many hijacks succeed, by how the domain came into other hands, and what that costs: rightful resets that are
//! blocked, questions that are asked. `--evasive` makes those who buy at auctions keep the former holder's servers for weeks. `--told` prints a line for each hijack that the gatekeeper let
//! through, and for each owner whom it blocked. The same seed prints the same.

#![expect(clippy::indexing_slicing, reason = "the numbers of accounts, domains and operators are handed out by the world that holds them")]

mod defence;
mod dice;
mod figures;
mod gate;
mod life;
mod operators;
mod plot;
mod registry;
mod replay;
mod table;
mod world;

use std::path::Path;
use std::sync::Arc;

use defence::{Model, NoGate, Pypi, StatusAndDate, StatusAndMail, StatusAtReset};
use gate::Gate;
use replay::replay;
use world::World;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

// One thread, so that whatever happens happens in the same order.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|one| one == name);
    let value = |name: &str| arguments.iter().position(|one| one == name).and_then(|at| arguments.get(at + 1));
    let number = |name: &str, default: u32| value(name).map_or(Ok(default), |text| text.parse());
    let (accounts, years, seed) = (number("--accounts", 100_000)?, number("--years", 3)?, number("--seed", 1)?);

    let evasive = has("--evasive");
    println!("{accounts} accounts, {years} years, seed {seed}{}\n", if evasive { ", evasive buyers" } else { "" });
    let world = Arc::new(World::new(accounts.max(100), years.max(1), u64::from(seed), evasive));
    table::print_assumptions(&world);

    let mut tallies = vec![
        replay(&world, Model::new(&world, NoGate)).await?.0,
        replay(&world, Model::new(&world, Pypi::new(&world, 1000))).await?.0,
        replay(&world, Model::new(&world, Pypi::new(&world, usize::MAX))).await?.0,
        replay(&world, Model::new(&world, StatusAndMail)).await?.0,
        replay(&world, Model::new(&world, StatusAtReset)).await?.0,
        replay(&world, Model::new(&world, StatusAndDate)).await?.0,
    ];
    let (tally, gate) = replay(&world, Gate::new(&world).await?).await?;
    if has("--told") {
        tally.lost.iter().chain(&tally.wronged).for_each(|line| println!("{line}"));
    }
    tallies.push(tally);
    table::print_table(&tallies);
    println!("{} audit records.", gate.records());
    if let Some(file) = value("--plot") {
        plot::draw(Path::new(file), &tallies)?;
    }
    Ok(())
}
