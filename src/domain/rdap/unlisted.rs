//! Servers that work although IANA's bootstrap file doesn't list them, as several registries have never asked for that.
//!
//! As of 2026-07, when the file listed none of these suffixes; a later file that does wins. Nothing here is asked where insecure servers are permitted: a test with a
//! bootstrap file of its own must not reach out to the world.
//!
//! How sure: the servers of country domains stand in the override tables that maintained RDAP clients carry (whoisit, of 2026-01) and were found working by a
//! public probe of 2026-07, `vc` and `so` in the latter alone. Those of `bh`, `gl` and `my` are in the former alone. CentralNic's for second-level domains follow its pattern, one path
//! for each suffix, and stand in several independent tables; we know of none for its other suffixes, nor for the other registries that the address table knows.

use reqwest::Url;

use super::bootstrap::Services;

const IDENTITY_DIGITAL: &str = "https://rdap.identitydigital.services/rdap/";

/// DENIC calls its server a pilot, without any promise (https://www.denic.de/en/rdap-master).
const COUNTRIES: [(&str, &str); 20] = [
    ("ac", IDENTITY_DIGITAL),
    ("ag", IDENTITY_DIGITAL),
    ("bh", "https://rdap.centralnic.com/bh/"),
    ("bz", IDENTITY_DIGITAL),
    ("ch", "https://rdap.nic.ch/"),
    ("co", "https://rdap.registry.co/co/"),
    ("de", "https://rdap.denic.de/"),
    ("gl", "https://rdap.centralnic.com/gl/"),
    ("io", IDENTITY_DIGITAL),
    ("lc", IDENTITY_DIGITAL),
    ("li", "https://rdap.nic.li/"),
    ("me", IDENTITY_DIGITAL),
    ("mn", IDENTITY_DIGITAL),
    ("my", "https://rdap.mynic.my/rdap/"),
    ("pr", IDENTITY_DIGITAL),
    ("sc", IDENTITY_DIGITAL),
    ("sh", IDENTITY_DIGITAL),
    ("so", "https://rdap.nic.so/"),
    ("us", "https://rdap.nic.us/"),
    ("vc", IDENTITY_DIGITAL),
];

/// Served by `https://rdap.centralnic.com/SUFFIX/`.
const CENTRALNIC: [&str; 15] = [
    "br.com", "cn.com", "de.com", "eu.com", "gb.net", "gr.com", "in.net", "jpn.com", "ru.com", "sa.com", "se.net", "uk.com", "uk.net",
    "us.com", "za.com",
];

/// The servers of this table.
pub(super) fn services() -> Services {
    let countries = COUNTRIES.iter().map(|(suffix, base)| (*suffix, (*base).to_owned()));
    let second_level = CENTRALNIC.iter().map(|suffix| (*suffix, format!("https://rdap.centralnic.com/{suffix}/")));
    let mut services = Services::default();
    for (suffix, base) in countries.chain(second_level) {
        services.add(suffix, Url::parse(&base).into_iter().collect());
    }
    services
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::RegistrableDomain;

    #[test]
    fn every_entry_is_a_base_url_over_https() {
        let services = services();
        for suffix in COUNTRIES.iter().map(|(suffix, _)| *suffix).chain(CENTRALNIC) {
            let urls = services.find(&RegistrableDomain::of(&format!("example.{suffix}")).unwrap()).unwrap();
            assert!(urls.iter().all(|url| url.scheme() == "https" && url.path().ends_with('/')), "{suffix}");
            assert_eq!(urls.len(), 1, "{suffix}");
        }
    }
}
