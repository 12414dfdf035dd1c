//! Who the registrar is, by the entities of a domain object (RFC 9083 §5.1).

use std::borrow::Cow;

use serde::de::SeqAccess;

use super::lenient::{Figure, Lenient, Presence, Text, each, item, object, rest};

/// The entities with the role `registrar` (RFC 9083 §5.1, §10.2.4), by whichever name they have first.
#[derive(Default)]
pub(super) struct Registrar<'de> {
    iana_id: Figure<'de>,
    handle: Text<'de>,
    full_name: Text<'de>,
}

impl Registrar<'_> {
    /// The IANA identifier, else the handle, else the name.
    pub(super) fn name(self) -> Option<String> {
        let iana_id = (!self.iana_id.is_none()).then(|| self.iana_id.to_string());
        iana_id.or_else(|| self.handle.filled()).or_else(|| self.full_name.filled())
    }
}

impl<'de> Lenient<'de> for Registrar<'de> {
    fn list<A: SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        let mut registrar = Self::default();
        each(items, |entity: Entity<'de>| {
            if entity.roles.0 {
                if registrar.iana_id.is_none() {
                    registrar.iana_id = entity.iana_id.0;
                }
                registrar.handle.0 = registrar.handle.0.take().or(entity.handle.0);
                registrar.full_name.0 = registrar.full_name.0.take().or(entity.card.0);
            }
        })?;
        Ok(registrar)
    }
}

object! {
    Entity {
        roles: Roles = "roles",
        iana_id: IanaId<'de> = "publicIds",
        handle: Text<'de> = "handle",
        card: Card<'de> = "vcardArray",
    }
}

/// Whether `registrar` is among the roles.
#[derive(Default)]
pub(super) struct Roles(bool);

impl<'de> Lenient<'de> for Roles {
    fn text(role: Cow<'de, str>) -> Self {
        Self(role.eq_ignore_ascii_case("registrar"))
    }

    fn list<A: SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        let mut roles = Self::default();
        each(items, |role: Text<'_>| roles.0 |= role.is("registrar"))?;
        Ok(roles)
    }
}

object! {
    PublicId {
        kind: Text<'de> = "type",
        identifier: Figure<'de> = "identifier",
    }
}

/// RFC 9083 §4.8.
#[derive(Default)]
pub(super) struct IanaId<'de>(Figure<'de>);

impl<'de> Lenient<'de> for IanaId<'de> {
    fn list<A: SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        let mut found = Figure::None;
        each(items, |id: PublicId<'de>| {
            if found.is_none() && id.kind.is("IANA Registrar ID") {
                found = id.identifier;
            }
        })?;
        Ok(Self(found))
    }
}

/// The full name on a jCard (RFC 7095 §3): `["vcard", [["fn", {}, "text", "A name"], …]]`.
#[derive(Default)]
pub(super) struct Card<'de>(Option<Cow<'de, str>>);

impl<'de> Lenient<'de> for Card<'de> {
    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        let _kind: Option<Text<'de>> = item(&mut items)?;
        let properties: Option<Properties<'de>> = item(&mut items)?;
        rest(&mut items)?;
        Ok(Self(properties.and_then(|properties| properties.0)))
    }
}

#[derive(Default)]
struct Properties<'de>(Option<Cow<'de, str>>);

impl<'de> Lenient<'de> for Properties<'de> {
    fn list<A: SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        let mut found = None;
        each(items, |property: Property<'de>| found = found.take().or(property.0))?;
        Ok(Self(found))
    }
}

#[derive(Default)]
struct Property<'de>(Option<Cow<'de, str>>);

impl<'de> Lenient<'de> for Property<'de> {
    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        let name: Option<Text<'de>> = item(&mut items)?;
        let mut full_name = None;
        if name.is_some_and(|name| name.is("fn")) {
            let _parameters: Option<Presence> = item(&mut items)?;
            let _kind: Option<Presence> = item(&mut items)?;
            full_name = item::<Text<'de>, _>(&mut items)?.and_then(|text| text.0);
        }
        rest(&mut items)?;
        Ok(Self(full_name))
    }
}
