//! One defence against all requests, in the order of time, and what came of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};

use crate::Failure;
use crate::defence::Defence;
use crate::dice::Dice;
use crate::figures::{DAY, VERIFIES_AGAIN, YEAR};
use crate::world::{Holder, Kind, Request, World};

/// When in the day the daily jobs run.
const JOB: i64 = 4 * 3600;

/// What came of one defence.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) name: &'static str,
    /// By kind: accounts whose taker asked, and those of which he got a reset.
    pub(crate) taken: BTreeMap<Kind, (u64, u64)>,
    /// Resets that owners asked for while they had the domain.
    pub(crate) rightful: u64,
    /// Of these, the blocked ones, by the reason that decided.
    pub(crate) blocked: BTreeMap<&'static str, u64>,
    /// Resets that owners asked for after the term had ended unpaid, and the blocked ones.
    pub(crate) lapsed: (u64, u64),
    pub(crate) unverified: u64,
    /// Questions to registries and queries of the DNS, for each account and year: by what is done daily, and at resets and verifications.
    pub(crate) daily: (f64, f64),
    pub(crate) at_resets: (f64, f64),
    /// Of accounts on domains that lapsed and were taken: seconds in which it would have let a taker through, from the lapse on.
    pub(crate) blind: Vec<i64>,
    /// A line for each reset that a taker got.
    pub(crate) lost: Vec<String>,
    /// A line for each owner who was blocked.
    pub(crate) wronged: Vec<String>,
}

impl Tally {
    /// Owners who were blocked, but for those whose domain was about to expire.
    pub(crate) fn wrongly_blocked(&self) -> u64 {
        self.blocked.iter().filter(|(reason, _)| **reason != "domain_expiring").map(|(_, count)| count).sum()
    }

    pub(crate) fn all_taken(&self) -> (u64, u64) {
        self.taken.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

/// How long accounts stay open to a taker.
struct Blindness<'w> {
    world: &'w World,
    /// Moments at which a domain that is lost shows another face, the last first.
    moments: Vec<(i64, u32)>,
    /// By account: since when it was last looked at, whether it was open then, and for how long it was up to then.
    open: BTreeMap<u32, (i64, bool, i64)>,
}

impl<'w> Blindness<'w> {
    fn new(world: &'w World) -> Self {
        let mut moments = Vec::new();
        for (number, domain) in (0..).zip(&world.domains) {
            if let Some(taking) = domain.taking.filter(|taking| taking.kind != Kind::Sale) {
                let faces = domain.faces.iter().map(|face| face.from).filter(|from| *from >= taking.lost_at);
                moments.extend(faces.map(|from| (from, number)));
            }
        }
        moments.sort_unstable_by_key(|moment| Reverse(*moment));
        Self { world, moments, open: BTreeMap::new() }
    }

    fn next(&self) -> Option<i64> {
        self.moments.last().map(|(at, _)| *at)
    }

    /// At the next of the moments.
    fn step(&mut self, defence: &impl Defence) {
        let Some((at, domain)) = self.moments.pop() else { return };
        for account in self.world.domains[domain as usize].accounts() {
            self.open.entry(account).or_insert((at, false, 0));
            self.look(account, at, defence);
        }
    }

    fn look(&mut self, account: u32, at: i64, defence: &impl Defence) {
        if let Some((since, was_open, span)) = self.open.get_mut(&account) {
            *span += if *was_open { at - *since } else { 0 };
            (*since, *was_open) = (at, !defence.blocks(account, at));
        }
    }

    fn look_at_all(&mut self, at: i64, defence: &impl Defence) {
        for account in self.open.keys().copied().collect::<Vec<_>>() {
            self.look(account, at, defence);
        }
    }
}

/// What happens next.
enum Next {
    Job,
    Moment,
    Verification,
    Request,
}

struct Replay<'w, D> {
    world: &'w World,
    defence: D,
    tally: Tally,
    blindness: Blindness<'w>,
    /// Owners who will verify again, the next first.
    verifications: BinaryHeap<Reverse<(i64, u32)>>,
    /// Those of whom that is known already.
    verifying: HashSet<u32>,
    hijacked: HashSet<u32>,
    /// Questions and queries of the daily jobs.
    daily: (u64, u64),
    tried: HashSet<u32>,
}

/// Replays all requests against `defence`.
pub(crate) async fn replay<D: Defence>(world: &World, defence: D) -> Result<(Tally, D), Failure> {
    let mut replay = Replay {
        world,
        tally: Tally { name: defence.name(), ..Tally::default() },
        defence,
        blindness: Blindness::new(world),
        verifications: BinaryHeap::new(),
        verifying: HashSet::new(),
        hijacked: HashSet::new(),
        daily: (0, 0),
        tried: HashSet::new(),
    };
    let (mut requests, mut job) = (world.requests.iter().copied().peekable(), JOB);
    loop {
        let moments = [
            (Some(job).filter(|at| *at < world.end), Next::Job),
            (replay.blindness.next(), Next::Moment),
            (replay.verifications.peek().map(|Reverse((at, _))| *at), Next::Verification),
            (requests.peek().map(|request| request.at), Next::Request),
        ];
        let next = moments.into_iter().filter_map(|(at, next)| Some((at?, next))).min_by_key(|(at, _)| *at);
        match next.filter(|(at, _)| *at < world.end) {
            None => break,
            Some((_, Next::Job)) => {
                replay.job(job).await?;
                if (job - JOB) % YEAR == 0 {
                    eprintln!("{}: year {}", replay.tally.name, job / YEAR + 1);
                }
                job += DAY;
            }
            Some((_, Next::Moment)) => replay.blindness.step(&replay.defence),
            Some((_, Next::Verification)) => replay.verification().await?,
            Some((_, Next::Request)) => {
                if let Some(request) = requests.next() {
                    replay.request(request).await?;
                }
            }
        }
    }
    Ok(replay.end())
}

impl<D: Defence> Replay<'_, D> {
    async fn job(&mut self, now: i64) -> Result<(), Failure> {
        let before = self.defence.asked();
        self.defence.day(now).await?;
        let after = self.defence.asked();
        self.daily = (self.daily.0 + after.0 - before.0, self.daily.1 + after.1 - before.1);
        self.note_unverified(now);
        self.blindness.look_at_all(now, &self.defence);
        Ok(())
    }

    /// Owners whose address was un-verified verify it again, once they have the domain.
    fn note_unverified(&mut self, now: i64) {
        for account in self.defence.unverified() {
            self.tally.unverified += 1;
            self.verify_again(account, now);
        }
    }

    fn verify_again(&mut self, account: u32, now: i64) {
        let Some(held_from) = self.world.domain_of(account).held_from(now) else { return };
        if self.verifying.insert(account) {
            let mut dice = Dice::of(self.world.seed ^ now as u64, 0x6_0000_0000 | u64::from(account));
            let at = held_from + (dice.exponential(VERIFIES_AGAIN) * DAY as f64) as i64 + 1;
            self.verifications.push(Reverse((at, account)));
        }
    }

    async fn verification(&mut self) -> Result<(), Failure> {
        let Some(Reverse((at, account))) = self.verifications.pop() else { return Ok(()) };
        self.verifying.remove(&account);
        if self.world.domain_of(account).face(at).holder == Holder::Owner {
            self.defence.verified(account, at).await?;
        } else {
            self.verify_again(account, at);
        }
        Ok(())
    }

    async fn request(&mut self, request: Request) -> Result<(), Failure> {
        let Request { at, account, by_taker } = request;
        let holder = self.world.domain_of(account).face(at).holder;
        match (by_taker, holder) {
            (true, _) => self.attack(account, at).await?,
            (false, Holder::Owner | Holder::Lapsed) => self.plea(account, at, holder).await?,
            // A mail would go to somebody else, or nowhere.
            (false, Holder::Nobody | Holder::Taker) => {}
        }
        self.note_unverified(at);
        Ok(())
    }

    async fn attack(&mut self, account: u32, at: i64) -> Result<(), Failure> {
        let domain = self.world.domain_of(account);
        let (Some(taking), false) = (domain.taking, self.hijacked.contains(&account)) else { return Ok(()) };
        let answer = self.defence.reset(account, at).await?;
        let (asked, got) = self.tally.taken.entry(taking.kind).or_default();
        *asked += u64::from(self.tried.insert(account));
        if answer.is_ok() {
            *got += 1;
            self.hijacked.insert(account);
            let after = |since: i64| (at - since) as f64 / DAY as f64;
            let (email, kind) = (self.world.email(account), taking.kind.as_str());
            self.tally.lost.push(format!(
                "{email}: {kind}, {:.1} days after it was lost, on day {:.1}: {}",
                after(taking.lost_at),
                after(0),
                domain.told(at)
            ));
        }
        Ok(())
    }

    async fn plea(&mut self, account: u32, at: i64, holder: Holder) -> Result<(), Failure> {
        let answer = self.defence.reset(account, at).await?;
        if holder == Holder::Lapsed {
            self.tally.lapsed.0 += 1;
            self.tally.lapsed.1 += u64::from(answer.is_err());
            return Ok(());
        }
        self.tally.rightful += 1;
        if let Err(reason) = answer {
            *self.tally.blocked.entry(reason).or_default() += 1;
            let (email, told) = (self.world.email(account), self.world.domain_of(account).told(at));
            self.tally.wronged.push(format!("{email}: {reason}, on day {:.1}: {told}", at as f64 / DAY as f64));
            // What the domain's state or an outage blocks, another verification does not mend.
            if !matches!(reason, "domain_expiring" | "domain_unknown" | "domain_unresolvable" | "domain_on_hold") {
                self.verify_again(account, at);
            }
        }
        Ok(())
    }

    fn end(mut self) -> (Tally, D) {
        self.blindness.look_at_all(self.world.end, &self.defence);
        self.tally.blind = self.blindness.open.values().map(|(_, _, span)| *span).collect();
        let years = self.world.accounts.len() as f64 * self.world.end as f64 / YEAR as f64;
        let (all, daily) = (self.defence.asked(), self.daily);
        self.tally.daily = (daily.0 as f64 / years, daily.1 as f64 / years);
        self.tally.at_resets = ((all.0 - daily.0) as f64 / years, (all.1 - daily.1) as f64 / years);
        (self.tally, self.defence)
    }
}
