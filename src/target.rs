//! Where a recovery request names its account, and what stands there.
//!
//! The gate must see what the application sees, whichever parser that uses, or refuse:
//!
//! 1. Bodies are UTF-8 without content encoding, in `application/x-www-form-urlencoded`, `multipart/form-data` or JSON. One with another or
//!    no content type is refused where the account may stand in it.
//! 2. A name that stands there twice, in brackets (`email[]`), or in another case is ambiguous, and so is an array or an object as value.
//! 3. Frameworks merge query, body and the parameters of a path: a second place of the same name with another value is ambiguous.
//! 4. The same address in two listed places is one. A request that names nobody is refused, unless [`Missing::Pass`] is set.

mod decode;
mod form;
mod json;
mod multipart;
mod name;
mod spot;

use std::borrow::Cow;
use std::str::FromStr;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{StatusCode, Uri};
use mime::Mime;
use percent_encoding::percent_decode;

use self::form::Field;
use self::name::is_lookalike;
use crate::identifier::Identifies;
use crate::route::Guard;
use crate::verdict::Reason;

pub use self::decode::{Decode, DecodeError};
pub(crate) use self::spot::{Edit, Found, Spot, edited, encoded_like, percent_encoded};

/// A place in a request that names an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(Place);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Form(String),
    Json(json::Pointer),
    Query(String),
    Path(String),
    Header(HeaderName),
}

/// Why a text names no place in a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a target: {what}")]
pub struct TargetError {
    text: String,
    what: &'static str,
}

impl Target {
    /// The field of a form, urlencoded or multipart.
    #[must_use]
    pub fn form(field: impl Into<String>) -> Self {
        Self(Place::Form(field.into()))
    }

    /// The string at a JSON pointer (RFC 6901), such as `/user/email`.
    ///
    /// # Panics
    /// Where `pointer` does not begin with a slash. It is a literal of the program, so this shows at its first start; a pointer that
    /// comes from elsewhere is parsed: `"json:/user/email".parse::<Target>()`.
    #[must_use]
    pub fn json(pointer: &'static str) -> Self {
        #[expect(clippy::panic, reason = "a literal of the program's own, as in `HeaderName::from_static`")]
        json::Pointer::parse(pointer)
            .map_or_else(|| panic!("`{pointer}` does not begin with a slash"), |pointer| Self(Place::Json(pointer)))
    }

    /// The field of the query.
    #[must_use]
    pub fn query(field: impl Into<String>) -> Self {
        Self(Place::Query(field.into()))
    }

    /// A parameter of the guard's path: `name` of `/reset/{name}`.
    #[must_use]
    pub fn path(name: impl Into<String>) -> Self {
        Self(Place::Path(name.into()))
    }

    /// The value of a header.
    #[must_use]
    pub const fn header(name: HeaderName) -> Self {
        Self(Place::Header(name))
    }

    /// The name of the path's parameter, where that is the place.
    #[cfg(feature = "cli")]
    pub(crate) fn path_parameter(&self) -> Option<&str> {
        match &self.0 {
            Place::Path(name) => Some(name),
            Place::Form(_) | Place::Json(_) | Place::Query(_) | Place::Header(_) => None,
        }
    }

    /// The member of the top object in which the account stands, where that is an object itself.
    fn object(&self) -> Option<&str> {
        match &self.0 {
            Place::Json(pointer) => pointer.object(),
            Place::Form(_) | Place::Query(_) | Place::Path(_) | Place::Header(_) => None,
        }
    }

    /// The field name that a framework which merges query, body and path would look for.
    fn field(&self) -> Option<Cow<'_, str>> {
        match &self.0 {
            // ASP.NET Core binds a form's fields before a route's.
            Place::Form(field) | Place::Query(field) | Place::Path(field) => Some(field.into()),
            Place::Json(pointer) => Some(pointer.to_field()),
            Place::Header(_) => None,
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    /// Reads the configuration's form: `form:email`, `json:/user/email`, `query:email`, `path:name`, `header:x-email`.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let error = |what| TargetError { text: text.to_owned(), what };
        match text.split_once(':') {
            Some((_, "")) => Err(error("it names no field")),
            Some(("form", field)) => Ok(Self::form(field)),
            Some(("json", pointer)) => json::Pointer::parse(pointer)
                .map(|pointer| Self(Place::Json(pointer)))
                .ok_or_else(|| error("a JSON pointer begins with a slash")),
            Some(("query", field)) => Ok(Self::query(field)),
            Some(("path", name)) => Ok(Self::path(name)),
            Some(("header", name)) => name.parse().map(Self::header).map_err(|_| error("no header has that name")),
            _ => Err(error("it begins with none of form:, json:, query:, path:, header:")),
        }
    }
}

/// What to do with a guarded request that names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missing {
    /// Refuse it.
    #[default]
    Refuse,
    /// Let it through: the endpoint serves other purposes too.
    ///
    /// A caller who can choose where the account stands then chooses a place that isn't looked at: in GraphQL a literal in the query, or a variable of another name. So this
    /// protects only where the application takes recovery requests in the one form that the targets name, as with persisted queries.
    Pass,
}

/// A request that can't be read exactly as the application might.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) status: StatusCode,
    pub(crate) detail: &'static str,
}

impl Refusal {
    pub(crate) const fn too_large() -> Self {
        Self {
            reason: Reason::BodyTooLarge,
            status: StatusCode::PAYLOAD_TOO_LARGE,
            detail: "The body is longer than this endpoint accepts.",
        }
    }

    pub(crate) const fn undecodable(detail: &'static str) -> Self {
        Self { reason: Reason::TargetUndecodable, status: StatusCode::BAD_REQUEST, detail }
    }

    const fn unsupported(detail: &'static str) -> Self {
        Self { reason: Reason::TargetUndecodable, status: StatusCode::UNSUPPORTED_MEDIA_TYPE, detail }
    }

    const fn missing() -> Self {
        Self { reason: Reason::TargetMissing, status: StatusCode::BAD_REQUEST, detail: "The request names no account." }
    }

    const fn ambiguous(detail: &'static str) -> Self {
        Self { reason: Reason::TargetAmbiguous, status: StatusCode::BAD_REQUEST, detail }
    }
}

/// A request's body, read according to its headers.
#[derive(Debug)]
pub(crate) enum Body<'b> {
    Empty,
    /// The fields of a form, urlencoded or multipart.
    Form(Vec<Field<'b>>),
    Json(&'b [u8]),
    /// Of a type that holds no target, for the reason given.
    Other(&'static str),
}

impl<'b> Body<'b> {
    pub(crate) async fn read(headers: &HeaderMap, body: &'b Bytes) -> Result<Self, Refusal> {
        if body.is_empty() {
            return Ok(Self::Empty);
        }
        // RFC 9110 §8.4: a coded body is another one to whoever decodes it.
        if all_of(headers, &CONTENT_ENCODING).any(|(_, coding)| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(Refusal::unsupported("The body must not have a content encoding."));
        }
        let text = || {
            let text = std::str::from_utf8(body).map_err(|_| Refusal::undecodable("The form is not UTF-8."))?;
            // Some applications try JSON first, whatever the type says.
            let is_array = text.trim_start().strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with(['{', '"']));
            if text.trim_start().starts_with('{') || is_array {
                Err(Refusal::undecodable("The form may be read as JSON."))
            } else {
                Ok(text)
            }
        };
        if is_plain_form(headers) {
            return form::fields(text()?, Spot::Form).and_then(in_utf8);
        }
        let Some(content_type) = content_type(headers)? else { return Ok(Self::Other("The body has no content type.")) };
        let is_json = content_type.subtype() == mime::JSON || content_type.suffix() == Some(mime::JSON);
        match (content_type.type_(), content_type.subtype()) {
            (mime::APPLICATION, mime::WWW_FORM_URLENCODED) if content_type.suffix().is_none() => {
                only_utf8(&content_type, &[mime::CHARSET])?;
                form::fields(text()?, Spot::Form).and_then(in_utf8)
            }
            (mime::MULTIPART, mime::FORM_DATA) if content_type.suffix().is_none() => {
                only_utf8(&content_type, &[mime::CHARSET, mime::BOUNDARY])?;
                // Rare, and so not part of every body's future.
                Box::pin(multipart::fields(&content_type, body)).await.and_then(in_utf8)
            }
            (mime::APPLICATION, _) if is_json => {
                only_utf8(&content_type, &[mime::CHARSET])?;
                Ok(Self::Json(body))
            }
            _ => Ok(Self::Other(UNREADABLE_TYPE)),
        }
    }

    /// The values of `_method`, by which some frameworks let a form stand for another method.
    pub(crate) fn method_overrides(&self) -> Vec<&str> {
        match self {
            Self::Form(fields) => method_overrides(fields).collect(),
            Self::Empty | Self::Json(_) | Self::Other(_) => Vec::new(),
        }
    }

    /// Whether a body that is no form may name another method all the same: Laravel looks in JSON, Rack in a body of no type and in one of any multipart type.
    pub(crate) fn may_override(&self, body: &[u8]) -> bool {
        match self {
            Self::Empty | Self::Form(_) => false,
            Self::Json(body) => !matches!(json::only(&json::Pointer::to_member("_method"), body, false), Ok(None)),
            Self::Other(_) => {
                let decoded: Vec<u8> = percent_decode(body).collect();
                let holds = |text: &[u8], word: &[u8]| text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
                holds(&decoded, b"_method") || holds(body, b"\\u00")
            }
        }
    }
}

const UNREADABLE_TYPE: &str = "The body's content type is not one in which this endpoint reads the account.";

fn method_overrides<'a>(fields: &'a [Field<'_>]) -> impl Iterator<Item = &'a str> {
    fields.iter().filter(|field| is_lookalike(&field.name, "_method")).filter_map(|field| field.value.as_deref())
}

/// A form whose fields don't say that they are in another charset, as RFC 7578 §4.6 would let them.
fn in_utf8(fields: Vec<Field<'_>>) -> Result<Body<'_>, Refusal> {
    let is_utf8 = |charset: &str| ["utf-8", "utf8"].iter().any(|name| charset.trim().eq_ignore_ascii_case(name));
    let mut charsets = fields.iter().filter(|field| is_lookalike(&field.name, "_charset_"));
    if charsets.all(|field| field.value.as_deref().is_some_and(is_utf8)) {
        Ok(Body::Form(fields))
    } else {
        Err(Refusal::unsupported("The form is not in UTF-8."))
    }
}

/// All values of a header as CGI and its heirs see it, who make one of `_` and `-`.
pub(crate) fn all_of<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)> {
    let is_other = |c: u8| c == b'_' || c == b'-';
    let is_same = move |(one, other): (u8, u8)| one == other || (is_other(one) && is_other(other));
    headers.iter().filter(move |(other, _)| {
        let (one, other) = (name.as_str(), other.as_str());
        one.len() == other.len() && one.bytes().zip(other.bytes()).all(is_same)
    })
}

/// Whether the one content type is a form's as browsers spell it, which needs no parser.
fn is_plain_form(headers: &HeaderMap) -> bool {
    let mut values = all_of(headers, &CONTENT_TYPE);
    values.next().is_some_and(|(_, value)| value == mime::APPLICATION_WWW_FORM_URLENCODED.as_ref()) && values.next().is_none()
}

/// The one content type, if there is any.
fn content_type(headers: &HeaderMap) -> Result<Option<Mime>, Refusal> {
    let mut values = all_of(headers, &CONTENT_TYPE);
    let Some((_, value)) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::unsupported("The request has several content types."));
    }
    let parsed = value.to_str().ok().and_then(|text| text.parse::<Mime>().ok());
    parsed.map(Some).ok_or(Refusal::unsupported("The content type can't be read."))
}

/// Parsers differ in what they make of other charsets, and of parameters given twice or unknown to them.
fn only_utf8(content_type: &Mime, known: &[mime::Name<'_>]) -> Result<(), Refusal> {
    let mut seen = Vec::new();
    for (name, value) in content_type.params() {
        if !known.contains(&name) || seen.contains(&name) || (name == mime::CHARSET && value != mime::UTF_8 && value != "utf8") {
            return Err(Refusal::unsupported("The content type has a parameter that can't be honoured."));
        }
        seen.push(name);
    }
    Ok(())
}

/// The fields of a request's query, read once for all that is looked up in it.
pub(crate) struct Query<'q>(Vec<Field<'q>>);

impl<'q> Query<'q> {
    pub(crate) fn read(uri: &'q Uri) -> Result<Self, Refusal> {
        form::fields(uri.query().unwrap_or_default(), Spot::Query).map(Self)
    }

    /// The values of `_method`.
    pub(crate) fn method_overrides(&self) -> Vec<&str> {
        method_overrides(&self.0).collect()
    }
}

/// All of a request in which a target may stand.
#[derive(Clone, Copy)]
pub(crate) struct Readable<'r> {
    pub(crate) parts: &'r Parts,
    pub(crate) query: &'r Query<'r>,
    pub(crate) body: &'r Body<'r>,
}

/// What a request names an account by, for one guard.
pub(crate) struct Requested<'g> {
    pub(crate) guard: &'g Guard,
    /// The name, decoded, without white space around it.
    pub(crate) name: String,
    /// Every place in which it stands, as it stands there.
    pub(crate) found: Vec<Found<'static>>,
}

impl<'r> Readable<'r> {
    /// Whom the request names for `guard`. `None` where it names nobody and may.
    pub(crate) fn requested<'g>(self, guard: &'g Guard) -> Result<Option<Requested<'g>>, Refusal> {
        let mut found = Vec::new();
        for target in &guard.targets {
            self.values(guard, target, &mut found)?;
        }
        let elsewhere = self.values_elsewhere(guard)?;
        let is_named = |found: &Found<'_>| !found.text.trim().is_empty();
        found.retain(is_named);
        let Some(first) = found.first() else {
            return match guard.missing {
                Missing::Refuse => Err(Refusal::missing()),
                Missing::Pass if !elsewhere.iter().any(is_named) => Ok(None),
                Missing::Pass => Err(Refusal::ambiguous("The request names an account where it is not looked for.")),
            };
        };
        let text = first.text.trim().to_owned();
        found.extend(elsewhere.into_iter().filter(is_named));
        let is_same = |other: &str| match guard.identifies {
            Identifies::Email if guard.decode.is_none() => other.eq_ignore_ascii_case(&text),
            _ => other == text,
        };
        if !found.iter().all(|found| is_same(found.text.trim())) {
            return Err(Refusal::ambiguous("The request names different accounts in different places."));
        }
        let name = match &guard.decode {
            None => text,
            Some(decode) => decode.read(&text).ok_or(Refusal::undecodable("What names the account can't be decoded."))?,
        };
        let found = found.into_iter().map(|found| Found { text: found.text.into_owned().into(), spot: found.spot }).collect();
        Ok(Some(Requested { guard, name, found }))
    }

    /// What the guard's field names stand for in parts of the request that the guard does not list.
    fn values_elsewhere(self, guard: &Guard) -> Result<Vec<Found<'r>>, Refusal> {
        let mut values = Vec::new();
        for target in &guard.targets {
            let Some(field) = target.field() else { continue };
            let is_listed = |is_twin: &dyn Fn(&Place) -> bool| guard.targets.iter().any(|target| is_twin(&target.0));
            // An object may come as a text in a field: GraphQL servers take `variables` from the query.
            let is_of_object = |name: &str| target.object().is_some_and(|object| is_lookalike(name, object));
            if self.query.0.iter().any(|field| is_of_object(&field.name)) {
                return Err(Refusal::ambiguous("The query names what the account is looked for in."));
            }
            if !self.query.0.is_empty() && !is_listed(&|place| matches!(place, Place::Query(name) if *name == field)) {
                values.extend(form::only(&field, &self.query.0)?);
            }
            match self.body {
                Body::Form(fields) if !is_listed(&|place| matches!(place, Place::Form(name) if *name == field)) => {
                    values.extend(form::only(&field, fields)?);
                }
                Body::Json(body) => {
                    if form::may_hold(&field, body) {
                        return Err(Refusal::ambiguous("The body may be read as a form that names the account."));
                    }
                    let pointer = json::Pointer::to_field_of(&field);
                    if !is_listed(&|place| matches!(place, Place::Json(listed) if *listed == pointer)) {
                        values.extend(json::only(&pointer, body, guard.counts_numbers())?);
                    }
                }
                // Some frameworks read a body of another type, or of none, as a form or as JSON; none of those merges it with the path.
                Body::Other(detail) if !matches!(target.0, Place::Path(_)) => return Err(Refusal::unsupported(detail)),
                Body::Form(_) | Body::Other(_) | Body::Empty => {}
            }
        }
        Ok(values)
    }

    /// Adds what stands at `target` to `values`: one value, or as many as there are ways to read it.
    fn values(self, guard: &Guard, target: &Target, values: &mut Vec<Found<'r>>) -> Result<(), Refusal> {
        let value = match (&target.0, self.body) {
            (Place::Form(field), Body::Form(fields)) => form::only(field, fields)?,
            (Place::Json(pointer), Body::Json(body)) => json::only(pointer, body, guard.counts_numbers())?,
            (Place::Form(_) | Place::Json(_), Body::Empty) => None,
            // Another of the guard's targets may read a body of this type.
            (Place::Form(_), Body::Json(_)) if guard.targets.iter().any(|target| matches!(target.0, Place::Json(_))) => None,
            (Place::Json(_), Body::Form(_)) if guard.targets.iter().any(|target| matches!(target.0, Place::Form(_))) => None,
            (Place::Form(_), Body::Json(_)) | (Place::Json(_), Body::Form(_)) => return Err(Refusal::unsupported(UNREADABLE_TYPE)),
            (Place::Form(_) | Place::Json(_), Body::Other(detail)) => return Err(Refusal::unsupported(detail)),
            (Place::Query(field), _) => form::only(field, &self.query.0)?,
            (Place::Header(name), _) => header(&self.parts.headers, name)?,
            (Place::Path(name), _) => {
                let path = self.parts.uri.path();
                let found = |text: String| Found { spot: Spot::Path(guard.span_in_path(path, name, &text)), text: text.into() };
                values.extend(guard.path_parameters(path, name).into_iter().map(found));
                None
            }
        };
        values.extend(value);
        Ok(())
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<Found<'a>>, Refusal> {
    let mut values = all_of(headers, name);
    let Some((name, value)) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::ambiguous("The header that names the account stands there twice."));
    }
    let text =
        std::str::from_utf8(value.as_bytes()).map_err(|_| Refusal::undecodable("The header that names the account is not UTF-8."))?;
    Ok(Some(Found { text: Cow::Borrowed(text), spot: Spot::Header(name.clone()) }))
}
