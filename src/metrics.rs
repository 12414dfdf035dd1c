//! What is counted and timed, through the facade of the crate `metrics`: a gatekeeper counts into whichever recorder its process has installed before it was built.
//! [`describe`] lists all of it.

use std::time::Duration;

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::audit::Decision;
use crate::verdict::Verdict;

/// Makes [`describe`] of the metrics, each with its kind, its labels and what it tells.
macro_rules! described {
    ($($kind:ident $name:literal, $labels:literal, $what:literal;)*) => {
        /// Says to the recorder what each metric is, for those that show it:
        ///
        /// | metric | kind | labels | what |
        /// |---|---|---|---|
        $(#[doc = concat!("| `", $name, "` | ", stringify!($kind), " | ", $labels, " | ", $what, " |")])*
        pub fn describe() {
            $(described!($kind $name, $what);)*
        }
    };
    (counter $name:literal, $what:literal) => { describe_counter!($name, $what) };
    (gauge $name:literal, $what:literal) => { describe_gauge!($name, $what) };
    (histogram $name:literal, $what:literal) => { describe_histogram!($name, Unit::Seconds, $what) };
}

described! {
    counter "reset_gatekeeper_verdicts_total", "`verdict`, `reason`, `enforced`", "verdicts, by the first reason; `none` where none holds";
    histogram "reset_gatekeeper_verdict_seconds", "", "from the reading of whom a request is for to the verdict's record";
    counter "reset_gatekeeper_unavailable_total", "`part`", "recovery requests without a verdict, since the `directory` or the `audit` failed";
    counter "reset_gatekeeper_cache_lookups_total", "`outcome`", "domains that were looked up, by what answered: `fresh`, `asked`, `stale`, `failed`";
    counter "reset_gatekeeper_live_checks_total", "`source`, `outcome`", "questions to a source: `answered`, `failed`";
    histogram "reset_gatekeeper_live_check_seconds", "`source`", "how long each question to a source took";
    gauge "reset_gatekeeper_breaker_open", "`server`", "1 from when a server that fails is left alone until it answers";
    histogram "reset_gatekeeper_audit_seconds", "", "how long a record took to be kept, group and sync included";
    counter "reset_gatekeeper_audit_failures_total", "", "records that were not kept";
    gauge "reset_gatekeeper_webhook_lag", "", "records that the webhook has not taken yet";
    counter "reset_gatekeeper_webhook_passed_over_total", "`why`", "records that the webhook never gets: `refused`, `unreadable`, `missing`";
    gauge "reset_gatekeeper_sweep_accounts", "", "accounts that the sweep went through so far, or in all";
    gauge "reset_gatekeeper_sweep_domains", "", "domains that these accounts hang on";
    gauge "reset_gatekeeper_sweep_looked", "", "domains that this round looked at";
    gauge "reset_gatekeeper_sweep_due", "", "domains that are due";
    counter "reset_gatekeeper_sweep_found_total", "`reason`", "domains that were found to have lapsed or changed hands";
    counter "reset_gatekeeper_sweep_unverified_total", "`reason`", "accounts that the sweep un-verified";
    gauge "reset_gatekeeper_sweep_braked", "", "1 while the brake keeps addresses from losing their verification";
}

/// What the cached decision counts into, looked up once.
pub(crate) struct Metrics {
    allowed: Counter,
    fresh: Counter,
    verdict_seconds: Histogram,
    audit_seconds: Histogram,
}

/// What of a domain's look-up answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LookUp {
    Fresh,
    Asked,
    Stale,
    Failed,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            allowed: counter!("reset_gatekeeper_verdicts_total", "verdict" => "allow", "reason" => "none", "enforced" => "true"),
            fresh: counter!("reset_gatekeeper_cache_lookups_total", "outcome" => "fresh"),
            verdict_seconds: histogram!("reset_gatekeeper_verdict_seconds"),
            audit_seconds: histogram!("reset_gatekeeper_audit_seconds"),
        }
    }

    /// A verdict that took so long.
    pub(crate) fn judged(&self, verdict: &Verdict, enforced: bool, took: Duration) {
        self.verdict_seconds.record(took);
        match (verdict.decision(), verdict.reasons().first()) {
            (Decision::Allow, None) if enforced => self.allowed.increment(1),
            (decision, reason) => {
                let reason = reason.map_or("none", |reason| reason.as_str());
                let enforced = if enforced { "true" } else { "false" };
                counter!("reset_gatekeeper_verdicts_total", "verdict" => decision.as_str(), "reason" => reason, "enforced" => enforced)
                    .increment(1);
            }
        }
    }

    /// Records took so long to be kept, and so many of them were not.
    pub(crate) fn recorded(&self, lost: usize, took: Duration) {
        self.audit_seconds.record(took);
        if lost > 0 {
            counter!("reset_gatekeeper_audit_failures_total").increment(lost as u64);
        }
    }

    /// A domain was looked up.
    pub(crate) fn looked_up(&self, outcome: LookUp) {
        match outcome {
            LookUp::Fresh => self.fresh.increment(1),
            LookUp::Asked => counter!("reset_gatekeeper_cache_lookups_total", "outcome" => "asked").increment(1),
            LookUp::Stale => counter!("reset_gatekeeper_cache_lookups_total", "outcome" => "stale").increment(1),
            LookUp::Failed => counter!("reset_gatekeeper_cache_lookups_total", "outcome" => "failed").increment(1),
        }
    }
}

/// A recovery request has no verdict, since a part failed.
pub(crate) fn unavailable(part: &'static str) {
    counter!("reset_gatekeeper_unavailable_total", "part" => part).increment(1);
}

/// A source was asked.
pub(crate) fn asked(source: &'static str, has_answered: bool, took: Duration) {
    let outcome = if has_answered { "answered" } else { "failed" };
    counter!("reset_gatekeeper_live_checks_total", "source" => source, "outcome" => outcome).increment(1);
    histogram!("reset_gatekeeper_live_check_seconds", "source" => source).record(took);
}

/// A server is left alone from now on, or no longer.
pub(crate) fn breaker(server: &str, is_open: bool) {
    gauge!("reset_gatekeeper_breaker_open", "server" => server.to_owned()).set(f64::from(u8::from(is_open)));
}

/// So many records wait for the webhook.
#[cfg(all(feature = "webhook", any(feature = "postgres", feature = "sqlite")))]
pub(crate) fn undelivered(records: u64) {
    gauge!("reset_gatekeeper_webhook_lag").set(number(records));
}

/// So many records never reach the webhook: `refused` for a day, `unreadable`, or `missing` since they were moved away.
#[cfg(all(feature = "webhook", any(feature = "postgres", feature = "sqlite")))]
pub(crate) fn passed_over(why: &'static str, records: u64) {
    counter!("reset_gatekeeper_webhook_passed_over_total", "why" => why).increment(records);
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
const fn number(number: u64) -> f64 {
    number as f64
}

/// How a sweep goes.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn swept(event: &crate::sweep::SweepEvent) {
    use crate::sweep::SweepEvent;
    match event {
        SweepEvent::Discovering { accounts } => gauge!("reset_gatekeeper_sweep_accounts").set(number(*accounts)),
        SweepEvent::Discovered { accounts, domains } => {
            gauge!("reset_gatekeeper_sweep_accounts").set(number(*accounts));
            gauge!("reset_gatekeeper_sweep_domains").set(number(*domains));
            gauge!("reset_gatekeeper_sweep_braked").set(0);
        }
        SweepEvent::Looking { looked, left } => {
            gauge!("reset_gatekeeper_sweep_looked").set(number(*looked));
            gauge!("reset_gatekeeper_sweep_due").set(number(*left));
        }
        SweepEvent::Found { reason, .. } => counter!("reset_gatekeeper_sweep_found_total", "reason" => reason.as_str()).increment(1),
        SweepEvent::Unverified { reason, .. } => {
            counter!("reset_gatekeeper_sweep_unverified_total", "reason" => reason.as_str()).increment(1);
        }
        SweepEvent::Braked { .. } => gauge!("reset_gatekeeper_sweep_braked").set(1),
    }
}
