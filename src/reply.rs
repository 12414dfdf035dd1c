//! What the caller of a blocked request sees.
//!
//! - [`Reply::refuse`]: 403, as problem details (RFC 9457) or, where the caller prefers one, a small HTML page. It carries the audit record's
//!   `id` and never the reason. It tells, though, that the address has an account which is blocked: an unknown address passes.
//! - [`Reply::observe`]: nothing is blocked, changed or un-verified; records say what would have been.
//!
//! A request that can't be read is refused with 400, 413 or 415, which say what is wrong with it: that tells nothing about accounts.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use mime::Mime;
use serde::Serialize;
use uuid::Uuid;

use crate::target::Refusal;

/// How a blocked request is answered. There is no default: each way has consequences that people should choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply(Mode);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Refuse,
    Observe,
}

impl Reply {
    /// Answers 403 in the application's place.
    #[must_use]
    pub const fn refuse() -> Self {
        Self(Mode::Refuse)
    }

    /// Blocks nothing, and records what would have been.
    #[must_use]
    pub const fn observe() -> Self {
        Self(Mode::Observe)
    }

    /// Whether verdicts are carried out.
    pub(crate) const fn enforces(self) -> bool {
        match self.0 {
            Mode::Refuse => true,
            Mode::Observe => false,
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

    /// The response to a request with these headers.
    pub(crate) fn response(self, headers: &HeaderMap) -> Response<Bytes> {
        let (content_type, body) = if prefers_html(headers) {
            (mime::TEXT_HTML_UTF_8.as_ref(), self.page())
        } else {
            ("application/problem+json", self.problem_details())
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

    fn problem_details(self) -> String {
        /// RFC 9457 §3.1, and `id` as an extension (§3.2). A problem of the type `about:blank` is titled as its status is (§4.2.1).
        #[derive(Serialize)]
        struct ProblemDetails {
            r#type: &'static str,
            title: &'static str,
            status: u16,
            detail: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            instance: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<Uuid>,
        }
        let problem = ProblemDetails {
            r#type: "about:blank",
            title: self.title(),
            status: self.status.as_u16(),
            detail: self.detail,
            instance: self.reference.map(|reference| reference.urn().to_string()),
            id: self.reference,
        };
        serde_json::to_string(&problem).unwrap_or_default()
    }

    fn page(self) -> String {
        let reference = self.reference.map(|reference| format!("<p>Reference: <code>{reference}</code></p>")).unwrap_or_default();
        let (title, detail) = (self.title(), self.detail);
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style>:root{{color-scheme:light dark}}body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem}}</style>\
             <h1>{title}</h1><p>{detail}</p>{reference}</html>\n"
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
