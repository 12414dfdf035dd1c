//! The members of an RDAP domain object that say something about its registration (RFC 9083 §5.3), each as what it says.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::de::SeqAccess;

use super::entities::Registrar;
use super::lenient::{Figure, Lenient, Presence, Text, Truth, each, object};
use crate::clock::parse;
use crate::domain::Status;

object! {
    /// A domain object, or what was sent in its place.
    Answer {
        error_code: Presence = "errorCode",
        class: Text<'de> = "objectClassName",
        ldh_name: Text<'de> = "ldhName",
        unicode_name: Text<'de> = "unicodeName",
        handle: Text<'de> = "handle",
        statuses: Statuses = "status",
        events: Events = "events",
        registrar: Registrar<'de> = "entities",
        name_servers: NameServers = "nameservers",
        secure_dns: SecureDns<'de> = "secureDNS",
        related: Related<'de> = "links",
    }
}

object! {
    /// An error object (RFC 9083 §6), or an answer to `help` (RFC 9083 §7).
    Notice {
        error_code: Figure<'de> = "errorCode",
        conformance: Conformance = "rdapConformance",
    }
}

/// Whether the conformance that a server claims is that of RDAP (RFC 9083 §4.1).
#[derive(Default)]
pub(super) struct Conformance(pub(super) bool);

impl<'de> Lenient<'de> for Conformance {
    fn list<A: SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        let mut conformance = Self::default();
        each(items, |level: Text<'_>| conformance.0 |= level.is("rdap_level_0"))?;
        Ok(conformance)
    }
}

/// RFC 9083 §4.6. Some servers send a lone text.
#[derive(Default)]
pub(super) struct Statuses(pub(super) Vec<Status>);

impl<'de> Lenient<'de> for Statuses {
    fn text(text: Cow<'de, str>) -> Self {
        Self(vec![Status::from(&*text)])
    }

    fn list<A: SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        let mut statuses = Vec::new();
        each(items, |status: Text<'_>| statuses.extend(status.get().map(Status::from)))?;
        Ok(Self(statuses))
    }
}

/// RFC 9083 §4.5. Of repeated events, the latest registration and the earliest expiration count.
#[derive(Default)]
pub(super) struct Events {
    pub(super) registered_at: Option<SystemTime>,
    /// RFC 9083 §10.2.3: `reregistration` is a registration after an earlier one, `reinstantiation` one after a removal.
    pub(super) reregistered_at: Vec<SystemTime>,
    pub(super) expires_at: Option<SystemTime>,
    pub(super) registrar_expires_at: Option<SystemTime>,
    pub(super) transferred_at: Option<SystemTime>,
    pub(super) changed_at: Option<SystemTime>,
    pub(super) updated_at: Option<SystemTime>,
}

object! {
    Event {
        action: Text<'de> = "eventAction",
        date: Text<'de> = "eventDate",
    }
}

impl Events {
    fn add(&mut self, event: &Event<'_>) {
        let is = |action| event.action.is(action);
        let at = || event.date.get().and_then(parse);
        if is("registration") {
            latest(&mut self.registered_at, at());
        } else if is("reregistration") || is("reinstantiation") {
            self.reregistered_at.extend(at());
        } else if is("expiration") {
            earliest(&mut self.expires_at, at());
        } else if is("registrar expiration") {
            earliest(&mut self.registrar_expires_at, at());
        } else if is("transfer") {
            latest(&mut self.transferred_at, at());
        } else if is("last changed") {
            latest(&mut self.changed_at, at());
        } else if is("last update") {
            latest(&mut self.updated_at, at());
        }
    }
}

impl<'de> Lenient<'de> for Events {
    fn list<A: SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        let mut events = Self::default();
        each(items, |event: Event<'_>| events.add(&event))?;
        Ok(events)
    }
}

fn latest(known: &mut Option<SystemTime>, at: Option<SystemTime>) {
    *known = at.max(*known);
}

fn earliest(known: &mut Option<SystemTime>, at: Option<SystemTime>) {
    *known = at.into_iter().chain(*known).min();
}

/// The names of the name servers, sorted, in lower case without trailing dot.
#[derive(Default)]
pub(super) struct NameServers(pub(super) Vec<String>);

object! {
    NameServer {
        name: Text<'de> = "ldhName",
    }
}

impl<'de> Lenient<'de> for NameServers {
    fn list<A: SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        let mut names = Vec::new();
        each(items, |server: NameServer<'_>| names.extend(server.name.get().map(|name| name.trim_end_matches('.').to_ascii_lowercase())))?;
        names.sort_unstable();
        names.dedup();
        Ok(Self(names))
    }
}

object! {
    SecureDns {
        delegation_signed: Truth = "delegationSigned",
        ds: Ds = "dsData",
    }
}

object! {
    Digest {
        digest: Text<'de> = "digest",
    }
}

impl Digest<'_> {
    /// In lower-case hexadecimal.
    fn plain(&self) -> Option<String> {
        Some(self.digest.get()?.chars().filter(|c| !c.is_ascii_whitespace()).map(|c| c.to_ascii_lowercase()).collect())
    }
}

/// The digests of DS records (RFC 9083 §5.3), sorted. `None` where there is no list of them, or one of them can't be read.
#[derive(Default)]
pub(super) struct Ds(pub(super) Option<Vec<String>>);

impl<'de> Lenient<'de> for Ds {
    fn list<A: SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        let mut digests = Some(Vec::new());
        each(items, |digest: Digest<'_>| match (digest.plain(), &mut digests) {
            (Some(digest), Some(digests)) => digests.push(digest),
            _ => digests = None,
        })?;
        if let Some(digests) = &mut digests {
            digests.sort_unstable();
            digests.dedup();
        }
        Ok(Self(digests))
    }
}

object! {
    Link {
        rel: Text<'de> = "rel",
        kind: Text<'de> = "type",
        href: Text<'de> = "href",
    }
}

/// Where the registrar's own answer about the domain is, by the links (RFC 9083 §4.2) that are related and in RDAP's media type.
#[derive(Default)]
pub(super) struct Related<'de>(pub(super) Vec<Cow<'de, str>>);

impl<'de> Lenient<'de> for Related<'de> {
    fn list<A: SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        let mut related = Vec::new();
        each(items, |link: Link<'de>| {
            let kind = link.kind.get().and_then(|kind| kind.split(';').next()).unwrap_or_default();
            if link.rel.is("related") && kind.trim().eq_ignore_ascii_case("application/rdap+json") {
                related.extend(link.href.0);
            }
        })?;
        Ok(Self(related))
    }
}
