//! Many rows for one statement.

use super::pool::Dialect;

/// Rows that are given to a statement as the table `given`. They are its first parameters, one for each column; others come [after](Self::after) them.
#[derive(Debug, Default)]
pub(super) struct Given<'a> {
    columns: Vec<(&'static str, Cells<'a>)>,
}

/// One column, with a cell for each row.
#[derive(Debug)]
pub(super) enum Cells<'a> {
    Text(Vec<Option<&'a str>>),
    Number(Vec<Option<i64>>),
}

#[cfg(feature = "sqlite")]
impl Cells<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(cells) => cells.len(),
            Self::Number(cells) => cells.len(),
        }
    }
}

impl<'a> Given<'a> {
    /// Nothing but names.
    pub(super) fn names(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self::default().text("name", names.into_iter().map(Some))
    }

    pub(super) fn text(mut self, name: &'static str, cells: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        self.columns.push((name, Cells::Text(cells.into_iter().collect())));
        self
    }

    pub(super) fn number(mut self, name: &'static str, cells: impl IntoIterator<Item = Option<i64>>) -> Self {
        self.columns.push((name, Cells::Number(cells.into_iter().collect())));
        self
    }

    pub(super) fn columns(&self) -> &[(&'static str, Cells<'a>)] {
        &self.columns
    }

    /// The number of the first parameter that is none of these.
    pub(super) fn after(&self) -> usize {
        self.columns.len() + 1
    }

    /// The table, as it stands in a `FROM`.
    pub(super) fn table<DB: Dialect>(&self) -> String {
        DB::table(self)
    }

    /// The parameters.
    pub(super) fn arguments<DB: Dialect>(&self) -> Result<DB::Arguments, sqlx::Error> {
        DB::arguments(self).map_err(sqlx::Error::Encode)
    }
}
