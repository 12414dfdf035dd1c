//! The forms in which a record is written. Each is an envelope around the record as it is, which comes last, so that one chain and one reader serve all.

mod cloudevents;
mod ocsf;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Record;

/// How a line of the audit log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Format {
    /// The record itself.
    #[default]
    Native,
    /// An event of the Open Cybersecurity Schema Framework, 1.9, with the record as its `unmapped`.
    ///
    /// | event | class, activity | action, disposition |
    /// |---|---|---|
    /// | `reset_blocked` | User Management (3007), Password Reset | Denied, Blocked |
    /// | `reset_allowed` | the same | Allowed, Allowed; by an exemption: Allowed, Approved |
    /// | `email_unverified` | User Management, Update | Denied, Access Revoked |
    /// | `domain_changed` | Entity Management (3004), Update: the entity is the domain | Observed, Logged |
    /// | `source_failed` | Entity Management, Read | Observed, Logged |
    ///
    /// What is not enforced is Observed: Detected where it would have been blocked, else Logged. `status_id` is Failure of a blocked reset, and Unknown of one that
    /// was let through, since what the application makes of it isn't seen here. A request that names no account has the user `unknown`.
    Ocsf,
    /// An event in the JSON format of CloudEvents 1.0, with the record as its `data`.
    ///
    /// `type` is `reset-gatekeeper.` and the event's code: nobody owns a DNS name for it to begin with, as the specification (§3.1.1) would like. `subject` is
    /// `account/ID`, or `domain/NAME` of what is about no account.
    CloudEvents,
}

impl Format {
    /// A line of this format about `record`, which is number `seq` of its log and written as `native`.
    #[cfg(all(feature = "webhook", any(feature = "postgres", feature = "sqlite")))]
    pub(super) fn envelope(self, record: &Record, seq: u64, native: &str) -> serde_json::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.open(record, seq, &mut line)?;
        line.extend_from_slice(native.as_bytes());
        line.extend_from_slice(self.close().as_bytes());
        Ok(line)
    }

    /// Writes what comes before the record, which is number `seq` of its log.
    pub(super) fn open(self, record: &Record, seq: u64, line: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Self::Native => Ok(()),
            Self::Ocsf => open(&ocsf::Event::of(record, seq), "unmapped", line),
            Self::CloudEvents => open(&cloudevents::Event::of(record), "data", line),
        }
    }

    /// What comes after the record.
    pub(super) const fn close(self) -> &'static str {
        match self {
            Self::Native => "",
            Self::Ocsf | Self::CloudEvents => "}",
        }
    }
}

/// Writes `envelope`, left open in its last member, which is named `last`.
fn open(envelope: &impl Serialize, last: &str, line: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *line, envelope)?;
    line.pop(); // the closing brace
    line.extend_from_slice(format!(",\"{last}\":").as_bytes());
    Ok(())
}

/// Whether `start`, which may be short, can be how a line begins, in whichever format.
pub(super) fn is_beginning(start: &[u8]) -> bool {
    let beginnings: [&[u8]; 3] = [b"{\"id\":\"", ocsf::BEGINNING, cloudevents::BEGINNING];
    beginnings.iter().any(|beginning| start.iter().zip(*beginning).all(|(found, written)| found == written))
}

/// A line, of which the record is a part.
#[derive(Deserialize)]
struct Line<'l> {
    hash: Option<IgnoredAny>,
    #[serde(borrow)]
    unmapped: Option<&'l RawValue>,
    #[serde(borrow)]
    data: Option<&'l RawValue>,
}

/// The record in `line` as it stands there, with its place in the chain, and the format that the line is in.
///
/// # Errors
/// Where it is no JSON object.
pub fn native(line: &str) -> serde_json::Result<(Format, &str)> {
    let parts: Line<'_> = serde_json::from_str(line)?;
    Ok(match (parts.hash, parts.unmapped, parts.data) {
        (None, Some(record), _) => (Format::Ocsf, record.get()),
        (None, None, Some(record)) => (Format::CloudEvents, record.get()),
        (Some(_), _, _) | (None, None, None) => (Format::Native, line),
    })
}
