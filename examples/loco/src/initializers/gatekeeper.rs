//! Guards every endpoint of the starter that leads to an account by a mail.

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::extract::{ConnectInfo, Request};
use axum::http::Method;
use axum::middleware::map_request;
use axum::Router;
use loco_rs::app::{AppContext, Initializer};
use loco_rs::{Error, Result};
use reset_gatekeeper::audit::JsonLines;
use reset_gatekeeper::domain::rdap::Rdap;
use reset_gatekeeper::{Client, Gatekeeper, GatekeeperLayer, Guard, Identifies, Reply, Target};
use serde::Deserialize;
use tower::Layer;

use crate::models::directory::Users;

/// What `settings` of the application's configuration has for the gatekeeper.
#[derive(Deserialize)]
struct Settings {
    gatekeeper: GatekeeperSettings,
}

#[derive(Deserialize)]
struct GatekeeperSettings {
    /// The audit log.
    audit: PathBuf,
    /// Where the list of registries is, of one that a test plays. IANA's where it is absent.
    simulated_registries: Option<String>,
}

pub struct GatekeeperInitializer;

#[async_trait::async_trait]
impl Initializer for GatekeeperInitializer {
    fn name(&self) -> String {
        "gatekeeper".to_string()
    }

    async fn after_routes(&self, router: Router, ctx: &AppContext) -> Result<Router> {
        let Settings { gatekeeper: settings } = ctx.config.settings()?;
        let rdap = match settings.simulated_registries {
            None => Rdap::iana().await,
            Some(list) => Rdap::builder().bootstrap(list).allow_insecure(true).build().await,
        };
        let gatekeeper = Gatekeeper::builder()
            .directory(Users::new(ctx.db.clone()))
            .domains(rdap.map_err(Error::wrap)?)
            .audit(JsonLines::open(settings.audit).await.map_err(Error::wrap)?)
            .build()
            .map_err(Error::wrap)?;
        // `Router::layer` would run after this router has read the path, and a decoy could no longer replace a token that stands there.
        Ok(Router::new().fallback_service(gate(gatekeeper).layer(router)).layer(map_request(tell_client)))
    }
}

fn gate(gatekeeper: Gatekeeper) -> GatekeeperLayer {
    // The starter answers alike whether there is an account or not. `Reply::decoy()` keeps that; allow its domain in `EMAIL_DOMAIN_RE` then, by which
    // `/magic-link` tells apart which addresses it takes.
    GatekeeperLayer::new(gatekeeper, Reply::refuse())
        .around_router()
        .guard(Guard::post("/api/auth/forgot").target(Target::json("/email")))
        .guard(Guard::post("/api/auth/magic-link").target(Target::json("/email")))
        // Whoever reads the mail of a lapsed domain now would verify it again.
        .guard(Guard::post("/api/auth/resend-verification-mail").target(Target::json("/email")))
        // Using what was mailed, perhaps before the domain lapsed: whose token it is, the directory finds.
        .guard(Guard::post("/api/auth/reset").target(Target::json("/token")).identifies(Identifies::Token))
        // axum answers HEAD by the handler of GET.
        .guard(
            Guard::path("/api/auth/magic-link/{token}")
                .methods([Method::GET, Method::HEAD])
                .target(Target::path("token"))
                .identifies(Identifies::Token),
        )
}

/// Tells the gatekeeper who asks, for the audit log.
async fn tell_client(mut request: Request) -> Request {
    if let Some(ConnectInfo(address)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() {
        request.extensions_mut().insert(Client(address.ip()));
    }
    request
}
