//! How fast servers are asked, by all that share the state together.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::clock::Clock;
use crate::state::{State, StateError};

/// How far ahead moments are taken: what a worker that dies has taken is lost.
const HORIZON: Duration = Duration::from_secs(2);

/// How much of a second's moments are taken at once.
const SHARE: f64 = 0.5;

/// At most how many moments are taken at once.
const MOST: f64 = 256.0;

/// By how much a moment may be missed and still be used. Later, it would be used beside the next.
const TOLERANCE: Duration = Duration::from_millis(50);

/// How long to wait where others have taken all moments up to the horizon.
const PAUSE: Duration = Duration::from_millis(250);

/// The moments at which servers may be asked.
pub(super) struct Rations {
    state: State,
    clock: Arc<dyn Clock>,
    rate: Option<f64>,
    servers: Mutex<HashMap<String, Arc<Queue>>>,
}

/// The moments that were taken for one server and not used yet.
type Queue = tokio::sync::Mutex<VecDeque<SystemTime>>;

impl Rations {
    pub(super) fn new(state: State, clock: Arc<dyn Clock>, rate: Option<f64>) -> Self {
        Self { state, clock, rate, servers: Mutex::default() }
    }

    /// Waits until all of `servers` may be asked once more. Not where that is later than `deadline`: their moments are left to others.
    pub(super) async fn wait(&self, servers: &[String], deadline: SystemTime) -> Result<bool, StateError> {
        let Some(rate) = self.rate else { return Ok(true) };
        for server in servers {
            let Some(at) = self.moment(server, rate, deadline).await? else { return Ok(false) };
            if let Ok(left) = at.duration_since(self.clock.now()) {
                tokio::time::sleep(left).await;
            }
        }
        Ok(true)
    }

    async fn moment(&self, server: &str, rate: f64, deadline: SystemTime) -> Result<Option<SystemTime>, StateError> {
        let queue = Arc::clone(self.servers.lock().unwrap_or_else(PoisonError::into_inner).entry(server.to_owned()).or_default());
        // Who comes first is served first.
        let mut queue = queue.lock().await;
        loop {
            let now = self.clock.now();
            while queue.front().is_some_and(|at| *at + TOLERANCE < now) {
                queue.pop_front();
            }
            if now > deadline || queue.front().is_some_and(|at| *at > deadline) {
                return Ok(None);
            }
            if let Some(at) = queue.pop_front() {
                return Ok(Some(at));
            }
            let interval = Duration::from_secs_f64(1.0 / rate);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 256")]
            let count = (rate * SHARE).clamp(1.0, MOST) as u32;
            match self.state.ration(server, count, interval, now, HORIZON).await? {
                Some(first) => queue.extend((0..count).map(|place| first + interval * place)),
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}
