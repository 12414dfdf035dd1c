//! A domain that nobody has looked at yet: the whole verdict, beside one bare question to the same registry by `reqwest`, whose answer is read to its end and left unread.
//!
//! The registry is a server on loopback in a thread of its own. Both ask it over a connection that is kept: once as it is, without any distance, which shows what the verdict
//! takes besides, and once where it answers ten milliseconds later, which is nearer than registries are.

use std::num::NonZeroU32;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use reset_gatekeeper::Gatekeeper;
use reset_gatekeeper::account::{Account, MemoryDirectory};
use reset_gatekeeper::domain::rdap::Rdap;
use reset_gatekeeper::testing::{Fault, Registry, time};
use tokio::runtime::Runtime;

use crate::meter::{Failure, Meter, Peer, compare_in, is_in_earnest};
use crate::parts::Forgetful;
use crate::{Row, row};

/// Each of so many calls.
const ROUNDS: usize = 200;
const CALLS: usize = 16;
const DISTANCE: Duration = Duration::from_millis(10);

/// At most a twentieth beyond the question itself.
const GOAL: Option<f64> = Some(1.05);

pub(crate) fn rows() -> Result<Vec<Row>, Failure> {
    Ok(vec![rows_at(None, "without any distance", None)?, rows_at(Some(DISTANCE), "10 ms away", GOAL)?])
}

fn rows_at(distance: Option<Duration>, where_it_is: &str, goal: Option<f64>) -> Result<Row, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rounds = match (is_in_earnest(), distance) {
        (true, None) => ROUNDS,
        (true, Some(_)) => ROUNDS / 5,
        (false, _) => 8,
    };
    let domains: Vec<String> = (0..(rounds + 1) * CALLS).map(|n| format!("domain-{n}.com")).collect();
    let (bootstrap, base) = registry(domains.clone(), distance)?;
    let gatekeeper = gatekeeper(&runtime, &domains, bootstrap)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let (mut names, mut asked) = (domains.iter(), domains.iter());
    let ours = |meter: Meter| {
        let batch: Vec<String> = names.by_ref().take(CALLS).map(|domain| format!("user@{domain}")).collect();
        meter.each_of(CALLS, || {
            runtime.block_on(async {
                for address in &batch {
                    if !gatekeeper.assess(address).await?.is_allowed() {
                        return Err("blocked".into());
                    }
                }
                Ok(())
            })
        })
    };
    let bare = |meter: Meter| {
        let batch: Vec<String> = asked.by_ref().take(CALLS).map(|domain| format!("{base}domain/{domain}")).collect();
        meter.each_of(CALLS, || {
            runtime.block_on(async {
                for url in &batch {
                    client.get(url).send().await?.error_for_status()?.bytes().await?;
                }
                Ok(())
            })
        })
    };
    let case = format!("A domain that nobody has looked at yet, the registry {where_it_is}");
    let [ours, peer] = compare_in(rounds, &case, [Peer::new("Gatekeeper::assess", ours), Peer::new("one question by reqwest", bare)])?;
    Ok(row(format!("cold verdict / one question by reqwest, {where_it_is}"), ours, peer, goal))
}

/// Where the bootstrap file and the server are of a registry that has all of `domains` and answers that much later, for as long as this process runs.
fn registry(domains: Vec<String>, later: Option<Duration>) -> Result<(String, String), Failure> {
    let (told, telling) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let registry = Registry::start().await?;
            for domain in &domains {
                registry.register(domain, time("2009-01-01T00:00:00Z"), time("2999-01-01T00:00:00Z"));
            }
            let (bootstrap, base) = (registry.bootstrap_url(), registry.base_url());
            registry.fault(later.map(Fault::Slow));
            told.send((bootstrap, base))?;
            std::future::pending::<Result<(), Failure>>().await
        })
    });
    Ok(telling.recv()?)
}

fn gatekeeper(runtime: &Runtime, domains: &[String], bootstrap: String) -> Result<Gatekeeper, Failure> {
    let verified_at = Some(time("2020-01-01T00:00:00Z"));
    let account =
        |(n, domain): (usize, &String)| Account { id: n.to_string().into(), email: format!("user@{domain}"), verified: true, verified_at };
    let directory: MemoryDirectory = domains.iter().enumerate().map(account).collect();
    let rdap = Rdap::builder().bootstrap(bootstrap).allow_insecure(true).pace(NonZeroU32::MAX).build();
    Ok(Gatekeeper::builder().directory(directory).domains(runtime.block_on(rdap)?).audit(Forgetful).record_allowed(false).build()?)
}
