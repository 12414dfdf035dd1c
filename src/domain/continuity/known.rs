//! Who runs a domain, as far as that is known, and what of it another look finds changed.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Signal;
use crate::address::RegistrableDomain;
use crate::clock;
use crate::domain::Report;

/// Who serves names that are for sale, or that their registrar took from somebody who didn't pay, by the registrable domain of the name servers.
const MARKETS: [&str; 14] = [
    "above.com",
    "afternic.com",
    "atom.com",
    "bodis.com",
    "brandbucket.com",
    "cashparking.com",
    "dan.com",
    "hugedomains.com",
    "parkingcrew.net",
    "parklogic.com",
    "pendingrenewaldeletion.com",
    "renewyourname.net",
    "sedoparking.com",
    "undeveloped.com",
];

/// The latest known value of each thing that is compared, from whichever report had it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// When the domain was last seen.
    #[serde(with = "clock::text")]
    pub(super) at: Option<SystemTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registrar: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handle: Option<String>,
    /// Operators, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    name_servers: Vec<String>,
    /// Operators, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mail_servers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ds: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_hold: Option<bool>,
    has_date: bool,
}

impl Known {
    pub(super) fn of(report: &Report, at: SystemTime) -> Self {
        Self {
            at: Some(at),
            registrar: report.registrar.clone(),
            handle: report.handle.clone(),
            name_servers: operators(&report.name_servers),
            mail_servers: operators(&report.mail_servers),
            ds: report.ds.clone(),
            signed: report.delegation_signed,
            on_hold: (!report.statuses.is_empty()).then(|| report.is_on_hold()),
            has_date: report.began_at().is_some(),
        }
    }

    /// What differs from `before`, of what both know.
    pub(super) fn differences(&self, before: &Self) -> Vec<Signal> {
        // An operator that was not there before is a change also where an old one stays: a taker may leave it in, lame.
        let has_new = |now: &[String], before: &[String]| !before.is_empty() && now.iter().any(|one| !before.contains(one));
        let differ = |now: bool, signal| now.then_some(signal);
        [
            differ(is_other(self.registrar.as_ref(), before.registrar.as_ref()), Signal::Registrar),
            differ(has_new(&self.name_servers, &before.name_servers), Signal::NameServers),
            differ(is_market(&self.name_servers) && !before.name_servers.is_empty() && !is_market(&before.name_servers), Signal::Market),
            differ((before.on_hold, self.on_hold) == (Some(false), Some(true)), Signal::Hold),
            differ(has_new(&self.mail_servers, &before.mail_servers), Signal::MailServers),
            differ(is_other(self.ds.as_ref(), before.ds.as_ref()) || is_other(self.signed.as_ref(), before.signed.as_ref()), Signal::Ds),
            differ(!self.has_date && !before.has_date && is_other(self.handle.as_ref(), before.handle.as_ref()), Signal::Handle),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    pub(super) fn update(&mut self, seen: Self) {
        let kept = |before: Vec<String>, seen: Vec<String>| if seen.is_empty() { before } else { seen };
        let before = std::mem::take(self);
        *self = Self {
            at: seen.at,
            registrar: seen.registrar.or(before.registrar),
            handle: seen.handle.or(before.handle),
            name_servers: kept(before.name_servers, seen.name_servers),
            mail_servers: kept(before.mail_servers, seen.mail_servers),
            ds: seen.ds.or(before.ds),
            signed: seen.signed.or(before.signed),
            on_hold: seen.on_hold.or(before.on_hold),
            has_date: seen.has_date || before.has_date,
        };
    }
}

fn is_market(name_servers: &[String]) -> bool {
    name_servers.iter().any(|operator| MARKETS.contains(&operator.as_str()))
}

fn is_other<T: PartialEq>(now: Option<&T>, before: Option<&T>) -> bool {
    matches!((now, before), (Some(now), Some(before)) if now != before)
}

/// Who runs `servers`: the registrable domains of their names, sorted.
pub(crate) fn operators(servers: &[String]) -> Vec<String> {
    let operator = |server: &String| RegistrableDomain::of(server).map_or_else(|_| server.clone(), |domain| domain.as_str().to_owned());
    let mut operators: Vec<String> = servers.iter().map(operator).collect();
    operators.sort_unstable();
    operators.dedup();
    operators
}
