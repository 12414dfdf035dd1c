//! What Fastly Domain Research and Domainr say, which share one engine: words such as `undelegated inactive`.
//!
//! | word | meaning | report |
//! |---|---|---|
//! | `active`, `parked`, `marketed`, `priced`, `transferable` | registered; the last three: for sale | registered |
//! | `expiring` | in its grace or redemption period | registered, redemption period |
//! | `deleting` | about to be dropped | registered, pending delete |
//! | `inactive` | free to be registered | not registered |
//! | `disallowed`, `claimed`, `reserved`, `dpml`, `invalid`, `suffix`, `zone`, `tld` | kept back: it has no ordinary holder | registered, reserved |
//! | `undelegated`, `unknown`, `pending`, and words that we don't know, alone | the registry was not heard | none: it could not tell |
//! | `premium` | a price | ignored |
//!
//! The services let the last word decide. Here each of those that speak for a lapse does, wherever it stands. Neither service gives dates: they detect lapses, never
//! a new registration.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;

use super::client::transport;
use super::client::wait::retry_after;
use super::{Report, SourceError, Status};
use crate::outbound::{self, Limits};

const MAX_BODY: usize = 64 << 10;
const LIMITS: Limits = Limits { connect: Duration::from_secs(3), whole: Duration::from_secs(10) };

/// The report of `source` that says `words`, separated by blanks. `None` where they say nothing about the registration.
pub(super) fn report(source: &'static str, words: &str) -> Option<Report> {
    let words: Vec<String> = words.split_whitespace().map(str::to_ascii_lowercase).collect();
    let says = |any: &[&str]| words.iter().any(|word| any.contains(&word.as_str()));
    if says(&["inactive"]) {
        return Some(Report::unregistered(source));
    }
    let mut statuses = Vec::new();
    if says(&["deleting"]) {
        statuses.push(Status::PendingDelete);
    }
    if says(&["expiring"]) {
        statuses.push(Status::RedemptionPeriod);
    }
    if says(&["disallowed", "claimed", "reserved", "dpml", "invalid", "suffix", "zone", "tld"]) {
        statuses.push(Status::Reserved);
    }
    if statuses.is_empty() && !says(&["active", "parked", "marketed", "priced", "transferable"]) {
        return None;
    }
    let others = ["undelegated", "parked", "marketed", "priced", "transferable"];
    statuses.extend(words.iter().filter(|word| others.contains(&word.as_str())).map(|word| Status::from(word.as_str())));
    let mut report = Report::registered(source);
    report.statuses = statuses;
    Some(report)
}

/// One of the services, by HTTP. Its key goes to its own address alone, so redirects are not followed.
#[derive(Debug, Clone)]
pub(super) struct Service {
    http: reqwest::Client,
    pub(super) url: Url,
}

/// What both say when something is wrong, in the members that tell what.
#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    errors: Vec<ServiceError>,
}

#[derive(Deserialize)]
struct ServiceError {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    detail: Option<String>,
}

impl Service {
    pub(super) fn new(url: &str) -> Result<Self, SourceError> {
        let http = outbound::client(LIMITS).build().map_err(|error| transport(url, error))?;
        let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = parsed.ok_or_else(|| SourceError::Unusable { url: url.to_owned(), what: "no http or https URL" })?;
        Ok(Self { http, url })
    }

    /// The body of the answer to a question with these parameters.
    pub(super) async fn ask(
        &self,
        parameters: &[(&str, &str)],
        with_key: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Bytes, SourceError> {
        let url = self.url.as_str();
        let mut asked = self.url.clone();
        asked.query_pairs_mut().extend_pairs(parameters);
        let request = with_key(self.http.get(asked));
        let response = request.send().await.map_err(|error| transport(url, error))?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let body = outbound::body(response, MAX_BODY).await.map_err(|error| transport(url, error))?;
        let body = body.ok_or_else(|| self.unusable("over 64 KiB long"))?;
        if status != StatusCode::OK {
            if let Some(what) = problem(&body) {
                tracing::warn!(%url, status = status.as_u16(), what, "a status service refused");
            }
            return Err(SourceError::Refused { url: url.to_owned(), status: status.as_u16(), retry_after });
        }
        if let Some(what) = problem(&body) {
            tracing::warn!(%url, what, "a status service refused");
            return Err(self.unusable("errors in place of a status"));
        }
        Ok(body)
    }

    /// Who counts the questions.
    pub(super) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    pub(super) fn unusable(&self, what: &'static str) -> SourceError {
        SourceError::Unusable { url: self.url.to_string(), what }
    }
}

/// What `body` says to be wrong, if it does.
fn problem(body: &[u8]) -> Option<String> {
    let problem: Problem = serde_json::from_slice(body).ok()?;
    let errors = problem.errors.into_iter().filter_map(|error| error.detail.or(error.message));
    let said: Vec<String> = problem.title.into_iter().chain(errors).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::Standing;
    use super::*;

    #[test]
    fn every_word_and_combination_has_its_standing() {
        use Standing::{Active, PendingDelete, Redemption, Unknown, Unregistered};
        for (words, standing) in [
            ("active", Some(Active)),
            ("undelegated active", Some(Active)),
            ("parked", Some(Active)),
            ("parked active", Some(Active)),
            ("marketed priced transferable active", Some(Active)),
            ("marketed", Some(Active)),
            ("premium active", Some(Active)),
            (" ACTIVE ", Some(Active)),
            ("expiring", Some(Redemption)),
            ("active expiring", Some(Redemption)),
            ("expiring active", Some(Redemption)),
            ("deleting", Some(PendingDelete)),
            ("undelegated deleting", Some(PendingDelete)),
            ("undelegated inactive", Some(Unregistered)),
            ("inactive premium", Some(Unregistered)),
            ("inactive active", Some(Unregistered)),
            ("active inactive", Some(Unregistered)),
            ("disallowed", Some(Unknown)),
            ("undelegated reserved", Some(Unknown)),
            ("claimed", Some(Unknown)),
            ("dpml", Some(Unknown)),
            ("invalid", Some(Unknown)),
            ("suffix", Some(Unknown)),
            ("zone", Some(Unknown)),
            ("tld", Some(Unknown)),
            ("undelegated", None),
            ("unknown", None),
            ("pending", None),
            ("premium", None),
            ("premium undelegated", None),
            ("newword", None),
            ("", None),
        ] {
            let report = report("fastly", words);
            assert_eq!(report.map(|report| report.standing(SystemTime::UNIX_EPOCH, Duration::ZERO)), standing, "{words}");
        }
    }
}
