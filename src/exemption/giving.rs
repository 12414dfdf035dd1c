//! What an exemption must be so that it is given.

use std::time::{Duration, SystemTime};

use super::{Exempt, Exemption, ExemptionError, NewExemption};
use crate::address::is_invisible;

/// How long an exemption may last: 90 days.
const LONGEST: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How many characters a reason may have.
const LONGEST_REASON: usize = 500;

/// How many characters the name of who gives or takes back an exemption may have.
const LONGEST_NAME: usize = 100;

impl NewExemption {
    /// The exemption that it becomes, given `now`.
    pub(crate) fn given(self, now: SystemTime) -> Result<Exemption, ExemptionError> {
        let Self { exempt, until, reason, by } = self;
        match &exempt {
            Exempt::Account(id) if id.as_str().is_empty() => return Err(ExemptionError::Nobody),
            Exempt::Account(_) | Exempt::Domain(_) => {}
        }
        let (reason, by) = (plain("the reason", &reason, LONGEST_REASON)?, name(&by)?);
        match until.duration_since(now) {
            Ok(lasts) if lasts > LONGEST => Err(ExemptionError::TooLong),
            Ok(lasts) if !lasts.is_zero() => Ok(Exemption { id: crate::clock::uuid(now), exempt, until, reason, by, given_at: now }),
            Ok(_) | Err(_) => Err(ExemptionError::Over),
        }
    }
}

/// `text` as the name of somebody.
pub(crate) fn name(text: &str) -> Result<String, ExemptionError> {
    plain("the name of who does it", text, LONGEST_NAME)
}

fn plain(which: &'static str, text: &str, longest: usize) -> Result<String, ExemptionError> {
    let refused = |what| Err(ExemptionError::Text { text: which, what });
    let text = text.trim();
    if text.is_empty() {
        return refused("is missing");
    }
    if text.chars().any(is_invisible) {
        return refused("has more than one line, or characters that can't be seen");
    }
    if text.chars().count() > longest {
        return refused("is too long");
    }
    Ok(text.to_owned())
}
