//! However many callers wait for one name, one lookup is under way. It goes on when a caller gives up, or its time runs out.

use std::sync::Arc;

use futures_util::future::{FutureExt, Shared};
use tokio::sync::oneshot;

use super::Outcome;
use super::entries::{Key, Map};

/// The outcome of a lookup that is under way, for all who wait for it. An error where it breaks off.
type Waiting = Shared<oneshot::Receiver<Outcome>>;

/// The lookups that are under way.
#[derive(Default)]
pub(super) struct Flights(Arc<Map<Waiting>>);

/// What a caller finds who wants a lookup.
pub(super) enum Flight {
    /// One is under way, be it the caller's own.
    UnderWay(Waiting),
    /// It had landed before the caller could join it.
    Landed(Outcome),
}

impl Flights {
    /// Joins the lookup of `key`, or starts it, unless `landed` has its outcome already.
    pub(super) fn join<F>(&self, key: Key, landed: impl FnOnce() -> Option<Outcome>, lookup: impl FnOnce() -> F) -> Flight
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let slot = match self.0.entry(key) {
            dashmap::Entry::Occupied(flight) => return Flight::UnderWay(flight.get().clone()),
            dashmap::Entry::Vacant(slot) => slot,
        };
        // What a lookup learned was remembered before its slot became vacant.
        if let Some(outcome) = landed() {
            return Flight::Landed(outcome);
        }
        let (landing, flight) = oneshot::channel();
        let flight = flight.shared();
        slot.insert(flight.clone());
        let lookup = lookup();
        // The slot must become vacant even if the lookup panics, or nobody would ask again.
        let slot = Slot { flights: Arc::clone(&self.0), key };
        tokio::spawn(async move {
            let outcome = lookup.await;
            drop(slot);
            drop(landing.send(outcome)); // nobody may be waiting any more
        });
        Flight::UnderWay(flight)
    }

    pub(super) fn has(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }
}

impl Flight {
    /// What the lookup gave. `None` where it broke off.
    pub(super) async fn landed(self) -> Option<Outcome> {
        match self {
            Self::Landed(outcome) => Some(outcome),
            Self::UnderWay(flight) => flight.await.ok(),
        }
    }
}

struct Slot {
    flights: Arc<Map<Waiting>>,
    key: Key,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.flights.remove(&self.key);
    }
}
