//! The memory of domains: however many callers wait for one domain, one question is asked, and nobody waits in vain.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::future::join_all;
use reset_gatekeeper::domain::cache::{Cache, CacheSettings};
use reset_gatekeeper::domain::{DomainSource, Report, Sighting, SourceError};
use reset_gatekeeper::{Clock, RegistrableDomain};
use tokio::task::JoinHandle;

use crate::check;

const CALLERS: usize = 3;

/// A registry whose answers take their time, and bear the number of the question.
#[derive(Default)]
struct Registry {
    asked: AtomicUsize,
    fault: Mutex<Option<Fault>>,
}

#[derive(Clone, Copy)]
enum Fault {
    Refuses,
    Hangs,
}

#[async_trait]
impl DomainSource for Registry {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        let question = self.asked.fetch_add(1, Ordering::SeqCst);
        let fault = *self.fault.lock().unwrap();
        shuttle::future::yield_now().await;
        match fault {
            None => {
                let mut report = Report::registered("registry");
                report.handle = Some(format!("{domain} {}", question + 1));
                Ok(report)
            }
            Some(Fault::Refuses) => {
                Err(SourceError::Refused { url: "https://registry.example/".to_owned(), status: 503, retry_after: None })
            }
            Some(Fault::Hangs) => std::future::pending().await,
        }
    }
}

/// Seconds since the clock was made.
#[derive(Default)]
struct Seconds(AtomicU64);

impl Clock for Seconds {
    fn now(&self) -> SystemTime {
        after(self.0.load(Ordering::SeqCst))
    }
}

fn after(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

/// A cache over a registry.
#[derive(Clone)]
struct Scene {
    registry: Arc<Registry>,
    clock: Arc<Seconds>,
    cache: Cache,
}

impl Scene {
    fn new(fault: Option<Fault>, change: impl FnOnce(&mut CacheSettings)) -> Self {
        let registry = Arc::new(Registry { asked: AtomicUsize::default(), fault: Mutex::new(fault) });
        let clock = Arc::new(Seconds::default());
        let mut settings = CacheSettings::default();
        change(&mut settings);
        let cache = Cache::new(registry.clone(), clock.clone(), settings);
        Self { registry, clock, cache }
    }

    fn asked(&self) -> usize {
        self.registry.asked.load(Ordering::SeqCst)
    }

    /// The source is well again, and the rest that it was given is over.
    fn heal(&self) {
        *self.registry.fault.lock().unwrap() = None;
        self.set(1);
    }

    fn set(&self, seconds: u64) {
        self.clock.0.store(seconds, Ordering::SeqCst);
    }

    /// Asks beside all others how `domain` stands.
    fn call(&self, domain: &str, since: SystemTime) -> JoinHandle<Result<Sighting, Arc<SourceError>>> {
        let (cache, domain) = (self.cache.clone(), RegistrableDomain::of(domain).unwrap());
        tokio::spawn(async move { cache.sighting(&domain, since).await })
    }

    async fn calls(&self) -> Vec<Result<Sighting, Arc<SourceError>>> {
        let calls: Vec<_> = (0..CALLERS).map(|_| self.call("example.com", after(0))).collect();
        join_all(calls).await.into_iter().map(Result::unwrap).collect()
    }
}

/// Which question of `domain` was answered.
fn answer(outcome: &Result<Sighting, Arc<SourceError>>) -> &str {
    outcome.as_ref().unwrap().report.handle.as_deref().unwrap()
}

fn run(model: impl Future<Output = ()>) {
    shuttle::future::block_on(model);
}

#[test]
fn all_who_ask_at_once_get_the_answer_to_one_question() {
    check(|| {
        run(async {
            let scene = Scene::new(None, |_| {});
            let outcomes = scene.calls().await;
            assert!(outcomes.iter().all(|outcome| answer(outcome) == "example.com 1"), "{outcomes:?}");
            assert_eq!(scene.asked(), 1);
        });
    });
}

#[test]
fn a_caller_who_gives_up_takes_the_answer_from_nobody() {
    check(|| {
        run(async {
            let scene = Scene::new(None, |_| {});
            // Any of them may be the one who began.
            let (gone, stays) = (scene.call("example.com", after(0)), scene.call("example.com", after(0)));
            let too = scene.call("example.com", after(0));
            gone.abort();
            tokio::task::yield_now().await;
            too.abort();
            assert_eq!(answer(&stays.await.unwrap()), "example.com 1");
            assert_eq!(answer(&scene.call("example.com", after(0)).await.unwrap()), "example.com 1");
            assert_eq!(scene.asked(), 1);
        });
    });
}

#[test]
fn a_question_goes_on_when_all_have_given_up() {
    check(|| {
        run(async {
            let scene = Scene::new(None, |_| {});
            let calls: Vec<_> = (0..CALLERS).map(|_| scene.call("example.com", after(0))).collect();
            tokio::task::yield_now().await;
            calls.iter().for_each(JoinHandle::abort);
            drop(join_all(calls).await);
            assert_eq!(answer(&scene.call("example.com", after(0)).await.unwrap()), "example.com 1");
            assert_eq!(scene.asked(), 1);
        });
    });
}

#[test]
fn a_failure_is_told_to_all_who_wait_and_nobody_asks_until_the_rest_is_over() {
    check(|| {
        run(async {
            let scene = Scene::new(Some(Fault::Refuses), |_| {});
            for outcome in scene.calls().await {
                assert!(matches!(&*outcome.unwrap_err(), SourceError::Refused { status: 503, .. }));
            }
            assert_eq!(scene.asked(), 1);
            scene.heal();
            let outcomes = scene.calls().await;
            assert!(outcomes.iter().all(|outcome| answer(outcome) == "example.com 2"), "{outcomes:?}");
            assert_eq!(scene.asked(), 2);
        });
    });
}

#[test]
fn nobody_waits_for_a_source_that_hangs_beyond_the_limit() {
    check(|| {
        run(async {
            tokio::time::clear_triggers();
            let scene = Scene::new(Some(Fault::Hangs), |_| {});
            let calls: Vec<_> = (0..CALLERS).map(|_| scene.call("example.com", after(0))).collect();
            tokio::task::yield_now().await;
            // All limits are over, those of the callers and that of the lookup, before whoever may be the first of them.
            tokio::time::trigger_timeouts(|_| true);
            for outcome in join_all(calls).await {
                assert!(matches!(&*outcome.unwrap().unwrap_err(), SourceError::Timeout { .. }));
            }
            tokio::time::clear_triggers();
            scene.heal();
            // One may still be told of the failure, and another be there before the question that hung is out of the way.
            for seconds in [2, 3] {
                drop(scene.call("example.com", after(0)).await.unwrap());
                scene.set(seconds);
            }
            let outcome = scene.call("example.com", after(0)).await.unwrap();
            assert!(answer(&outcome).starts_with("example.com "), "the one that hung is out of the way");
        });
    });
}

#[test]
fn who_needs_a_later_answer_than_the_one_under_way_gets_a_later_one() {
    check(|| {
        run(async {
            let scene = Scene::new(None, |_| {});
            let early = scene.call("example.com", after(0));
            tokio::task::yield_now().await;
            scene.set(60);
            let late = [scene.call("example.com", after(60)), scene.call("example.com", after(60))];
            for outcome in join_all(late).await {
                assert!(outcome.unwrap().unwrap().checked_at >= after(60));
            }
            early.await.unwrap().unwrap();
            assert!(scene.asked() <= 2, "{}", scene.asked());
        });
    });
}

#[test]
fn what_grows_old_is_asked_for_once_behind_the_callers_backs() {
    check(|| {
        run(async {
            let scene = Scene::new(None, |_| {});
            scene.call("example.com", after(0)).await.unwrap().unwrap();
            scene.set(50 * 60);
            let outcomes = scene.calls().await;
            assert!(outcomes.iter().all(|outcome| ["example.com 1", "example.com 2"].contains(&answer(outcome))), "{outcomes:?}");
            // Waits for the one that may be under way.
            let outcome = scene.call("example.com", after(50 * 60)).await.unwrap();
            assert_eq!((answer(&outcome), scene.asked()), ("example.com 2", 2));
        });
    });
}

#[test]
fn what_grows_old_is_asked_for_once_although_the_source_fails() {
    check(|| {
        run(async {
            let scene = Scene::new(None, |_| {});
            scene.call("example.com", after(0)).await.unwrap().unwrap();
            scene.set(50 * 60);
            *scene.registry.fault.lock().unwrap() = Some(Fault::Refuses);
            let outcomes = scene.calls().await;
            assert!(outcomes.iter().all(|outcome| answer(outcome) == "example.com 1"), "{outcomes:?}");
            scene.call("example.com", after(50 * 60)).await.unwrap().unwrap_err();
            assert_eq!(scene.asked(), 2);
        });
    });
}

#[test]
fn a_name_that_has_to_make_place_while_it_is_asked_about_stands_in_nobodys_way() {
    check(|| {
        run(async {
            let scene = Scene::new(None, |settings| settings.capacity = 1);
            let names = ["a.com", "b.com", "a.com", "c.com"];
            let outcomes = join_all(names.map(|name| scene.call(name, after(0)))).await;
            for (name, outcome) in names.iter().zip(outcomes) {
                assert!(answer(&outcome.unwrap()).starts_with(name));
            }
            assert_eq!(scene.cache.len(), 1);
        });
    });
}
