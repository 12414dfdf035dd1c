//! The registries that have WHOIS and no RDAP, as of July 2026, and how each writes what we read.

/// One registry's server.
pub(super) struct Server {
    /// In A-labels.
    pub(super) top_levels: &'static [&'static str],
    pub(super) host: &'static str,
    /// The line to send, with the name for `{}`.
    pub(super) question: &'static str,
    /// By how many hours its local time, in which it writes dates without zone, is ahead of UTC.
    pub(super) ahead: i8,
    /// What lines with the date of creation begin with, but for punctuation. The first line counts.
    pub(super) created: &'static [&'static str],
    /// Likewise for the end.
    pub(super) expires: &'static [&'static str],
    /// Likewise for the state. All lines count.
    pub(super) states: &'static [&'static str],
    /// What begins lines that only registered names have, where the others are too few.
    pub(super) marks: &'static [&'static str],
    /// What says, in lower case and with single blanks, that there is no such name.
    pub(super) absent: &'static [&'static str],
}

const PLAIN: Server = Server {
    top_levels: &[],
    host: "",
    question: "{}",
    ahead: 0,
    created: &["Creation Date"],
    expires: &["Registry Expiry Date", "Expiration Date"],
    states: &["Domain Status"],
    marks: &[],
    absent: &["no data found", "no match", "not found"],
};

pub(super) const SERVERS: [Server; 18] = [
    Server {
        top_levels: &["jp"],
        host: "whois.jprs.jp",
        // In English.
        question: "{}/e",
        ahead: 9,
        created: &["[Created on]", "[Registered Date]", "[登録年月日]"],
        expires: &["[Expires on]", "[有効期限]"],
        states: &["[Status]", "[State]", "[状態]"],
        absent: &["no match!!"],
        ..PLAIN
    },
    Server {
        top_levels: &["cn", "xn--fiqs8s", "xn--fiqz9s"],
        host: "whois.cnnic.cn",
        ahead: 8,
        created: &["Registration Time"],
        expires: &["Expiration Time"],
        absent: &["no matching record."],
        ..PLAIN
    },
    Server {
        top_levels: &["ru", "su", "xn--p1ai"],
        host: "whois.tcinet.ru",
        ahead: 3,
        created: &["created"],
        expires: &["paid-till"],
        states: &["state"],
        absent: &["no entries found"],
        ..PLAIN
    },
    // It publishes no dates.
    Server {
        top_levels: &["eu"],
        host: "whois.eu",
        created: &[],
        expires: &[],
        states: &[],
        marks: &["Registrar"],
        absent: &["status: available"],
        ..PLAIN
    },
    Server {
        top_levels: &["it"],
        host: "whois.nic.it",
        ahead: 1,
        created: &["Created"],
        expires: &["Expire Date"],
        states: &["Status"],
        absent: &["status: available"],
        ..PLAIN
    },
    Server {
        top_levels: &["se"],
        host: "whois.iis.se",
        created: &["created"],
        expires: &["expires"],
        states: &["state", "status"],
        ..PLAIN
    },
    Server {
        top_levels: &["nu"],
        host: "whois.iis.nu",
        created: &["created"],
        expires: &["expires"],
        states: &["state", "status"],
        ..PLAIN
    },
    Server {
        top_levels: &["dk"],
        host: "whois.punktum.dk",
        ahead: 1,
        created: &["Registered"],
        expires: &["Expires"],
        states: &["Status"],
        absent: &["no entries found"],
        ..PLAIN
    },
    // Only the last change.
    Server {
        top_levels: &["at"],
        host: "whois.nic.at",
        created: &[],
        expires: &[],
        states: &[],
        marks: &["changed"],
        absent: &["% nothing found"],
        ..PLAIN
    },
    Server {
        top_levels: &["be"],
        host: "whois.dns.be",
        ahead: 1,
        created: &["Registered"],
        expires: &[],
        states: &["Status"],
        absent: &["status: available"],
        ..PLAIN
    },
    Server {
        top_levels: &["kr", "xn--3e0b707e"],
        host: "whois.kr",
        ahead: 9,
        created: &["Registered Date"],
        expires: &["Expiration Date"],
        states: &[],
        absent: &["domain was not found", "is not registered"],
        ..PLAIN
    },
    Server {
        top_levels: &["hk", "xn--j6w193g"],
        host: "whois.hkirc.hk",
        ahead: 8,
        created: &["Domain Name Commencement Date"],
        expires: &["Expiry Date"],
        absent: &["has not been registered"],
        ..PLAIN
    },
    Server {
        top_levels: &["tr"],
        host: "whois.trabis.gov.tr",
        ahead: 3,
        created: &["Created on"],
        expires: &["Expires on"],
        absent: &["no match found"],
        ..PLAIN
    },
    Server {
        top_levels: &["mx"],
        host: "whois.mx",
        ahead: -6,
        created: &["Created On"],
        absent: &["object_not_found", "no match"],
        ..PLAIN
    },
    Server {
        top_levels: &["sk"],
        host: "whois.sk-nic.sk",
        created: &["Created"],
        expires: &["Valid Until"],
        states: &["EPP Status"],
        absent: &["domain not found"],
        ..PLAIN
    },
    Server {
        top_levels: &["ro"],
        host: "whois.rotld.ro",
        ahead: 2,
        created: &["Registered On"],
        expires: &["Expires On"],
        absent: &["no entries found"],
        ..PLAIN
    },
    Server {
        top_levels: &["hu"],
        host: "whois.nic.hu",
        created: &["record created"],
        expires: &[],
        states: &[],
        absent: &["no match"],
        ..PLAIN
    },
    Server {
        top_levels: &["rs", "xn--90a3ac"],
        host: "whois.rnids.rs",
        ahead: 1,
        created: &["Registration date"],
        expires: &["Expiration date"],
        states: &["Domain status"],
        absent: &["domain is not registered"],
        ..PLAIN
    },
];
