//! When a domain is to be looked at next: as soon as the answer can have changed, and seldom before. Pure; moments come in and go out.
//!
//! Registries count questions, the DNS does not. So between questions to the registry the delegation is polled, and what can't be seen there decides when the
//! registry is asked again:
//!
//! 1. One day and three days after the registration ends, since a name that nobody paid for may be auctioned from then on; then when its grace period is over.
//!    That it will end is told `notice_within` before, by what is known: most names are renewed on their last days, so the registry could not say more by then.
//! 2. Where the registry renewed the registration by itself, three days after that, and when the registrar can't give it back any more, since until then nobody
//!    knows whether it was paid for.
//! 3. Two weeks after its name servers changed, since a change of hands shows in more than one look, and its other half may be another registrar, which no poll shows.
//! 4. Every three days while it is on hold, or registered and not in the DNS.
//! 5. Daily while the DNS alone lacks it, until it has for a week, which is a lapse.
//! 6. After a year.
//! 7. After `recheck_after` where the DNS is not polled, or less often than that.
//!
//! The delegation is polled every two weeks; every week where a hundred accounts or more hang on the domain, or it moved of late, or may not have been renewed, or
//! publishes no end; and daily from ten thousand accounts on.

use std::time::{Duration, SystemTime};

use crate::domain::{Change, History, Report, Signal, Standing, Status};

const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// How long after its end a registrar may give a registration back that the registry renewed (RFC 3915 §3.1; ICANN ERRP).
const AUTO_RENEW: Duration = Duration::from_secs(45 * 86_400);

/// How long after its end a registration can be renewed as if nothing had been, by top-level domain, where that is not 45 days.
const GRACE: [(&str, u64); 14] = [
    ("at", 30),
    ("be", 40),
    ("ch", 40),
    ("cz", 60),
    ("eu", 40),
    ("it", 15),
    ("jp", 30),
    ("li", 40),
    ("nl", 40),
    ("nu", 60),
    ("ru", 30),
    ("se", 60),
    ("su", 30),
    ("uk", 30),
];

/// From when on it is less than `notice_within` to the end.
const MOMENT: Duration = Duration::from_micros(1);

/// How long another operator of the name servers counts as a move of late.
const LATE: Duration = Duration::from_secs(30 * 86_400);

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// When the registry is to be asked, whatever the DNS says until then.
    pub(super) registry_at: SystemTime,
    /// How long until the delegation is polled.
    poll_after: Duration,
    /// When it is to be told that the registration will end.
    tell_at: Option<SystemTime>,
}

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) top_level: &'a str,
    pub(super) report: &'a Report,
    pub(super) history: &'a History,
    /// When the report was made.
    pub(super) checked_at: SystemTime,
    /// How many accounts hang on the domain.
    pub(super) accounts: u64,
    /// Whether the DNS is asked at all.
    pub(super) is_polled: bool,
}

impl Plan {
    /// What follows from `known`, where the end of a registration is told of `notice_within` before, and no domain goes without a look for longer than `recheck_after`.
    pub(super) fn of(known: &Known<'_>, notice_within: Duration, recheck_after: Duration) -> Self {
        let poll_after = known.poll_after();
        let least = if known.is_polled && poll_after <= recheck_after { YEAR } else { recheck_after };
        let moments = known.boundaries().into_iter().flatten().filter(|at| *at > known.checked_at);
        let registry_at = moments.chain([known.checked_at + least]).min().unwrap_or(known.checked_at);
        let poll_after = if known.is_polled { poll_after.min(recheck_after) } else { recheck_after };
        Self {
            registry_at,
            poll_after,
            tell_at: known.report.ends_at().and_then(|end| end.checked_sub(notice_within)).map(|at| at + MOMENT),
        }
    }

    /// When to look at all, after a look at `now`.
    pub(super) fn due_at(&self, now: SystemTime) -> SystemTime {
        let tell_at = self.tell_at.filter(|at| *at > now);
        self.registry_at.min(now + self.poll_after).min(tell_at.unwrap_or(self.registry_at))
    }
}

impl Known<'_> {
    /// Moments from which on the registry may say something else.
    fn boundaries(&self) -> [Option<SystemTime>; 7] {
        let (now, report) = (self.checked_at, self.report);
        let end = report.ends_at();
        let after_end = |span: Duration| end.map(|end| end + span);
        // The registry states the end of the year that it added.
        let renewed_at = self.is_renewed_by_registry().then(|| report.expires_at?.checked_sub(YEAR)).flatten();
        let soon = match report.standing(now, Duration::ZERO) {
            Standing::OnHold => Some(3 * DAY),
            Standing::Unregistered if report.is_by_dns_alone() => Some(DAY),
            Standing::Expired | Standing::Redemption | Standing::PendingDelete | Standing::Unregistered => Some(7 * DAY),
            Standing::Active | Standing::Expiring | Standing::Unknown if report.in_dns == Some(false) => Some(3 * DAY),
            Standing::Active | Standing::Expiring | Standing::Unknown => None,
        };
        [
            after_end(DAY),
            after_end(3 * DAY),
            after_end(grace(self.top_level)),
            renewed_at.map(|at| at + 3 * DAY),
            renewed_at.map(|at| at + AUTO_RENEW),
            self.has_moved_of_late().then(|| now + 14 * DAY),
            soon.map(|span| now + span),
        ]
    }

    /// Whether the registration goes on by the registry's own doing, and nobody knows whether its holder paid.
    fn is_renewed_by_registry(&self) -> bool {
        self.report.says(&Status::AutoRenewPeriod) && self.report.registrar_expires_at.is_none()
    }

    fn has_moved_of_late(&self) -> bool {
        let is_late = |change: &Change| change.at.is_some_and(|at| self.checked_at.duration_since(at).is_ok_and(|age| age < LATE));
        self.history.changes().iter().any(|change| change.signal == Signal::NameServers && is_late(change))
    }

    fn poll_after(&self) -> Duration {
        let may_have_ended = self.report.ends_at().is_none_or(|end| end <= self.checked_at);
        match self.accounts {
            10_000.. => DAY,
            100.. => 7 * DAY,
            _ if may_have_ended || self.is_renewed_by_registry() || self.has_moved_of_late() => 7 * DAY,
            _ => 14 * DAY,
        }
    }
}

fn grace(top_level: &str) -> Duration {
    GRACE.iter().find(|(name, _)| *name == top_level).map_or(AUTO_RENEW, |(_, days)| DAY * u32::try_from(*days).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::parse;

    const NOW: &str = "2026-01-31";

    fn day(text: &str) -> SystemTime {
        parse(text).unwrap()
    }

    /// The days until the registry is asked and until the delegation is polled.
    fn planned(top_level: &str, report: &Report, accounts: u64, is_polled: bool, recheck_after: u32) -> (u64, u64) {
        let history = History::beginning(report, day(NOW));
        let known = Known { top_level, report, history: &history, checked_at: day(NOW), accounts, is_polled };
        let plan = Plan::of(&known, 30 * DAY, recheck_after * DAY);
        let days = |span: Duration| span.as_secs() / DAY.as_secs();
        (days(plan.registry_at.duration_since(day(NOW)).unwrap()), days(plan.poll_after))
    }

    fn report(statuses: &[&str], expires_at: &str, registrar_expires_at: &str) -> Report {
        let mut report = Report::registered("rdap");
        report.statuses = statuses.iter().map(|status| Status::from(*status)).collect();
        (report.expires_at, report.registrar_expires_at) = (parse(expires_at), parse(registrar_expires_at));
        report
    }

    #[test]
    fn the_registry_is_asked_when_its_answer_can_have_changed() {
        // Statuses, the registry's end, the registrar's; the days until the registry is asked and until the delegation is polled.
        let rows: &[(&[&str], &str, &str, u64, u64)] = &[
            // Until the end nothing of note can happen that the DNS doesn't show.
            (&["active"], "2026-12-01", "", 305, 14),
            (&["active"], "2029-01-01", "", 365, 14),
            (&["active"], "2026-02-20", "", 21, 14),
            // Where none is published, the DNS alone shows what happens after one.
            (&[], "", "", 365, 7),
            // A day after, three days after, at the end of the grace period.
            (&["active"], "2026-01-30T12:00:00", "", 0, 7),
            (&["active"], "2026-01-29", "", 1, 7),
            (&["active"], "2026-01-27", "", 7, 7),
            // Renewed by the registry alone.
            (&["auto renew period"], "2027-01-30", "", 2, 7),
            (&["auto renew period"], "2027-01-20", "", 34, 7),
            // And paid for, or not.
            (&["auto renew period"], "2027-01-30", "2027-01-30", 365, 14),
            (&["auto renew period"], "2027-01-30", "2026-01-30T12:00:00", 0, 7),
            (&["client hold"], "2026-12-01", "", 3, 14),
            (&["redemption period"], "2026-12-01", "", 7, 14),
        ];
        for (statuses, expires_at, registrar_expires_at, registry, poll) in rows {
            let report = report(statuses, expires_at, registrar_expires_at);
            assert_eq!(planned("com", &report, 1, true, 30), (*registry, *poll), "{statuses:?} {expires_at} {registrar_expires_at}");
        }
    }

    #[test]
    fn that_a_registration_ends_is_told_before_without_asking() {
        let report = report(&["active"], "2026-03-10", "");
        let history = History::beginning(&report, day(NOW));
        let known = Known { top_level: "com", report: &report, history: &history, checked_at: day(NOW), accounts: 1, is_polled: true };
        let plan = Plan::of(&known, 30 * DAY, 30 * DAY);
        assert_eq!(plan.registry_at, day("2026-03-11"));
        let told_at = day("2026-02-08") + MOMENT;
        assert_eq!(plan.due_at(day(NOW)), told_at);
        assert_eq!(plan.due_at(told_at), day("2026-02-22") + MOMENT);
    }

    #[test]
    fn where_the_dns_is_not_polled_the_registry_is_asked_at_least_every_recheck_after() {
        let report = report(&["active"], "2029-01-01", "");
        assert_eq!(planned("com", &report, 1, false, 30).0, 30);
        assert_eq!(planned("com", &report, 1, true, 10), (10, 10), "polls are further apart than that");
    }

    #[test]
    fn the_more_accounts_hang_on_a_domain_the_more_often_its_delegation_is_polled() {
        let report = report(&["active"], "2029-01-01", "");
        for (accounts, poll) in [(1, 14), (99, 14), (100, 7), (10_000, 1)] {
            assert_eq!(planned("com", &report, accounts, true, 30).1, poll, "{accounts}");
        }
    }

    #[test]
    fn a_name_that_the_dns_alone_lacks_is_looked_at_daily_and_one_that_is_registered_without_it_every_three_days() {
        assert_eq!(planned("eu", &Report::unregistered("dns"), 1, true, 30).0, 1);
        let mut inactive = report(&["inactive"], "2029-01-01", "");
        inactive.in_dns = Some(false);
        assert_eq!(planned("com", &inactive, 1, true, 30).0, 3);
    }

    #[test]
    fn what_moved_is_looked_at_again_soon() {
        let mut report = report(&["active"], "2029-01-01", "");
        report.name_servers = vec!["ns.old.net".to_owned()];
        let history = History::beginning(&report, day("2026-01-01"));
        report.name_servers = vec!["ns.new.net".to_owned()];
        let history = history.after(&report, day(NOW));
        let known = Known { top_level: "com", report: &report, history: &history, checked_at: day(NOW), accounts: 1, is_polled: true };
        let plan = Plan::of(&known, 30 * DAY, 30 * DAY);
        assert_eq!((plan.registry_at, plan.due_at(day(NOW))), (day("2026-02-14"), day("2026-02-07")));
    }
}
