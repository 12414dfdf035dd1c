//! Every figure that the world is made of, with where it comes from. They are printed with the result, which hangs on them.

/// Seconds.
pub(crate) const DAY: i64 = 86_400;
pub(crate) const YEAR: i64 = 365 * DAY;

macro_rules! figures {
    ($($name:ident = $value:literal: $what:literal, $source:literal;)*) => {
        $(pub(crate) const $name: f64 = $value;)*

        /// What each figure is of, the figure, and its source.
        pub(crate) const FIGURES: &[(&str, f64, &str)] = &[$(($what, $value, $source)),*];
    };
}

// Shares are of one, rates are for a year, spans are in days.
figures! {
    AT_PROVIDERS = 0.8: "share of accounts at 30 mailbox providers", "Gmail, Microsoft and Yahoo have 92 % of a list of 2.3 million (Lange 2020); a site for developers or firms has fewer: assumed";
    PER_DOMAIN = 6.0: "accounts for each distinct domain", "assumed; with the share above, 1.2 on each domain of one's own";
    DOMAIN_AGE = 6.0: "years, mean age of a domain", "assumed";
    VERIFIED_AGO = 2.5: "years since an address was verified, mean", "assumed";
    RENEWED = 0.85: "share of names renewed at the end of a term", "72.8 % of .com and .net (Verisign, 2020 Q2), 80 % of .eu (EURid, 2013), first terms included; later terms more: assumed";
    RENEWED_EARLY = 0.25: "of these, at the registry before the end", "most aren't: `auto renew period` is seen on about 12 % of names at any time";
    RENEWED_LATE = 0.08: "of these, in the registrar's grace period", "assumed";
    RENEWED_LATE_AFTER = 6.0: "days after the end, mean", "assumed";
    RESTORED = 0.005: "of these, out of redemption", "assumed";
    GRACE_SHORT = 0.3: "share of names whose grace period is under 25 days", "0 to 45 days, often 25 to 40 (ICANN ERRP, registrars' terms)";
    DARK = 8.0: "days at least that a name is out of the DNS before it is deleted", "ICANN ERRP §2.2";
    INTERRUPTED_BY_HOLD = 0.4: "of these names, by client hold", "assumed; the others show a market's or the registrar's name servers";
    LISTED_MARKETS = 0.7: "share of parked names that show a well-known market's name servers", "assumed";
    AUCTIONED = 0.2: "share of lapsed names sold before deletion, where a registry shows the end", "assumed";
    AUCTIONED_HIDDEN = 0.04: "the same, where a registry shows no end", "assumed: a contract ended is deleted there";
    AUCTIONED_EARLY = 0.25: "of these, 1 to 10 days after the end", "from about a day upwards (registrars' terms); the others 25 to 40 days";
    UNINTERRUPTED = 0.15: "of these early ones, without having been out of the DNS", "assumed";
    SAME_REGISTRAR = 0.7: "share of auctioned names that stay at their registrar", "assumed; the market is often the registrar's own";
    CAUGHT = 0.17: "share of dropped names that a stranger registers", "17 % of .com in 2010, 67 % in 2004 (HosterStats)";
    CAUGHT_AT_ONCE = 0.095: "share of dropped names registered within seconds", "9.5 % of .com (Lauinger et al., IMC 2018)";
    SOLD = 0.01: "of names sold directly, for a year", "assumed";
    SALE_REGISTRAR = 0.6: "share of these that go to another registrar", "assumed";
    SALE_SERVERS = 0.85: "share that get other name servers", "assumed";
    SALE_MAIL = 0.9: "of these, share whose mail servers move too", "assumed: a buyer needs the mail";
    MOVED_DNS = 0.05: "of names whose owner moves the name servers", "assumed";
    MOVED_MAIL = 0.05: "of names whose owner moves the mail", "assumed";
    MOVED_BOTH = 0.03: "of names whose owner moves both", "assumed";
    TRANSFERRED = 0.03: "of names whose owner moves to another registrar", "about 0.3 % of .com a month (ICANN monthly reports)";
    TRANSFERRED_WHOLE = 0.28: "of these, with name servers and mail at once", "0.4 have their mail where their registrar is (Q-Success 2021, what is not Gmail's or Microsoft's), 0.7 of them move it: assumed";
    REKEYED = 0.02: "of names whose signing keys change or go", "assumed";
    SIGNED = 0.1: "share of names that are signed", "assumed";
    AT_GMAIL = 0.184: "share of names whose mail is at Google", "18.4 % (Q-Success, January 2021)";
    AT_MICROSOFT = 0.096: "share of names whose mail is at Microsoft", "9.6 % (Q-Success, January 2021)";
    DNS_OUTAGES = 0.5: "outages of a name's DNS, 1 to 12 hours", "assumed";
    REGISTRY_OUTAGES = 3.0: "outages of a registry, 1 to 12 hours", "assumed; besides, .ch is gone for 60 days, as in 2025";
    QUESTION_FAILS = 0.0005: "share of questions that a registry leaves unanswered, outages apart", "assumed; the client has asked twice then";
    REGISTRAR_SILENT = 0.05: "share of registrars that do not answer RDAP, none of the largest", "assumed";
    STATUS_UNKNOWN = 0.001: "share of answers of status services that are `unknown`", "assumed; they answer so when an upstream is late";
    EXPIRING_SHOWN = 0.5: "share of lapsed names that status services show as `expiring`, `deleting`", "not guaranteed, say their docs; assumed";
    OWNER_ASKS = 0.3: "resets that an owner asks for", "assumed";
    VERIFIES_AGAIN = 3.0: "days until an owner verifies his address again, mean", "assumed: the application asks him to";
}

/// What a registry shows of a term's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// A date, which it moves on by itself when it comes (`auto renew period`).
    Renewed,
    /// A date.
    Shown,
    /// Nothing.
    Hidden,
}

/// A top-level domain's ways.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TopLevel {
    pub(crate) name: &'static str,
    /// Names in millions.
    pub(crate) names: f64,
    pub(crate) rdap: bool,
    /// Whether the date of registration is published.
    pub(crate) dated: bool,
    pub(crate) ends: Ends,
    pub(crate) handle: bool,
    pub(crate) registrar: bool,
    /// Days after the end until a name is deleted, where that is the registry's to say.
    pub(crate) grace: i64,
    /// Days in redemption or quarantine, and in pending delete.
    pub(crate) redemption: i64,
    pub(crate) pending: i64,
    /// Whether RDAP shows redemption. Else it has no such name then.
    pub(crate) redemption_shown: bool,
}

const GENERIC: TopLevel = TopLevel {
    name: "com",
    names: 157.0,
    rdap: true,
    dated: true,
    ends: Ends::Renewed,
    handle: true,
    registrar: true,
    grace: 0,
    redemption: 30,
    pending: 5,
    redemption_shown: true,
};
const NATIONAL: TopLevel = TopLevel { ends: Ends::Hidden, handle: false, redemption: 40, pending: 0, ..GENERIC };

/// Sizes by the Domain Name Industry Brief, rounded; ways by registries' policies. `.info` stands for all generic ones but three.
pub(crate) const TOP_LEVELS: [TopLevel; 11] = [
    GENERIC,
    TopLevel { name: "net", names: 12.5, ..GENERIC },
    TopLevel { name: "org", names: 11.5, handle: false, ..GENERIC },
    TopLevel { name: "info", names: 40.0, handle: false, ..GENERIC },
    TopLevel { name: "de", names: 17.7, dated: false, registrar: false, redemption: 30, ..NATIONAL },
    TopLevel { name: "co.uk", names: 10.5, ends: Ends::Shown, grace: 90, redemption: 0, ..NATIONAL },
    TopLevel { name: "nl", names: 6.2, ..NATIONAL },
    TopLevel { name: "fr", names: 4.3, pending: 0, ..GENERIC },
    TopLevel { name: "eu", names: 3.7, rdap: false, dated: false, registrar: false, ..NATIONAL },
    TopLevel { name: "it", names: 3.6, rdap: false, dated: false, registrar: false, grace: 15, redemption: 30, pending: 5, ..NATIONAL },
    TopLevel { name: "ch", names: 2.6, redemption_shown: false, ..NATIONAL },
];

/// When the registry of .ch does not answer.
pub(crate) const CH_GONE: (i64, i64) = (100 * DAY, 160 * DAY);
