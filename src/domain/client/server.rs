//! What one server can be asked, and when: how it did, how fast it is asked, and how many questions are under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use reqwest::Url;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::breaker::{Breaker, FAILURES};
use super::pace::Pace;
use crate::domain::SourceError;
use crate::metrics;

/// How long a server is left alone that says "too many requests" and not until when.
const UNSAID_REST: Duration = Duration::from_secs(1);

/// A question that was under way for so long when its caller gave it up has failed.
const ENOUGH: Duration = Duration::from_millis(500);

/// From how many servers on those that are idle are let go.
const SERVERS: usize = 1024;

/// After so long without a question a server's pace is as if it had never been asked, and its failures are no news.
const IDLE_AFTER: Duration = Duration::from_secs(60);

/// The servers that were asked of late, by origin. The bootstrap file and overrides name a few hundred; links to registrars lead to any number.
#[derive(Debug)]
pub(super) struct Servers {
    by_origin: DashMap<String, Arc<Server>>,
    pace: Pace,
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    origin: Box<str>,
    health: Mutex<Health>,
    pace: RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Nanos>>,
    clock: Ticks,
    waiting: Semaphore,
    /// Held by the question whose turn is next.
    next: tokio::sync::Mutex<()>,
    under_way: Semaphore,
}

#[derive(Debug)]
struct Health {
    breaker: Breaker,
    /// With what the server asked to be left alone, and until when.
    rest: Option<(u16, Instant)>,
    asked_at: Instant,
}

/// Why a server is not asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Spared {
    /// It answered this status, and wants to be left alone for so long from now on.
    #[error("it answered {0} and wants to be left alone for another {1:?}")]
    Rests(u16, Duration),
    /// It fails.
    #[error("it failed {FAILURES} times in a row and is left alone for another {0:?}")]
    Fails(Duration),
    /// More questions wait than it will be asked soon.
    #[error("too many questions wait for their turn")]
    Crowded,
}

impl Servers {
    pub(super) fn new(pace: Pace) -> Self {
        Self { by_origin: DashMap::new(), pace }
    }

    pub(super) fn of(&self, url: &Url) -> Arc<Server> {
        let origin = url.origin().ascii_serialization();
        if let Some(server) = self.by_origin.get(&origin) {
            return Arc::clone(&server);
        }
        if self.by_origin.len() >= SERVERS {
            let now = Instant::now();
            self.by_origin.retain(|_, server| Arc::strong_count(server) > 1 || !server.is_idle(now));
            // So many that are not idle come of somebody's making, and memory is dearer than what they are spared.
            if self.by_origin.len() >= SERVERS {
                self.by_origin.retain(|_, server| Arc::strong_count(server) > 1);
            }
        }
        let server = Arc::new(Server::new(&origin, self.pace));
        Arc::clone(&self.by_origin.entry(origin).or_insert(server))
    }
}

impl Server {
    fn new(origin: &str, pace: Pace) -> Self {
        let clock = Ticks(Instant::now());
        Self {
            origin: origin.into(),
            health: Mutex::new(Health { breaker: Breaker::default(), rest: None, asked_at: Instant::now() }),
            pace: RateLimiter::direct_with_clock(pace.quota(), clock.clone()),
            clock,
            waiting: Semaphore::new(pace.waiting()),
            next: tokio::sync::Mutex::default(),
            under_way: Semaphore::new(pace.under_way()),
        }
    }

    /// Waits until the server may be asked; ten seconds at most for its pace, and for others' questions as long as they take.
    ///
    /// Cancel safe.
    pub(super) async fn enter<'a>(&'a self, all: &'a Semaphore, question: &'a str) -> Result<Asked<'a>, Spared> {
        self.is_up()?;
        self.turn().await?;
        let permits = [self.under_way.acquire().await.ok(), all.acquire().await.ok()];
        // Those who were before may have learned how the server is.
        self.is_up()?;
        let now = Instant::now();
        let mut health = self.health();
        health.asked_at = now;
        health.breaker.enter(now).map_err(Spared::Fails)?;
        Ok(Asked { server: self, question, since: now, is_over: false, _permits: permits })
    }

    /// Whether the server may be asked, but for its pace.
    pub(super) fn is_up(&self) -> Result<(), Spared> {
        let (now, health) = (Instant::now(), self.health());
        match (health.resting(now), health.breaker.open_for(now)) {
            (Some((status, left)), _) => Err(Spared::Rests(status, left)),
            (None, Some(left)) => Err(Spared::Fails(left)),
            (None, None) => Ok(()),
        }
    }

    /// Waits for this question's turn, in the order of coming.
    async fn turn(&self) -> Result<(), Spared> {
        if self.pace.check().is_ok() {
            return Ok(());
        }
        let _place = self.waiting.try_acquire().map_err(|_| Spared::Crowded)?;
        let _next = self.next.lock().await;
        while let Err(early) = self.pace.check() {
            tokio::time::sleep(early.wait_time_from(self.clock.now())).await;
        }
        Ok(())
    }

    /// The server began an answer with this status, which may tell to leave it alone.
    fn heard(&self, status: u16, retry_after: Option<Duration>) {
        let rest = match status {
            429 => Some(retry_after.unwrap_or(UNSAID_REST)),
            503 => retry_after,
            _ => None,
        };
        if let Some(rest) = rest {
            self.health().rest = Some((status, Instant::now() + rest));
        }
    }

    /// The server's answer is complete, be it a refusal.
    fn answered(&self, question: &str, status: u16) {
        // 501 is about the question (RFC 9110 §15.6.2), and the server as well as ever.
        if status >= 500 && status != 501 {
            self.failed(question);
        } else {
            let was_open = self.health().breaker.answered();
            if was_open {
                metrics::breaker(&self.origin, false);
            }
        }
    }

    /// The server gave no answer, or broke off.
    fn failed(&self, question: &str) {
        let opens = self.health().breaker.failed(question, Instant::now());
        if opens {
            metrics::breaker(&self.origin, true);
        }
    }

    /// Whether nothing is lost by forgetting it.
    fn is_idle(&self, now: Instant) -> bool {
        let health = self.health();
        health.resting(now).is_none() && now.saturating_duration_since(health.asked_at) >= IDLE_AFTER
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is forgotten is not left alone any more.
impl Drop for Server {
    fn drop(&mut self) {
        if self.health.get_mut().unwrap_or_else(PoisonError::into_inner).breaker.answered() {
            metrics::breaker(&self.origin, false);
        }
    }
}

/// A question that is under way. Where it is given up before it is over, as a lookup is that has waited long enough, the server has failed it if it had the time: one that
/// hangs would else never be left alone.
pub(super) struct Asked<'a> {
    server: &'a Server,
    question: &'a str,
    since: Instant,
    is_over: bool,
    _permits: [Option<SemaphorePermit<'a>>; 2],
}

impl Asked<'_> {
    /// An answer begins. It must still be [complete](Self::answered).
    pub(super) fn heard(&self, status: u16, retry_after: Option<Duration>) {
        self.server.heard(status, retry_after);
    }

    /// The answer is complete, be it a refusal.
    pub(super) fn answered(mut self, status: u16) {
        self.is_over = true;
        self.server.answered(self.question, status);
    }

    /// There was no answer, or it broke off.
    pub(super) fn failed(mut self) {
        self.is_over = true;
        self.server.failed(self.question);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_over && self.since.elapsed() >= ENOUGH {
            self.server.failed(self.question);
        }
    }
}

impl Health {
    fn resting(&self, now: Instant) -> Option<(u16, Duration)> {
        let (status, until) = self.rest?;
        let left = until.saturating_duration_since(now);
        (!left.is_zero()).then_some((status, left))
    }
}

impl Spared {
    /// The error of a question that was not asked: the one that the server gave where it wants to be left alone, else that it can't be reached, so that
    /// an alternative is asked (RFC 9224 §4).
    pub(super) fn into_error(self, url: &Url) -> SourceError {
        match self {
            Self::Rests(status, left) => SourceError::Refused { url: url.to_string(), status, retry_after: Some(left) },
            Self::Fails(_) | Self::Crowded => SourceError::Transport { url: url.to_string(), source: self.into() },
        }
    }
}

/// Tokio's time since the server was first asked, as the rate limiter reads it.
#[derive(Debug, Clone)]
struct Ticks(Instant);

impl Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::super::breaker::OPEN_FOR;
    use super::*;

    fn all() -> Semaphore {
        Semaphore::new(64)
    }

    async fn ask(server: &Server) -> Result<(), Spared> {
        server.enter(&all(), "asked").await.map(drop)
    }

    fn answer(server: &Server, question: &str, status: u16, retry_after: Option<Duration>) {
        server.heard(status, retry_after);
        server.answered(question, status);
    }

    #[tokio::test(start_paused = true)]
    async fn questions_beyond_the_pace_wait_for_ten_seconds_at_most_or_fail_at_once() {
        let (server, start) = (Server::new("", Pace::default()), Instant::now());
        let outcomes = join_all((0..500).map(|_| async { (ask(&server).await, start.elapsed()) })).await;
        let (asked, spared): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|(outcome, _)| outcome.is_ok());
        assert_eq!(asked.iter().filter(|(_, waited)| waited.is_zero()).count(), 100);
        assert_eq!(asked.len(), 260);
        assert!(asked.iter().all(|(_, waited)| *waited <= Duration::from_millis(10_200)), "{asked:?}");
        assert!(spared.iter().all(|(outcome, waited)| *outcome == Err(Spared::Crowded) && waited.is_zero()), "{spared:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_wants_to_be_left_alone_is() {
        let server = Server::new("", Pace::default());
        answer(&server, "one", 429, Some(Duration::from_secs(17)));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(ask(&server).await, Err(Spared::Rests(429, Duration::from_secs(10))));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(ask(&server).await, Ok(()));
        answer(&server, "one", 404, Some(Duration::from_secs(17)));
        assert_eq!(ask(&server).await, Ok(()), "only 429 and 503 are about the server");
        answer(&server, "one", 429, None);
        assert_eq!(ask(&server).await, Err(Spared::Rests(429, UNSAID_REST)));
    }

    /// Who waits behind the question that learns it does not ask either.
    #[tokio::test(start_paused = true)]
    async fn a_question_that_waits_is_spared_what_those_before_it_learn() {
        let (server, one) = (Server::new("", Pace::default()), Semaphore::new(1));
        let first = server.enter(&one, "first").await.unwrap();
        let (second, ()) = tokio::join!(server.enter(&one, "second"), async {
            server.heard(503, Some(Duration::from_secs(5)));
            drop(first);
        });
        assert_eq!(second.map(drop), Err(Spared::Rests(503, Duration::from_secs(5))));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_the_server_open_the_breaker_and_refusals_never_do() {
        let server = Server::new("", Pace::default());
        for status in [400, 403, 404, 429, 501].repeat(4) {
            answer(&server, "refused", status, None);
        }
        tokio::time::advance(UNSAID_REST).await;
        for number in 1..FAILURES {
            answer(&server, &number.to_string(), 500, None);
        }
        assert_eq!(ask(&server).await, Ok(()));
        server.failed("last");
        assert_eq!(ask(&server).await, Err(Spared::Fails(OPEN_FOR)));
        tokio::time::advance(OPEN_FOR).await;
        assert_eq!(join_all([ask(&server), ask(&server)]).await, [Ok(()), Err(Spared::Fails(OPEN_FOR))]);
        answer(&server, "last", 404, None);
        assert_eq!(ask(&server).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_callers_gave_up_on_has_failed_them_if_it_had_the_time() {
        let (server, all) = (Server::new("", Pace::default()), all());
        for (patience, outcome) in [(ENOUGH / 2, Ok(())), (ENOUGH, Err(Spared::Fails(OPEN_FOR)))] {
            for number in 0..FAILURES {
                let question = number.to_string();
                let asked = server.enter(&all, &question).await.unwrap();
                tokio::time::advance(patience).await;
                drop(asked);
            }
            assert_eq!(server.is_up(), outcome, "{patience:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn servers_are_forgotten_once_they_are_idle_and_bounded_in_any_case() {
        let servers = Servers::new(Pace::default());
        let of = |number: usize| servers.of(&Url::parse(&format!("https://r{number}.example/x")).unwrap());
        let (resting, used) = (of(0), of(1));
        resting.heard(503, Some(Duration::from_secs(3_600)));
        drop(resting);
        (2..SERVERS).for_each(|number| drop(of(number)));
        assert_eq!(servers.by_origin.len(), SERVERS);
        tokio::time::advance(IDLE_AFTER).await;
        drop(of(SERVERS));
        assert_eq!(servers.by_origin.len(), 3, "the new one, the one that is asked right now, and the one that wants to be left alone");
        assert!(of(0).is_up().is_err() && Arc::ptr_eq(&used, &of(1)));
        for number in 0..5 * SERVERS {
            of(number).heard(503, Some(Duration::from_secs(3_600)));
            assert!(servers.by_origin.len() <= SERVERS);
        }
    }
}
