//! One look at one domain: where the DNS leads, what the registry says if that is to be asked, and what follows from both.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};

use super::round::Round;
use super::schedule::{Known, Plan};
use crate::address::RegistrableDomain;
use crate::audit::{DomainRecord, Event, Record};
use crate::domain::cache::Remembered;
use crate::domain::{Delegation, History, Report, Sighting, SourceError, Standing, operators};
use crate::policy::{Evidence, judge};
use crate::state::{Kept, Looked, StateError, TRIES, Watched};
use crate::verdict::{Notice, Reason, Verdict};

/// How long a source may take. Nobody waits at the other end.
const PATIENCE: Duration = Duration::from_secs(15);

/// A look is given up for the next worker when its lease ends so soon.
const MARGIN: Duration = Duration::from_secs(20);

/// After the first failure of a look it is tried again so much later, then four times that, and so on.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// From the third failure on, the wait is this, then twice that, and so on.
const LATER_RETRY: Duration = Duration::from_secs(3_600);
pub(super) const LONGEST_RETRY: Duration = Duration::from_secs(86_400);

/// What the DNS said, as it is kept: the operators of the name servers, or one of these.
const ABSENT: &str = "-";
const NO_SERVERS: &str = ".";

/// What came of a look.
pub(super) enum Outcome {
    Looked(Box<Look>),
    /// There was no time left for it.
    GivenBack(RegistrableDomain),
}

/// What was found, and what it took.
pub(super) struct Look {
    pub(super) looked: Looked,
    pub(super) records: Vec<Record>,
    /// Whether the registry was asked.
    pub(super) asked: bool,
    /// Whether the DNS told where it leads.
    pub(super) polled: bool,
    /// The codes of what was found. Empty where nothing was, or the look failed.
    pub(super) codes: Vec<&'static str>,
    pub(super) failed: bool,
}

/// Where the DNS leads now.
enum Poll {
    /// No source asks the DNS.
    Unasked,
    /// It could not tell.
    Untold,
    /// To these operators, or one of the words for none.
    Told(String),
}

impl Round {
    /// Looks at `watched`, of which `known` is kept, and whose lease ends at `until`.
    pub(super) async fn look(&self, watched: Watched, known: Kept, until: SystemTime) -> Outcome {
        let known = match known {
            Ok(known) => known,
            Err(error) => return Outcome::Looked(self.settle_broken(watched, &error)),
        };
        let Some(poll) = self.poll(&watched.domain).await else { return Outcome::GivenBack(watched.domain) };
        let now = self.now();
        if let Some(known) = known.as_ref().filter(|known| !self.is_due(known, &watched, &poll, now)) {
            return Outcome::Looked(match poll {
                Poll::Untold if !is_hastened(&watched) => Self::settle_untold(watched, now),
                Poll::Untold | Poll::Unasked | Poll::Told(_) => self.settle(watched, &poll, known, now),
            });
        }
        let servers = self.source.servers(&watched.domain);
        match self.is_admitted(&servers, until).await {
            Ok(true) => {}
            Ok(false) => return Outcome::GivenBack(watched.domain),
            Err(error) => return Outcome::Looked(self.settle_broken(watched, &error)),
        }
        let Some((report, checked_at)) = self.ask(&watched.domain, until).await else { return Outcome::GivenBack(watched.domain) };
        match report {
            Ok(report) => {
                let history = match &known {
                    Some(known) => known.history.after(&report, checked_at),
                    None => History::beginning(&report, checked_at),
                };
                let remembered = Remembered { report: Arc::new(report), history: Arc::new(history), checked_at, confirmed_at: None };
                let mut look = self.settle(watched, &poll, &remembered, checked_at);
                look.looked.watched.polled_at = matches!(poll, Poll::Told(_)).then_some(checked_at).or(look.looked.watched.polled_at);
                look.looked.remembered = Some(remembered);
                look.asked = true;
                Outcome::Looked(look)
            }
            Err(error) => {
                let is_as_before = matches!(&poll, Poll::Told(operators) if *operators == led_to(known.as_ref(), &watched));
                Outcome::Looked(self.settle_failed(watched, is_as_before, &poll, &servers, &error))
            }
        }
    }

    /// Waits until `servers` may be asked. Not where there will be no time left for it.
    async fn is_admitted(&self, servers: &[String], until: SystemTime) -> Result<bool, StateError> {
        let deadline = until.checked_sub(MARGIN).unwrap_or(until);
        match select(pin!(self.rations.wait(servers, deadline)), pin!(self.stopping.wished())).await {
            Either::Left((is_admitted, _)) => is_admitted,
            Either::Right(_) => Ok(false),
        }
    }

    /// What the sources say, and when they were asked. `None` where there is no time left for it.
    async fn ask(&self, domain: &RegistrableDomain, until: SystemTime) -> Option<(Result<Report, SourceError>, SystemTime)> {
        let _asking = self.asking.acquire().await;
        let asked_at = self.now();
        if self.stopping.is_wished() || until.duration_since(asked_at).is_ok_and(|left| left < PATIENCE) || until <= asked_at {
            return None;
        }
        let late = |_| Err(SourceError::Timeout { domain: domain.as_str().into(), limit: PATIENCE });
        Some((tokio::time::timeout(PATIENCE, self.source.report(domain)).await.unwrap_or_else(late), asked_at))
    }

    /// `None` where the sweep is to stop.
    async fn poll(&self, domain: &RegistrableDomain) -> Option<Poll> {
        let _asking = self.asking.acquire().await;
        if self.stopping.is_wished() {
            return None;
        }
        Some(match tokio::time::timeout(PATIENCE, self.source.delegation(domain)).await {
            Ok(Ok(Some(Delegation::Absent))) => Poll::Told(ABSENT.to_owned()),
            Ok(Ok(Some(Delegation::To(servers)))) if servers.is_empty() => Poll::Told(NO_SERVERS.to_owned()),
            Ok(Ok(Some(Delegation::To(servers)))) => Poll::Told(operators(&servers).join(" ")),
            Ok(Ok(None)) => Poll::Unasked,
            Ok(Err(error)) => {
                tracing::debug!(%domain, error = &error as &dyn std::error::Error, "where the DNS leads could not be told");
                Poll::Untold
            }
            Err(_) => Poll::Untold,
        })
    }

    /// Whether the registry is to be asked, since what is `known`, be it from a reset, no longer serves.
    fn is_due(&self, known: &Remembered, watched: &Watched, poll: &Poll, now: SystemTime) -> bool {
        let is_recent =
            |at: Option<SystemTime>| at.is_some_and(|at| now.duration_since(at).is_ok_and(|age| age < self.settings.recheck_after));
        // What was seen before a verification says nothing about it, and what a clock that was ahead dated is not as old as it can be.
        let is_evidence = watched.verified_from.is_none_or(|at| known.checked_at >= at.min(now)) && known.checked_at <= now;
        !is_evidence
            || self.plan(known, watched, poll).registry_at <= now
            || match poll {
                Poll::Unasked => false,
                Poll::Untold if is_hastened(watched) => !is_recent(Some(known.checked_at)),
                // What DNS servers fail to answer for long may have changed.
                Poll::Untold => !is_recent(watched.polled_at),
                // Nobody saw where it led meanwhile.
                Poll::Told(_) if watched.polled_at.is_none() && !is_recent(Some(known.checked_at)) => true,
                Poll::Told(operators) => *operators != led_to(Some(known), watched),
            }
    }

    fn plan(&self, known: &Remembered, watched: &Watched, poll: &Poll) -> Plan {
        let known = Known {
            top_level: watched.domain.top_level(),
            report: &known.report,
            history: &known.history,
            checked_at: known.checked_at,
            accounts: watched.accounts,
            is_polled: !matches!(poll, Poll::Unasked),
        };
        Plan::of(&known, self.inner.policy.notice_within, self.settings.recheck_after)
    }

    /// What follows from what is `known`.
    fn settle(&self, mut watched: Watched, poll: &Poll, known: &Remembered, now: SystemTime) -> Box<Look> {
        let plan = self.plan(known, &watched, poll);
        let verdict = self.verdict(&watched, known, now);
        let standing = verdict.standing().unwrap_or(Standing::Unknown);
        let codes: Vec<&'static str> = codes(&verdict);
        let mut records = Vec::new();
        let telling = codes.join(" ");
        // Past the end that is known, nothing new can be told before the registry is asked.
        if telling != watched.told && !has_run_out(known, now) {
            let domain = DomainRecord::new(watched.domain.as_str(), standing, Some(&sighting(known)));
            records.push(self.inner.record_of(Event::DomainChanged, &verdict, None, Some(domain), !self.settings.dry_run));
            watched.told = telling;
        }
        watched.found = verdict.unverify();
        watched.failures = 0;
        let leased_registry_at = watched.registry_at;
        watched.registry_at = plan.registry_at;
        if let Poll::Told(operators) = poll {
            watched.operators.clone_from(operators);
            // Where it leads nowhere, that is no confirmation of anything.
            if leads_anywhere(operators) {
                watched.polled_at = Some(now);
            }
        }
        let due_at = plan.due_at(now);
        Box::new(Look { records, codes, polled: matches!(poll, Poll::Told(_)), ..Look::of(leased_registry_at, watched, due_at) })
    }

    /// Where the DNS leads could not be told.
    fn settle_untold(mut watched: Watched, now: SystemTime) -> Box<Look> {
        watched.failures += 1;
        let due_at = now + retry_after(watched.failures, None);
        Box::new(Look { failed: true, ..Look::of(watched.registry_at, watched, due_at) })
    }

    /// What is known of the domain can't be read, or nothing can be asked now.
    pub(super) fn settle_broken(&self, watched: Watched, error: &(dyn std::error::Error + 'static)) -> Box<Look> {
        tracing::error!(domain = %watched.domain, error, "a domain can't be looked at");
        Self::settle_untold(watched, self.now())
    }

    /// The registry could not tell. While the DNS leads where it did, what it said before may stand in.
    fn settle_failed(&self, mut watched: Watched, is_as_before: bool, poll: &Poll, servers: &[String], error: &SourceError) -> Box<Look> {
        let now = self.now();
        tracing::warn!(domain = %watched.domain, error = error as &dyn std::error::Error, "a domain could not be looked at");
        if let Poll::Told(operators) = poll {
            // Where it leads elsewhere, what was said before is confirmed no longer.
            watched.polled_at = (is_as_before && leads_anywhere(operators)).then_some(now);
        }
        watched.failures += 1;
        let due_at = now + retry_after(watched.failures, error.retry_after());
        let mut records = Vec::new();
        let server = servers.first().cloned().unwrap_or_else(|| "dns".to_owned());
        if watched.failures == TRIES && self.is_first_failure_of(&server) {
            let verdict = Verdict::new(vec![Reason::DomainUnknown], vec![Notice::SourceFailed], Some(Standing::Unknown), None);
            let domain = DomainRecord::new(watched.domain.as_str(), Standing::Unknown, None);
            let domain = DomainRecord { source: Some(server.into()), ..domain };
            records.push(self.inner.record_of(Event::SourceFailed, &verdict, None, Some(domain), false));
        }
        Box::new(Look { records, asked: true, failed: true, ..Look::of(watched.registry_at, watched, due_at) })
    }

    /// The verdict about the domain's account that is most easily blocked.
    fn verdict(&self, watched: &Watched, known: &Remembered, now: SystemTime) -> Verdict {
        let of = |verified_at| self.verdict_of(verified_at, known, now);
        let undated = (watched.undated > 0 || watched.verified_from.is_none()).then(|| of(None));
        let dated = watched.verified_from.map(|at| of(Some(at)));
        let mut verdicts: Vec<Verdict> = dated.into_iter().chain(undated).collect();
        let harshest = verdicts.iter().position(|verdict| verdict.unverify().is_some());
        let harshest = harshest.or_else(|| verdicts.iter().position(|verdict| !verdict.is_allowed())).unwrap_or_default();
        if harshest < verdicts.len() { verdicts.swap_remove(harshest) } else { Verdict::default() }
    }
}

impl Round {
    /// The verdict about an account with a verified address.
    ///
    /// A report from before the end that it states is judged as of then: by now, the domain may have been renewed.
    pub(super) fn verdict_of(&self, verified_at: Option<SystemTime>, known: &Remembered, now: SystemTime) -> Verdict {
        let as_of = if has_run_out(known, now) { known.checked_at } else { now };
        if verified_at.is_some_and(|at| at > as_of) {
            return Verdict::default();
        }
        let sighting = sighting(known);
        let (domain, mail) = (Some(&sighting), sighting.report.mail);
        let mut policy = self.inner.policy.clone();
        // A report of long before the end tells that it will come, not that nobody renewed the domain since.
        if known.report.ends_at().is_some_and(|end| known.checked_at + policy.expiring_within < end) {
            policy.expiring_within = Duration::ZERO;
        }
        judge(&policy, &Evidence { verified: true, verified_at, requested_is_stored: true, domain, mail, over_limit: false }, as_of)
    }
}

impl Look {
    fn of(leased_registry_at: SystemTime, watched: Watched, due_at: SystemTime) -> Self {
        let looked = Looked { leased_registry_at, watched, due_at, remembered: None };
        Self { looked, records: Vec::new(), asked: false, polled: false, codes: Vec::new(), failed: false }
    }
}

fn leads_anywhere(operators: &str) -> bool {
    operators != ABSENT && operators != NO_SERVERS
}

/// Where the DNS led when that was last seen: by a poll, or by a report that is later.
fn led_to(known: Option<&Remembered>, watched: &Watched) -> String {
    match known {
        Some(known) if watched.polled_at.is_none_or(|polled_at| polled_at < known.checked_at) => {
            operators(&known.report.name_servers).join(" ")
        }
        _ => watched.operators.clone(),
    }
}

/// Whether something came up that is to be judged now, such as a lapse that a reset saw.
fn is_hastened(watched: &Watched) -> bool {
    watched.registry_at == SystemTime::UNIX_EPOCH
}

/// Whether the registration, still running when the report was made, has ended since by the report's own dates.
fn has_run_out(known: &Remembered, now: SystemTime) -> bool {
    known.report.ends_at().is_some_and(|end| known.checked_at < end && end <= now)
}

pub(super) fn sighting(known: &Remembered) -> Sighting {
    Sighting {
        report: Arc::clone(&known.report),
        checked_at: known.checked_at,
        history: Arc::clone(&known.history),
        cached: false,
        stale: false,
    }
}

/// What is told of a domain: everything but that a source failed, which says nothing about it.
fn codes(verdict: &Verdict) -> Vec<&'static str> {
    let notices = verdict.notices().iter().filter(|notice| !matches!(notice, Notice::SourceFailed | Notice::DomainUnknown));
    let reasons = verdict.reasons().iter().filter(|reason| !matches!(reason, Reason::DomainUnknown));
    reasons.map(|reason| reason.as_str()).chain(notices.map(|notice| notice.as_str())).collect()
}

fn retry_after(failures: u32, asked_for: Option<Duration>) -> Duration {
    let wait = match failures {
        0..TRIES => FIRST_RETRY * 4_u32.pow(failures.saturating_sub(1)),
        _ => LATER_RETRY.saturating_mul(2_u32.saturating_pow((failures - TRIES).min(8))),
    };
    wait.min(LONGEST_RETRY).max(asked_for.unwrap_or_default().min(LONGEST_RETRY))
}
