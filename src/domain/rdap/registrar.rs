//! What a registrar adds to its registry's word (RFC 3915 §3.1, `auto renew period`).
//!
//! At its end a registry extends a registration by itself, and for 45 days the registrar may give it back: the registry's date then looks healthy whether the holder
//! paid or not. Only the registrar knows. So in that case, and no other, it is asked, by the link in the registry's answer. It can make things worse for the domain and never better: its end
//! of the contract and the statuses of a lapse are taken, all else that it says is the registry's to say.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use reqwest::Url;

use crate::domain::{Report, Standing, Status};

/// How long a registrar is waited for: a check that it lets fail would be worse than one without it.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Whether only the registrar knows if the registration behind `report` has run out.
pub(super) fn is_needed(report: &Report, now: SystemTime) -> bool {
    report.says(&Status::AutoRenewPeriod) && report.registrar_expires_at.is_none() && report.phase(now, Duration::ZERO) == Standing::Active
}

/// The first of `links` that leads on from `asked`.
pub(super) fn question(links: &[Cow<'_, str>], asked: &Url, permits: impl Fn(&Url) -> bool) -> Option<Url> {
    links.iter().filter_map(|link| Url::parse(link.trim()).ok()).find(|url| !is_same(url, asked) && permits(url))
}

/// Whether two URLs make the same question: names are in either case.
fn is_same(one: &Url, other: &Url) -> bool {
    let question = |url: &Url| (url.origin().ascii_serialization(), url.path().trim_end_matches('/').to_ascii_lowercase());
    question(one) == question(other)
}

/// Adds what the registrar says of a lapse.
pub(super) fn add(report: &mut Report, registrars: Report) {
    report.registrar_expires_at = registrars.ends_at();
    for status in registrars.statuses {
        let is_lapse = matches!(status, Status::ClientHold | Status::RedemptionPeriod | Status::PendingRestore | Status::PendingDelete);
        if is_lapse && !report.says(&status) {
            report.statuses.push(status);
        }
    }
}
