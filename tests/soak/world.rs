//! The world of the soak: a registry, an application with its accounts in PostgreSQL, three sidecars in front of it, and what is true there at any time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reset_gatekeeper::testing::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::application;
use crate::dice::Dice;
use crate::front::Front;
use crate::ledger::{Arrival, Ledger, Told, Who};
use crate::model::{
    Evidence, Expected, FRESH_FOR, Flag, LINGERS_LONG, STALE_FOR, STRAIN, Span, TIMEOUT, Timeline, Truth, Weather, expected, is_calm,
};
use crate::population::Population;
use crate::replica::Replica;
use crate::schema::Schema;

/// A decoy's addresses are here, in letters of the case of the address that they stand for.
const DECOY_DOMAIN: &str = "@gatekeeper.invalid";

pub(crate) struct World {
    pub(crate) registry: Registry,
    pub(crate) front: Front,
    pub(crate) population: Population,
    /// The first runs from beginning to end, the others are restarted.
    pub(crate) replicas: Vec<Replica>,
    pub(crate) ledger: Ledger,
    pub(crate) state: Mutex<State>,
    pub(crate) database: tokio::sync::Mutex<Schema>,
    pub(crate) over: watch::Sender<bool>,
    pub(crate) http: reqwest::Client,
    upstream: String,
    database_url: String,
    folder: tempfile::TempDir,
    downloads: AtomicU64,
    is_evidence: AtomicBool,
}

/// What is true now, and was.
pub(crate) struct State {
    pub(crate) domains: Vec<Timeline<Truth>>,
    pub(crate) flags: Vec<Timeline<Flag>>,
    pub(crate) weather: Timeline<Weather>,
    /// When each domain was last seen for certain.
    seen: Vec<Option<Span>>,
    /// When the machine was last seen overstrained.
    strained: Option<Instant>,
}

/// How a sidecar answers who is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Refuse,
    Decoy,
}

impl World {
    pub(crate) async fn open() -> Arc<Self> {
        let registry = Registry::start().await.unwrap();
        let population = Population::settle(&registry);
        let front = Front::open(registry.base_url().trim_start_matches("http://").trim_end_matches('/').parse().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let bootstrap = registry.bootstrap_file().replace(&registry.base_url(), &format!("http://{}/", front.address));
        std::fs::write(folder.path().join("dns.json"), bootstrap).unwrap();
        let mut schema = Schema::create().await;
        schema.run(&population.table()).await;
        let now = Instant::now();
        let flag = |verified| Timeline::of(if verified { Flag::Verified } else { Flag::Unverified }, now);
        let state = State {
            domains: population.domains.iter().map(|domain| Timeline::of(domain.truth, now)).collect(),
            flags: population.accounts.iter().map(|account| flag(account.verified)).collect(),
            weather: Timeline::of(Weather::Calm, now),
            seen: population.domains.iter().map(|_| None).collect(),
            strained: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = Arc::new(Self {
            replicas: (0..3).map(|number| Replica::new(folder.path().join(format!("replica-{number}")))).collect(),
            upstream: format!("http://{}", listener.local_addr().unwrap()),
            database_url: schema.url.clone(),
            database: tokio::sync::Mutex::new(schema),
            state: Mutex::new(state),
            ledger: Ledger::default(),
            over: watch::Sender::new(false),
            http: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap(),
            downloads: AtomicU64::new(0),
            is_evidence: AtomicBool::new(false),
            registry,
            front,
            population,
            folder,
        });
        application::serve(listener, Arc::clone(&world));
        for replica in &world.replicas {
            world.start(replica, Mode::Refuse).await;
        }
        world
    }

    /// Starts a sidecar, as often as it takes.
    pub(crate) async fn start(&self, replica: &Replica, mode: Mode) {
        while !replica.start(&self.configuration(mode, 30, "")).await {
            self.ledger.count("sidecar", "did not start, since the database kept it waiting");
        }
        self.ledger.count("sidecar", format!("started to {mode:?}").to_lowercase());
    }

    /// Has a sidecar go over to another configuration that nobody is judged by.
    pub(crate) async fn reload(&self, replica: &Replica, mode: Mode, dice: &mut Dice) {
        let more = ["", "[[guard]]\npath = \"/elsewhere/{name}\"\ntarget = \"path:name\"\n"][dice.below(2)];
        replica.reload(&self.configuration(mode, 30 + dice.below(10), more)).await;
        self.ledger.count("sidecar", format!("reloaded to {mode:?}").to_lowercase());
    }

    /// A sidecar's `gatekeeper.toml`.
    fn configuration(&self, mode: Mode, application_timeout: usize, more: &str) -> String {
        let (mode, floor) = match mode {
            Mode::Refuse => ("refuse", "0s"),
            Mode::Decoy => ("decoy", "20ms"),
        };
        let (upstream, database, folder) = (&self.upstream, &self.database_url, self.folder.path().display());
        let (fresh_for, stale_for, timeout) = (FRESH_FOR.as_secs(), STALE_FOR.as_secs(), TIMEOUT.as_secs());
        format!(
            r#"
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
upstream = "{upstream}"
timeout = "{application_timeout}s"
[reply]
mode = "{mode}"
floor = "{floor}"
[[guard]]
path = "/reset"
target = ["form:email", "json:/email", "query:email"]
[[guard]]
path = "/confirm"
methods = ["PUT"]
target = "form:email"
{more}[directory]
url = "{database}"
unverify = "UPDATE users SET verified = false WHERE id = $1"
[directory.lookup]
email = "SELECT id, email, verified, verified_at FROM users WHERE lower(email) = lower($1)"
[state]
url = "{database}"
[domains]
sources = ["rdap"]
fresh_for = "{fresh_for}s"
stale_for = "{stale_for}s"
timeout = "{timeout}s"
[domains.rdap]
bootstrap = "{folder}/dns.json"
allow_insecure = true
[audit]
rotate_size = "8MiB"
"#
        )
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Leaves the logs where they are when the soak is over.
    pub(crate) fn keep_evidence(&self) {
        self.is_evidence.store(true, Ordering::SeqCst);
        eprintln!("the logs are left in {}", self.folder.path().display());
    }

    /// Lets so much time pass. Says whether the soak goes on.
    pub(crate) async fn pause(&self, seconds: f64) -> bool {
        let mut over = self.over.subscribe();
        let is_over = async { over.wait_for(|over| *over).await.is_ok() };
        tokio::time::timeout(Duration::from_secs_f64(seconds), is_over).await.is_err()
    }

    /// The application would mail `email` now.
    pub(crate) fn received(&self, trace: &str, email: &str) {
        let arrival = if email.to_lowercase().ends_with(DECOY_DOMAIN) { Arrival::Decoy } else { Arrival::Asked };
        let Some(sent) = self.ledger.arrived(trace, arrival) else { return };
        self.note_strain(Instant::now());
        let is_right = match (&sent.who, arrival) {
            (Who::Nobody, _) | (Who::Stranger(_), Arrival::Decoy) => false,
            (Who::Stranger(asked), Arrival::Asked) => asked == email,
            (Who::Account(_), Arrival::Decoy) => true,
            (Who::Account(place), Arrival::Asked) => {
                let span = Span { from: sent.from, to: Instant::now() };
                self.population.accounts[*place].email.eq_ignore_ascii_case(email) && self.expected(*place, span).allow
            }
        };
        if !is_right {
            self.ledger.wrong(format!("the application got {email:?} of {sent:?}, trace {trace}"));
        }
    }

    /// Notes whether somebody waits longer than anything takes here.
    fn note_strain(&self, now: Instant) {
        let mut state = self.state.lock().unwrap();
        if is_calm(&state.weather, Span { from: now, to: now }) && self.ledger.has_waiting(now - STRAIN) {
            state.strained = Some(now);
        }
    }

    /// Whether failures may still come of an overstrained machine.
    pub(crate) fn is_strained(&self) -> bool {
        self.note_strain(Instant::now());
        self.state.lock().unwrap().strained.is_some_and(|at| at.elapsed() < LINGERS_LONG)
    }

    fn expected(&self, account: usize, span: Span) -> Expected {
        let (state, domain) = (self.state.lock().unwrap(), self.population.accounts[account].domain);
        let (flag, domain, seen) = (&state.flags[account], &state.domains[domain], state.seen[domain]);
        expected(&Evidence { span, flag, domain, weather: &state.weather, seen, strained: state.strained })
    }

    /// Checks what was told of `who`, and learns from it what must hold from now on.
    pub(crate) fn told(&self, trace: &str, told: Told) {
        let to = Instant::now();
        self.note_strain(to);
        let sent = self.ledger.close(trace, Some(told.clone()));
        let span = Span { from: sent.from, to };
        let (expects_arrivals, is_allowed): (&[Arrival], bool) = match told {
            Told::Allowed => (&[Arrival::Asked], true),
            Told::Decoyed => (&[Arrival::Decoy], false),
            Told::Refused(_) | Told::Unavailable => (&[], false),
        };
        let expected = match sent.who {
            Who::Account(place) => self.expected(place, span),
            Who::Stranger(_) => Expected { allow: true, block: false, block_is_for_good: false, is_calm: false },
            Who::Nobody => Expected { allow: false, block: true, block_is_for_good: false, is_calm: false },
        };
        if told == Told::Unavailable {
            if !sent.arrivals.is_empty() {
                self.ledger.wrong(format!("503, but the application was asked: {sent:?}, trace {trace}"));
            }
            return;
        }
        self.ledger.count("verdict", if expected.allow && expected.block { "either was right" } else { "one was right" });
        let is_right = if is_allowed { expected.allow } else { expected.block };
        if !is_right || sent.arrivals != expects_arrivals {
            let name = if let Who::Account(place) = sent.who { self.population.accounts[place].email.as_str() } else { "" };
            let took = span.to - span.from;
            self.ledger.wrong(format!("{told:?} where {expected:?} is right: {sent:?}, {name}, trace {trace}, after {took:?}"));
        }
        if let Who::Account(place) = sent.who {
            self.learn(place, span, is_allowed, expected);
        }
    }

    fn learn(&self, place: usize, span: Span, is_allowed: bool, expected: Expected) {
        let mut state = self.state.lock().unwrap();
        if is_allowed && expected.is_calm {
            let seen = &mut state.seen[self.population.accounts[place].domain];
            *seen = Some(seen.filter(|seen| seen.from > span.from).unwrap_or(span));
        }
        let flag = &mut state.flags[place];
        if !is_allowed && expected.block_is_for_good && flag.is_since(Flag::Verified, span.from) {
            flag.begin(Flag::Unverified, span.from);
            flag.done(span.to);
        }
    }

    /// A number for each download, so that no two are alike.
    pub(crate) fn next_download(&self) -> u64 {
        self.downloads.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.folder.disable_cleanup(self.is_evidence.load(Ordering::SeqCst));
    }
}
