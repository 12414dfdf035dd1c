//! Arguments and printing, a file for each command.

pub(crate) mod check;

use std::error::Error;

/// `error` with all that caused it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
