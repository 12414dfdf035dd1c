//! The keys `webhook`, `webhook_format`, `risc_issuer` and `risc_audience` of the section `[audit]`: where records are pushed to.

use super::audit::format;
use super::sections::{self, AuditSection, WebhookFormat};
use super::{Config, ConfigError};
use crate::audit::{Risc, Webhook, WebhookSecret};

/// Holds the secret that requests are signed with.
const SECRET: &str = "GATEKEEPER_WEBHOOK_SECRET";

/// Holds the private key that security event tokens are signed with.
const RISC_KEY: &str = "GATEKEEPER_RISC_KEY";

impl Config {
    /// Where records are pushed to. `None` where nothing is said about it.
    ///
    /// # Errors
    /// Where that can't be, there is no state to keep how far it got, or the variable that holds the secret or the key for it holds none.
    pub fn webhook(&self) -> Result<Option<Webhook>, ConfigError> {
        let audit = &self.sections.audit;
        let Some(url) = &audit.webhook else { return Ok(None) };
        let error = |what: String| self.origin.at(url.span(), format!("`audit.webhook`: {what}"));
        if self.sections.state.is_none() {
            return Err(error("`[state]` is missing, which keeps how far the log was delivered".to_owned()));
        }
        let webhook = match audit.webhook_format {
            Some(WebhookFormat::Risc) => Webhook::risc(url.get_ref(), self.risc(audit)?),
            Some(WebhookFormat::Native) => Webhook::new(url.get_ref(), secret()?, format(sections::Format::Native)),
            Some(WebhookFormat::Ocsf) => Webhook::new(url.get_ref(), secret()?, format(sections::Format::Ocsf)),
            Some(WebhookFormat::CloudEvents) => Webhook::new(url.get_ref(), secret()?, format(sections::Format::CloudEvents)),
            None => Webhook::new(url.get_ref(), secret()?, format(audit.format)),
        };
        webhook.map(Some).map_err(|reason| error(reason.to_string()))
    }

    fn risc(&self, audit: &AuditSection) -> Result<Risc, ConfigError> {
        let issuer = audit
            .risc_issuer
            .as_ref()
            .ok_or_else(|| self.origin.missing("audit.risc_issuer", "who sends the tokens, such as \"https://example.com\""))?;
        let audience = audit
            .risc_audience
            .as_ref()
            .ok_or_else(|| self.origin.missing("audit.risc_audience", "whom the tokens are for, as the receiver names itself"))?;
        let error = |what: String| ConfigError::Override { name: RISC_KEY.to_owned(), what };
        if matches!(audit.emails, sections::Emails::Hashed) {
            return Err(error("`audit.emails` is \"hashed\", and a token names its subject by the address".to_owned()));
        }
        Risc::new(issuer, audience, &variable(RISC_KEY, "audit.webhook_format")?).map_err(|reason| error(reason.to_string()))
    }
}

fn secret() -> Result<WebhookSecret, ConfigError> {
    let text = variable(SECRET, "audit.webhook")?;
    WebhookSecret::parse(&text).map_err(|reason| ConfigError::Override { name: SECRET.to_owned(), what: reason.to_string() })
}

fn variable(name: &str, key: &str) -> Result<String, ConfigError> {
    let missing = |_| ConfigError::Override { name: name.to_owned(), what: format!("`{key}` needs this variable, and it is not set") };
    std::env::var(name).map_err(missing)
}
