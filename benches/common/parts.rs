//! What a gatekeeper is made of where only its own work is to be measured.

use async_trait::async_trait;
use reset_gatekeeper::RegistrableDomain;
use reset_gatekeeper::account::{Account, MemoryDirectory};
use reset_gatekeeper::audit::{AuditError, AuditSink, Record};
use reset_gatekeeper::domain::{DomainSource, Report, SourceError};
use reset_gatekeeper::testing::time;

const ACCOUNTS: usize = 10_000;

/// Ten thousand accounts, each on a domain of its own. One of them is `user@example.com`.
pub(crate) fn directory() -> MemoryDirectory {
    let domains = (1..ACCOUNTS).map(|n| format!("user@domain-{n}.com")).chain(["user@example.com".to_owned()]);
    let verified_at = Some(time("2020-01-01T00:00:00Z"));
    domains.zip(1..).map(|(email, id): (_, i32)| Account { id: id.to_string().into(), email, verified: true, verified_at }).collect()
}

/// A registry in which every domain is in force.
pub(crate) struct Healthy;

#[async_trait]
impl DomainSource for Healthy {
    async fn report(&self, _domain: &RegistrableDomain) -> Result<Report, SourceError> {
        let mut report = Report::registered("bench");
        report.registered_at = Some(time("2009-01-01T00:00:00Z"));
        report.expires_at = Some(time("2999-01-01T00:00:00Z"));
        Ok(report)
    }
}

/// An audit log that keeps nothing.
pub(crate) struct Forgetful;

#[async_trait]
impl AuditSink for Forgetful {
    async fn record(&self, _records: Vec<Record>) -> Result<(), AuditError> {
        Ok(())
    }
}
