//! A tower layer that stops password resets for accounts whose e-mail domain has lapsed or changed hands.
//!
//! When a domain expires, anyone may register it, receive its mail, ask for a password reset, and take over every account whose address is
//! there. [`GatekeeperLayer`] stands in front of an application's recovery endpoints. It finds whom a reset is for, reads whether their address is
//! verified, asks the registry **live** how its domain stands, and blocks the reset where the address is unverified, or its domain has lapsed, is about to, or
//! was registered anew since the address was verified.
//!
//! ```no_run
//! # #[cfg(feature = "sqlite")]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! # use axum::{Router, routing::post};
//! # async fn start_reset() {}
//! use reset_gatekeeper::account::SqliteDirectory;
//! use reset_gatekeeper::audit::JsonLines;
//! use reset_gatekeeper::domain::rdap::Rdap;
//! use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, Guard, Reply, Target};
//!
//! let gatekeeper = Gatekeeper::builder()
//!     .directory(SqliteDirectory::open("accounts.db").await?)
//!     .domains(Rdap::iana().await?)
//!     .audit(JsonLines::open("audit.jsonl").await?)
//!     .build()?;
//! let app: Router = Router::new()
//!     .route("/password-reset", post(start_reset))
//!     .layer(GatekeeperLayer::new(gatekeeper, Reply::refuse()).guard(Guard::post("/password-reset").target(Target::form("email"))));
//! # Ok(()) }
//! ```
//!
//! A handler may ask without the layer: `gatekeeper.assess("user@example.com").await?` gives the same [`Verdict`].
//!
//! The [guide] tells what this is against, how each phase of a registration is judged, and how to adopt, deploy, operate and test it; [`guide::threats`] what is promised.
//!
//! # The flow
//!
//! Data flows one way, and each step stands in the file of its name:
//!
//! ```text
//! request ─► route ─► target ─► account ─► domain ─► policy ─► verdict ─► reply
//!            guarded?  whom?    Directory  Domain-   a pure       │         refuse, decoy, observe
//!               │no                        Source    function     └──────► audit
//!               ▼                          + cache                         AuditSink
//!          application ◄───────────────── allowed, byte for byte ◄──────────┘
//! ```
//!
//! Three ports are yours to implement: [`Directory`](account::Directory) (accounts), [`DomainSource`](domain::DomainSource) (the live
//! check), [`AuditSink`](audit::AuditSink).
//!
//! Between resets, `Gatekeeper::sweep` watches the domains of all accounts, and takes the verification of addresses away whose domain lapsed or was registered anew.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `sqlite`: `SqliteDirectory`, accounts in an SQLite file; `State`, what outlives the process, in one; `Overlay`, un-verifications kept there; and
//!   `Gatekeeper::sweep`.
//! - `postgres`: `PostgresDirectory`, accounts in PostgreSQL; `State` there, shared by machines; `Overlay`; and `Gatekeeper::sweep`.
//! - `http-directory`: `HttpDirectory`, accounts that the application serves over HTTP.
//! - `dns`: `domain::dns`, a source that asks the DNS.
//! - `whois`: `domain::whois`, a source for country registries that have nothing better.
//! - `webhook`: `audit::Webhook`, records pushed to a web server as they are written; with `sqlite` or `postgres`, where the state keeps how far it got.
//! - `axum`: [`Verdict`] as an argument of axum's handlers.
//! - `testing`: the module `testing`, a simulated registry on loopback and a clock to set; with `dns`, a simulated resolver too.
//! - `serve`: the module `proxy`, the reverse proxy behind `reset-gatekeeper serve`.
//! - `admin`: the module `admin`, health, metrics, verdicts for applications in any language, and the console.
//! - `cli`: the command `reset-gatekeeper`.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod account;
mod address;
#[cfg(feature = "admin")]
pub mod admin;
pub mod audit;
mod body;
mod clock;
mod concurrency;
#[cfg(feature = "cli")]
pub mod config;
mod decoy;
pub mod domain;
mod exemption;
#[cfg(feature = "axum")]
mod extractor;
mod gatekeeper;
#[cfg(any(doc, doctest))]
pub mod guide;
mod identifier;
mod layer;
mod limit;
pub mod metrics;
mod outbound;
mod policy;
#[cfg(feature = "serve")]
pub mod proxy;
mod reply;
mod route;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod state;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sweep;
mod target;
#[cfg(feature = "testing")]
pub mod testing;
mod verdict;

pub use address::{AddressError, Mailbox, RegistrableDomain};
pub use audit::Client;
pub use body::{RequestBody, ResponseBody};
pub use clock::{Clock, SystemClock};
pub use exemption::{AccountError, Exempt, Exemption, ExemptionError, KeptExemption, NewExemption};
#[cfg(feature = "axum")]
pub use extractor::MissingVerdict;
pub use gatekeeper::{AssessError, BuildError, Gatekeeper, GatekeeperBuilder, VerificationError};
pub use identifier::{Identifier, IdentifierError, Identifies};
pub use layer::{GatekeeperLayer, GatekeeperService, ResponseFuture};
pub use limit::{Limit, LimitError};
pub use policy::{Evidence, OnUnknown, Policy, judge};
pub use reply::Reply;
pub use route::{Guard, GuardError};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use state::{State, StateError};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use sweep::{Sweep, SweepError, SweepEvent, SweepSettings, SweepSummary, Sweeping};
pub use target::{Decode, DecodeError, Missing, Target, TargetError};
pub use verdict::{Notice, Reason, Verdict};
