//! The gatekeeper in web frameworks that aren't built on tower's services, or take them in ways of their own. Each module has the same small application:
//!
//! ```text
//! POST /password-reset        a form with `email`; guarded, and its handler takes the verdict
//! POST /magic-link/{email}    guarded
//! POST /echo                  not guarded: sends the body back while it arrives
//! ```

pub mod poem;
pub mod salvo;
pub mod warp;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use reset_gatekeeper::account::{Account, MemoryDirectory};
use reset_gatekeeper::audit::Tracing;
use reset_gatekeeper::testing::{Registry, time};
use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, Guard, Reply, Target};
use serde::Deserialize;
use tokio::net::TcpListener;

/// Serves a framework's application behind the layer.
pub type Serve = fn(TcpListener, GatekeeperLayer, Outbox) -> BoxFuture<'static, io::Result<()>>;

/// Every framework, by its name.
pub const FRAMEWORKS: [(&str, Serve); 3] = [
    ("poem", |listener, gate, outbox| Box::pin(poem::serve(listener, gate, outbox))),
    ("salvo", |listener, gate, outbox| Box::pin(salvo::serve(listener, gate, outbox))),
    ("warp", |listener, gate, outbox| Box::pin(warp::serve(listener, gate, outbox))),
];

/// The form of `/password-reset`.
#[derive(Deserialize)]
struct Address {
    email: String,
}

/// To whom the applications sent mails.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Arc<Mutex<Vec<String>>>);

impl Outbox {
    /// Sends a mail.
    pub fn send(&self, email: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(email);
    }

    /// To whom mails went, in order.
    #[must_use]
    pub fn sent(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A gatekeeper with an account on a healthy domain and one on a lapsed, and their registry, which serves until it is dropped.
///
/// # Errors
/// Where no port can be had.
pub async fn gatekeeper() -> Result<(Gatekeeper, Registry), Box<dyn std::error::Error>> {
    let registry = Registry::start().await?;
    let verified_at = Some(time("2020-01-01T00:00:00Z"));
    let accounts = ["healthy.example", "lapsed.example"].map(|domain| {
        registry.register(domain, time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
        Account { id: domain.into(), email: format!("a@{domain}"), verified: true, verified_at }
    });
    registry.lapse("lapsed.example");
    let builder = Gatekeeper::builder().directory(MemoryDirectory::from_iter(accounts)).domains(registry.rdap().await?);
    Ok((builder.audit(Tracing).build()?, registry))
}

/// The layer that guards each of the applications.
#[must_use]
pub fn gate(gatekeeper: Gatekeeper, reply: Reply) -> GatekeeperLayer {
    GatekeeperLayer::new(gatekeeper, reply)
        .guard(Guard::post("/password-reset").target(Target::form("email")))
        .guard(Guard::post("/magic-link/{email}").target(Target::path("email")))
}
