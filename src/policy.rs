//! What a recovery request for an account deserves, given all that is known: a pure function, without clock or I/O.
//!
//! A request is blocked when any of these holds; all that hold are reported, in this order:
//!
//! 1. the stored address is another than the requested one ([`Reason::TargetMismatch`]);
//! 2. the stored address isn't verified ([`Reason::EmailUnverified`]);
//! 3. its domain is unregistered, pending delete, in redemption or expired;
//! 4. its domain is on hold;
//! 5. its domain was registered after the address was verified, so its present holder need not be the one who verified it;
//! 6. its domain [changed hands](crate::domain::History) since then under the same registration;
//! 7. its domain is about to expire;
//! 8. no mail can reach the address's host, as the DNS has it;
//! 9. nobody could tell how the domain stands, unless [`OnUnknown::Allow`] is set;
//! 10. there were too many requests for the account.
//!
//! 3 and 5 take the verification away for good, where the report is not stale, and so does a lapse that was seen before (6). Where nothing but the DNS tells that a name is gone, it must have
//! been for a week. What a deployment can break: a `verified_at` that is moved forward without a fresh
//! verification hides a re-registration, and [`OnUnknown::Allow`] lets whoever can disturb the registry's answers through.

use std::time::{Duration, SystemTime};

use crate::domain::{Mail, Report, Sighting, Standing, Status};
use crate::verdict::{Notice, Reason, Verdict};

const DAY: Duration = Duration::from_secs(86_400);

/// The settings of judging.
///
/// ```
/// use std::time::Duration;
/// use reset_gatekeeper::Policy;
///
/// let mut policy = Policy::default();
/// policy.expiring_within = Duration::from_secs(14 * 86_400);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// Block when the registration ends nearer than this. Seven days by default.
    pub expiring_within: Duration,
    /// Give notice when the registration ends nearer than this. Thirty days by default.
    pub notice_within: Duration,
    /// What to do when no source could tell. Block by default.
    pub on_unknown: OnUnknown,
    /// Whether a lapsed or re-registered domain takes the address's verification away for good. It does by default.
    pub unverify: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { expiring_within: 7 * DAY, notice_within: 30 * DAY, on_unknown: OnUnknown::Block, unverify: true }
    }
}

/// What to do when no source could tell how a domain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnknown {
    /// Block: nobody takes an account over while a registry is down.
    #[default]
    Block,
    /// Let through, with a notice.
    Allow,
}

/// All that is known when a request is judged.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Whether the account's address is verified.
    pub verified: bool,
    /// When it was. `None` where the directory doesn't know; a moment of the future counts as the present.
    pub verified_at: Option<SystemTime>,
    /// Whether the requested address is the stored one, but for ASCII case.
    pub requested_is_stored: bool,
    /// The latest that was seen of the stored address's domain. `None` where no source could tell, and where nobody asked, as for an
    /// address that isn't verified anyway.
    pub domain: Option<&'a Sighting>,
    /// Whether mail can reach the host of the stored address, which may be a name below the domain. `None` where nobody could tell.
    pub mail: Option<Mail>,
    /// Whether there were more requests for the account than its guard lets through.
    pub over_limit: bool,
}

/// A registration needs a lapse of days first, so clocks that differ by minutes can't hide one.
const SKEW: Duration = Duration::from_secs(10 * 60);

/// The longest that a domain shows `add period` after its creation (RFC 3915 §3.1).
const ADD_PERIOD: Duration = Duration::from_secs(5 * 86_400);

/// Judges a recovery request. Total: whatever the evidence, there is a verdict.
#[must_use]
pub fn judge(policy: &Policy, evidence: &Evidence<'_>, now: SystemTime) -> Verdict {
    let mut reasons = Vec::new();
    let mut notices = Vec::new();
    if !evidence.requested_is_stored {
        reasons.push(Reason::TargetMismatch);
    }
    if !evidence.verified {
        reasons.push(Reason::EmailUnverified);
    }

    // What was seen before the address was verified says nothing about what became of it since.
    let verified_at = evidence.verified_at.map(|at| at.min(now));
    let sighting = evidence.domain.filter(|sighting| verified_at.is_none_or(|at| sighting.checked_at >= at));
    let mut unverify = None;
    if let Some(sighting) = sighting {
        let report = &sighting.report;
        let phase = report.phase(now, policy.expiring_within);
        match phase {
            Standing::Unregistered => reasons.push(Reason::DomainUnregistered),
            Standing::PendingDelete => reasons.push(Reason::DomainPendingDelete),
            Standing::Redemption => reasons.push(Reason::DomainRedemption),
            Standing::Expired => reasons.push(Reason::DomainExpired),
            Standing::Expiring => reasons.push(Reason::DomainExpiring),
            Standing::Active | Standing::OnHold | Standing::Unknown => {}
        }
        if phase.is_lapsed() && (!report.is_by_dns_alone() || sighting.history.is_absent(sighting.checked_at)) {
            unverify = reasons.last().copied();
        }
        if report.is_on_hold() {
            reasons.push(Reason::DomainOnHold);
        }
        if is_reregistered(sighting, verified_at) {
            reasons.push(Reason::DomainReregistered);
            unverify = unverify.or(Some(Reason::DomainReregistered));
        }
        let since = baseline(sighting, verified_at);
        // The look that sets the baseline may come shortly before the verification is written down.
        let looked_since = since.checked_sub(SKEW).unwrap_or(since);
        // A baseline that is but the first sight does not outweigh what was seen there.
        let has_lapsed = match verified_at {
            Some(at) => sighting.history.lapsed_since(at),
            None => sighting.history.lapsed_at().is_some(),
        };
        if has_lapsed && !phase.is_lapsed() {
            reasons.push(Reason::DomainChangedHands);
            unverify = unverify.or(Some(Reason::DomainChangedHands));
        } else if sighting.history.changed_hands_since(looked_since) {
            reasons.push(Reason::DomainChangedHands);
        } else if sighting.history.has_moved_since(looked_since) {
            notices.push(Notice::DomainMoved);
        }
        notices.extend(noticed(report, policy, phase, now));
    }
    if evidence.mail.is_some_and(|mail| mail != Mail::Accepted) {
        reasons.push(Reason::DomainUnresolvable);
    }
    // The order of judging is that of the reasons.
    reasons.sort_unstable();

    let standing = sighting.map(|sighting| sighting.report.standing(now, policy.expiring_within));
    // An unverified address's domain isn't asked about, so there not knowing is no reason.
    if evidence.verified && standing.is_none_or(|standing| standing == Standing::Unknown) {
        match policy.on_unknown {
            OnUnknown::Block => reasons.push(Reason::DomainUnknown),
            OnUnknown::Allow => notices.push(Notice::DomainUnknown),
        }
    }
    if evidence.over_limit {
        reasons.push(Reason::TooManyRequests);
    }
    // A stale report still blocks, but only a live one takes away for good: the holder may have renewed since.
    let unverify = unverify.filter(|_| policy.unverify && evidence.verified && sighting.is_some_and(|sighting| !sighting.stale));
    Verdict::new(reasons, notices, standing.or(evidence.verified.then_some(Standing::Unknown)), unverify)
}

/// What does not block, of the report alone.
fn noticed(report: &Report, policy: &Policy, phase: Standing, now: SystemTime) -> Vec<Notice> {
    let is_paid = report.registrar_expires_at.is_some_and(|end| end > now);
    let is_for_sale =
        report.statuses.iter().any(|status| matches!(status, Status::Other(word) if matches!(&**word, "marketed" | "priced")));
    let said = || report.statements.iter().filter_map(|statement| statement.said.as_ref().ok()).filter(|said| **said != Standing::Unknown);
    let notices = [
        (report.says(&Status::AutoRenewPeriod) && !is_paid, Notice::DomainAutoRenewed),
        (phase == Standing::Active && report.ends_within(policy.notice_within, now), Notice::DomainExpiresSoon),
        (is_for_sale, Notice::DomainForSale),
        (report.statements.iter().any(|statement| statement.said.is_err()), Notice::SourceFailed),
        (said().any(|said| said.is_lapsed()) && !said().all(|said| said.is_lapsed()), Notice::SourcesDisagree),
    ];
    notices.into_iter().filter_map(|(holds, notice)| holds.then_some(notice)).collect()
}

/// When the address was verified or, where that is not known, when the domain was first seen.
fn baseline(sighting: &Sighting, verified_at: Option<SystemTime>) -> SystemTime {
    verified_at.unwrap_or_else(|| sighting.history.first_seen_at())
}

/// Whether the present registration began after the baseline.
fn is_reregistered(sighting: &Sighting, verified_at: Option<SystemTime>) -> bool {
    let (baseline, report) = (baseline(sighting, verified_at), &sighting.report);
    // Not every source tells, and what one told is true until another tells otherwise.
    match report.began_at().or_else(|| sighting.history.began_at()) {
        Some(began_at) => lies_after(began_at, baseline, SKEW),
        // Without any date, the add period alone proves a creation of at most five days ago.
        None => {
            sighting.history.handle_changed_since(baseline.checked_sub(SKEW).unwrap_or(baseline))
                || (report.says(&Status::AddPeriod) && lies_after(sighting.checked_at, baseline, ADD_PERIOD + SKEW))
        }
    }
}

/// Whether `time` is later than `baseline` by more than `margin`.
fn lies_after(time: SystemTime, baseline: SystemTime, margin: Duration) -> bool {
    time.duration_since(baseline).is_ok_and(|after| after > margin)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::parse;
    use crate::domain::{History, Statement};

    const NOW: &str = "2026-01-31T12:00:00Z";
    const VERIFIED: &str = "2020-01-01T00:00:00Z";

    fn at(text: &str) -> SystemTime {
        parse(text).unwrap()
    }

    fn seen(statuses: &[&str], registered_at: &str, expires_at: &str) -> Sighting {
        let mut report = Report::registered("test");
        report.statuses = statuses.iter().map(|status| Status::from(*status)).collect();
        report.registered_at = parse(registered_at);
        report.expires_at = parse(expires_at);
        Sighting::first(report, at(NOW))
    }

    fn judged(
        change: impl FnOnce(&mut Policy, &mut Evidence<'_>),
        sighting: Option<&Sighting>,
    ) -> (Vec<&'static str>, Vec<&'static str>, Option<Reason>) {
        let mut policy = Policy::default();
        let mut evidence = Evidence {
            verified: true,
            verified_at: parse(VERIFIED),
            requested_is_stored: true,
            domain: None,
            mail: None,
            over_limit: false,
        };
        change(&mut policy, &mut evidence);
        let verdict = judge(&policy, &Evidence { domain: sighting, ..evidence }, at(NOW));
        let codes = verdict.reasons().iter().map(|reason| reason.as_str()).collect();
        (codes, verdict.notices().iter().map(|notice| notice.as_str()).collect(), verdict.unverify())
    }

    #[test]
    fn every_reason_that_holds_is_given_in_order_and_some_take_the_verification_away() {
        let (old, new, far) = ("2009-01-01", "2021-01-01", "2030-01-01");
        let unverifies = |reason| Some(reason);
        type Row = (Sighting, &'static [&'static str], &'static [&'static str], Option<Reason>);
        let rows: &[Row] = &[
            (seen(&["active"], old, far), &[], &[], None),
            (seen(&[], "", ""), &[], &[], None),
            (seen(&["auto renew period"], old, far), &[], &["domain_auto_renewed"], None),
            (seen(&[], old, "2026-03-02T11:59:59Z"), &[], &["domain_expires_soon"], None),
            (seen(&[], old, "2026-03-02T12:00:00Z"), &[], &[], None),
            (seen(&[], old, "2026-02-07T11:59:59Z"), &["domain_expiring"], &[], None),
            (seen(&[], old, "2026-02-07T12:00:00Z"), &[], &["domain_expires_soon"], None),
            (seen(&[], old, NOW), &["domain_expired"], &[], unverifies(Reason::DomainExpired)),
            (seen(&["client hold"], old, far), &["domain_on_hold"], &[], None),
            (seen(&["server hold"], old, "2026-02-01"), &["domain_on_hold", "domain_expiring"], &[], None),
            (seen(&["client hold"], old, "2026-01-01"), &["domain_expired", "domain_on_hold"], &[], unverifies(Reason::DomainExpired)),
            (seen(&["redemption period", "pending delete"], old, far), &["domain_redemption"], &[], unverifies(Reason::DomainRedemption)),
            (seen(&["pending delete"], old, far), &["domain_pending_delete"], &[], unverifies(Reason::DomainPendingDelete)),
            (seen(&["removed"], old, far), &["domain_unregistered"], &[], unverifies(Reason::DomainUnregistered)),
            (seen(&["reserved"], "", ""), &["domain_unknown"], &[], None),
            (seen(&["active"], new, far), &["domain_reregistered"], &[], unverifies(Reason::DomainReregistered)),
            (seen(&[], new, "2026-01-01"), &["domain_expired", "domain_reregistered"], &[], unverifies(Reason::DomainExpired)),
            (seen(&[], new, "2026-02-01"), &["domain_reregistered", "domain_expiring"], &[], unverifies(Reason::DomainReregistered)),
            (seen(&[], "2020-01-01T00:10:00Z", far), &[], &[], None),
            (seen(&[], "2020-01-01T00:10:01Z", far), &["domain_reregistered"], &[], unverifies(Reason::DomainReregistered)),
            (seen(&[], "2027-01-01", far), &["domain_reregistered"], &[], unverifies(Reason::DomainReregistered)),
            (seen(&["add period"], "", far), &["domain_reregistered"], &[], unverifies(Reason::DomainReregistered)),
            (seen(&["add period"], old, far), &[], &[], None),
        ];
        for (sighting, reasons, notices, unverify) in rows {
            assert_eq!(judged(|_, _| {}, Some(sighting)), (reasons.to_vec(), notices.to_vec(), *unverify), "{:?}", sighting.report);
        }
    }

    #[test]
    fn what_is_known_of_the_account_decides_too() {
        let (healthy, lapsed) = (seen(&["active"], "2009-01-01", "2030-01-01"), seen(&["redemption period"], "2009-01-01", "2030-01-01"));
        let reasons = |change: &dyn Fn(&mut Policy, &mut Evidence<'_>), sighting| judged(change, sighting).0;
        assert_eq!(reasons(&|_, evidence| evidence.requested_is_stored = false, Some(&healthy)), ["target_mismatch"]);
        assert_eq!(
            reasons(&|_, evidence| evidence.verified = false, None),
            ["email_unverified"],
            "nobody asked, so not knowing is no reason"
        );
        assert_eq!(judged(|_, evidence| evidence.verified = false, Some(&lapsed)).2, None, "there is nothing left to take away");
        assert_eq!(reasons(&|_, evidence| evidence.verified = false, Some(&lapsed)), ["email_unverified", "domain_redemption"]);
        assert_eq!(reasons(&|_, _| {}, None), ["domain_unknown"]);
        let allowing = judged(|policy, _| policy.on_unknown = OnUnknown::Allow, None);
        assert_eq!(allowing, (vec![], vec!["domain_unknown"], None));

        // Seen before the address was verified: no evidence about what became of the domain since.
        let earlier = Sighting { checked_at: at("2019-12-31"), ..lapsed.clone() };
        assert_eq!(judged(|_, _| {}, Some(&earlier)), (vec!["domain_unknown"], vec![], None));
        // A verification of the future counts as one of this moment.
        assert_eq!(reasons(&|_, evidence| evidence.verified_at = parse("2027-01-01"), Some(&healthy)), [""; 0]);

        // Without a time of verification, the first sight of the domain stands in.
        let anew = seen(&[], "2025-06-01", "2030-01-01");
        let history = Arc::new(History::beginning(&anew.report, at("2025-01-01")));
        let known = Sighting { history, ..anew.clone() };
        let unknown_time = |_: &mut Policy, evidence: &mut Evidence<'_>| evidence.verified_at = None;
        assert_eq!(reasons(&unknown_time, Some(&anew)), [""; 0]);
        assert_eq!(reasons(&unknown_time, Some(&known)), ["domain_reregistered"]);

        // Five days are the longest that the add period lasts, so a verification within them may be the new holder's.
        let added = seen(&["add period"], "", "");
        assert_eq!(reasons(&|_, evidence| evidence.verified_at = parse("2026-01-26T12:00:00Z"), Some(&added)), [""; 0]);
        assert_eq!(reasons(&|_, evidence| evidence.verified_at = parse("2026-01-26T11:00:00Z"), Some(&added)), ["domain_reregistered"]);

        let stale = Sighting { stale: true, ..lapsed.clone() };
        assert_eq!(judged(|_, _| {}, Some(&stale)), (vec!["domain_redemption"], vec![], None), "it blocks, and takes nothing away");
        assert_eq!(judged(|policy, _| policy.unverify = false, Some(&lapsed)).2, None);
    }

    /// The reasons, notices and un-verification for a domain that was seen as each of `reports` in turn, the last one now.
    fn judged_after(reports: &[(Report, &str)]) -> (Vec<&'static str>, Vec<&'static str>, Option<Reason>) {
        let mut history: Option<History> = None;
        for (report, day) in reports {
            history = Some(history.map_or_else(|| History::beginning(report, at(day)), |history| history.after(report, at(day))));
        }
        let (report, day) = reports.last().unwrap().clone();
        let sighting = Sighting { history: Arc::new(history.unwrap()), ..Sighting::first(report, at(day)) };
        judged(|_, _| {}, Some(&sighting))
    }

    fn run_by(registrar: &str, name_server: &str, mail_server: &str) -> Report {
        let mut report = Report::registered("rdap");
        report.registrar = Some(registrar.to_owned());
        (report.name_servers, report.mail_servers) = (vec![name_server.to_owned()], vec![mail_server.to_owned()]);
        report
    }

    #[test]
    fn a_domain_that_changed_hands_is_blocked_and_one_that_only_moved_is_noticed() {
        let before = || (run_by("292", "ns.old.net", "mx.old.net"), "2021-01-01");
        let after = |registrar, name_server, mail_server| (run_by(registrar, name_server, mail_server), NOW);
        let (blocked, moved) = (vec!["domain_changed_hands"], vec!["domain_moved"]);
        assert_eq!(judged_after(&[before(), after("292", "ns.old.net", "mx.old.net")]), (vec![], vec![], None));
        assert_eq!(judged_after(&[before(), after("292", "ns.old.net", "mx.new.net")]), (vec![], moved.clone(), None));
        assert_eq!(judged_after(&[before(), after("146", "ns.new.net", "mx.old.net")]), (vec![], moved, None));
        // What is only weighed takes nothing away for good.
        assert_eq!(judged_after(&[before(), after("146", "ns.new.net", "mx.new.net")]), (blocked.clone(), vec![], None));
        let earlier = (run_by("292", "ns.old.net", "mx.old.net"), "2019-01-01");
        assert_eq!(
            judged_after(&[earlier, after("146", "ns.new.net", "mx.new.net")]).0,
            [""; 0],
            "the verification may have come after it"
        );

        let mut lapsed = run_by("292", "ns.old.net", "mx.old.net");
        lapsed.statuses = vec![Status::RedemptionPeriod];
        let back = after("292", "ns.old.net", "mx.old.net");
        let in_between = judged_after(&[before(), (lapsed.clone(), "2022-01-01"), back.clone()]);
        assert_eq!(in_between, (blocked, vec![], Some(Reason::DomainChangedHands)));
        assert_eq!(judged_after(&[(lapsed, "2019-01-01"), back]).0, [""; 0], "that lapse came before the verification");
    }

    #[test]
    fn what_the_dns_alone_lacks_blocks_at_once_and_takes_away_after_a_week() {
        let there = || (Report::registered("dns"), "2021-01-01");
        let gone = |day| (Report::unregistered("dns"), day);
        let reasons = vec!["domain_unregistered"];
        assert_eq!(judged_after(&[there(), gone(NOW)]), (reasons.clone(), vec![], None));
        assert_eq!(judged_after(&[there(), gone("2026-01-23"), gone(NOW)]), (reasons, vec![], Some(Reason::DomainUnregistered)));
    }

    #[test]
    fn mail_that_can_not_be_delivered_blocks() {
        let healthy = seen(&["active"], "2009-01-01", "2030-01-01");
        for (mail, expected) in [
            (None, vec![]),
            (Some(Mail::Accepted), vec![]),
            (Some(Mail::Refused), vec!["domain_unresolvable"]),
            (Some(Mail::NoServer), vec!["domain_unresolvable"]),
            (Some(Mail::NoHost), vec!["domain_unresolvable"]),
        ] {
            assert_eq!(judged(|_, evidence| evidence.mail = mail, Some(&healthy)), (expected, vec![], None), "{mail:?}");
        }
        let held = seen(&["client hold"], "2009-01-01", "2026-02-01");
        let reasons = judged(|_, evidence| evidence.mail = Some(Mail::NoHost), Some(&held)).0;
        assert_eq!(reasons, ["domain_on_hold", "domain_expiring", "domain_unresolvable"]);
    }

    #[test]
    fn what_is_only_worth_knowing_is_noticed() {
        let statement = |said| Statement { source: "test".into(), said, took: Duration::ZERO };
        let notices = |change: &dyn Fn(&mut Report)| {
            let mut report = Report::registered("rdap");
            change(&mut report);
            judged(|_, _| {}, Some(&Sighting::first(report, at(NOW)))).1
        };
        assert_eq!(notices(&|report| report.statuses = vec!["marketed".into(), "active".into()]), ["domain_for_sale"]);
        assert_eq!(
            notices(&|report| report.statements = vec![statement(Ok(Standing::Active)), statement(Err("down".into()))]),
            ["source_failed"]
        );
        assert_eq!(notices(&|report| report.statements = vec![statement(Ok(Standing::Active)), statement(Ok(Standing::Unknown))]), [""; 0]);
        let disagree = |report: &mut Report| report.statements = vec![statement(Ok(Standing::Active)), statement(Ok(Standing::Redemption))];
        assert_eq!(notices(&disagree), ["sources_disagree"]);
        let renewed = |end: &'static str| {
            notices(&move |report| {
                report.statuses = vec![Status::AutoRenewPeriod];
                report.registrar_expires_at = parse(end);
            })
        };
        assert_eq!(renewed(""), ["domain_auto_renewed"]);
        assert_eq!(renewed("2027-01-01"), [""; 0], "the registrar says that it is paid");
    }

    fn moment() -> impl Strategy<Value = SystemTime> {
        let ends = prop_oneof![Just(0), Just(1), Just(i64::MAX.unsigned_abs()), 0..4_000_000_000_u64];
        (ends, any::<bool>()).prop_map(|(seconds, is_before)| {
            let span = Duration::from_secs(seconds);
            let moment = if is_before { SystemTime::UNIX_EPOCH.checked_sub(span) } else { SystemTime::UNIX_EPOCH.checked_add(span) };
            moment.unwrap_or(SystemTime::UNIX_EPOCH)
        })
    }

    proptest! {
        #[test]
        fn no_evidence_makes_it_panic_and_a_lapse_always_blocks(
            (now, checked_at, first_seen_at) in (moment(), moment(), moment()),
            dates in prop::collection::vec(prop::option::of(moment()), 5),
            statuses in prop::collection::vec(prop::sample::select(vec!["active", "add period", "client hold", "pending delete", "redemption period", "reserved", "removed"]), 0..4),
            (verified, stale) in any::<(bool, bool)>(),
            registered in any::<Option<bool>>(),
            mail in prop::sample::select(vec![None, Some(Mail::Accepted), Some(Mail::NoHost), Some(Mail::Refused)]),
        ) {
            let mut report = Report::registered("test");
            report.registered = registered;
            report.statuses = statuses.iter().map(|status| Status::from(*status)).collect();
            (report.registered_at, report.reregistered_at, report.expires_at) = (dates[0], dates[1], dates[2]);
            report.registrar_expires_at = dates[3];
            let history = Arc::new(History::beginning(&report, first_seen_at));
            let sighting = Sighting { stale, history, ..Sighting::first(report, checked_at) };
            let evidence = Evidence { verified, verified_at: dates[4], requested_is_stored: true, domain: Some(&sighting), mail, over_limit: false };
            let policy = Policy { on_unknown: OnUnknown::Allow, expiring_within: Duration::MAX, ..Policy::default() };
            let verdict = judge(&policy, &evidence, now);
            let is_evidence = dates[4].is_none_or(|at| checked_at >= at.min(now));
            let is_lapsed = is_evidence && sighting.report.phase(now, Duration::ZERO).is_lapsed();
            if is_lapsed || !verified || mail.is_some_and(|mail| mail != Mail::Accepted) {
                prop_assert!(!verdict.is_allowed());
            }
        }
    }

    #[test]
    fn where_no_verification_is_known_a_lapse_at_first_sight_counts() {
        let mut lapsed = Report::registered("rdap");
        lapsed.statuses = vec![Status::RedemptionPeriod];
        let healthy = Report::registered("rdap");
        let history = History::beginning(&lapsed, at("2026-01-01")).after(&healthy, at(NOW));
        let mut sighting = Sighting::first(healthy, at(NOW));
        sighting.history = Arc::new(history);
        assert_eq!(judged(|_, evidence| evidence.verified_at = None, Some(&sighting)).0, ["domain_changed_hands"]);
    }
}
