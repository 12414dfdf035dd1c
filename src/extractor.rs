//! The verdict as an argument of axum's handlers.

use std::convert::Infallible;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::verdict::Verdict;

/// Why a handler that asks for a [`Verdict`] isn't called: no guard judged the request, so there is none. It is answered with 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this handler needs a verdict, and no guard of a GatekeeperLayer in front of it judged the request")]
pub struct MissingVerdict;

impl IntoResponse for MissingVerdict {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

/// The verdict about this request, for a handler that must not run without one.
///
/// ```
/// # use axum::{Router, routing::post};
/// # use reset_gatekeeper::{GatekeeperLayer, Verdict};
/// # fn app(layer: GatekeeperLayer) -> Router {
/// async fn start_reset(verdict: Verdict) -> &'static str {
///     let asks_for_another_address = !verdict.notices().is_empty();
///     send_mail(asks_for_another_address);
///     // The same for everybody: who has no account has no notices.
///     "If there is an account, a mail is on its way."
/// }
/// # fn send_mail(_: bool) {}
///
/// Router::new().route("/password-reset", post(start_reset)).layer(layer)
/// # }
/// ```
impl<S: Send + Sync> FromRequestParts<S> for Verdict {
    type Rejection = MissingVerdict;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, MissingVerdict> {
        parts.extensions.get().cloned().ok_or(MissingVerdict)
    }
}

/// The verdict about this request, if it was judged, for a handler that serves other purposes too.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Verdict {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}
