//! PostgreSQL's types: what a query's parameters take, and what its columns give, in the binary format (the `send` and `recv` functions of each type).

use std::time::{Duration, SystemTime};

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, PgTypeKind, PgValueRef};
use sqlx::{Postgres, Type, TypeInfo, ValueRef};
use uuid::Uuid;

use crate::account::columns::Value;
use crate::account::keys::Key;
use crate::account::queries::{self, IdKind};
use crate::account::sql::Reads;

/// 2000-01-01, from which PostgreSQL counts, in seconds since 1970.
const EPOCH: u64 = 946_684_800;
const DAY: u64 = 86_400;

/// The kinds of types that names and keys are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Int2,
    Int4,
    Int8,
    Text,
    Uuid,
}

impl Family {
    /// `None` for types that hold no name and no key.
    pub(super) fn of(kind: &PgTypeInfo) -> Option<Self> {
        match kind.kind() {
            PgTypeKind::Domain(base) => return Self::of(base),
            PgTypeKind::Enum(_) => return Some(Self::Text),
            PgTypeKind::Simple | PgTypeKind::Pseudo => {}
            PgTypeKind::Composite(_) | PgTypeKind::Array(_) | PgTypeKind::Range(_) => return None,
        }
        match kind.name() {
            "INT2" => Some(Self::Int2),
            "INT4" => Some(Self::Int4),
            "INT8" => Some(Self::Int8),
            "TEXT" | "VARCHAR" | "CHAR" | "NAME" => Some(Self::Text),
            "UUID" => Some(Self::Uuid),
            // The extension's schema may stand before the name.
            name => name.rsplit('.').next().filter(|name| *name == "citext").map(|_| Self::Text),
        }
    }

    pub(super) const fn is_integer(self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8)
    }

    /// Whether a parameter of this family takes keys of `kind`.
    pub(super) const fn takes(self, kind: IdKind) -> bool {
        match kind {
            IdKind::Integer => self.is_integer(),
            IdKind::Text => matches!(self, Self::Text),
            IdKind::Uuid => matches!(self, Self::Uuid | Self::Text),
        }
    }
}

/// A value for a parameter, of the type that the server inferred for it: another type, and `text` above all, would compare by other rules.
#[derive(Debug, PartialEq)]
pub(super) struct Parameter {
    kind: PgTypeInfo,
    bytes: Vec<u8>,
}

impl Parameter {
    /// `None` where a parameter of type `kind` can't be `key`, so that no row can have it.
    pub(super) fn of(kind: &PgTypeInfo, key: &Key) -> Option<Self> {
        let bytes = match (Family::of(kind)?, key) {
            (Family::Int2, Key::Integer(number)) => i16::try_from(*number).ok()?.to_be_bytes().to_vec(),
            (Family::Int4, Key::Integer(number)) => i32::try_from(*number).ok()?.to_be_bytes().to_vec(),
            (Family::Int8, Key::Integer(number)) => number.to_be_bytes().to_vec(),
            (Family::Text, Key::Text(text)) => text.as_bytes().to_vec(),
            (Family::Text, Key::Uuid(uuid)) => uuid.to_string().into_bytes(),
            (Family::Uuid, Key::Uuid(uuid)) => uuid.as_bytes().to_vec(),
            (Family::Uuid, Key::Text(text)) => queries::uuid(text)?.as_bytes().to_vec(),
            (Family::Int2 | Family::Int4 | Family::Int8, Key::Text(_) | Key::Uuid(_)) | (Family::Text | Family::Uuid, Key::Integer(_)) => {
                return None;
            }
        };
        Some(Self { kind: kind.clone(), bytes })
    }

    /// A count of rows, as many as fit.
    pub(super) fn count(kind: &PgTypeInfo, count: usize) -> Option<Self> {
        let most = match Family::of(kind)? {
            Family::Int2 => i64::from(i16::MAX),
            Family::Int4 => i64::from(i32::MAX),
            Family::Int8 => i64::MAX,
            Family::Text | Family::Uuid => return None,
        };
        Self::of(kind, &Key::Integer(i64::try_from(count).unwrap_or(most).min(most)))
    }
}

impl Type<Postgres> for Parameter {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Parameter {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.kind.clone())
    }
}

/// How the values of a type are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::account) enum Form {
    Boolean,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Timestamp,
    Date,
    Uuid,
    Bytes,
    Text,
    /// In one that is not read.
    Other,
}

impl Reads for Postgres {
    type Form = Form;

    fn form(kind: &PgTypeInfo) -> Form {
        match kind.name() {
            "BOOL" => Form::Boolean,
            "INT2" => Form::Int2,
            "INT4" => Form::Int4,
            "INT8" => Form::Int8,
            "FLOAT4" => Form::Float4,
            "FLOAT8" => Form::Float8,
            "NUMERIC" => Form::Numeric,
            "TIMESTAMP" | "TIMESTAMPTZ" => Form::Timestamp,
            "DATE" => Form::Date,
            "UUID" => Form::Uuid,
            "BYTEA" => Form::Bytes,
            _ if Family::of(kind) == Some(Family::Text) => Form::Text,
            _ => Form::Other,
        }
    }

    fn value(value: PgValueRef<'_>, form: Form) -> Value {
        if value.is_null() {
            return Value::Null;
        }
        let read = value.as_bytes().ok().and_then(|bytes| read(form, bytes));
        read.unwrap_or_else(|| Value::Other(format!("a value of type {}", value.type_info().name())))
    }
}

fn read(form: Form, bytes: &[u8]) -> Option<Value> {
    Some(match form {
        Form::Boolean => Value::Boolean(*bytes.first()? != 0),
        Form::Int2 => Value::Integer(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        Form::Int4 => Value::Integer(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        Form::Int8 => Value::Integer(i64::from_be_bytes(bytes.try_into().ok()?)),
        Form::Float4 => Value::Float(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        Form::Float8 => Value::Float(f64::from_be_bytes(bytes.try_into().ok()?)),
        Form::Numeric => Value::Float(numeric(bytes)?),
        Form::Timestamp => Value::Time(timestamp(i64::from_be_bytes(bytes.try_into().ok()?))?),
        Form::Date => Value::Time(date(i32::from_be_bytes(bytes.try_into().ok()?))?),
        Form::Uuid => Value::Uuid(Uuid::from_slice(bytes).ok()?),
        Form::Bytes => Value::Bytes(bytes.to_vec()),
        Form::Text => Value::Text(std::str::from_utf8(bytes).ok()?.to_owned()),
        Form::Other => return None,
    })
}

/// Microseconds since 2000. `None` for the infinities, which are the ends of the range.
fn timestamp(microseconds: i64) -> Option<SystemTime> {
    let distance = Duration::from_micros(microseconds.unsigned_abs());
    match microseconds {
        i64::MIN | i64::MAX => None,
        0.. => epoch().checked_add(distance),
        _ => epoch().checked_sub(distance),
    }
}

/// Days since 2000. `None` for the infinities.
fn date(days: i32) -> Option<SystemTime> {
    let distance = Duration::from_secs(u64::from(days.unsigned_abs()) * DAY);
    match days {
        i32::MIN | i32::MAX => None,
        0.. => epoch().checked_add(distance),
        _ => epoch().checked_sub(distance),
    }
}

fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH)
}

/// Digits to the base 10000, the first of which counts 10000 to the power of `weight`. `None` for NaN and the infinities.
fn numeric(bytes: &[u8]) -> Option<f64> {
    let word = |at: usize| Some(i16::from_be_bytes(bytes.get(at * 2..at * 2 + 2)?.try_into().ok()?));
    let (count, weight, sign) = (word(0)?, word(1)?, word(2)?);
    let sign = match sign {
        0 => 1.0,
        0x4000 => -1.0,
        _ => return None,
    };
    let mut number = 0.0;
    for at in 0..usize::try_from(count).ok()? {
        let place = i32::from(weight) - i32::try_from(at).ok()?;
        number += f64::from(word(4 + at)?) * 10_000_f64.powi(place);
    }
    Some(sign * number)
}
