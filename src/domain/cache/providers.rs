//! The large mailbox providers: most accounts are at one of them.
//!
//! Their domains are kept by companies that live on them, under registry locks, and are watched by everybody; a registry that is slow or down says nothing
//! about them. So while what is known of them may stand in, no reset waits for a source: they are asked behind the caller's back. They are judged like all
//! others by what the sources said: the list spares waiting and saves nobody from a block.

use std::sync::Arc;

use crate::address::RegistrableDomain;

/// The list as of November 2026: providers with at least some ten million mailboxes that anybody may have.
pub const KNOWN: [&str; 30] = [
    "126.com",
    "163.com",
    "aol.com",
    "gmail.com",
    "gmx.de",
    "gmx.net",
    "googlemail.com",
    "hotmail.com",
    "icloud.com",
    "libero.it",
    "live.com",
    "mail.com",
    "mail.ru",
    "mac.com",
    "me.com",
    "msn.com",
    "naver.com",
    "orange.fr",
    "outlook.com",
    "proton.me",
    "protonmail.com",
    "qq.com",
    "rediffmail.com",
    "seznam.cz",
    "t-online.de",
    "web.de",
    "wp.pl",
    "yahoo.com",
    "yandex.ru",
    "ymail.com",
];

pub(super) fn known() -> Arc<[RegistrableDomain]> {
    KNOWN.iter().filter_map(|domain| RegistrableDomain::of(domain).ok()).collect()
}
