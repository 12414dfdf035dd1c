//! Registries below a public suffix of somebody else's: names that are sold, expire and are deleted one by one, though the zone above them belongs to a company.
//!
//! The Public Suffix List has them in its private section, beside hosts such as `github.io` whose customers own nothing, and doesn't tell one from the
//! other. So these are told here. What a suffix must have to be listed: its names are registrations with a term of their own at a registry with a WHOIS or RDAP service.
//! A suffix that is missing makes its names be judged by the registration of the suffix itself, which says nothing about who holds them.
//!
//! As of 2026-07. Sources: the private section of the Public Suffix List where it names CentralNic (now Team Internet) as operator, or did; for `co.com`, `eu.org`, `it.com` and
//! `pp.ua` their operators' terms. Suffixes that CentralNic gave up and the list dropped (`ar.com`, `hu.com`, `kr.com`, `no.com`, `qc.com`) are not here.

/// In the order of their bytes, for the search. All have two labels.
const SECOND_LEVEL: [&str; 27] = [
    "ae.org",
    "africa.com",
    "br.com",
    "cn.com",
    "co.com",
    "com.de",
    "com.se",
    "de.com",
    "eu.com",
    "eu.org",
    "gb.net",
    "gr.com",
    "hu.net",
    "in.net",
    "it.com",
    "jp.net",
    "jpn.com",
    "mex.com",
    "pp.ua",
    "ru.com",
    "sa.com",
    "se.net",
    "uk.com",
    "uk.net",
    "us.com",
    "us.org",
    "za.com",
];

/// The suffix of such a registry that `host`, in A-labels and lower case, is below. `None` for the suffix itself, which is a registration in the zone above.
pub(super) fn suffix_above(host: &str) -> Option<&str> {
    let top_level = host.rfind('.')?;
    let start = host.get(..top_level)?.rfind('.')? + 1;
    let suffix = host.get(start..)?;
    SECOND_LEVEL.binary_search(&suffix).is_ok().then_some(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_of_two_labels() {
        assert!(SECOND_LEVEL.is_sorted());
        assert!(SECOND_LEVEL.iter().all(|suffix| suffix.split('.').count() == 2));
    }

    /// One that the list no longer has has changed hands, and must be looked at again.
    #[test]
    fn the_private_section_of_the_public_suffix_list_has_them_all() {
        let is_private = |suffix: &&str| {
            let host = format!("example.{suffix}");
            let listed = psl::suffix(host.as_bytes()).unwrap();
            listed.as_bytes() == suffix.as_bytes() && listed.typ() == Some(psl::Type::Private)
        };
        let missing: Vec<_> = SECOND_LEVEL.into_iter().filter(|suffix| !is_private(suffix)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
