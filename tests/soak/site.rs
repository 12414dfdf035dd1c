//! The example `axum`, with the layer in its own process: the other way in which the gate is used.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use reset_gatekeeper::SystemClock;
use reset_gatekeeper::testing::{Phase, time};

use crate::dice::Dice;
use crate::ledger::{Told, Who};
use crate::population::{DAY, now};
use crate::spelling::traceparent;
use crate::traffic::reference;
use crate::world::World;

#[path = "../../examples/axum.rs"]
#[expect(dead_code, reason = "the example's own `main` is not called here")]
mod example;

/// What is right about each of the example's accounts, from the first look on: it remembers a look for an hour, and for a week where a registry fails.
const ACCOUNTS: [(&str, bool); 9] = [
    ("alice@example.com", true),
    ("nobody@example.com", true),
    ("figlief@figlief.com", false),
    ("bob@lapsed-shop.com", false),
    ("carol@expiring-club.org", false),
    ("dave@example.com", false),
    ("erin@gone-startup.io", false),
    ("frank@held-domain.net", false),
    ("grace@late-payer.com", false),
];

pub(crate) struct Site {
    site: example::Site,
    base: String,
}

impl Site {
    pub(crate) async fn open(world: &World) -> Self {
        let registry = &world.registry;
        registry.register("example.com", time("1995-08-14T04:00:00Z"), time("2099-01-01T00:00:00Z"));
        registry.register("figlief.com", time("2022-05-14T18:40:05Z"), time("2099-01-01T00:00:00Z"));
        for (domain, phase) in [
            ("lapsed-shop.com", Phase::Redemption),
            ("expiring-club.org", Phase::Until(now() + DAY * 3)),
            ("gone-startup.io", Phase::Unregistered),
            ("held-domain.net", Phase::ClientHold),
            ("late-payer.com", Phase::Until(now() - DAY * 2)),
        ] {
            registry.register(domain, time("2010-05-20T12:00:00Z"), time("2099-01-01T00:00:00Z"));
            registry.put(domain, phase);
        }
        let folder = world.folder().join("site");
        std::fs::create_dir(&folder).unwrap();
        let site = example::Site::open(&folder).await.unwrap();
        let app = site.app(registry.rdap().await.unwrap(), SystemClock).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await });
        let site = Self { site, base };
        for place in 0..ACCOUNTS.len() {
            site.ask(world, place, false).await;
        }
        site
    }

    pub(crate) async fn call(self: Arc<Self>, world: Arc<World>, mut dice: Dice) {
        while world.pause(dice.exponential(1.0)).await {
            let (place, by_form) = (dice.below(ACCOUNTS.len()), dice.chance(0.5));
            self.ask(&world, place, by_form).await;
        }
    }

    async fn ask(&self, world: &World, place: usize, by_form: bool) {
        let (email, is_allowed) = ACCOUNTS[place];
        let trace = world.ledger.send(Who::Nobody, true);
        let request = if by_form {
            world.http.post(format!("{}/password-reset", self.base)).form(&[("email", email)])
        } else {
            world.http.post(format!("{}/api/password-reset", self.base)).json(&serde_json::json!({ "email": email }))
        };
        let answer = async {
            let answer = request.header("traceparent", traceparent(&trace)).send().await?;
            Ok::<(u16, Bytes), reqwest::Error>((answer.status().as_u16(), answer.bytes().await?))
        };
        let told = match answer.await {
            Ok((status, body)) => {
                world.ledger.count("reset at the example", status.to_string());
                match status {
                    200 | 202 if is_allowed => Ok(Told::Allowed),
                    503 => Ok(Told::Unavailable),
                    // At the first look, or the one after an hour.
                    403 if !is_allowed || world.is_strained() => {
                        reference(&body).map(Told::Refused).ok_or_else(|| "403 without reference".to_owned())
                    }
                    _ => Err(status.to_string()),
                }
            }
            Err(error) => Err(format!("{error:?}")),
        };
        let told = told.inspect_err(|error| world.ledger.wrong(format!("the example, for {email}: {error}, trace {trace}"))).ok();
        world.ledger.close(&trace, told);
    }

    /// Whom it has mailed that it must not.
    pub(crate) fn mailed_wrongly(&self) -> Vec<String> {
        self.site.outbox().into_iter().filter(|email| email != "alice@example.com").collect()
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.site.audit_log()
    }
}
