//! Ten thousand callers that wait for one domain which is being looked up, beside moka's `get_with` doing the same.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use futures_util::future::join_all;
use reset_gatekeeper::domain::cache::{Cache, CacheSettings};
use reset_gatekeeper::domain::{DomainSource, Report, SourceError};
use reset_gatekeeper::{RegistrableDomain, SystemClock};
use tokio::runtime::Runtime;

use crate::meter::{Failure, Meter, Peer, compare_in};
use crate::{Row, row};

const WAITERS: usize = 10_000;

/// No slower than the cache that people use.
const GOAL: Option<f64> = Some(1.0);

/// Answers only when everybody waits.
struct Late;

#[async_trait]
impl DomainSource for Late {
    async fn report(&self, _: &RegistrableDomain) -> Result<Report, SourceError> {
        late().await;
        Ok(Report::registered("test"))
    }
}

async fn late() {
    tokio::task::yield_now().await;
}

pub(crate) fn rows(runtime: &Runtime) -> Result<Vec<Row>, Failure> {
    let example = RegistrableDomain::of("example.com")?;
    let ours = |meter: Meter| {
        let cache = Cache::new(Arc::new(Late), Arc::new(SystemClock), CacheSettings::default());
        let waiting = async {
            let outcomes = join_all((0..WAITERS).map(|_| cache.sighting(&example, SystemTime::UNIX_EPOCH))).await;
            if outcomes.iter().all(Result::is_ok) { Ok(()) } else { Err("no answer".into()) }
        };
        meter.each_of(WAITERS, || runtime.block_on(waiting))
    };
    let moka = |meter: Meter| {
        let cache = moka::future::Cache::<RegistrableDomain, Arc<Report>>::new(100);
        let found = || async {
            late().await;
            Arc::new(Report::registered("test"))
        };
        let waiting = async {
            let reports = join_all((0..WAITERS).map(|_| cache.get_with(example.clone(), found()))).await;
            if reports.len() == WAITERS { Ok(()) } else { Err("no answer".into()) }
        };
        meter.each_of(WAITERS, || runtime.block_on(waiting))
    };
    let case = "One of 10,000 that wait for one domain";
    let [ours, moka] = compare_in(60, case, [Peer::new("Cache::sighting", ours), Peer::new("moka::future, get_with", moka)])?;
    Ok(vec![row("10,000 waiters: Cache::sighting / get_with", ours, moka, GOAL)])
}
