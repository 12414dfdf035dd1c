//! The world: domains with all that becomes of them, the accounts on them, and who asks for resets when.

use std::time::{Duration, SystemTime};

use reset_gatekeeper::domain::cache::providers;

use crate::dice::{Dice, throw};
use crate::figures::{
    AT_PROVIDERS, CH_GONE, DAY, DNS_OUTAGES, DOMAIN_AGE, EXPIRING_SHOWN, Ends, OWNER_ASKS, PER_DOMAIN, QUESTION_FAILS, REGISTRY_OUTAGES,
    TOP_LEVELS, TopLevel, VERIFIED_AGO, YEAR,
};
use crate::life::Life;
use crate::operators::Operators;

/// How a domain came into other hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Deleted, and registered by a stranger, where the registry publishes the date.
    Dated,
    /// The same, where it doesn't.
    Dateless,
    /// Sold by the registrar before it was deleted: the registration stays.
    Auction,
    /// The same, where the registry publishes no end of a term, so that no lapse ever shows.
    Hidden,
    /// Sold by its owner: the registration stays.
    Sale,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Dated, Self::Dateless, Self::Auction, Self::Hidden, Self::Sale];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Dated => "drop, dated",
            Self::Dateless => "drop, no date",
            Self::Auction => "auction",
            Self::Hidden => "auction, no end shown",
            Self::Sale => "direct sale",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    Owner,
    /// The term is over, and the owner may or may not come back.
    Lapsed,
    Nobody,
    Taker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Registered,
    Redemption,
    PendingDelete,
    Free,
}

/// Who serves a domain: numbers of operators, and of keys. No key is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Servers {
    pub(crate) names: u16,
    /// `None` where no mail server is named.
    pub(crate) mail: Option<u16>,
    pub(crate) keys: u32,
}

/// How a domain is, from a moment on until the next face. Moments are seconds since the replay's beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Face {
    pub(crate) from: i64,
    pub(crate) holder: Holder,
    pub(crate) phase: Phase,
    pub(crate) added: bool,
    pub(crate) auto_renewed: bool,
    pub(crate) held: bool,
    pub(crate) registered_at: i64,
    /// By the registry.
    pub(crate) expires_at: i64,
    /// By the registrar.
    pub(crate) paid_until: i64,
    pub(crate) handle: u32,
    pub(crate) registrar: u16,
    pub(crate) servers: Servers,
}

impl Face {
    pub(crate) fn is_in_dns(&self) -> bool {
        self.phase == Phase::Registered && !self.held
    }
}

/// A domain's coming into other hands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taking {
    pub(crate) kind: Kind,
    /// When its owner lost it, or it lapsed for good.
    pub(crate) lost_at: i64,
    /// When the taker asks for the first reset.
    pub(crate) asks_at: i64,
}

pub(crate) struct Domain {
    pub(crate) name: Box<str>,
    pub(crate) top_level: u8,
    /// In the order of their beginnings; the first holds from before the replay on.
    pub(crate) faces: Box<[Face]>,
    pub(crate) taking: Option<Taking>,
    /// The first account on it, and how many there are.
    pub(crate) accounts: (u32, u32),
}

impl Domain {
    pub(crate) fn face(&self, at: i64) -> &Face {
        &self.faces[self.faces.partition_point(|face| face.from <= at).saturating_sub(1)]
    }

    pub(crate) fn top_level(&self) -> &'static TopLevel {
        &TOP_LEVELS[usize::from(self.top_level)]
    }

    pub(crate) fn accounts(&self) -> std::ops::Range<u32> {
        self.accounts.0..self.accounts.0 + self.accounts.1
    }

    /// What changed up to `now`, each with how many days before that is.
    pub(crate) fn told(&self, now: i64) -> String {
        let pairs = self.faces.windows(2).filter(|pair| pair[1].from <= now);
        let told = pairs.filter_map(|pair| {
            let (before, after) = (pair[0], pair[1]);
            let (old, new) = (before.servers, after.servers);
            let changes = [
                (before.holder != after.holder, format!("{:?}", after.holder).to_lowercase()),
                (before.phase != after.phase, format!("{:?}", after.phase).to_lowercase()),
                (before.held != after.held, if after.held { "held" } else { "not held" }.to_owned()),
                (before.paid_until != after.paid_until, "paid".to_owned()),
                (before.registrar != after.registrar, "registrar".to_owned()),
                (old.names != new.names, if Operators::is_market(new.names) { "parked" } else { "name servers" }.to_owned()),
                (old.mail != new.mail, if new.mail.is_some() { "mail" } else { "no mail" }.to_owned()),
            ];
            let changes: Vec<_> = changes.into_iter().filter_map(|(is_one, what)| is_one.then_some(what)).collect();
            (!changes.is_empty()).then(|| format!("-{:.1} {}", (now - after.from) as f64 / DAY as f64, changes.join(" ")))
        });
        let silent = if Operators::is_silent(self.face(now).registrar) { "; its registrar is silent" } else { "" };
        format!("{}{silent}", told.collect::<Vec<_>>().join("; "))
    }

    /// From when on the owner has the domain, `now` or later.
    pub(crate) fn held_from(&self, now: i64) -> Option<i64> {
        if self.face(now).holder == Holder::Owner {
            return Some(now);
        }
        self.faces.iter().find(|face| face.from > now && face.holder == Holder::Owner).map(|face| face.from)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    pub(crate) domain: u32,
    pub(crate) verified_at: i64,
}

/// Somebody asks for a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) at: i64,
    pub(crate) account: u32,
    pub(crate) by_taker: bool,
}

pub(crate) struct World {
    pub(crate) seed: u64,
    /// Seconds that the replay takes.
    pub(crate) end: i64,
    pub(crate) domains: Vec<Domain>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) requests: Vec<Request>,
    pub(crate) operators: Operators,
}

/// How often a taker comes back who got nothing, in days after he first asked.
const AGAIN: [i64; 3] = [0, 7, 60];

impl World {
    pub(crate) fn new(accounts: u32, years: u32, seed: u64, evasive: bool) -> Self {
        let end = i64::from(years) * YEAR;
        let operators = Operators::new();
        let at_providers = (f64::from(accounts) * AT_PROVIDERS) as u32;
        let own = ((f64::from(accounts) / PER_DOMAIN) as u32).min(accounts - at_providers).max(1);
        let mut world = Self { seed, end, domains: Vec::new(), accounts: Vec::new(), requests: Vec::new(), operators };
        let mut dice = Dice::of(seed, 1);
        let mut sizes = vec![0; providers::KNOWN.len()];
        for _ in 0..at_providers {
            sizes[dice.ranked(providers::KNOWN.len())] += 1;
        }
        for size in sizes {
            world.settle(size, |number, operators| Life::of_provider(number, operators, end));
        }
        let mut sizes = vec![1; own as usize];
        // What is more than one for each is on the domains of firms, a tenth.
        for _ in own..accounts - at_providers {
            sizes[dice.below((own as usize / 10).max(1))] += 1;
        }
        for size in sizes {
            world.settle(size, |number, operators| Life::of_owner(seed, number, operators, end, evasive));
        }
        world.ask();
        world
    }

    /// One more domain with `size` accounts.
    fn settle(&mut self, size: u32, live: impl FnOnce(u32, &Operators) -> Life) {
        let number = self.domains.len() as u32;
        let life = live(number, &self.operators);
        let mut dice = Dice::of(self.seed, 0x1_0000_0000 | u64::from(number));
        let since = life.faces.first().map_or(0, |face| face.registered_at);
        let first = self.accounts.len() as u32;
        for _ in 0..size {
            let ago = dice.exponential(VERIFIED_AGO * YEAR as f64) as i64;
            self.accounts.push(Account { domain: number, verified_at: (-ago).max(since + DAY).min(-1) });
        }
        let (top_level, faces) = (life.top_level, life.faces.into_boxed_slice());
        let name = match providers::KNOWN.get(number as usize) {
            Some(name) => (*name).into(),
            None => format!("d{number}.{}", TOP_LEVELS[usize::from(top_level)].name).into(),
        };
        self.domains.push(Domain { name, top_level, faces, taking: life.taking, accounts: (first, size) });
    }

    /// All requests, in the order of time.
    fn ask(&mut self) {
        for (number, account) in self.accounts.iter().enumerate() {
            let mut dice = Dice::of(self.seed, 0x2_0000_0000 | number as u64);
            let mut next = || dice.exponential(YEAR as f64 / OWNER_ASKS) as i64 + 1;
            let mut at = next();
            while at < self.end {
                self.requests.push(Request { at, account: number as u32, by_taker: false });
                at += next();
            }
            if let Some(taking) = self.domains[account.domain as usize].taking {
                let tries = AGAIN.iter().map(|days| taking.asks_at + days * DAY).filter(|at| *at < self.end);
                self.requests.extend(tries.map(|at| Request { at, account: number as u32, by_taker: true }));
            }
        }
        self.requests.sort_unstable();
    }

    pub(crate) fn domain_of(&self, account: u32) -> &Domain {
        &self.domains[self.accounts[account as usize].domain as usize]
    }

    /// The number of the domain of that name.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        if let Some(provider) = providers::KNOWN.iter().position(|known| *known == name) {
            return Some(provider as u32);
        }
        let number: u32 = name.strip_prefix('d')?.split('.').next()?.parse().ok()?;
        ((number as usize) < self.domains.len()).then_some(number)
    }

    pub(crate) fn email(&self, account: u32) -> String {
        format!("u{account}@{}", self.domain_of(account).name)
    }

    /// Whether the domain's own DNS can't tell at that moment.
    pub(crate) fn is_dns_down(&self, domain: u32, at: i64) -> bool {
        let is_provider = (domain as usize) < providers::KNOWN.len();
        !is_provider && is_down(self.seed, 0x3_0000_0000 | u64::from(domain), at, DAY, DNS_OUTAGES)
    }

    /// Whether the registry does not answer a question about the domain at that moment.
    pub(crate) fn is_registry_down(&self, domain: u32, at: i64) -> bool {
        let top_level = self.domains[domain as usize].top_level;
        let is_gone = TOP_LEVELS[usize::from(top_level)].name == "ch" && (CH_GONE.0..CH_GONE.1).contains(&at);
        is_gone
            || is_down(self.seed, 0x4_0000_0000 | u64::from(top_level), at, 7 * DAY, REGISTRY_OUTAGES)
            || throw(self.seed, [5, u64::from(domain), at as u64]) < QUESTION_FAILS
    }

    /// Whether status services show that the domain has lapsed.
    pub(crate) fn is_lapse_shown(&self, domain: u32) -> bool {
        throw(self.seed, [6, u64::from(domain), 0]) < EXPIRING_SHOWN
    }
}

/// Whether a thing that fails so many times a year, once at most in each `span`, is down at that moment, for one to twelve hours.
fn is_down(seed: u64, thing: u64, at: i64, span: i64, a_year: f64) -> bool {
    let turn = at.div_euclid(span);
    [turn - 1, turn].into_iter().any(|turn| {
        let throw = |of: u64| throw(seed, [thing, turn as u64, of]);
        if throw(0) >= a_year * span as f64 / YEAR as f64 {
            return false;
        }
        let from = turn * span + (throw(1) * span as f64) as i64;
        let hours = 12_f64.powf(throw(2));
        (from..from + (hours * 3600.0) as i64).contains(&at)
    })
}

/// The replay's beginning, 1 January 2026, in seconds since 1970.
const BEGINNING: i64 = 1_767_225_600;

/// The moment so many seconds after the replay's beginning.
pub(crate) fn moment(at: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs((BEGINNING + at).max(0).unsigned_abs())
}

pub(crate) fn seconds(moment: SystemTime) -> i64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64) - BEGINNING
}

/// The age of a domain at the replay's beginning, in seconds.
pub(crate) fn age(dice: &mut Dice) -> i64 {
    30 * DAY + (dice.exponential(DOMAIN_AGE) * YEAR as f64).min(30.0 * YEAR as f64) as i64
}

/// One of the top-level domains, as often as it has names.
pub(crate) fn top_level(dice: &mut Dice) -> u8 {
    let total: f64 = TOP_LEVELS.iter().map(|one| one.names).sum();
    let mut left = dice.share() * total;
    let found = TOP_LEVELS.iter().position(|one| {
        left -= one.names;
        left < 0.0
    });
    found.unwrap_or(0) as u8
}

/// The top-level domain of a provider's name, or `.com` for one that the table lacks.
pub(crate) fn top_level_of(name: &str) -> u8 {
    TOP_LEVELS.iter().position(|one| name.ends_with(&format!(".{}", one.name))).unwrap_or(0) as u8
}

/// Whether the registry extends a term by itself.
pub(crate) fn renews_by_itself(top_level: u8) -> bool {
    TOP_LEVELS[usize::from(top_level)].ends == Ends::Renewed
}
