//! What the caller of a blocked request sees.
//!
//! - [`Reply::refuse`]: 403, as problem details (RFC 9457) or, where the caller prefers one, a small HTML page. It carries the audit record's
//!   `id` and never the reason. **It tells** that the address has an account which is blocked: an unknown address passes.
//! - [`Reply::decoy`]: the request goes on with another name, one that nobody has, so the application itself answers just as it does for an unknown
//!   account. **It tells** what the application itself tells about known and unknown accounts, and, to who measures, the time of a live check that takes longer than
//!   the [floor](Reply::floor). An application that keeps the name and shows it in a later answer shows the made-up one, and one that counts requests by
//!   address never counts a blocked one's second: the guard's own [limit](crate::Guard::limit) counts by account.
//! - [`Reply::observe`]: nothing is blocked, changed or un-verified; records say what would have been. **It tells** nothing, and protects nobody.
//!
//! A request that can't be read is refused with 400, 403, 413 or 415 in either enforcing mode, which says what is wrong with it: that tells nothing about accounts.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use mime::Mime;
use serde::Serialize;
use uuid::Uuid;

use crate::address::{AddressError, RegistrableDomain};
use crate::decoy;
use crate::target::Refusal;

/// How a blocked request is answered. There is no default: each way has consequences that people should choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    mode: Mode,
    pub(crate) floor: Duration,
    support_url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    Refuse,
    Decoy { domain: String },
    Observe,
}

/// Where made-up addresses are: nobody can receive mail at a name below `invalid` (RFC 6761 §6.4).
const DECOY_DOMAIN: &str = "gatekeeper.invalid";

/// How long an answer on a guarded path takes at least, so that its time tells nothing.
const DECOY_FLOOR: Duration = Duration::from_millis(500);

impl Reply {
    const fn new(mode: Mode, floor: Duration) -> Self {
        Self { mode, floor, support_url: None }
    }

    /// Answers 403 in the application's place.
    #[must_use]
    pub const fn refuse() -> Self {
        Self::new(Mode::Refuse, Duration::ZERO)
    }

    /// Lets the application answer, about an account that nobody has. No answer on a guarded path leaves within 500 ms.
    #[must_use]
    pub fn decoy() -> Self {
        Self::new(Mode::Decoy { domain: DECOY_DOMAIN.to_owned() }, DECOY_FLOOR)
    }

    /// Blocks nothing, and records what would have been.
    #[must_use]
    pub const fn observe() -> Self {
        Self::new(Mode::Observe, Duration::ZERO)
    }

    /// The domain of made-up addresses, where the application refuses those below `invalid`: one of yours that has no mail. Only a decoy uses it.
    ///
    /// # Errors
    /// Where `domain` is no domain name.
    pub fn decoy_domain(mut self, domain: &str) -> Result<Self, AddressError> {
        RegistrableDomain::of(domain)?;
        if let Mode::Decoy { domain: present } = &mut self.mode {
            *present = domain.to_ascii_lowercase();
        }
        Ok(self)
    }

    /// The time before which no answer on a guarded path leaves. What the application and the live check take longer still shows, so it is best longer than both.
    #[must_use]
    pub const fn floor(mut self, floor: Duration) -> Self {
        self.floor = floor;
        self
    }

    /// Where a blocked caller finds help. Only a refusal shows it.
    #[must_use]
    pub fn support_url(mut self, url: impl Into<String>) -> Self {
        self.support_url = Some(url.into());
        self
    }

    pub(crate) fn support(&self) -> Option<&str> {
        self.support_url.as_deref()
    }

    /// Whether verdicts are carried out.
    pub(crate) const fn enforces(&self) -> bool {
        match self.mode {
            Mode::Refuse | Mode::Decoy { .. } => true,
            Mode::Observe => false,
        }
    }

    /// The domain of made-up addresses, where a blocked request goes on with one.
    pub(crate) fn decoys_at(&self) -> Option<&str> {
        match &self.mode {
            Mode::Decoy { domain } => Some(domain),
            Mode::Refuse | Mode::Observe => None,
        }
    }
}

/// The answer to a request that is not let through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    status: StatusCode,
    detail: &'static str,
    reference: Option<Uuid>,
}

impl Answer {
    /// The account must not be reset: the same words whatever the reason.
    pub(crate) const fn blocked(reference: Option<Uuid>) -> Self {
        let detail = "This account can't be recovered by e-mail. If it is yours, contact support and give this reference.";
        Self { status: StatusCode::FORBIDDEN, detail, reference }
    }

    /// The request can't be read.
    pub(crate) const fn unreadable(refusal: Refusal, reference: Option<Uuid>) -> Self {
        Self { status: refusal.status, detail: refusal.detail, reference }
    }

    /// The directory or the audit log failed, and so nothing is let through.
    pub(crate) const fn unavailable() -> Self {
        let detail = "Account recovery is not available at the moment. Try again later.";
        Self { status: StatusCode::SERVICE_UNAVAILABLE, detail, reference: None }
    }

    /// The request can't be forwarded, or the application does not answer.
    #[cfg(feature = "serve")]
    pub(crate) const fn failed(status: StatusCode, detail: &'static str) -> Self {
        Self { status, detail, reference: None }
    }

    /// The response to a request with these headers.
    pub(crate) fn response(self, headers: &HeaderMap) -> Response<Bytes> {
        self.response_with(headers, None)
    }

    /// The same, telling who is blocked where to find help.
    pub(crate) fn response_with(self, headers: &HeaderMap, support: Option<&str>) -> Response<Bytes> {
        let support = support.filter(|_| self.status == StatusCode::FORBIDDEN);
        let (content_type, body) = if prefers_html(headers) {
            (mime::TEXT_HTML_UTF_8.as_ref(), self.page(support))
        } else {
            ("application/problem+json", self.problem_details(support))
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status;
        let constant = |name, value: &str| HeaderValue::from_str(value).ok().map(|value| (name, value));
        response.headers_mut().extend(
            [
                constant(CONTENT_TYPE, content_type),
                constant(CACHE_CONTROL, "no-store"),
                constant(VARY, "accept"),
                constant(X_CONTENT_TYPE_OPTIONS, "nosniff"),
                constant(CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
            ]
            .into_iter()
            .flatten(),
        );
        response
    }

    fn title(self) -> &'static str {
        self.status.canonical_reason().unwrap_or_default()
    }

    fn problem_details(self, support: Option<&str>) -> String {
        /// RFC 9457 §3.1, with `id` and `support` as extensions (§3.2). A problem of the type `about:blank` is titled as its status is (§4.2.1).
        #[derive(Serialize)]
        struct ProblemDetails<'a> {
            r#type: &'static str,
            title: &'static str,
            status: u16,
            detail: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            instance: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<Uuid>,
            #[serde(skip_serializing_if = "Option::is_none")]
            support: Option<&'a str>,
        }
        let problem = ProblemDetails {
            r#type: "about:blank",
            title: self.title(),
            status: self.status.as_u16(),
            detail: self.detail,
            instance: self.reference.map(|reference| reference.urn().to_string()),
            id: self.reference,
            support,
        };
        serde_json::to_string(&problem).unwrap_or_default()
    }

    fn page(self, support: Option<&str>) -> String {
        let support = support.map(|url| format!("<p><a href=\"{0}\">{0}</a></p>", decoy::html(url))).unwrap_or_default();
        let reference = self.reference.map(|reference| format!("<p>Reference: <code>{reference}</code></p>")).unwrap_or_default();
        let (title, detail) = (self.title(), self.detail);
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style>:root{{color-scheme:light dark}}body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem}}</style>\
             <h1>{title}</h1><p>{detail}</p>{reference}{support}</html>\n"
        )
    }
}

/// Whether the caller names HTML, and no JSON that it would rather have (RFC 9110 §12.5.1).
fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = (0.0, 0.0);
    let ranges = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    for range in ranges.filter_map(|range| range.trim().parse::<Mime>().ok()) {
        let quality = range.get_param("q").map_or(Some(1.0), |q| q.as_str().parse::<f32>().ok()).unwrap_or_default();
        match range.essence_str() {
            "text/html" | "application/xhtml+xml" => html = quality.max(html),
            "application/json" | "application/problem+json" => json = quality.max(json),
            _ => {}
        }
    }
    html > 0.0 && html >= json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_for_those_who_prefer_one() {
        for (accept, html) in [
            ("", false),
            ("*/*", false),
            ("application/json", false),
            ("application/json, text/plain, */*", false),
            ("application/json, text/html;q=0.5", false),
            ("text/html;q=0", false),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("text/html;q=0.8, application/json;q=0.5", true),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            assert_eq!(prefers_html(&headers), html, "{accept}");
        }
    }
}
