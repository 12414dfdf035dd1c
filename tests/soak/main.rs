//! Hostile days: sidecars and the example server under everything at once, for as long as one likes, with each verdict checked against a model.
//!
//! ```text
//! GATEKEEPER_SOAK=3600 cargo test --test soak -- --ignored --nocapture
//! ```
//!
//! `GATEKEEPER_SOAK` is the length in seconds (30), `GATEKEEPER_SOAK_SEED` the seed of chance (1), `GATEKEEPER_SOAK_REPORT` the file of the report
//! (`target/soak.md`). The load is bounded; nothing is asserted about how long anything takes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets what it does not expect must fail"
)]

mod application;
#[path = "../../examples/resurrection/dice.rs"]
#[expect(dead_code, reason = "the simulation throws in more ways")]
mod dice;
mod fate;
mod front;
mod ledger;
mod model;
mod population;
mod replica;
mod report;
#[path = "../it/schema.rs"]
mod schema;
mod site;
mod slow;
mod spelling;
mod traffic;
mod world;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use self::dice::Dice;
use self::replica::Replica;
use self::report::{Findings, Sizes, report};
use self::site::Site;
use self::traffic::Caller;
use self::world::World;

/// How often the sidecars are measured.
const SAMPLED_EACH: f64 = 2.0;
/// A machine that has too much else to do makes some of the answers 503. Where one of so many is, it is no more the machine.
const MOST_UNAVAILABLE: u64 = 20;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes as long as GATEKEEPER_SOAK says"]
async fn whatever_befalls_it_no_verdict_is_wrong_and_none_is_lost() {
    let length = Duration::from_secs(setting("GATEKEEPER_SOAK").unwrap_or(30));
    let seed = setting("GATEKEEPER_SOAK_SEED").unwrap_or(1);
    let world = World::open().await;
    let site = Arc::new(Site::open(&world).await);

    let sizes = endure(&world, &site, length, seed).await;

    let findings = examine(&world, &site, length, seed).await;
    let page = report(&world.ledger, &sizes, &findings);
    println!("{page}");
    let file = std::env::var("GATEKEEPER_SOAK_REPORT")
        .map_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/target/soak.md").into(), PathBuf::from);
    std::fs::write(file, &page).unwrap();
    if !findings.wrong.is_empty() || !findings.lost.is_empty() {
        world.keep_evidence();
    }
    assert!(findings.wrong.is_empty(), "{} verdicts or answers are wrong", findings.wrong.len());
    assert!(findings.lost.is_empty(), "{} records are lost", findings.lost.len());
    let growing = sizes.growing(length);
    assert!(growing.is_empty(), "{growing:?}");
}

/// Stops the sidecars, and compares what they wrote with what they told.
async fn examine(world: &World, site: &Site, length: Duration, seed: u64) -> Findings {
    let mut findings = Findings { seed, length, wrong: world.ledger.wrongs(), ..Findings::default() };
    for replica in &world.replicas {
        let status = replica.stop().await;
        if status.code() != Some(0) {
            findings.wrong.push(format!("a sidecar that was told to stop exits with {status}"));
        }
        findings.prove(replica.verified());
        findings.errors.extend(replica.errors());
    }
    if world.ledger.total("503") * MOST_UNAVAILABLE > world.ledger.total("") {
        findings.wrong.push(format!("{} of {} answers are 503", world.ledger.total("503"), world.ledger.total("")));
    }
    findings.prove(Command::new(replica::PROGRAM).args(["audit", "verify"]).arg(site.log()).output().unwrap());
    findings.wrong.extend(findings.errors.iter().filter(|line| line.contains("panicked")).cloned());
    findings.wrong.extend(site.mailed_wrongly().into_iter().map(|email| format!("the example mailed {email}")));
    let logs: Vec<PathBuf> = world.replicas.iter().flat_map(Replica::logs).chain([site.log()]).collect();
    let (records, lost) = world.ledger.reconcile(replica::records(&logs), &world.population.accounts);
    findings.records = records;
    findings.lost.extend(lost);
    findings
}

/// Lets everything happen at once, for so long, and until whoever asked has an answer.
async fn endure(world: &Arc<World>, site: &Arc<Site>, length: Duration, seed: u64) -> Sizes {
    let dice = |thing: u64| Dice::of(seed, thing);
    let (mut callers, mut fates) = (JoinSet::new(), JoinSet::new());
    for number in 0..32 {
        callers.spawn(Caller::new(world, dice(1_000 + number)).call());
    }
    callers.spawn(Caller::new(world, dice(1_100)).flood());
    callers.spawn(Arc::clone(site).call(Arc::clone(world), dice(1_101)));
    for number in 0..4 {
        callers.spawn(slow::write(Arc::clone(world), dice(1_200 + number)));
        callers.spawn(slow::read(Arc::clone(world), dice(1_300 + number)));
    }
    for number in 0..8 {
        callers.spawn(slow::leave_open(Arc::clone(world), dice(1_400 + number)));
    }
    fates.spawn(fate::weather(Arc::clone(world), dice(2_000)));
    fates.spawn(fate::hangups(Arc::clone(world), dice(2_001)));
    for replica in 1..world.replicas.len() {
        fates.spawn(fate::restarts(Arc::clone(world), replica, dice(2_100 + replica as u64)));
    }
    for life in fate::lives(world, length, |thing| dice(3_000 + thing)) {
        fates.spawn(life);
    }

    let (end, mut sizes) = (Instant::now() + length, Sizes::default());
    while Instant::now() < end {
        world.pause(SAMPLED_EACH).await;
        sizes.sample(world);
        scrape(world).await;
        while let Some(ended) = fates.try_join_next() {
            ended.expect("what befalls the world goes on");
        }
    }
    world.over.send_replace(true);
    fates.join_all().await;
    callers.join_all().await;
    sizes
}

/// Asks the sidecar that runs throughout how it does, as a monitor would.
async fn scrape(world: &World) {
    let Some(admin) = world.replicas[0].admin() else { return };
    let answer = world.http.get(format!("{admin}/metrics")).send().await;
    let status = answer.map_or_else(|error| error.to_string(), |answer| answer.status().as_u16().to_string());
    world.ledger.count("metrics", &*status);
    if status != "200" {
        world.ledger.wrong(format!("metrics: {status}"));
    }
}
