//! Looks at all domains that are due, many at a time, beside the others that share the state.
//!
//! Domains are leased, looked at each by a task of its own, and what was found is written in batches while more are leased, so that whoever is killed loses a batch at most,
//! which is due again when its lease ends. Records are on disk before what they tell of is written down as told.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{join, join_all, select};
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use uuid::Uuid;

use super::look::{Look, Outcome};
use super::round::Round;
use super::{LEASE, SweepError, SweepEvent};
use crate::address::RegistrableDomain;
use crate::state::{TRIES, Watched};

/// How many looks are under way at most, those included that wait for their servers' rations.
const MOST: usize = 1_024;

/// How many seconds' worth of a ration is leased at once.
const AHEAD: f64 = 20.0;

/// How many looks are written at once, if there are so many.
const BATCH: usize = 512;

/// How long to wait where nothing is due, but others' looks may yet fail.
const PAUSE: Duration = Duration::from_millis(200);

/// How often it is told how many are left.
const TELLING: Duration = Duration::from_secs(5);

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) looked: u64,
    pub(super) asked: u64,
    pub(super) polled: u64,
    pub(super) codes: BTreeMap<&'static str, u64>,
    told_at: Option<SystemTime>,
}

/// The looks that are under way, and what each is at.
#[derive(Default)]
struct Tasks {
    running: JoinSet<(Outcome, SystemTime)>,
    leased: HashMap<Id, Watched>,
}

/// What came of looks, and is to be written down.
#[derive(Default)]
struct Done {
    /// Each with when its lease ends.
    looks: Vec<(Look, SystemTime)>,
    given_back: Vec<RegistrableDomain>,
}

impl Round {
    /// Looks until nothing is due and `discovered` says that nothing will come; where it `waits`, also until others are done with theirs, which may have died.
    pub(super) async fn look_at_all(self: &Arc<Self>, mut discovered: watch::Receiver<bool>, waits: bool) -> Result<Tally, SweepError> {
        let (mut tasks, mut done, mut tally) = (Tasks::default(), Done::default(), Tally::default());
        loop {
            let was_discovered = *discovered.borrow();
            let (is_enough, is_idle) = (done.looks.len() >= BATCH || tasks.running.len() < BATCH, done.is_empty());
            let written = async { if is_enough { self.write(&mut done, &mut tally).await } else { Ok(()) } };
            // What was found is written even where no more can be leased.
            let (written, leased) = join(written, self.lease_into(&mut tasks)).await;
            written?;
            // What was written may be due again, and was leased too soon to see that.
            if leased? == 0 && is_idle && tasks.running.is_empty() {
                if self.stopping.is_wished() {
                    return Ok(tally);
                }
                let now = self.now();
                if was_discovered && !(waits && self.state.is_open(self.due_by, now).await?) {
                    (self.told)(SweepEvent::Looking { looked: tally.looked, left: 0 });
                    return Ok(tally);
                }
                let pause = pin!(self.stopping.pause(PAUSE));
                if was_discovered {
                    pause.await;
                } else {
                    select(pause, pin!(discovered.wait_for(|is_discovered| *is_discovered))).await;
                }
                // By a clock that stands still nothing becomes due.
                if was_discovered && self.now() == now {
                    return Ok(tally);
                }
                continue;
            }
            self.collect(&mut tasks, &mut done).await;
        }
    }

    /// Leases as many domains as there is room for, and begins to look at them.
    async fn lease_into(self: &Arc<Self>, tasks: &mut Tasks) -> Result<usize, SweepError> {
        let room = self.most().saturating_sub(tasks.running.len());
        // A few at a time would be a question for each.
        if room * 2 < self.most() || self.stopping.is_wished() {
            return Ok(0);
        }
        let now = self.now();
        let leased = self.state.lease(self.worker, room, self.due_by, now, LEASE).await?;
        let names: Vec<_> = leased.iter().map(|watched| &watched.domain).collect();
        let mut known: HashMap<_, _> = self.state.domains(&names).await?.into_iter().collect();
        let count = leased.len();
        for watched in leased {
            let known = known.remove(&watched.domain).unwrap_or(Ok(None));
            let (round, until, at) = (Arc::clone(self), now + LEASE, watched.clone());
            let task = tasks.running.spawn(async move { (round.look(watched, known, until).await, until) });
            tasks.leased.insert(task.id(), at);
        }
        Ok(count)
    }

    fn most(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
        self.settings.rate.map_or(MOST, |rate| ((rate * AHEAD) as usize).clamp(16, MOST))
    }

    /// Takes what is done, and waits for the first where nothing is.
    async fn collect(&self, tasks: &mut Tasks, done: &mut Done) {
        let mut next = tasks.running.join_next_with_id().await;
        while let Some(joined) = next {
            let (id, outcome, until) = match joined {
                Ok((id, (outcome, until))) => (id, Ok(outcome), until),
                Err(error) => (error.id(), Err(error), self.now() + LEASE),
            };
            let leased = tasks.leased.remove(&id);
            match (outcome, leased) {
                (Ok(Outcome::Looked(look)), _) => done.looks.push((*look, until)),
                (Ok(Outcome::GivenBack(domain)), _) => done.given_back.push(domain),
                // It would panic again at once.
                (Err(error), Some(watched)) => done.looks.push((*self.settle_broken(watched, &error), until)),
                (Err(_), None) => {}
            }
            next = tasks.running.try_join_next_with_id();
        }
    }

    /// Writes down what is done, and tells of it.
    async fn write(&self, done: &mut Done, tally: &mut Tally) -> Result<(), SweepError> {
        if !done.is_empty() {
            self.write_looks(&mut done.looks, tally).await?;
            self.give_back(&mut done.given_back).await?;
            self.tell(tally).await?;
        }
        Ok(())
    }

    async fn write_looks(&self, done: &mut Vec<(Look, SystemTime)>, tally: &mut Tally) -> Result<(), SweepError> {
        let records: Vec<_> = done.iter_mut().flat_map(|(look, _)| std::mem::take(&mut look.records)).collect();
        if !records.is_empty() {
            self.inner.keep(records).await?;
        }
        let (now, mut looked, mut late) = (self.now(), Vec::with_capacity(done.len()), Vec::new());
        for (look, until) in done.drain(..) {
            tally.count(&look);
            if let Some(reason) = look.looked.watched.found {
                (self.told)(SweepEvent::Found { domain: look.looked.watched.domain.clone(), reason });
            }
            if now < until { looked.push(look.looked) } else { late.push(look.looked) }
        }
        // Whose lease ran out may be leased again, by this worker too: of those, only what the sources said is kept.
        for (worker, looked) in [(self.worker, looked), (Uuid::nil(), late)] {
            // Beside each other, where the database can. What is kept of a domain does not depend on the order.
            for kept in join_all(looked.chunks(BATCH).map(|looked| self.state.looked(worker, looked))).await {
                kept?.into_iter().for_each(|(domain, remembered)| self.inner.domains.learn(&domain, remembered));
            }
        }
        Ok(())
    }

    async fn give_back(&self, domains: &mut Vec<RegistrableDomain>) -> Result<(), SweepError> {
        if !domains.is_empty() {
            self.state.give_back(self.worker, domains, self.due_by).await?;
            domains.clear();
        }
        Ok(())
    }

    async fn tell(&self, tally: &mut Tally) -> Result<(), SweepError> {
        let now = self.now();
        let is_early = tally.told_at.is_some_and(|at| now.duration_since(at).is_ok_and(|since| since < TELLING));
        if self.is_watched && !is_early {
            let outlook = self.state.outlook(self.due_by, now).await?;
            (self.told)(SweepEvent::Looking { looked: tally.looked, left: outlook.due + outlook.leased + outlook.retried });
            tally.told_at = Some(now);
        }
        Ok(())
    }
}

impl Done {
    fn is_empty(&self) -> bool {
        self.looks.is_empty() && self.given_back.is_empty()
    }
}

impl Tally {
    fn count(&mut self, look: &Look) {
        // What is tried again is counted then.
        if !look.failed || look.looked.watched.failures >= TRIES {
            self.looked += 1;
        }
        self.asked += u64::from(look.asked);
        self.polled += u64::from(look.polled && !look.asked);
        if look.asked && !look.failed && look.codes.is_empty() {
            *self.codes.entry("active").or_default() += 1;
        }
        for code in &look.codes {
            *self.codes.entry(code).or_default() += 1;
        }
    }
}
