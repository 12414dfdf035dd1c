//! Whether a domain is still in the same hands, where no date tells: judged from what was seen of it over time.
//!
//! Registrars sell expired names before they are deleted, and some registries publish no dates: then the registration looks the same while its holder is
//! another. What is compared is who runs the name: its registrar, name servers, mail servers and signing keys. Servers are compared by operator, the
//! registrable domain of their names, so that another pair of servers of one operator is no change; one that is new among them is.
//!
//! 1. A change counts for an account only where both sightings between which it happened came after the address was verified. So a verification sets the
//!    baseline anew, and where its moment is unknown, the first sight of the domain is the baseline.
//! 2. Each kind of change has a weight. The kinds that changed within [`WINDOW`] of each other are summed up, each once; from [`THRESHOLD`] on, the domain has
//!    [changed hands](History::changed_hands_since).
//! 3. A domain that was seen lapsed in between has changed hands, whatever else was seen, since it may have been sold while it was.
//!
//! | change | weight | why, and what innocent cause it has |
//! |---|---|---|
//! | registrar | 4 | a sale mostly leads to another; so does any transfer |
//! | name servers' operator | 2 | a taker needs the zone; so does a move to another DNS host |
//! | mail servers' operator | 2 | a taker needs the mail; so does a move to another mail provider, which alone never blocks |
//! | it was taken out of service, in one or more of three ways: | 4 | so are names that nobody paid for, before they are sold |
//! | – its name servers are now those of a market for domains | | so are those of names that their owner parks |
//! | – it is on hold | | so are names whose holder doesn't confirm his contact data |
//! | – it was missing in between, where the DNS alone tells | | a resolver's fault looks alike |
//! | signing keys (DS) | 1 | lost in a sale; and in most transfers, and changed by key rollovers |
//!
//! With a threshold of 8 registrar, name servers and mail servers together block, as does a name that was out of service and then moves on with its mail,
//! or with its name servers to another registrar. Where neither name servers nor mail servers changed, nothing does. A transfer with DNS and DNSSEC (7)
//! doesn't, a full move of hosting and mail at the same registrar (4, with DNSSEC 5) doesn't, nor does one that was parked for want of payment without
//! mail, and is back where it was (6): in the first the mail still goes where it went. A company that is sold and moved whole within the window is
//! blocked, rightly by what can be seen; its people verify their addresses again.

mod known;

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use self::known::Known;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use self::known::operators;
use super::Report;
use crate::clock;

/// How near to each other changes must be seen to count as one event: a look every thirty days sees a sale's changes in two looks.
const WINDOW: Duration = Duration::from_secs(60 * 86_400);

/// From which sum of weights on a domain has changed hands.
const THRESHOLD: u32 = 8;

/// How long the DNS alone must lack a name for that to be a lapse, not a fault.
const ABSENCE: Duration = Duration::from_secs(7 * 86_400);

/// How many changes are kept, the latest.
const KEPT: usize = 16;

/// What was seen of one domain up to now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct History {
    /// When the domain was first seen, by any report.
    #[serde(with = "clock::moment")]
    first_seen_at: SystemTime,
    /// When it was last seen lapsed.
    #[serde(default, with = "clock::text", skip_serializing_if = "Option::is_none")]
    lapsed_at: Option<SystemTime>,
    /// Since when the DNS lacks it, where nothing but the DNS can tell.
    #[serde(default, with = "clock::text", skip_serializing_if = "Option::is_none")]
    absent_since: Option<SystemTime>,
    /// When the registration began, by the last report that told.
    #[serde(default, with = "clock::text", skip_serializing_if = "Option::is_none")]
    began_at: Option<SystemTime>,
    /// The latest moment since which what changed is a change of hands. It stays when the changes are too many to be kept.
    #[serde(default, with = "clock::text", skip_serializing_if = "Option::is_none")]
    changed_hands_after: Option<SystemTime>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Change>,
    known: Known,
}

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Signal {
    /// Another registrar.
    Registrar,
    /// Name servers of other operators.
    NameServers,
    /// Name servers of a market for domains, or of a registrar's for names that were not paid for.
    Market,
    /// Mail servers of other operators.
    MailServers,
    /// Other signing keys, or none any more.
    Ds,
    /// Registrar or registry took it out of the DNS.
    Hold,
    /// The DNS alone tells of the domain, and lacked it in between.
    Absence,
    /// Another key of the registration, where the registry publishes no date: a new registration.
    Handle,
}

impl Signal {
    const fn weight(self) -> u32 {
        match self {
            Self::Registrar | Self::Market | Self::Hold | Self::Absence => 4,
            Self::NameServers | Self::MailServers => 2,
            Self::Ds => 1,
            // It proves a new registration, which is another reason.
            Self::Handle => 0,
        }
    }

    /// Whether one of the two counts where both are seen: a name for which nobody paid is often parked first and then on hold.
    fn is_same_as(self, other: Self) -> bool {
        let is_out_of_service = |signal| matches!(signal, Self::Market | Self::Hold | Self::Absence);
        self == other || (is_out_of_service(self) && is_out_of_service(other))
    }
}

/// A change that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// What changed.
    pub signal: Signal,
    /// When it was last seen as it had been.
    #[serde(with = "clock::text")]
    pub after: Option<SystemTime>,
    /// When it was first seen otherwise.
    #[serde(with = "clock::text")]
    pub at: Option<SystemTime>,
}

impl History {
    /// The history of a domain that was never seen before `report` of `at`.
    #[must_use]
    pub fn beginning(report: &Report, at: SystemTime) -> Self {
        let nothing = Self {
            first_seen_at: at,
            lapsed_at: None,
            absent_since: None,
            began_at: None,
            changed_hands_after: None,
            changes: Vec::new(),
            known: Known::default(),
        };
        nothing.after(report, at)
    }

    /// When the domain was first seen, by any report.
    #[must_use]
    pub fn first_seen_at(&self) -> SystemTime {
        self.first_seen_at
    }

    /// The changes that were seen, the earliest first; not more than the last sixteen.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// When the domain was last seen lapsed. `None` where it never was.
    #[must_use]
    pub fn lapsed_at(&self) -> Option<SystemTime> {
        self.lapsed_at
    }

    /// The beginning of the registration, by the last report that told. `None` where none ever did.
    #[must_use]
    pub fn began_at(&self) -> Option<SystemTime> {
        self.began_at
    }

    /// Whether the domain was seen lapsed after `since`.
    #[must_use]
    pub fn lapsed_since(&self, since: SystemTime) -> bool {
        self.lapsed_at.is_some_and(|at| at > since)
    }

    /// Whether what changed after `since` shows another holder of the same registration.
    #[must_use]
    pub fn changed_hands_since(&self, since: SystemTime) -> bool {
        self.changed_hands_after.is_some_and(|after| after >= since)
    }

    /// Whether anything about who runs the domain changed after `since`.
    pub(crate) fn has_moved_since(&self, since: SystemTime) -> bool {
        self.changes.iter().any(|change| change.signal != Signal::Hold && change.after.is_some_and(|after| after >= since))
    }

    /// Whether the changes that are kept amount to a change of hands `since` then.
    fn amounts_to_change_of_hands(&self, since: SystemTime) -> bool {
        let changes = || self.changes.iter().filter(|change| change.after.is_some_and(|after| after >= since));
        changes().any(|first| {
            let mut signals: Vec<Signal> = Vec::new();
            for change in changes().filter(|change| first.at <= change.at && change.at <= first.at.map(|at| at + WINDOW)) {
                if !signals.iter().any(|signal| signal.is_same_as(change.signal)) {
                    signals.push(change.signal);
                }
            }
            // Who takes a name needs its zone or its mail.
            let is_moved = signals.iter().any(|signal| matches!(signal, Signal::NameServers | Signal::MailServers));
            is_moved && signals.into_iter().map(Signal::weight).sum::<u32>() >= THRESHOLD
        })
    }

    /// Whether the key of the registration changed after `since`, while no date told: a new registration.
    #[must_use]
    pub fn handle_changed_since(&self, since: SystemTime) -> bool {
        self.changes.iter().any(|change| change.signal == Signal::Handle && change.after.is_some_and(|after| after >= since))
    }

    /// Whether the DNS alone has lacked the name for so long, at `now`, that it is no fault.
    #[must_use]
    pub fn is_absent(&self, now: SystemTime) -> bool {
        self.absent_since.and_then(|since| now.duration_since(since).ok()).is_some_and(|absence| absence >= ABSENCE)
    }

    /// The history with `report` of `at`, which is later than what it tells of so far.
    #[must_use]
    pub fn after(&self, report: &Report, at: SystemTime) -> Self {
        let mut next = self.clone();
        let is_lapsed = report.phase(at, Duration::ZERO).is_lapsed();
        let is_absent = is_lapsed && report.is_by_dns_alone();
        let is_back = self.absent_since.is_some() && !is_absent;
        next.absent_since = if is_absent { self.absent_since.or(Some(at)) } else { None };
        if is_lapsed && (!is_absent || next.is_absent(at)) {
            next.lapsed_at = self.lapsed_at.max(Some(at));
        }
        next.began_at = report.began_at().or(self.began_at);
        let seen = Known::of(report, at);
        for signal in seen.differences(&self.known) {
            next.changes.push(Change { signal, after: self.known.at, at: Some(at) });
        }
        if is_back {
            next.changes.push(Change { signal: Signal::Absence, after: self.known.at, at: Some(at) });
        }
        next.note_change_of_hands();
        next.known.update(seen);
        next
    }

    /// Weighs the changes, and forgets those that are too many.
    fn note_change_of_hands(&mut self) {
        let moments = self.changes.iter().filter_map(|change| change.after);
        let latest = moments.filter(|after| self.amounts_to_change_of_hands(*after)).max();
        self.changed_hands_after = self.changed_hands_after.max(latest);
        self.changes.drain(..self.changes.len().saturating_sub(KEPT));
    }

    /// What two that look at the same domain know together. Neither's lapses and changes are lost.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let (later, earlier) = if self.known.at >= other.known.at { (self, other) } else { (other, self) };
        let mut merged = later.clone();
        merged.first_seen_at = self.first_seen_at.min(other.first_seen_at);
        merged.lapsed_at = self.lapsed_at.max(other.lapsed_at);
        merged.began_at = later.began_at.or(earlier.began_at);
        if let (Some(one), Some(two)) = (self.absent_since, other.absent_since) {
            merged.absent_since = Some(one.min(two));
        }
        for change in &earlier.changes {
            if !merged.changes.contains(change) {
                merged.changes.push(*change);
            }
        }
        merged.changes.sort_by_key(|change| change.at);
        merged.changed_hands_after = self.changed_hands_after.max(other.changed_hands_after);
        merged.note_change_of_hands();
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::parse;

    const DAY: u64 = 86_400;

    fn day(days: u64) -> SystemTime {
        parse("2025-01-01").unwrap() + Duration::from_secs(days * DAY)
    }

    /// A report of a domain without dates, run by these.
    fn run_by(registrar: &str, name_servers: &str, mail_servers: &str, ds: &str) -> Report {
        let mut report = Report::registered("rdap");
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        report.registrar = (!registrar.is_empty()).then(|| registrar.to_owned());
        (report.name_servers, report.mail_servers, report.ds) = (list(name_servers), list(mail_servers), Some(list(ds)));
        report
    }

    fn before() -> Report {
        run_by("292", "ns1.old.net ns2.old.net", "mx.oldmail.com", "aa")
    }

    #[test]
    fn what_changed_together_is_weighed() {
        // Registrar, name servers, mail servers, signing keys; and whether that is a change of hands.
        let rows = [
            ("292", "ns1.old.net ns2.old.net", "mx.oldmail.com", "aa", false),
            ("292", "ns7.old.net", "mx9.oldmail.com", "aa", false),
            ("146", "ns1.old.net", "mx.oldmail.com", "aa", false),
            ("292", "ns1.old.net", "mx.newmail.com", "aa", false),
            ("292", "ns1.old.net", "mx.newmail.com", "", false),
            ("292", "ns1.new.net", "mx.newmail.com", "", false),
            ("146", "ns1.new.net", "mx.oldmail.com", "", false),
            ("146", "ns1.old.net", "mx.newmail.com", "", false),
            ("146", "ns1.new.net", "mx.newmail.com", "aa", true),
            ("146", "ns1.new.net", "mx.newmail.com", "", true),
            ("146", "ns1.sedoparking.com", "", "aa", true),
            ("292", "ns1.sedoparking.com", "", "", false),
            ("292", "ns1.sedoparking.com", "mx.newmail.com", "aa", true),
            ("", "ns1.new.net", "mx.newmail.com", "", false),
            ("146", "ns1.old.net ns1.new.net", "mx.oldmail.com mx.newmail.com", "aa", true),
            ("292", "ns1.old.net ns1.new.net", "mx.oldmail.com mx.newmail.com", "aa", false),
        ];
        for (registrar, name_servers, mail_servers, ds, expected) in rows {
            let history = History::beginning(&before(), day(0)).after(&run_by(registrar, name_servers, mail_servers, ds), day(30));
            assert_eq!(history.changed_hands_since(day(0)), expected, "{registrar} {name_servers} {mail_servers} {ds}: {history:?}");
        }
    }

    #[test]
    fn a_name_that_was_out_of_service_changed_hands_if_it_moves_on_and_not_if_it_is_back() {
        let mut held = before();
        held.statuses = vec!["client hold".into()];
        let parked = run_by("292", "ns1.sedoparking.com", "", "");
        let parked_and_held = Report { statuses: held.statuses.clone(), ..parked.clone() };
        let moved = run_by("292", "ns1.new.net", "mx.newmail.com", "aa");
        let transferred = run_by("146", "ns1.old.net", "mx.oldmail.com", "aa");
        let well = Report { statuses: vec!["active".into()], ..before() };
        for (out_of_service, parks) in [(held, false), (parked, true), (parked_and_held, true)] {
            let history = History::beginning(&well, day(0)).after(&out_of_service, day(20));
            for (then, expected) in [(well.clone(), false), (moved.clone(), true), (transferred.clone(), parks)] {
                let history = history.after(&then, day(40));
                assert_eq!(history.changed_hands_since(day(0)), expected, "{history:?}");
            }
        }
    }

    #[test]
    fn changes_far_apart_are_no_single_event_and_those_of_two_looks_are() {
        let moved = run_by("146", "ns1.old.net", "mx.oldmail.com", "");
        let rerun = run_by("146", "ns1.new.net", "mx.newmail.com", "");
        for (second, expected) in [(day(60), true), (day(90), true), (day(91), false)] {
            let history = History::beginning(&before(), day(0)).after(&moved, day(30)).after(&rerun, second);
            assert_eq!(history.changed_hands_since(day(0)), expected, "{second:?}");
        }
    }

    #[test]
    fn only_what_changed_since_the_verification_counts() {
        let after = run_by("146", "ns1.new.net", "mx.newmail.com", "");
        let history = History::beginning(&before(), day(0)).after(&after, day(30)).after(&after, day(60));
        assert!(history.changed_hands_since(day(0)));
        assert!(!history.changed_hands_since(day(1)), "the change may have come before it");
        assert!(!history.changed_hands_since(day(30)));
    }

    #[test]
    fn what_a_source_does_not_tell_is_no_change_and_hides_none() {
        let silent = Report::registered("rdap");
        let history = History::beginning(&before(), day(0)).after(&silent, day(1));
        assert_eq!(history.changes(), []);
        let history = history.after(&run_by("146", "ns1.new.net", "mx.newmail.com", ""), day(2));
        assert_eq!(history.changes().len(), 4);
    }

    #[test]
    fn a_lapse_is_remembered_when_the_domain_is_back() {
        let mut lapsed = before();
        lapsed.statuses = vec!["redemption period".into()];
        let history = History::beginning(&before(), day(0)).after(&lapsed, day(5)).after(&before(), day(9));
        assert!(history.lapsed_since(day(4)) && !history.lapsed_since(day(5)));
        assert_eq!(history.first_seen_at(), day(0));
    }

    /// A resolver may fail, so what the DNS alone lacks is gone only when it has been for a week.
    #[test]
    fn a_name_that_the_dns_alone_lacks_has_lapsed_after_a_week() {
        let (gone, back) = (Report::unregistered("dns"), Report::registered("dns"));
        let history = History::beginning(&back, day(0)).after(&gone, day(1)).after(&gone, day(7));
        assert!(!history.lapsed_since(day(0)) && !history.is_absent(day(7)));
        let lasting = history.after(&gone, day(8));
        assert!(lasting.lapsed_since(day(0)) && lasting.is_absent(day(8)));
        let again = history.after(&back, day(8)).after(&gone, day(9));
        assert!(!again.lapsed_since(day(0)) && !again.is_absent(day(15)), "it was back in between");
        assert!(History::beginning(&Report::unregistered("rdap"), day(0)).lapsed_since(day(0) - Duration::from_secs(1)));
    }

    /// Where a date tells, another handle is a registry's own move.
    #[test]
    fn another_handle_is_a_new_registration_only_where_no_date_tells() {
        let with = |handle: &str, date: &str| {
            let mut report = Report::registered("rdap");
            (report.handle, report.registered_at) = (Some(handle.to_owned()), parse(date));
            report
        };
        for (date, expected) in [("", true), ("2009-01-01", false)] {
            let history = History::beginning(&with("1-REG", date), day(0)).after(&with("2-REG", date), day(1));
            assert_eq!(history.handle_changed_since(day(0)), expected, "{date}");
        }
    }

    #[test]
    fn two_that_look_at_one_domain_lose_nothing_by_sharing_it() {
        let mut lapsed = before();
        lapsed.statuses = vec!["redemption period".into()];
        let beginning = History::beginning(&before(), day(0));
        let (one, two) = (beginning.after(&lapsed, day(5)), beginning.after(&run_by("146", "ns1.new.net", "mx.newmail.com", ""), day(6)));
        for merged in [one.merged(&two), two.merged(&one)] {
            assert!(merged.lapsed_since(day(4)) && merged.changed_hands_since(day(0)));
            assert_eq!(merged.first_seen_at(), day(0));
            let merged_again = merged.merged(&one).merged(&two);
            assert_eq!(merged_again, merged);
        }
    }

    #[test]
    fn no_number_of_changes_makes_a_history_grow_without_bound() {
        let mut history = History::beginning(&before(), day(0));
        for number in 1..200 {
            history = history.after(&run_by(&number.to_string(), "ns1.new.net", "mx.newmail.com", ""), day(number));
        }
        assert_eq!(history.changes().len(), KEPT);
        let text = serde_json::to_string(&history).unwrap();
        assert_eq!(serde_json::from_str::<History>(&text).unwrap(), history);
    }

    #[test]
    fn a_change_of_hands_is_not_flushed_out_by_more_changes() {
        let taken =
            |number: u64| run_by("146", if number.is_multiple_of(2) { "ns1.new.net" } else { "ns1.other.net" }, "mx.newmail.com", "");
        let mut history = History::beginning(&before(), day(0)).after(&taken(0), day(30));
        for number in 1..=40 {
            history = history.after(&taken(number), day(30 + number));
        }
        assert!(history.changed_hands_since(day(0)) && !history.changed_hands_since(day(1)), "{history:?}");
    }

    #[test]
    fn a_name_that_was_missing_and_is_run_by_others_since_changed_hands() {
        let before = run_by("", "ns1.old.net", "mx.oldmail.com", "aa");
        let gone = Report::unregistered("dns");
        for (after, expected) in [(run_by("", "ns1.new.net", "mx.newmail.com", "bb"), true), (before.clone(), false)] {
            let history = History::beginning(&before, day(0)).after(&gone, day(20)).after(&after, day(40));
            assert_eq!(history.changed_hands_since(day(0)), expected, "{history:?}");
        }
    }
}
