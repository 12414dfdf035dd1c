//! What several processes know together: after a restart, and beside each other.

use std::sync::Arc;
use std::time::Duration;

use reset_gatekeeper::domain::cache::Remembered;
use reset_gatekeeper::domain::{History, Report};
use reset_gatekeeper::testing::{Fault, Phase, Registry, SetClock, time};
use reset_gatekeeper::{Gatekeeper, RegistrableDomain, State};

use crate::stage::{Accounts, NOW, Recorder, VERIFIED};
use crate::state::{Place, promised_of_both};

const DAY: Duration = Duration::from_secs(86_400);

promised_of_both! {
    what_was_seen_of_a_domain_outlives_the_process,
    what_one_replica_asked_another_need_not,
    the_first_sight_of_a_domain_outlives_the_process,
    a_state_that_can_not_be_read_blocks_who_was_not_seen_here,
}

/// A registry, accounts and a clock, which all replicas have in common.
struct Scene {
    registry: Registry,
    accounts: Arc<Accounts>,
    clock: SetClock,
}

impl Scene {
    async fn open() -> Self {
        let registry = Registry::start().await.unwrap();
        for domain in ["example.com", "lapsed.com"] {
            registry.register(domain, time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
        }
        let accounts = Arc::<Accounts>::default();
        accounts.insert("a@example.com", true, Some(VERIFIED));
        accounts.insert("a@lapsed.com", true, Some(VERIFIED));
        Self { registry, accounts, clock: SetClock::at(NOW) }
    }

    /// One process.
    async fn replica(&self, state: State) -> Gatekeeper {
        let builder = Gatekeeper::builder().directory(Arc::clone(&self.accounts)).domains(self.registry.rdap().await.unwrap());
        builder.audit(Arc::<Recorder>::default()).clock(self.clock.clone()).state(state).build().unwrap()
    }
}

async fn reasons(replica: &Gatekeeper, address: &str) -> Vec<&'static str> {
    replica.assess(address).await.unwrap().reasons().iter().map(|reason| reason.as_str()).collect()
}

async fn what_was_seen_of_a_domain_outlives_the_process(place: Place) {
    let scene = Scene::open().await;
    scene.registry.lapse("lapsed.com");
    let first = scene.replica(place.state().await).await;
    assert_eq!(reasons(&first, "a@example.com").await, [""; 0]);
    assert_eq!(reasons(&first, "a@lapsed.com").await, ["domain_redemption"]);
    drop(first);

    scene.registry.fault(Fault::Close);
    scene.clock.advance(DAY);
    scene.accounts.insert("b@lapsed.com", true, Some(VERIFIED));
    let second = scene.replica(place.state().await).await;
    assert_eq!(reasons(&second, "a@example.com").await, [""; 0], "an outage blocks nobody who was seen");
    assert_eq!(reasons(&second, "b@lapsed.com").await, ["domain_redemption"], "nor lets anybody in");
    drop(second);

    scene.registry.fault(None);
    scene.registry.put("lapsed.com", Phase::Active);
    let third = scene.replica(place.state().await).await;
    assert_eq!(reasons(&third, "b@lapsed.com").await, ["domain_changed_hands"], "that it had lapsed is known for good");
}

async fn what_one_replica_asked_another_need_not(place: Place) {
    let scene = Scene::open().await;
    let (one, other) = (scene.replica(place.state().await).await, scene.replica(place.state().await).await);
    assert_eq!(reasons(&one, "a@example.com").await, [""; 0]);
    assert_eq!(reasons(&other, "a@example.com").await, [""; 0]);
    assert_eq!(scene.registry.questions("example.com"), 1);
}

async fn the_first_sight_of_a_domain_outlives_the_process(place: Place) {
    let scene = Scene::open().await;
    scene.accounts.insert("c@example.com", true, None);
    let first = scene.replica(place.state().await).await;
    assert_eq!(reasons(&first, "c@example.com").await, [""; 0]);
    drop(first);
    scene.clock.advance(30 * DAY);
    scene.registry.register("example.com", time("2026-02-20T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    let second = scene.replica(place.state().await).await;
    assert_eq!(reasons(&second, "c@example.com").await, ["domain_reregistered"]);
}

async fn a_state_that_can_not_be_read_blocks_who_was_not_seen_here(mut place: Place) {
    let scene = Scene::open().await;
    let replica = scene.replica(place.state().await).await;
    assert_eq!(reasons(&replica, "a@example.com").await, [""; 0]);
    place.run("DROP TABLE gatekeeper_domains").await;
    assert_eq!(reasons(&replica, "a@example.com").await, [""; 0], "memory knows");
    assert_eq!(reasons(&replica, "a@lapsed.com").await, ["domain_unknown"], "nobody knows what was seen of it");
}

/// Through PostgreSQL: the other's report is fresh, and it would not have asked for an hour.
#[tokio::test]
async fn a_lapse_that_one_replica_finds_blocks_at_the_others() {
    let place = Place::database().await;
    let scene = Scene::open().await;
    let (one, other) = (scene.replica(place.state().await).await, scene.replica(place.state().await).await);
    assert_eq!(reasons(&other, "a@example.com").await, [""; 0]);
    scene.registry.lapse("example.com");
    scene.clock.advance(Duration::from_secs(60));
    one.record_verification("b@example.com").await.unwrap();
    let learns = async {
        while reasons(&other, "a@example.com").await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), learns).await.unwrap();
    assert_eq!(scene.registry.questions("example.com"), 2, "the other one asked nobody");
}

/// Another process that had asked a little earlier was slow to write.
#[tokio::test]
async fn a_lapse_that_the_state_knows_outweighs_a_report_that_stands_in() {
    let scene = Scene::open().await;
    let state = State::memory().await.unwrap();
    let replica = scene.replica(state.clone()).await;
    assert_eq!(reasons(&replica, "a@example.com").await, [""; 0]);
    let (at, lapsed) = (time(NOW) - Duration::from_secs(60), Report::unregistered("rdap"));
    let history = Arc::new(History::beginning(&lapsed, at));
    let found = Remembered { report: Arc::new(lapsed), history, checked_at: at, confirmed_at: None };
    state.keep_domain(&RegistrableDomain::of("example.com").unwrap(), &found).await.unwrap();
    scene.registry.fault(Fault::Close);
    scene.clock.advance(Duration::from_secs(7_200));
    assert_eq!(reasons(&replica, "a@example.com").await, ["domain_changed_hands"]);
}
