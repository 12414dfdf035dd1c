//! What a recovery request for an account deserves, given all that is known: a pure function, without clock or I/O.
//!
//! A request is blocked when any of these holds; all that hold are reported, in this order:
//!
//! 1. the stored address is another than the requested one ([`Reason::TargetMismatch`]);
//! 2. the stored address isn't verified ([`Reason::EmailUnverified`]);
//! 3. its domain is unregistered, pending delete, in redemption or expired;
//! 4. its domain is on hold;
//! 5. its domain was registered after the address was verified, so its present holder need not be the one who verified it;
//! 6. its domain is about to expire;
//! 7. nobody could tell how the domain stands, unless [`OnUnknown::Allow`] is set.
//!
//! 3 and 5 take the verification away for good, where the report is not stale. What a deployment can break: a `verified_at` that is moved forward without a fresh
//! verification hides a re-registration, and [`OnUnknown::Allow`] lets whoever can disturb the registry's answers through.

use std::time::{Duration, SystemTime};

use crate::domain::{Sighting, Standing, Status};
use crate::verdict::{Notice, Reason, Verdict};

const DAY: Duration = Duration::from_secs(86_400);

/// The settings of judging.
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
        if phase.is_lapsed() {
            unverify = reasons.last().copied();
        }
        if report.is_on_hold() {
            reasons.push(Reason::DomainOnHold);
        }
        if is_reregistered(sighting, verified_at) {
            reasons.push(Reason::DomainReregistered);
            unverify = unverify.or(Some(Reason::DomainReregistered));
        }
        if report.says(&Status::AutoRenewPeriod) {
            notices.push(Notice::DomainAutoRenewed);
        }
        if phase == Standing::Active && report.ends_within(policy.notice_within, now) {
            notices.push(Notice::DomainExpiresSoon);
        }
    }

    let standing = sighting.map(|sighting| sighting.report.standing(now, policy.expiring_within));
    // An unverified address's domain isn't asked about, so there not knowing is no reason.
    if evidence.verified && standing.is_none_or(|standing| standing == Standing::Unknown) {
        match policy.on_unknown {
            OnUnknown::Block => reasons.push(Reason::DomainUnknown),
            OnUnknown::Allow => notices.push(Notice::DomainUnknown),
        }
    }
    // A stale report still blocks, but only a live one takes away for good: the holder may have renewed since.
    let unverify = unverify.filter(|_| policy.unverify && evidence.verified && sighting.is_some_and(|sighting| !sighting.stale));
    Verdict::new(reasons, notices, standing.or(evidence.verified.then_some(Standing::Unknown)), unverify)
}

/// Whether the present registration began after the address was verified or, where that is not known, after the domain was first seen.
fn is_reregistered(sighting: &Sighting, verified_at: Option<SystemTime>) -> bool {
    let baseline = verified_at.unwrap_or(sighting.first_seen_at);
    let report = &sighting.report;
    match report.began_at() {
        Some(began_at) => lies_after(began_at, baseline, SKEW),
        // Without any date, the add period alone proves a creation of at most five days ago.
        None => report.says(&Status::AddPeriod) && lies_after(sighting.checked_at, baseline, ADD_PERIOD + SKEW),
    }
}

/// Whether `time` is later than `baseline` by more than `margin`.
fn lies_after(time: SystemTime, baseline: SystemTime, margin: Duration) -> bool {
    time.duration_since(baseline).is_ok_and(|after| after > margin)
}
