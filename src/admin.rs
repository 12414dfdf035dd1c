//! What the people who run a gatekeeper use, on a listener of its own: health, metrics, and verdicts for applications in any language.
//!
//! | path | for | needs the token |
//! |---|---|---|
//! | `GET /healthz` | whether the process lives | |
//! | `GET /readyz` | whether directory and state answer and the audit log can be written, so that recovery requests can be judged | |
//! | `GET /metrics` | [what is counted](crate::metrics::describe), as Prometheus reads it | |
//! | `GET /openapi.json` | the description of all this (OpenAPI 3.1) | |
//! | `POST /assess` | a verdict about one name, carried out and recorded as a guarded request's is | yes |
//! | `POST /verified` | an address was verified again, now | yes |
//! | `GET /` and below | the console: pages for people, who find a block by its reference, see on what evidence it was decided, and exempt from there | yes |
//!
//! 1. The token comes as `Authorization: Bearer …` (RFC 6750 §2.1), or as the password of a basic login (RFC 7617) under any name, which then stands for who did it.
//!    Without a [token](Admin::token), nothing that needs one is served.
//! 2. Errors are problem details (RFC 9457). No answer is cached.
//! 3. What needs no token tells no stranger anything about an account or a domain.
//!
//! What a deployment can break: health and metrics are for everybody who can connect, so let it listen on loopback or a network of one's own.

mod access;
mod assess;
mod console;
mod health;
mod problem;
mod verified;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{get, post};

use self::access::Token;
use self::console::log::Log;
use self::health::Health;
use self::problem::Problem;
use crate::account::{Directory, Overlay};
use crate::gatekeeper::Gatekeeper;

pub use self::access::TokenError;

/// How long a request's body may be, in bytes.
const BODY_LIMIT: usize = 16 * 1024;

type Render = dyn Fn() -> String + Send + Sync;

/// The routes of the admin listener.
#[derive(Clone)]
pub struct Admin {
    gatekeeper: Gatekeeper,
    directory: Option<Arc<Overlay<Arc<dyn Directory>>>>,
    enforced: bool,
    exempts: bool,
    token: Option<Token>,
    metrics: Option<Arc<Render>>,
    log: Option<Log>,
    health: Health,
}

impl Admin {
    /// For `gatekeeper`, whose verdicts are carried out.
    #[must_use]
    pub fn new(gatekeeper: Gatekeeper) -> Self {
        let health = Health::of(gatekeeper.clone());
        Self { gatekeeper, directory: None, enforced: true, exempts: true, token: None, metrics: None, log: None, health }
    }

    /// Whom to ask for the token.
    ///
    /// # Errors
    /// Where it is so short that it could be guessed.
    pub fn token(mut self, token: &str) -> Result<Self, TokenError> {
        self.token = Some(Token::new(token)?);
        Ok(self)
    }

    /// The directory whose addresses may be [verified](Overlay::verified) again. Without it, `POST /verified` is not served.
    #[must_use]
    pub fn directory(mut self, directory: Arc<Overlay<Arc<dyn Directory>>>) -> Self {
        self.directory = Some(directory);
        self
    }

    /// Whether verdicts are carried out. They are by default; where the site is only observed, nobody loses a verification.
    #[must_use]
    pub const fn enforced(mut self, enforced: bool) -> Self {
        self.enforced = enforced;
        self
    }

    /// Whether exemptions may be given, where the gatekeeper has a [state](crate::GatekeeperBuilder::state). They may by default; say `false` where that ends with the process.
    #[must_use]
    pub const fn exempts(mut self, exempts: bool) -> Self {
        self.exempts = exempts;
        self
    }

    /// What writes the metrics in Prometheus's text format. Without it, `GET /metrics` is not served.
    #[must_use]
    pub fn metrics(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Some(Arc::new(render));
        self
    }

    /// The audit log, in a file, that the console shows, as [`JsonLines`](crate::audit::JsonLines) writes it. Without it, there is no console.
    #[must_use]
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(Log::new(file.into()));
        self
    }

    /// All of it, as a service.
    pub fn router(self) -> Router {
        let guarded = Router::new()
            .route("/assess", post(assess::assess))
            .route("/verified", post(verified::verified))
            .merge(if self.log.is_some() { console::routes() } else { Router::new() })
            .layer(from_fn_with_state(self.clone(), access::admit));
        let open = Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(health::ready))
            .route("/metrics", get(metrics))
            .route("/openapi.json", get(async || ([(CONTENT_TYPE, "application/json")], include_str!("admin/openapi.json"))));
        open.merge(guarded)
            .fallback(async || Problem::new(StatusCode::NOT_FOUND, "There is nothing here."))
            .method_not_allowed_fallback(async || Problem::new(StatusCode::METHOD_NOT_ALLOWED, "This is not asked for by this method."))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .layer(map_response(guard_answer))
            .with_state(self)
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("enforced", &self.enforced).field("token", &self.token).finish_non_exhaustive()
    }
}

/// What an answer says is for who asked, and now.
async fn guard_answer(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn metrics(
    axum::extract::State(admin): axum::extract::State<Admin>,
) -> Result<([(axum::http::HeaderName, &'static str); 1], String), Problem> {
    let render = admin.metrics.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "Nothing is counted here."))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render()))
}
