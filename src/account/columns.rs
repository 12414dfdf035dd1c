//! What a directory's columns hold, read in one place whatever the database: the table at [`Queries`](crate::account::Queries).

use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::account::{Account, AccountId, DirectoryError};
use crate::clock;

/// From here on a number is milliseconds since 1970, below it seconds.
const MILLISECONDS_FROM: u64 = 100_000_000_000;

/// The end of the year 9999 in seconds since 1970. What lies beyond was counted in another unit.
const LAST_SECOND: u64 = 253_402_300_799;

/// What a column of a row can hold.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only PostgreSQL has a type for everything"))]
pub(super) enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Time(SystemTime),
    Uuid(Uuid),
    /// Anything else, by its name.
    Other(String),
}

impl Value {
    /// What it is, without its content, which may be secret.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Boolean(_) => "a boolean".to_owned(),
            Self::Integer(_) => "an integer".to_owned(),
            Self::Float(_) => "a number with a fraction".to_owned(),
            Self::Text(_) => "a text".to_owned(),
            Self::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Self::Time(_) => "a timestamp".to_owned(),
            Self::Uuid(_) => "a UUID".to_owned(),
            Self::Other(name) => name.clone(),
        }
    }

    fn email(self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            // Nothing can be mailed to it, and an empty address has no domain that could be vouched for.
            Self::Null => Ok(String::new()),
            value => Err(format!("{}, which is no address", value.describe())),
        }
    }

    fn verified(&self) -> Result<bool, String> {
        match self {
            Self::Boolean(verified) => Ok(*verified),
            Self::Integer(0) | Self::Null => Ok(false),
            Self::Integer(1) => Ok(true),
            // Rails wrote `t` and `f` into SQLite until 5.2; other mappers write the words or a digit.
            Self::Text(text) if matches!(text.as_str(), "t" | "true" | "1") => Ok(true),
            Self::Text(text) if matches!(text.as_str(), "f" | "false" | "0") => Ok(false),
            value => Err(format!("{} that is neither true nor false", value.describe())),
        }
    }

    fn verified_at(&self) -> Result<Option<SystemTime>, String> {
        let time = match self {
            Self::Null => return Ok(None),
            Self::Time(time) => Some(*time),
            Self::Integer(number) => since_1970(*number),
            Self::Float(number) => since_1970_with_fraction(*number),
            Self::Text(text) => clock::parse(text),
            Self::Boolean(_) | Self::Bytes(_) | Self::Uuid(_) | Self::Other(_) => None,
        };
        let last = SystemTime::UNIX_EPOCH + Duration::from_secs(LAST_SECOND);
        time.filter(|time| *time <= last).map(Some).ok_or_else(|| format!("{} that is no timestamp", self.describe()))
    }
}

fn since_1970(number: i64) -> Option<SystemTime> {
    let number = u64::try_from(number).ok()?;
    let since = if number >= MILLISECONDS_FROM { Duration::from_millis(number) } else { Duration::from_secs(number) };
    SystemTime::UNIX_EPOCH.checked_add(since)
}

fn since_1970_with_fraction(number: f64) -> Option<SystemTime> {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let seconds = if number >= MILLISECONDS_FROM as f64 { number / 1000.0 } else { number };
    // To the microsecond, which is what databases keep and a float still holds: digits beyond are noise.
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(u64::try_from((since + Duration::from_nanos(500)).as_micros()).ok()?))
}

/// The account with these columns.
pub(super) fn account(id: AccountId, email: Value, verified: &Value, verified_at: &Value) -> Result<Account, DirectoryError> {
    match read(email, verified, verified_at) {
        Ok((email, verified, verified_at)) => Ok(Account { id, email, verified, verified_at }),
        Err((column, found)) => Err(DirectoryError::Unreadable { id, column, found }),
    }
}

/// The same in a list, where one account that can't be read hides no other: it isn't verified, and has no address.
pub(super) fn listed(id: AccountId, email: Value, verified: &Value, verified_at: &Value) -> Account {
    let (email, verified, verified_at) = read(email, verified, verified_at).unwrap_or_else(|(column, found)| {
        let error = &DirectoryError::Unreadable { id: id.clone(), column, found } as &dyn std::error::Error;
        tracing::error!(account = %id, error, "an account that can't be read is listed as not verified");
        (String::new(), false, None)
    });
    Account { id, email, verified, verified_at }
}

type Columns = (String, bool, Option<SystemTime>);

/// All but the key. The error is the column that can't be read, and what it holds.
fn read(email: Value, verified: &Value, verified_at: &Value) -> Result<Columns, (&'static str, String)> {
    let unreadable = |column| move |found| (column, found);
    let email = email.email().map_err(unreadable("email"))?;
    let verified = verified.verified().map_err(unreadable("verified"))?;
    Ok((email, verified, verified_at.verified_at().map_err(unreadable("verified_at"))?))
}

/// The error about a column `id` that holds what is `found`.
pub(super) fn no_key(found: String) -> DirectoryError {
    DirectoryError::Unreadable { id: AccountId::from("of unknown key"), column: "id", found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::parse;

    #[test]
    fn a_time_is_read_from_every_form_and_never_guessed() {
        let at = parse("2021-05-04T10:00:00Z");
        for value in [
            Value::Integer(1_620_122_400),
            Value::Integer(1_620_122_400_000),
            Value::Float(1_620_122_400.0),
            Value::Float(1_620_122_400_000.0),
            Value::Text("2021-05-04 10:00:00".to_owned()),
            Value::Text("2021-05-04 10:00:00+00:00".to_owned()),
            Value::Text("2021-05-04 12:00:00+02".to_owned()),
        ] {
            assert_eq!(value.verified_at(), Ok(at), "{value:?}");
        }
        let fraction = Value::Float(1_620_122_400.123_456).verified_at();
        assert_eq!(fraction, Ok(parse("2021-05-04T10:00:00.123456Z")));
        assert_eq!(Value::Integer(99_999_999_999).verified_at(), Ok(parse("5138-11-16T09:46:39Z")));
        assert_eq!(Value::Integer(100_000_000_000).verified_at(), Ok(parse("1973-03-03T09:46:40Z")));
        assert_eq!(Value::Null.verified_at(), Ok(None));
        for value in [
            Value::Integer(-1),
            // Microseconds since 1970.
            Value::Integer(1_620_122_400_000_000),
            Value::Integer(i64::MAX),
            Value::Float(-0.5),
            Value::Float(f64::NAN),
            Value::Float(f64::INFINITY),
            Value::Text("yesterday".to_owned()),
            Value::Text(String::new()),
            Value::Boolean(true),
            Value::Bytes(vec![1]),
            Value::Other("an INTERVAL".to_owned()),
        ] {
            assert!(value.verified_at().is_err_and(|found| !found.contains("yesterday")), "{value:?}");
        }
    }

    #[test]
    fn what_is_not_known_to_be_verified_is_not() {
        for (value, verified) in [
            (Value::Boolean(true), Ok(true)),
            (Value::Integer(1), Ok(true)),
            (Value::Text("t".to_owned()), Ok(true)),
            (Value::Boolean(false), Ok(false)),
            (Value::Integer(0), Ok(false)),
            (Value::Text("false".to_owned()), Ok(false)),
            (Value::Null, Ok(false)),
        ] {
            assert_eq!(value.verified(), verified, "{value:?}");
        }
        for value in [Value::Integer(2), Value::Integer(-1), Value::Float(1.0), Value::Text("yes".to_owned()), Value::Bytes(vec![1])] {
            assert!(value.verified().is_err(), "{value:?}");
        }
    }
}
