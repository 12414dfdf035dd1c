//! Who may ask.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::Admin;
use super::problem::Problem;

/// Fewer bytes than this can be guessed.
const SHORTEST: usize = 16;

const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Basic realm=\"reset-gatekeeper\", charset=\"UTF-8\", Bearer realm=\"reset-gatekeeper\"");

/// Why a token is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the admin token has {0} bytes, and fewer than {SHORTEST} can be guessed")]
pub struct TokenError(usize);

/// The digest of the token, which takes the same time to compare whatever is guessed of the token.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token([u8; 32]);

impl Token {
    pub(super) fn new(token: &str) -> Result<Self, TokenError> {
        if token.len() < SHORTEST { Err(TokenError(token.len())) } else { Ok(Self::of(token)) }
    }

    fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    pub(super) const fn digest(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Without the token.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Who was admitted: the name of a basic login, or `bearer`.
#[derive(Debug, Clone)]
pub(super) struct Who(pub(super) String);

/// Lets through who has the token.
pub(super) async fn admit(State(admin): State<Admin>, mut request: Request, next: Next) -> Response {
    let Some(token) = &admin.token else {
        return Problem::new(StatusCode::FORBIDDEN, "No admin token is set, so nothing that needs it is served.").into_response();
    };
    match claimed(request.headers()) {
        Some((who, claimed)) if Token::of(&claimed) == *token => {
            request.extensions_mut().insert(Who(who));
            next.run(request).await
        }
        _ => {
            let mut response = Problem::new(StatusCode::UNAUTHORIZED, "The admin token is needed.").into_response();
            response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
            response
        }
    }
}

/// Who asks, and the token that they show. `None` where there is none, or several.
fn claimed(headers: &HeaderMap) -> Option<(String, String)> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (scheme, credentials) = values.next()?.to_str().ok()?.split_once(' ')?;
    if values.next().is_some() {
        return None;
    }
    let credentials = credentials.trim_start();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(("bearer".to_owned(), credentials.to_owned()));
    }
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    let decoded = is_basic.then(|| STANDARD.decode(credentials).ok()).flatten()?;
    let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}
