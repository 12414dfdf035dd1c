//! What the directories in SQL databases share: the checks of their queries and the reading of their rows.

use std::ops::RangeInclusive;

use sqlx::{Column, ColumnIndex, Database, Row};

use crate::account::DirectoryError;
use crate::account::columns::Value;
use crate::account::keys::{Cells, Key};
use crate::account::queries::IdKind;
use crate::identifier::Identifier;

pub(super) const FINDING: &str = "finding accounts";
pub(super) const UNVERIFYING: &str = "un-verifying an account";
pub(super) const LISTING: &str = "listing accounts";

const COLUMNS: [&str; 4] = ["id", "email", "verified", "verified_at"];

/// How many parameters a query may have.
pub(super) const OF_A_LOOKUP: RangeInclusive<usize> = 1..=1;
pub(super) const OF_UNVERIFY: RangeInclusive<usize> = 1..=2;
pub(super) const OF_A_PAGE: RangeInclusive<usize> = 2..=2;

/// PostgreSQL's code for a statement that took too long.
const QUERY_CANCELED: &str = "57014";

/// Whether the database gave one of these `SQLSTATE` codes.
pub(super) fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| codes.contains(&code.as_ref()))
}

pub(super) fn failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> DirectoryError {
    move |error| match error {
        sqlx::Error::PoolTimedOut => DirectoryError::Timeout { operation },
        error if has_code(&error, &[QUERY_CANCELED]) => DirectoryError::Timeout { operation },
        error => DirectoryError::unavailable(operation, error),
    }
}

/// The database refused the query, or can't be asked about it.
pub(super) fn malformed(query: &str) -> impl FnOnce(sqlx::Error) -> DirectoryError {
    move |error| match error {
        error @ sqlx::Error::Database(_) => {
            DirectoryError::Query { query: query.to_owned(), what: "is refused by the database".to_owned(), source: Some(error.into()) }
        }
        // Drivers report parameters that they can't bind as a broken protocol.
        error @ sqlx::Error::Protocol(_) => {
            DirectoryError::Query { query: query.to_owned(), what: "can't be asked".to_owned(), source: Some(error.into()) }
        }
        error => failed("checking the queries")(error),
    }
}

pub(super) fn unusable(query: &str, what: impl Into<String>) -> DirectoryError {
    DirectoryError::Query { query: query.to_owned(), what: what.into(), source: None }
}

pub(super) fn check_parameters(query: &str, count: usize, allowed: RangeInclusive<usize>) -> Result<(), DirectoryError> {
    if allowed.contains(&count) {
        return Ok(());
    }
    let (least, most) = allowed.into_inner();
    let wanted = if least == most { least.to_string() } else { format!("{least} or {most}") };
    Err(unusable(query, format!("has {count} parameters, not {wanted}")))
}

/// Each column must be there, and only once: whose would count otherwise?
pub(super) fn check_columns<C: Column>(query: &str, columns: &[C]) -> Result<(), DirectoryError> {
    for wanted in COLUMNS {
        match columns.iter().filter(|column| is_named(*column, wanted)).count() {
            1 => {}
            0 => return Err(unusable(query, format!("has no column `{wanted}`"))),
            _ => return Err(unusable(query, format!("has more than one column `{wanted}`"))),
        }
    }
    Ok(())
}

fn is_named(column: &impl Column, name: &str) -> bool {
    column.name().eq_ignore_ascii_case(name)
}

/// A database whose values can be read.
pub(super) trait Reads: Database {
    /// How the values of a column are written.
    type Form: Copy;

    fn form(kind: &Self::TypeInfo) -> Self::Form;

    /// `value`, of a column of this form.
    fn value(value: Self::ValueRef<'_>, form: Self::Form) -> Value;
}

/// The accounts in `rows`, which answer one question and so have the same columns.
pub(super) fn cells<R: Row>(
    rows: &[R],
    operation: &'static str,
) -> Result<impl Iterator<Item = Result<Cells, DirectoryError>>, DirectoryError>
where
    R::Database: Reads,
    usize: ColumnIndex<R>,
{
    let places = rows.first().map(|row| places(row.columns())).transpose().map_err(failed(operation))?;
    Ok(rows.iter().filter_map(move |row| {
        let [id, email, verified, verified_at] = places?;
        let value = |(place, form)| row.try_get_raw(place).map(|value| R::Database::value(value, form));
        let cells = || Ok(Cells { id: value(id)?, email: value(email)?, verified: value(verified)?, verified_at: value(verified_at)? });
        Some(cells().map_err(failed(operation)))
    }))
}

/// Where a column stands, and in what form.
type Place<DB> = (usize, <DB as Reads>::Form);

/// Those of the wanted columns.
fn places<C>(columns: &[C]) -> Result<[Place<C::Database>; 4], sqlx::Error>
where
    C: Column,
    C::Database: Reads,
{
    let place = |wanted: &str| -> Result<_, sqlx::Error> {
        let found = columns.iter().enumerate().find(|(_, column)| is_named(*column, wanted));
        let (place, column) = found.ok_or_else(|| sqlx::Error::ColumnNotFound(wanted.to_owned()))?;
        Ok((place, C::Database::form(column.type_info())))
    };
    let [id, email, verified, verified_at] = COLUMNS;
    Ok([place(id)?, place(email)?, place(verified)?, place(verified_at)?])
}

/// What is bound to find `identifier`, one look-up each. Nothing where it is a key that no account can have.
pub(super) fn names(identifier: &Identifier, kind: IdKind) -> Vec<Key> {
    match identifier {
        Identifier::Id(id) => kind.forms(id.as_str()),
        Identifier::Email(_) | Identifier::Username(_) | Identifier::Token(_) => {
            identifier.spellings().into_iter().map(Key::Text).collect()
        }
    }
}
