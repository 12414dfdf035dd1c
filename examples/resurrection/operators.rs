//! Who runs domains: registrars with their ways, and the operators of name and mail servers.

use crate::dice::Dice;
use crate::figures::{AT_GMAIL, AT_MICROSOFT, GRACE_SHORT, LISTED_MARKETS, REGISTRAR_SILENT, SIGNED};
use crate::world::Servers;

const REGISTRARS: usize = 60;
const DNS_HOSTS: usize = 10;
const HOSTERS: usize = 200;
const MAIL_HOSTS: usize = 20;

/// Where expired names are shown, which the gatekeeper knows too.
const MARKETS: [&str; 5] = ["afternic.com", "sedoparking.com", "bodis.com", "renewyourname.net", "pendingrenewaldeletion.com"];

pub(crate) struct Operators {
    /// The domains that operators' servers are named in.
    names: Vec<String>,
}

const DNS_HOST: usize = REGISTRARS;
const HOSTER: usize = DNS_HOST + DNS_HOSTS;
const MAIL: usize = HOSTER + HOSTERS;
const MARKET: usize = MAIL + 2 + MAIL_HOSTS;
const OWN_PARKING: usize = MARKET + MARKETS.len();

impl Operators {
    pub(crate) fn new() -> Self {
        let named = |prefix: &'static str, count| (0..count).map(move |number| format!("{prefix}{number}.net"));
        let mut names: Vec<String> =
            named("registrar", REGISTRARS).chain(named("dns", DNS_HOSTS)).chain(named("hoster", HOSTERS)).collect();
        names.extend(["google.com".to_owned(), "outlook.com".to_owned()]);
        names.extend(named("mail", MAIL_HOSTS).chain(MARKETS.iter().map(|market| (*market).to_owned())));
        names.extend(named("expired-at", REGISTRARS));
        Self { names }
    }

    pub(crate) fn name(&self, operator: u16) -> &str {
        &self.names[usize::from(operator)]
    }

    pub(crate) fn is_market(operator: u16) -> bool {
        usize::from(operator) >= MARKET
    }

    pub(crate) fn registrar(&self, dice: &mut Dice) -> u16 {
        dice.ranked(REGISTRARS) as u16
    }

    /// Whether the registrar answers no RDAP: some of the smaller ones.
    pub(crate) fn is_silent(registrar: u16) -> bool {
        registrar >= REGISTRARS as u16 / 5 && f64::from(registrar % 20) >= 20.0 * (1.0 - REGISTRAR_SILENT * 1.25)
    }

    /// In how many days after the end a holder may renew.
    pub(crate) fn grace(dice: &mut Dice) -> f64 {
        if dice.chance(GRACE_SHORT) { dice.between(0.0, 25.0) } else { dice.between(25.0, 45.0) }
    }

    /// Who serves a name whose holder did not pay.
    pub(crate) fn parking(registrar: u16, dice: &mut Dice) -> u16 {
        let market = MARKET + dice.below(MARKETS.len());
        (if dice.chance(LISTED_MARKETS) { market } else { OWN_PARKING + usize::from(registrar) }) as u16
    }

    /// What a customer of `registrar` uses.
    pub(crate) fn servers(&self, registrar: u16, dice: &mut Dice) -> Servers {
        let names = match dice.share() {
            share if share < 0.55 => registrar,
            share if share < 0.75 => (DNS_HOST + dice.ranked(DNS_HOSTS)) as u16,
            _ => (HOSTER + dice.below(HOSTERS)) as u16,
        };
        let mail = Some(self.mail(registrar, names, dice));
        let keys = if dice.chance(SIGNED) { self.keys(dice) } else { 0 };
        Servers { names, mail, keys }
    }

    pub(crate) fn mail(&self, registrar: u16, names: u16, dice: &mut Dice) -> u16 {
        match dice.share() {
            share if share < AT_GMAIL => MAIL as u16,
            share if share < AT_GMAIL + AT_MICROSOFT => (MAIL + 1) as u16,
            // Most others have it where their name servers or their registrar are.
            share if share < 0.65 && usize::from(names) >= HOSTER => names,
            share if share < 0.65 => registrar,
            _ => (MAIL + 2 + dice.ranked(MAIL_HOSTS)) as u16,
        }
    }

    pub(crate) fn keys(&self, dice: &mut Dice) -> u32 {
        1 + dice.below(1 << 30) as u32
    }
}
