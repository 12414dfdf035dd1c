//! What was asked, what was answered, and what reached the application, by the trace identifier that each request carries into its audit record.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tokio::time::Instant;

use crate::population::Account;

/// Whom a reset is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    /// The account at this place.
    Account(usize),
    /// An address that no account has.
    Stranger(String),
    /// Nobody that can be read, so no mail may come of it.
    Nobody,
}

/// What reached the application of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The address that was asked for.
    Asked,
    /// One that nobody has.
    Decoy,
}

/// What was told to a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Allowed,
    /// By a decoy, without a reference.
    Decoyed,
    /// Blocked, or refused as unreadable, with this reference.
    Refused(String),
    /// That nobody can tell at the moment: no verdict, and so no reset.
    Unavailable,
}

#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) who: Who,
    pub(crate) from: Instant,
    /// Whether it was sent at once, so that its caller waits for nothing but the answer.
    pub(crate) is_whole: bool,
    pub(crate) arrivals: Vec<Arrival>,
}

/// What is checked against the audit logs in the end.
#[derive(Debug)]
struct Closed {
    who: Who,
    told: Option<Told>,
    arrivals: Vec<Arrival>,
}

#[derive(Default)]
pub(crate) struct Ledger {
    traces: AtomicU64,
    open: Mutex<HashMap<String, Sent>>,
    closed: Mutex<HashMap<String, Closed>>,
    counts: Mutex<BTreeMap<(&'static str, String), u64>>,
    wrong: Mutex<Vec<String>>,
}

impl Ledger {
    /// A request is about to be sent. Gives its trace identifier.
    pub(crate) fn send(&self, who: Who, is_whole: bool) -> String {
        let trace = format!("{:032x}", self.traces.fetch_add(1, Ordering::Relaxed) + 1);
        let sent = Sent { who, from: Instant::now(), is_whole, arrivals: Vec::new() };
        self.open.lock().unwrap().insert(trace.clone(), sent);
        trace
    }

    /// A request reached the application. Gives whom it was for, and since when; `None` where nobody sent it, or its caller has gone.
    pub(crate) fn arrived(&self, trace: &str, arrival: Arrival) -> Option<Sent> {
        if let Some(sent) = self.open.lock().unwrap().get_mut(trace) {
            sent.arrivals.push(arrival);
            return Some(sent.clone());
        }
        self.closed.lock().unwrap().get_mut(trace)?.arrivals.push(arrival);
        None
    }

    /// Nothing more is awaited of a request. Gives what reached the application of it.
    pub(crate) fn close(&self, trace: &str, told: Option<Told>) -> Sent {
        let sent = self.open.lock().unwrap().remove(trace).expect("a request is closed once");
        let closed = Closed { who: sent.who.clone(), told, arrivals: sent.arrivals.clone() };
        self.closed.lock().unwrap().insert(trace.to_owned(), closed);
        sent
    }

    /// Whether somebody has been waiting for an answer since before `since`.
    pub(crate) fn has_waiting(&self, since: Instant) -> bool {
        self.open.lock().unwrap().values().any(|sent| sent.is_whole && sent.from < since)
    }

    /// What reached the application of a request so far.
    pub(crate) fn arrivals(&self, trace: &str) -> Vec<Arrival> {
        self.open.lock().unwrap().get(trace).map(|sent| sent.arrivals.clone()).unwrap_or_default()
    }

    pub(crate) fn count(&self, kind: &'static str, outcome: impl Into<String>) {
        *self.counts.lock().unwrap().entry((kind, outcome.into())).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<(&'static str, String), u64> {
        self.counts.lock().unwrap().clone()
    }

    /// How often anything had an outcome that begins so.
    pub(crate) fn total(&self, outcome: &str) -> u64 {
        self.counts.lock().unwrap().iter().filter(|((_, found), _)| found.starts_with(outcome)).map(|(_, count)| count).sum()
    }

    pub(crate) fn wrong(&self, what: String) {
        eprintln!("wrong: {what}");
        self.wrong.lock().unwrap().push(what);
    }

    pub(crate) fn wrongs(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    /// Compares what was told and what was mailed with `records`, and gives how many records of verdicts there were, and what is lost.
    pub(crate) fn reconcile(&self, records: impl Iterator<Item = Value>, accounts: &[Account]) -> (usize, Vec<String>) {
        let mut found = HashMap::<String, Vec<Verdict>>::new();
        let mut count = 0;
        for record in records.filter(|record| record["event"] == "reset_allowed" || record["event"] == "reset_blocked") {
            count += 1;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let is_allowed = record["event"] == "reset_allowed";
            let verdict = Verdict { id: text(&record["id"]), email: text(&record["account"]["email"]), is_allowed };
            found.entry(text(&record["request"]["trace_id"])).or_default().push(verdict);
        }
        let closed = self.closed.lock().unwrap();
        let is_whole = |closed: &Closed, verdicts: &[Verdict]| {
            let told_is_recorded = match (&closed.told, verdicts) {
                (None, verdicts) => verdicts.len() <= 1,
                (Some(Told::Allowed), [verdict]) => verdict.is_allowed,
                (Some(Told::Decoyed), [verdict]) => !verdict.is_allowed,
                // The log is slow, not broken: what is not told may be recorded.
                (Some(Told::Unavailable), verdicts) => verdicts.len() <= 1,
                (Some(Told::Refused(reference)), [verdict]) => !verdict.is_allowed && verdict.id == *reference,
                (Some(_), _) => false,
            };
            let is_recorded = |arrival: &Arrival| verdicts.iter().any(|verdict| verdict.is_allowed == (*arrival == Arrival::Asked));
            let is_of_account = |verdict: &Verdict| match closed.who {
                Who::Account(place) => verdict.email == accounts[place].email,
                Who::Stranger(_) => verdict.email.is_empty(),
                Who::Nobody => true,
            };
            told_is_recorded && closed.arrivals.iter().all(is_recorded) && verdicts.iter().all(is_of_account)
        };
        let mut lost = Vec::new();
        for (trace, closed) in &*closed {
            let verdicts = found.get(trace).map(Vec::as_slice).unwrap_or_default();
            if !is_whole(closed, verdicts) {
                lost.push(format!("{trace}: {closed:?}, but recorded is {verdicts:?}"));
            }
        }
        lost.extend(found.keys().filter(|trace| !closed.contains_key(*trace)).map(|trace| format!("{trace}: recorded, but never sent")));
        (count, lost)
    }
}

/// What a record says.
#[derive(Debug)]
struct Verdict {
    id: String,
    email: String,
    is_allowed: bool,
}
