//! Why nobody could tell how a domain stands.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use super::Report;
use crate::address::RegistrableDomain;

/// Why a source could not tell.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// No registry service is known for the name's top-level domain.
    #[error("no registry service is known for .{top_level}")]
    NoService {
        /// The top-level domain.
        top_level: String,
    },
    /// The server can't be reached, or broke off.
    #[error("asking {url} failed")]
    Transport {
        /// The question.
        url: String,
        /// What happened on the way.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server refused to answer, or failed.
    #[error("{url} answered {status}")]
    Refused {
        /// The question.
        url: String,
        /// The HTTP status.
        status: u16,
        /// How long the server wants to be left alone, if it says so.
        retry_after: Option<Duration>,
    },
    /// The answer is not what it should be.
    #[error("{url} gave an answer that can't be used: {what}")]
    Unusable {
        /// The question.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The DNS could not tell: it failed, refused, was silent, or gave an answer that can't be used.
    #[error("the DNS could not tell about {name}")]
    Dns {
        /// The question.
        name: String,
        /// What happened on the way.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The source took too long.
    #[error("no answer about {domain} within {limit:?}")]
    Timeout {
        /// The domain, or the mail host, asked about.
        domain: Arc<str>,
        /// The time that was given.
        limit: Duration,
    },
    /// No source could tell whether the domain is registered, but the DNS told something.
    #[error("only the DNS answered")]
    Undecided {
        /// What the DNS told.
        dns: Arc<Report>,
        /// Why the others could not tell.
        #[source]
        source: Box<SourceError>,
    },
    /// The registry has a service, which is not among the sources.
    #[error("the registry of .{top_level} is not among the sources")]
    NotAsked {
        /// The top-level domain.
        top_level: String,
    },
    /// There is no source to ask about registrations.
    #[error("no source tells about registrations")]
    NoSource,
    /// What is kept of the domain can't be read, so that nobody knows what was seen of it.
    #[error("what is kept of {domain} can't be read")]
    State {
        /// The domain.
        domain: RegistrableDomain,
        /// What happened.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The lookup ended without an answer, which only a defect in a source can cause.
    #[error("the lookup of {domain} broke off")]
    BrokeOff {
        /// The domain, or the mail host, asked about.
        domain: Arc<str>,
    },
}

impl SourceError {
    /// How long to leave the source alone, where it said so (RFC 9110 §10.2.3).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Undecided { source, .. } => source.retry_after(),
            Self::NoService { .. }
            | Self::NotAsked { .. }
            | Self::Transport { .. }
            | Self::Unusable { .. }
            | Self::Dns { .. }
            | Self::Timeout { .. }
            | Self::NoSource
            | Self::State { .. }
            | Self::BrokeOff { .. } => None,
        }
    }
}
