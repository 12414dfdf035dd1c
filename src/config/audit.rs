//! The section `[audit]`: how records are written.

use super::sections::{self, Sections};
use super::{Config, ConfigError};
use crate::audit::{EmailKey, Emails, Format};

/// Holds the key that addresses are hashed with.
pub const AUDIT_KEY: &str = "GATEKEEPER_AUDIT_KEY";

/// How records are written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AuditSettings {
    /// How a line looks.
    pub format: Format,
    /// How addresses stand there.
    pub emails: Emails,
}

impl Config {
    /// How records are written.
    ///
    /// # Errors
    /// Where addresses are to be hashed and the variable `GATEKEEPER_AUDIT_KEY` holds no key.
    pub fn audit(&self) -> Result<AuditSettings, ConfigError> {
        let Sections { audit, .. } = &self.sections;
        let emails = match audit.emails {
            sections::Emails::Plain => Emails::Plain,
            sections::Emails::Hashed => Emails::Hashed(key()?),
        };
        Ok(AuditSettings { format: format(audit.format), emails })
    }
}

fn key() -> Result<EmailKey, ConfigError> {
    let error = |what: String| ConfigError::Override { name: AUDIT_KEY.to_owned(), what };
    let Some(key) = std::env::var_os(AUDIT_KEY) else {
        return Err(error("`audit.emails` is \"hashed\", and the variable that holds the key for it is not set".to_owned()));
    };
    EmailKey::new(key.as_encoded_bytes()).map_err(|reason| error(format!("`audit.emails` is \"hashed\": {reason}")))
}

pub(super) const fn format(format: sections::Format) -> Format {
    match format {
        sections::Format::Native => Format::Native,
        sections::Format::Ocsf => Format::Ocsf,
        sections::Format::CloudEvents => Format::CloudEvents,
    }
}
