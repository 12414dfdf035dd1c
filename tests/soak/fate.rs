//! What befalls the world meanwhile: a registry that fails, domains that change, sidecars that are stopped, killed and started again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use reset_gatekeeper::testing::{Fault, Phase, time};
use tokio::time::Instant;

use crate::dice::Dice;
use crate::model::{Flag, LINGERS_LONG, Truth, Weather};
use crate::population::{DAY, Lot, now};
use crate::replica::Replica;
use crate::world::{Mode, World};

/// A second longer than a failure is remembered or a server left alone, where a question that fails does so at once.
const LINGERS: Duration = Duration::from_secs(10);
/// Until nobody judges any more by how an account was.
const AT_REST: f64 = 15.0;

/// The registry fails in every way, in turns, and is well in between.
pub(crate) async fn weather(world: Arc<World>, mut dice: Dice) {
    const HANG: Duration = Duration::from_secs(5);
    let faults = [
        ("503", Some(Fault::Status(503, None)), LINGERS),
        ("503, come back later", Some(Fault::Status(503, Some(3))), LINGERS),
        ("429", Some(Fault::Status(429, Some(2))), LINGERS),
        ("no answer", Some(Fault::Hang), LINGERS_LONG),
        ("late answer", Some(Fault::Slow(HANG)), LINGERS_LONG),
        ("late body", Some(Fault::SlowBody(HANG)), LINGERS_LONG),
        ("garbage", Some(Fault::Garbage), LINGERS),
        ("half an answer", Some(Fault::Truncated), LINGERS),
        ("connection closed", Some(Fault::Close), LINGERS),
        ("twenty mebibytes", Some(Fault::TooLong), LINGERS),
        ("connection refused", None, LINGERS),
    ];
    for (name, fault, lingers) in faults.iter().cycle().skip(dice.below(faults.len())) {
        if !world.pause(dice.between(5.0, 90.0).min(dice.between(5.0, 90.0))).await {
            return;
        }
        world.state.lock().unwrap().weather.begin(Weather::Foul(*lingers), Instant::now());
        match fault {
            Some(fault) => world.registry.fault(fault.clone()),
            None => world.front.shut().await,
        }
        world.state.lock().unwrap().weather.done(Instant::now());
        world.ledger.count("fault", *name);
        world.pause(dice.between(3.0, 20.0)).await;
        world.state.lock().unwrap().weather.begin(Weather::Calm, Instant::now());
        match fault {
            Some(_) => world.registry.fault(None),
            None => world.front.reopen(),
        }
        world.state.lock().unwrap().weather.done(Instant::now());
    }
}

/// Has every domain, and every account, lead its life.
pub(crate) fn lives(world: &Arc<World>, length: Duration, dice: impl Fn(u64) -> Dice) -> Vec<BoxFuture<'static, ()>> {
    let of = |lot| world.population.of(lot).into_iter().map(|domain| (domain, dice(domain as u64)));
    let moody = of(Lot::Moody).map(|(domain, dice)| moody(Arc::clone(world), domain, dice).boxed());
    let mortal = of(Lot::Mortal).map(|(domain, dice)| mortal(Arc::clone(world), domain, dice).boxed());
    let fickle = of(Lot::Fickle).map(|(domain, dice)| fickle(Arc::clone(world), domain, dice).boxed());
    let doomed = doomed(Arc::clone(world), length).boxed();
    moody.chain(mortal).chain(fickle).chain([doomed]).collect()
}

async fn moody(world: Arc<World>, domain: usize, mut dice: Dice) {
    while world.pause(dice.between(3.0, 60.0)).await {
        let phase = [Phase::ClientHold, Phase::ServerHold, Phase::Until(now() + DAY * 3)][dice.below(3)];
        put(&world, domain, phase, Truth::Barred);
        world.pause(dice.between(3.0, 60.0)).await;
        put(&world, domain, Phase::Active, Truth::Healthy);
    }
}

async fn mortal(world: Arc<World>, domain: usize, mut dice: Dice) {
    while world.pause(dice.between(3.0, 90.0)).await {
        let phases = [Phase::Redemption, Phase::PendingRestore, Phase::PendingDelete, Phase::Unregistered, Phase::Until(now() - DAY)];
        put(&world, domain, phases[dice.below(phases.len())], Truth::Lost);
        world.pause(dice.between(3.0, 60.0)).await;
        put(&world, domain, Phase::Active, Truth::Healthy);
        world.pause(dice.between(3.0, 60.0)).await;
        // The application takes the verification away itself, so that no sidecar that judged before the next one takes it away after it.
        set(&world, domain, Flag::Unverified).await;
        world.pause(AT_REST).await;
        set(&world, domain, Flag::Verified).await;
    }
}

async fn fickle(world: Arc<World>, domain: usize, mut dice: Dice) {
    while world.pause(dice.between(3.0, 30.0)).await {
        set(&world, domain, Flag::Unverified).await;
        world.pause(dice.between(3.0, 30.0)).await;
        set(&world, domain, Flag::Verified).await;
    }
}

/// One after the other, throughout the soak.
async fn doomed(world: Arc<World>, length: Duration) {
    let domains = world.population.of(Lot::Doomed);
    let between = length.as_secs_f64() / domains.len() as f64;
    for domain in domains {
        if !world.pause(between).await {
            return;
        }
        begin(&world, domain, Truth::Lost);
        world.registry.register(&world.population.domains[domain].name, now(), time("2099-01-01T00:00:00Z"));
        done(&world, domain);
        world.ledger.count("change", "domain registered anew");
    }
}

fn put(world: &World, domain: usize, phase: Phase, truth: Truth) {
    begin(world, domain, truth);
    world.registry.put(&world.population.domains[domain].name, phase);
    done(world, domain);
    world.ledger.count("change", format!("domain now {truth:?}").to_lowercase());
}

fn begin(world: &World, domain: usize, truth: Truth) {
    world.state.lock().unwrap().domains[domain].begin(truth, Instant::now());
}

fn done(world: &World, domain: usize) {
    world.state.lock().unwrap().domains[domain].done(Instant::now());
}

/// Has the application write the flag of every account at a domain.
async fn set(world: &World, domain: usize, flag: Flag) {
    let accounts = world.population.at(domain);
    let keys: Vec<String> = accounts.iter().map(|place| (place + 1).to_string()).collect();
    let keys = keys.join(", ");
    let mut database = world.database.lock().await;
    let each = |change: &dyn Fn(usize)| accounts.iter().for_each(|place| change(*place));
    each(&|place| world.state.lock().unwrap().flags[place].begin(flag, Instant::now()));
    let sql = match flag {
        Flag::Unverified => format!("UPDATE users SET verified = false WHERE id IN ({keys})"),
        Flag::Verified => format!("UPDATE users SET verified = true, verified_at = clock_timestamp() WHERE id IN ({keys})"),
    };
    database.run(&sql).await;
    each(&|place| world.state.lock().unwrap().flags[place].done(Instant::now()));
    world.ledger.count("change", format!("accounts of a domain {flag:?}").to_lowercase());
}

/// Moves the log of the sidecar that runs throughout, or changes its configuration.
pub(crate) async fn hangups(world: Arc<World>, mut dice: Dice) {
    while world.pause(dice.between(5.0, 60.0)).await {
        hang_up(&world, &world.replicas[0], &mut dice).await;
    }
}

async fn hang_up(world: &World, replica: &Replica, dice: &mut Dice) {
    if dice.chance(0.5) {
        replica.move_log().await;
        world.ledger.count("sidecar", "log moved, SIGHUP");
    } else {
        let mode = mode(dice);
        world.reload(replica, mode, dice).await;
    }
}

fn mode(dice: &mut Dice) -> Mode {
    if dice.chance(0.5) { Mode::Refuse } else { Mode::Decoy }
}

/// Stops and starts one sidecar again and again, by another configuration each time.
pub(crate) async fn restarts(world: Arc<World>, replica: usize, mut dice: Dice) {
    let replica = &world.replicas[replica];
    while world.pause(dice.between(8.0, 60.0)).await {
        match dice.below(4) {
            0 => {
                hang_up(&world, replica, &mut dice).await;
                continue;
            }
            1 => {
                replica.kill().await;
                world.ledger.count("sidecar", "SIGKILL");
            }
            _ => {
                let status = replica.stop().await;
                world.ledger.count("sidecar", "SIGTERM");
                if status.code() != Some(0) {
                    world.ledger.wrong(format!("a sidecar that was told to stop exits with {status}"));
                }
            }
        }
        world.start(replica, mode(&mut dice)).await;
    }
}
