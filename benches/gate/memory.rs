//! A domain that is remembered, with the check that neither the report nor the registration has run out, beside caches with a time to live.
//!
//! All have `RegistrableDomain` as key, which hashes as its text does and is cloned without copying it, and an `Arc<Report>` as value. The key
//! that is looked up is another copy than the one that is remembered, as in a request.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use reset_gatekeeper::domain::cache::{Cache, CacheSettings};
use reset_gatekeeper::domain::{DomainSource, Report};
use reset_gatekeeper::{AddressError, RegistrableDomain, SystemClock};
use tokio::runtime::Runtime;

use crate::meter::{CALLS, Failure, Meter, Peer, compare, is_in_earnest};
use crate::parts::Healthy;
use crate::{Row, row};

const DOMAINS: usize = 10_000;
const FRESH_FOR: Duration = Duration::from_secs(3_600);

/// At most two fifths of what the caches take that people use.
const GOAL: Option<f64> = Some(0.4);

type Hasher = foldhash::quality::RandomState;

pub(crate) fn rows(runtime: &Runtime) -> Result<Vec<Row>, Failure> {
    let ours = Cache::new(Arc::new(Healthy), Arc::new(SystemClock), CacheSettings::default());
    let sync = moka::sync::Cache::builder().max_capacity(100_000).time_to_live(FRESH_FOR).build();
    let sync_foldhash = moka::sync::Cache::builder().max_capacity(100_000).time_to_live(FRESH_FOR).build_with_hasher(Hasher::default());
    let future = moka::future::Cache::builder().max_capacity(100_000).time_to_live(FRESH_FOR).build();
    runtime.block_on(async {
        for domain in domains()? {
            let report = Arc::new(Healthy.report(&domain).await?);
            ours.sighting(&domain, SystemTime::UNIX_EPOCH).await?;
            sync.insert(domain.clone(), Arc::clone(&report));
            sync_foldhash.insert(domain.clone(), Arc::clone(&report));
            future.insert(domain, report).await;
        }
        sync.run_pending_tasks();
        sync_foldhash.run_pending_tasks();
        future.run_pending_tasks().await;
        Ok::<_, Failure>(())
    })?;

    let keys = domains()?;
    let [ours, sync, sync_foldhash, future] = compare(
        "A remembered domain of 10,000",
        [
            Peer::new(
                "Cache::sighting",
                batch(&keys, 0, |key| ours.sighting(key, SystemTime::UNIX_EPOCH).now_or_never()?.ok().map(|sighting| sighting.report)),
            ),
            Peer::new("moka::sync", batch(&keys, 1, |key| sync.get(key))),
            Peer::new("moka::sync, hashed by foldhash", batch(&keys, 2, |key| sync_foldhash.get(key))),
            Peer::new("moka::future", batch(&keys, 3, |key| future.get(key).now_or_never()?)),
        ],
    )?;
    let beside = |peer_name, peer| row(format!("remembered domain: Cache::sighting / {peer_name}"), ours, peer, GOAL);
    Ok(vec![beside("moka::sync", sync), beside("moka::sync, foldhash", sync_foldhash), beside("moka::future", future)])
}

/// Prints how many bytes each of a million domains takes, beside its report, which both share with all others here.
pub(crate) fn bytes(runtime: &Runtime) -> Result<(), Failure> {
    let number = if is_in_earnest() { 1_000_000 } else { 1_000 };
    let name = |n: usize| RegistrableDomain::of(&format!("domain-{n}.com"));
    let mut settings = CacheSettings::default();
    settings.capacity = number;
    // Each makes its names anew, so that what it keeps of them is counted.
    let ours = counted(number, || {
        let cache = Cache::new(Arc::new(Healthy), Arc::new(SystemClock), settings);
        runtime.block_on(async {
            for n in 0..number {
                cache.sighting(&name(n)?, SystemTime::UNIX_EPOCH).await?;
            }
            Ok::<_, Failure>(cache)
        })
    })?;
    let report = Arc::new(runtime.block_on(Healthy.report(&name(0)?))?);
    let moka = counted(number, || {
        let cache = moka::future::Cache::builder().max_capacity(number as u64).time_to_live(FRESH_FOR).build();
        runtime.block_on(async {
            for n in 0..number {
                // Ours are two allocations for each domain, a report and a history.
                cache.insert(name(n)?, Arc::new(Report::clone(&report))).await;
            }
            cache.run_pending_tasks().await;
            Ok::<_, Failure>(cache)
        })
    })?;
    let one_report = counted(1_000, || Ok((0..1_000).map(|_| Arc::new(Report::clone(&report))).collect::<Vec<_>>()))? - 8.0;
    println!("{number} domains: {:.0} bytes each, moka {:.0}, a report among them {one_report:.0}", ours, moka);
    println!();
    Ok(())
}

/// How many bytes each of `number` takes in what `build` gives.
fn counted<T>(number: usize, build: impl FnOnce() -> Result<T, Failure>) -> Result<f64, Failure> {
    let mut built = None;
    let used = allocation_counter::measure(|| built = Some(build()));
    built.ok_or("never built")??;
    Ok(used.bytes_current as f64 / number as f64)
}

fn domains() -> Result<Vec<RegistrableDomain>, AddressError> {
    (0..DOMAINS).map(|n| RegistrableDomain::of(&format!("domain-{n}.com"))).collect()
}

/// Looks domains up out of their order, beginning elsewhere for each peer so that none finds the keys warm from another's turn.
fn batch<'a>(
    keys: &'a [RegistrableDomain],
    turn: usize,
    mut get: impl FnMut(&RegistrableDomain) -> Option<Arc<Report>> + 'a,
) -> impl FnMut(Meter) -> Result<f64, Failure> + 'a {
    let order: Vec<_> = (0..keys.len()).filter_map(|n| keys.get(n * 7_919 % keys.len())).collect();
    let mut order = order.into_iter().cycle().skip(turn * keys.len() / 4);
    move |meter| {
        let batch: Vec<_> = order.by_ref().take(CALLS).collect();
        meter.per_call(|| {
            for key in batch {
                black_box(get(black_box(key))).ok_or("forgotten")?;
            }
            Ok(())
        })
    }
}
