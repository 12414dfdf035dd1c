//! What stands between whoever asks for a reset and the mail with the link: the port, and the models of what others have.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Failure;
use crate::figures::DAY;
use crate::registry::Words;
use crate::world::World;

/// Whether a reset goes through, or why not.
pub(crate) type Answer = Result<(), &'static str>;

/// One way to defend accounts.
pub(crate) trait Defence {
    /// Its name in the table.
    fn name(&self) -> &'static str;

    /// Does what it does every day.
    async fn day(&mut self, now: i64) -> Result<(), Failure>;

    /// Somebody asks for a reset.
    async fn reset(&mut self, account: u32, now: i64) -> Result<Answer, Failure>;

    /// The owner has verified his address again.
    async fn verified(&mut self, account: u32, now: i64) -> Result<(), Failure>;

    /// Whether it would block a reset at that moment. Asks nobody.
    fn blocks(&self, account: u32, now: i64) -> bool;

    /// Accounts that it un-verified since it was last asked for them.
    fn unverified(&mut self) -> Vec<u32>;

    /// Questions to registries or status services, and queries of the DNS, up to now.
    fn asked(&self) -> (u64, u64);
}

/// A model: a rule, and the accounts' flags.
pub(crate) struct Model<R> {
    rule: R,
    site: Site,
}

/// What a rule works on.
pub(crate) struct Site {
    world: Arc<World>,
    verified: Vec<bool>,
    verified_at: Vec<i64>,
    unverified: Vec<u32>,
    asked: (u64, u64),
}

pub(crate) trait Rule {
    fn name(&self) -> &'static str;

    fn day(&mut self, site: &mut Site, now: i64) {
        let _ = (site, now);
    }

    /// What a look at the moment of the reset finds.
    fn look(&self, site: &Site, account: u32, now: i64) -> Answer {
        let _ = (site, account, now);
        Ok(())
    }

    /// How many questions such a look takes.
    fn questions(&self) -> u64 {
        0
    }
}

impl<R: Rule> Model<R> {
    pub(crate) fn new(world: &Arc<World>, rule: R) -> Self {
        let verified_at = world.accounts.iter().map(|account| account.verified_at).collect();
        let verified = vec![true; world.accounts.len()];
        Self { rule, site: Site { world: Arc::clone(world), verified, verified_at, unverified: Vec::new(), asked: (0, 0) } }
    }
}

impl<R: Rule> Defence for Model<R> {
    fn name(&self) -> &'static str {
        self.rule.name()
    }

    async fn day(&mut self, now: i64) -> Result<(), Failure> {
        self.rule.day(&mut self.site, now);
        Ok(())
    }

    async fn reset(&mut self, account: u32, now: i64) -> Result<Answer, Failure> {
        self.site.asked.0 += self.rule.questions();
        Ok(if self.site.verified[account as usize] { self.rule.look(&self.site, account, now) } else { Err("email_unverified") })
    }

    async fn verified(&mut self, account: u32, now: i64) -> Result<(), Failure> {
        (self.site.verified[account as usize], self.site.verified_at[account as usize]) = (true, now);
        Ok(())
    }

    fn blocks(&self, account: u32, now: i64) -> bool {
        !self.site.verified[account as usize] || self.rule.look(&self.site, account, now).is_err()
    }

    fn unverified(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.site.unverified)
    }

    fn asked(&self) -> (u64, u64) {
        self.site.asked
    }
}

impl Site {
    fn unverify(&mut self, account: u32) {
        if std::mem::replace(&mut self.verified[account as usize], false) {
            self.unverified.push(account);
        }
    }

    fn words_about(&self, account: u32, now: i64) -> Words {
        self.world.words(self.world.accounts[account as usize].domain, now)
    }
}

/// A reset for everyone.
pub(crate) struct NoGate;

impl Rule for NoGate {
    fn name(&self) -> &'static str {
        "no gate"
    }
}

/// PyPI's daily jobs, as its public code has them (pypi/warehouse, `warehouse/accounts/tasks.py` and `utils.py`). A thousand addresses a day are checked, those
/// first that never were, then those that weren't for longest, if that is thirty days. Then at most as many are un-verified whose last status has one of five words. An address that is
/// verified again keeps its last status, and so is un-verified again until it is checked anew.
pub(crate) struct Pypi {
    limit: usize,
    /// All addresses in the order of their last check, with its moment.
    queue: VecDeque<(i64, u32)>,
    /// Whether the last status has one of the words.
    doomed: Vec<bool>,
}

impl Pypi {
    pub(crate) fn new(world: &World, limit: usize) -> Self {
        let accounts = world.accounts.len();
        Self { limit, queue: (0..accounts as u32).map(|account| (i64::MIN, account)).collect(), doomed: vec![false; accounts] }
    }
}

impl Rule for Pypi {
    fn name(&self) -> &'static str {
        if self.limit == usize::MAX { "PyPI's job, no row limit" } else { "PyPI's job" }
    }

    fn day(&mut self, site: &mut Site, now: i64) {
        for _ in 0..self.limit {
            let Some((_, account)) = self.queue.front().copied().filter(|(checked_at, _)| *checked_at < now - 30 * DAY) else { break };
            self.queue.pop_front();
            self.queue.push_back((now, account));
            site.asked.0 += 1;
            self.doomed[account as usize] = site.words_about(account, now).are_bad();
        }
        let doomed = (0..).zip(&self.doomed).filter(|(account, doomed)| **doomed && site.verified[*account as usize]);
        for (account, _) in doomed.take(self.limit).collect::<Vec<(u32, _)>>() {
            site.unverify(account);
        }
    }
}

/// A daily job over all domains that needs both a status and missing mail servers, as that of RubyGems (rubygems/rubygems.org, `VerifyUserEmailDomainsJob`),
/// whose limit of twenty accounts a day is left out.
pub(crate) struct StatusAndMail;

impl Rule for StatusAndMail {
    fn name(&self) -> &'static str {
        "daily: status and missing MX"
    }

    fn day(&mut self, site: &mut Site, now: i64) {
        let world = Arc::clone(&site.world);
        for (number, domain) in (0..).zip(&world.domains) {
            if !domain.accounts().any(|account| site.verified[account as usize]) {
                continue;
            }
            site.asked.0 += 1;
            let words = world.words(number, now);
            if words.inactive || words.parked || words.expiring || words.deleting {
                site.asked.1 += 1;
                if world.lacks_mail(number, now) {
                    domain.accounts().for_each(|account| site.unverify(account));
                }
            }
        }
    }
}

/// A status service is asked at the reset, and nothing else.
pub(crate) struct StatusAtReset;

impl Rule for StatusAtReset {
    fn name(&self) -> &'static str {
        "status at the reset"
    }

    fn look(&self, site: &Site, account: u32, now: i64) -> Answer {
        if site.words_about(account, now).are_bad() { Err("status") } else { Ok(()) }
    }

    fn questions(&self) -> u64 {
        1
    }
}

/// Besides, the date of registration is compared with that of the verification.
pub(crate) struct StatusAndDate;

impl Rule for StatusAndDate {
    fn name(&self) -> &'static str {
        "status and date at the reset"
    }

    fn look(&self, site: &Site, account: u32, now: i64) -> Answer {
        StatusAtReset.look(site, account, now)?;
        let domain = site.world.domain_of(account);
        let is_younger = domain.face(now).registered_at > site.verified_at[account as usize];
        if domain.top_level().dated && is_younger { Err("domain_reregistered") } else { Ok(()) }
    }

    fn questions(&self) -> u64 {
        2
    }
}
