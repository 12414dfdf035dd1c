//! The accounts of the application, and the domains that they hang on.

use std::time::{Duration, SystemTime};

use reset_gatekeeper::testing::{Phase, Registry, time};
use reset_gatekeeper::{Clock, SystemClock};

use crate::model::Truth;

/// What becomes of a domain, or of its accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lot {
    /// Stays as it is.
    Steady,
    /// Is put on hold or left unpaid, and is well again.
    Moody,
    /// Lapses and is renewed; the accounts are verified again after that.
    Mortal,
    /// Is registered anew some time, by somebody else.
    Doomed,
    /// Stays healthy, while the application takes the verification away and gives it back.
    Fickle,
}

pub(crate) struct Domain {
    pub(crate) name: String,
    pub(crate) lot: Lot,
    pub(crate) truth: Truth,
}

pub(crate) struct Account {
    pub(crate) email: String,
    pub(crate) domain: usize,
    pub(crate) verified: bool,
}

/// Everybody there is. The key of an account is its place, from 1 on.
pub(crate) struct Population {
    pub(crate) domains: Vec<Domain>,
    pub(crate) accounts: Vec<Account>,
}

impl Population {
    pub(crate) fn settle(registry: &Registry) -> Self {
        let mut population = Self { domains: Vec::new(), accounts: Vec::new() };
        let all_phases: [(&str, Truth, Phase); 7] = [
            ("held", Truth::Barred, Phase::ServerHold),
            ("expiring", Truth::Barred, Phase::Until(now() + DAY * 3)),
            ("redeemed", Truth::Lost, Phase::Redemption),
            ("deleted", Truth::Lost, Phase::PendingDelete),
            ("unregistered", Truth::Lost, Phase::Unregistered),
            ("expired", Truth::Lost, Phase::Until(now() - DAY * 3)),
            ("auto-renewed", Truth::Healthy, Phase::AutoRenewPeriod),
        ];
        for (name, truth, phase) in all_phases {
            population.found(registry, &format!("{name}.com"), Lot::Steady, truth, 2);
            registry.put(&format!("{name}.com"), phase);
        }
        population.found(registry, "bought.com", Lot::Steady, Truth::Lost, 2);
        registry.register("bought.com", time("2024-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
        for (lot, count, accounts) in
            [(Lot::Steady, 6, 2), (Lot::Moody, 8, 2), (Lot::Mortal, 8, 2), (Lot::Doomed, 12, 1), (Lot::Fickle, 2, 2)]
        {
            for number in 0..count {
                let name = format!("{lot:?}-{number}.org").to_lowercase();
                population.found(registry, &name, lot, Truth::Healthy, accounts);
            }
        }
        for number in 0..2 {
            let domain = population.domains.iter().position(|domain| domain.name == "steady-0.org").unwrap();
            population.accounts.push(Account { email: format!("never-verified-{number}@steady-0.org"), domain, verified: false });
        }
        population
    }

    fn found(&mut self, registry: &Registry, name: &str, lot: Lot, truth: Truth, accounts: usize) {
        registry.register(name, time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
        let domain = self.domains.len();
        self.domains.push(Domain { name: name.to_owned(), lot, truth });
        self.accounts.extend((0..accounts).map(|number| Account { email: format!("user{number}@{name}"), domain, verified: true }));
    }

    /// The places of the domains of this lot.
    pub(crate) fn of(&self, lot: Lot) -> Vec<usize> {
        (0..self.domains.len()).filter(|place| self.domains[*place].lot == lot).collect()
    }

    /// The places of the accounts at a domain.
    pub(crate) fn at(&self, domain: usize) -> Vec<usize> {
        (0..self.accounts.len()).filter(|place| self.accounts[*place].domain == domain).collect()
    }

    /// The table of the application.
    pub(crate) fn table(&self) -> String {
        let row =
            |(place, account): (usize, &Account)| format!("({}, '{}', {}, '2020-01-01Z')", place + 1, account.email, account.verified);
        let rows: Vec<String> = self.accounts.iter().enumerate().map(row).collect();
        format!(
            "CREATE TABLE users (id bigint PRIMARY KEY, email text, verified bool, verified_at timestamptz); INSERT INTO users VALUES {};",
            rows.join(", ")
        )
    }
}

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn now() -> SystemTime {
    SystemClock.now()
}
