//! The section `[audit]`: how records are written.

use std::env::VarError;

use super::sections::{self, Sections};
use super::{Config, ConfigError};
use crate::audit::{EmailKey, Emails, Format, Signer, SignerError};

/// Holds the key that addresses are hashed with.
pub const AUDIT_KEY: &str = "GATEKEEPER_AUDIT_KEY";

/// Holds the private key that the log is signed with.
const SIGNING_KEY: &str = "GATEKEEPER_AUDIT_SIGNING_KEY";

/// How records are written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AuditSettings {
    /// How a line looks.
    pub format: Format,
    /// How addresses stand there.
    pub emails: Emails,
    /// What the log is signed with: the key of the file that `signing_key_file` names, else of the variable `GATEKEEPER_AUDIT_SIGNING_KEY`. `None` where it isn't.
    pub signer: Option<Signer>,
}

impl Config {
    /// How records are written.
    ///
    /// # Errors
    /// Where addresses are to be hashed and the variable `GATEKEEPER_AUDIT_KEY` holds no key, or what is to hold the key to sign with holds none.
    pub fn audit(&self) -> Result<AuditSettings, ConfigError> {
        let Sections { audit, .. } = &self.sections;
        let emails = match audit.emails {
            sections::Emails::Plain => Emails::Plain,
            sections::Emails::Hashed => Emails::Hashed(key()?),
        };
        Ok(AuditSettings { format: format(audit.format), emails, signer: self.signer()? })
    }

    fn signer(&self) -> Result<Option<Signer>, ConfigError> {
        if let Some(file) = &self.sections.audit.signing_key_file {
            let key = Signer::from_pem(&self.origin.secret(file.get_ref())?);
            return key.map(Some).map_err(|reason| self.origin.at(file.span(), format!("`audit.signing_key_file`: {reason}")));
        }
        let error = |what: String| ConfigError::Override { name: SIGNING_KEY.to_owned(), what };
        match std::env::var(SIGNING_KEY) {
            Ok(key) => Signer::from_pem(&key).map(Some).map_err(|reason| error(reason.to_string())),
            Err(VarError::NotPresent) => Ok(None),
            // A log that is to be signed is never written unsigned.
            Err(VarError::NotUnicode(_)) => Err(error(SignerError.to_string())),
        }
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
