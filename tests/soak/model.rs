//! The expected verdict: a pure function of what was true and what was broken at the times from which the sidecars may know it.
//!
//! Each request has a span, from before it was sent to after it was answered, and was judged at some moment of it. So more than one verdict may be right: whatever may
//! follow from anything that was true within the reach of that span. Nothing is asserted about how long anything takes: where a machine that has too much else to do
//! leaves somebody waiting for as long as a sidecar waits for its source, the source could not tell, as if it failed.

use std::time::Duration;

use tokio::time::Instant;

/// The sidecars' `domains.fresh_for`, short, so that changes matter.
pub(crate) const FRESH_FOR: Duration = Duration::from_secs(8);
/// Their `domains.stale_for`: longer than any outage, so that one blocks nobody who was seen shortly before it.
pub(crate) const STALE_FOR: Duration = Duration::from_secs(60);
/// Their `domains.timeout`. A lookup that is joined may have begun so long ago.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);
/// Who waits for so long has found the machine overstrained: a lookup may have failed by that.
pub(crate) const STRAIN: Duration = Duration::from_millis(1_500);
/// So long a failure may have its effects where questions hang: a lookup goes on for up to thirty seconds, and then the server is left alone for five.
pub(crate) const LINGERS_LONG: Duration = Duration::from_secs(40);
/// After so long what one sidecar saw is in the state, where the others find it.
const KEPT_AFTER: Duration = Duration::from_secs(2);

/// From before something began to after it was done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

/// What the registry says of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    Healthy,
    /// On hold, or about to expire: blocked while that lasts.
    Barred,
    /// Lapsed, or registered anew after the verification: whoever is seen so is blocked until the address is verified again.
    Lost,
}

/// What the directory says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    Verified,
    Unverified,
}

/// How the registry's server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Calm,
    /// It fails, and is left alone for up to so long after it is well again.
    Foul(Duration),
}

/// What was in force when. A change takes its time, in which both the old and the new may be met.
#[derive(Debug)]
pub(crate) struct Timeline<T>(Vec<Change<T>>);

#[derive(Debug)]
struct Change<T> {
    begun: Instant,
    done: Option<Instant>,
    value: T,
}

impl<T: Copy + PartialEq> Timeline<T> {
    pub(crate) fn of(value: T, at: Instant) -> Self {
        Self(vec![Change { begun: at, done: Some(at), value }])
    }

    /// From `at` on, `value` may be met.
    pub(crate) fn begin(&mut self, value: T, at: Instant) {
        self.0.push(Change { begun: at, done: None, value });
    }

    /// From `at` on, nothing but the last value is met.
    pub(crate) fn done(&mut self, at: Instant) {
        self.0.iter_mut().for_each(|change| {
            change.done.get_or_insert(at);
        });
    }

    /// Whether `value` is in force, and was before `at`.
    pub(crate) fn is_since(&self, value: T, at: Instant) -> bool {
        self.0.last().is_some_and(|last| last.value == value && last.done.is_some_and(|done| done <= at))
    }

    /// Each value that may have been met in `span`, with when it began and, where it ended, when.
    fn during(&self, span: Span) -> impl Iterator<Item = (T, Instant, Option<Instant>)> {
        let ends = self.0.iter().skip(1).map(|next| next.done).chain([None]);
        let all = self.0.iter().zip(ends).map(|(change, end)| (change.value, change.begun, end));
        all.filter(move |(_, begun, end)| *begun <= span.to && end.is_none_or(|end| end >= span.from))
    }

    fn has(&self, value: T, span: Span) -> bool {
        self.during(span).any(|(met, ..)| met == value)
    }
}

/// What bears on one request for one account.
pub(crate) struct Evidence<'a> {
    pub(crate) span: Span,
    pub(crate) flag: &'a Timeline<Flag>,
    pub(crate) domain: &'a Timeline<Truth>,
    pub(crate) weather: &'a Timeline<Weather>,
    /// A request for an account of the domain that was let through in calm weather, so that the domain was seen then.
    pub(crate) seen: Option<Span>,
    /// When the machine was last seen overstrained, though the weather was calm.
    pub(crate) strained: Option<Instant>,
}

/// Which verdicts are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) allow: bool,
    pub(crate) block: bool,
    /// A block proves that the account is un-verified by now.
    pub(crate) block_is_for_good: bool,
    /// An allowance proves that the domain was seen within [`FRESH_FOR`].
    pub(crate) is_calm: bool,
}

/// Which verdicts are right about a request.
pub(crate) fn expected(evidence: &Evidence<'_>) -> Expected {
    let Evidence { span, flag, domain, weather, seen, strained } = *evidence;
    let is_strained = strained.is_some_and(|at| at + LINGERS_LONG >= span.from);
    let is_calm = !is_strained && is_calm(weather, span);
    let reach = if is_calm { FRESH_FOR + TIMEOUT } else { STALE_FOR + TIMEOUT };
    let mut expected = Expected { allow: false, block: false, block_is_for_good: is_calm, is_calm };
    for (flag, since, _) in flag.during(span) {
        if flag == Flag::Unverified {
            expected.block = true;
            expected.block_is_for_good = false;
            continue;
        }
        // What was seen before the verification is no evidence.
        let seen_from = Span { from: before(span.from, reach).max(since), ..span };
        let verified = Span { from: since, ..span };
        expected.allow |= domain.has(Truth::Healthy, seen_from);
        expected.block |= domain.has(Truth::Barred, seen_from) || domain.has(Truth::Lost, verified);
        // What was seen by one may not be kept for the others where all is slow.
        expected.block |= !is_calm && (is_strained || !seen.is_some_and(|seen| is_known(seen, since, span)));
        expected.block_is_for_good &= !domain.has(Truth::Barred, seen_from);
    }
    expected
}

/// Whether the registry did well, and had done for long enough.
pub(crate) fn is_calm(weather: &Timeline<Weather>, span: Span) -> bool {
    let recent = Span { from: before(span.from, LINGERS_LONG), ..span };
    !weather.during(recent).any(|(weather, _, end)| match weather {
        Weather::Calm => false,
        Weather::Foul(lingers) => end.is_none_or(|end| end + lingers >= span.from),
    })
}

/// Whether the domain that was seen in `seen`, after the verification, is still known to all in `span`, whatever its source does.
fn is_known(seen: Span, verified: Instant, span: Span) -> bool {
    let oldest = before(seen.from, FRESH_FOR + TIMEOUT);
    oldest >= verified && seen.to + KEPT_AFTER <= span.from && oldest + STALE_FOR >= span.to
}

/// The process's clock may have begun less than `span` before.
fn before(at: Instant, span: Duration) -> Instant {
    at.checked_sub(span).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One account, verified and at a healthy domain from the start, what becomes of them, and the verdicts on a request at second 1000: "a" for allow, "b" for block.
    #[test]
    fn whatever_was_true_within_reach_may_decide_and_nothing_else() {
        use Flag::{Unverified, Verified};
        use Truth::{Barred, Healthy, Lost};
        const FOUL: Weather = Weather::Foul(Duration::from_secs(10));
        type Row = (&'static [(u64, Truth)], &'static [(u64, Flag)], &'static [(u64, Weather)], Option<u64>, &'static str);
        let rows: &[Row] = &[
            (&[], &[], &[], None, "a"),
            (&[(900, Barred)], &[], &[], None, "b"),
            (&[(995, Barred)], &[], &[], None, "ab"),
            (&[(900, Barred), (995, Healthy)], &[], &[], None, "ab"),
            (&[(900, Barred), (980, Healthy)], &[], &[], None, "a"),
            (&[(900, Lost)], &[], &[], None, "b"),
            (&[(995, Lost)], &[], &[], None, "ab"),
            // Somebody may have seen it.
            (&[(500, Lost), (800, Healthy)], &[], &[], None, "ab"),
            (&[(500, Lost), (800, Healthy)], &[(700, Unverified)], &[], None, "b"),
            (&[(500, Lost), (800, Healthy)], &[(700, Unverified), (900, Verified)], &[], None, "a"),
            (&[(995, Barred)], &[(998, Unverified), (999, Verified)], &[], None, "b"),
            (&[], &[(900, Unverified)], &[], None, "b"),
            // Nobody can tell, but for those who saw it.
            (&[], &[], &[(990, FOUL)], None, "ab"),
            (&[], &[], &[(980, FOUL), (995, Weather::Calm)], None, "ab"),
            (&[], &[], &[(980, FOUL), (985, Weather::Calm)], None, "a"),
            (&[], &[], &[(980, FOUL)], Some(970), "a"),
            (&[], &[], &[(980, FOUL)], Some(940), "ab"),
            (&[], &[], &[(980, FOUL)], Some(999), "ab"),
            (&[], &[(965, Unverified), (966, Verified)], &[(980, FOUL)], Some(970), "ab"),
            (&[(950, Barred)], &[], &[(945, FOUL)], None, "ab"),
            (&[(930, Barred)], &[], &[(920, FOUL)], None, "b"),
            (&[(930, Lost)], &[], &[(920, FOUL)], None, "b"),
        ];
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        fn timeline<T: Copy + PartialEq>(first: T, changes: &[(u64, T)], at: impl Fn(u64) -> Instant) -> Timeline<T> {
            let mut timeline = Timeline::of(first, at(0));
            for (second, value) in changes {
                timeline.begin(*value, at(*second));
                timeline.done(at(*second));
            }
            timeline
        }
        for row @ (domain, flag, weather, seen, verdicts) in rows {
            let (flag, domain) = (timeline(Verified, flag, at), timeline(Healthy, domain, at));
            let weather = timeline(Weather::Calm, weather, at);
            let seen = seen.map(|second| Span { from: at(second), to: at(second) });
            let span = Span { from: at(1000), to: at(1000) };
            let evidence = Evidence { span, flag: &flag, domain: &domain, weather: &weather, seen, strained: None };
            let expected = expected(&evidence);
            let strained = self::expected(&Evidence { strained: Some(at(970)), ..evidence });
            assert!(strained.block && strained.allow >= expected.allow, "{row:?}");
            let found = [("a", expected.allow), ("b", expected.block)].map(|(verdict, right)| if right { verdict } else { "" }).concat();
            assert_eq!(found, *verdicts, "{row:?}");
        }
    }
}
