//! Whole requests: resets in every form and spelling, and all else that passes through; over connections that are kept, that serve once, and HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;

use crate::application::{bytes, told};
use crate::dice::Dice;
use crate::ledger::{Arrival, Told, Who};
use crate::replica::Replica;
use crate::spelling::{reset, spelled, stranger, traceparent};
use crate::world::World;

pub(crate) type Body = BoxBody<Bytes, Infallible>;
type Http = Client<HttpConnector, Body>;

/// Far longer than any limit of the sidecars.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Somebody who asks now and then.
pub(crate) struct Caller {
    world: Arc<World>,
    dice: Dice,
    kept: Http,
    once: Http,
    http2: Http,
}

/// Which sidecar is asked.
pub(crate) struct Door<'w> {
    pub(crate) replica: &'w Replica,
    pub(crate) address: SocketAddr,
    stops: usize,
}

impl Door<'_> {
    /// Whether it was told to stop since: then it owes nobody an answer.
    pub(crate) fn is_shut(&self) -> bool {
        self.replica.stops() != self.stops
    }
}

/// Any sidecar that runs.
pub(crate) fn door<'w>(world: &'w World, dice: &mut Dice) -> Option<Door<'w>> {
    let replica = &world.replicas[dice.below(world.replicas.len())];
    let (address, stops) = replica.address()?;
    Some(Door { replica, address, stops })
}

impl Caller {
    pub(crate) fn new(world: &Arc<World>, dice: Dice) -> Self {
        let builder = || {
            let mut builder = Client::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(5));
            builder
        };
        let kept = builder().build_http();
        let once = builder().pool_max_idle_per_host(0).build_http();
        let http2 = builder().http2_only(true).build_http();
        Self { world: Arc::clone(world), dice, kept, once, http2 }
    }

    /// Asks for this and that until the soak is over.
    pub(crate) async fn call(mut self) {
        let world = Arc::clone(&self.world);
        loop {
            let pause = self.dice.exponential(0.8);
            if !world.pause(pause).await {
                return;
            }
            let Some(door) = door(&world, &mut self.dice) else { continue };
            match self.dice.below(20) {
                0..12 => {
                    let who = self.anybody();
                    self.reset(&door, who, "reset").await;
                }
                12 => self.unreadable(&door).await,
                13..17 => self.download(&door).await,
                _ => self.upload(&door).await,
            }
        }
    }

    /// Bursts of resets for the same kind of account.
    pub(crate) async fn flood(mut self) {
        let world = Arc::clone(&self.world);
        loop {
            let pause = self.dice.between(4.0, 16.0);
            if !world.pause(pause).await {
                return;
            }
            let Some(door) = door(&world, &mut self.dice) else { continue };
            let (kind, account) = match self.dice.below(3) {
                0 => ("flood for strangers", None),
                1 => ("flood for a blocked account", Some("user0@held.com")),
                _ => ("flood for a healthy account", Some("user0@steady-1.org")),
            };
            let account = account.and_then(|email| world.population.accounts.iter().position(|account| account.email == email));
            let burst = (0..40).map(|_| {
                let who = account.map_or_else(|| stranger(&mut self.dice), Who::Account);
                let mut caller = self.another();
                let door = &door;
                async move { caller.reset(door, who, kind).await }
            });
            futures_util::future::join_all(burst.collect::<Vec<_>>()).await;
        }
    }

    /// One with the same connections.
    fn another(&mut self) -> Self {
        let (kept, once, http2) = (self.kept.clone(), self.once.clone(), self.http2.clone());
        Self { world: Arc::clone(&self.world), dice: Dice::of(self.dice.below(1 << 30) as u64, 0), kept, once, http2 }
    }

    fn anybody(&mut self) -> Who {
        match self.dice.below(6) {
            0 => stranger(&mut self.dice),
            _ => Who::Account(self.dice.below(self.world.population.accounts.len())),
        }
    }

    async fn reset(&mut self, door: &Door<'_>, who: Who, kind: &'static str) {
        let email = match &who {
            Who::Account(place) => spelled(&self.world.population.accounts[*place].email, &mut self.dice),
            Who::Stranger(email) => email.clone(),
            Who::Nobody => unreachable!("asked for by `unreadable`"),
        };
        let trace = self.world.ledger.send(who, true);
        let request = reset(door.address, &trace, &email, &mut self.dice);
        let answer = self.send(request).await;
        judged(&self.world, door, kind, &trace, &email, answer);
    }

    /// Requests for resets that name nobody in a way that all read alike.
    async fn unreadable(&mut self, door: &Door<'_>) {
        const FORM: &str = "application/x-www-form-urlencoded";
        let large = format!("email=user0@steady-1.org&x={}", "x".repeat(66_000));
        let rows: [(&str, &str, u16); 7] = [
            (FORM, "name=user0", 400),
            (FORM, "email=user0@steady-1.org&email=user1@steady-1.org", 400),
            (FORM, "email=user0@[127.0.0.1]", 403),
            (FORM, &large, 413),
            ("application/json", r#"{"email":"user0@steady-1.org""#, 400),
            ("application/json", r#"[{"email":"user0@steady-1.org"}]"#, 400),
            ("text/plain", "user0@steady-1.org", 415),
        ];
        let (content_type, body, status) = rows[self.dice.below(rows.len())];
        let trace = self.world.ledger.send(Who::Nobody, true);
        let uri = format!("http://{}/reset", door.address);
        let request = Request::post(uri).header("traceparent", traceparent(&trace)).header(CONTENT_TYPE, content_type);
        // A connection on which a body was too long is closed.
        let answer = send(&self.once, request.body(Full::new(Bytes::from(body.to_owned())).boxed()).unwrap()).await;
        if let Ok((found, _)) = &answer
            // What can't be recorded is no refusal either.
            && ![status, 503].contains(found)
        {
            self.world.ledger.wrong(format!("{found} where {status} is right for {content_type} {body:.60}"));
        }
        judged(&self.world, door, "unreadable", &trace, "", answer);
    }

    async fn download(&mut self, door: &Door<'_>) {
        let (seed, length) = (self.world.next_download(), self.dice.over_orders(1.0, 200_000.0) as usize);
        let uri = format!("http://{}/bytes?seed={seed}&length={length}", door.address);
        let answer = self.send(Request::get(uri).body(Empty::new().boxed()).unwrap()).await;
        passed(&self.world, door, "download", &bytes(seed, length), answer);
    }

    async fn upload(&mut self, door: &Door<'_>) {
        let content = bytes(self.world.next_download(), self.dice.over_orders(1.0, 200_000.0) as usize);
        let request = Request::post(format!("http://{}/upload", door.address)).body(Full::new(content.clone()).boxed()).unwrap();
        let answer = self.send(request).await;
        passed(&self.world, door, "upload", &content, answer);
    }

    async fn send(&mut self, request: Request<Body>) -> Answer {
        let client = match self.dice.below(4) {
            0 => &self.once,
            1 => &self.http2,
            _ => &self.kept,
        };
        send(client, request).await
    }
}

async fn send(client: &Http, request: Request<Body>) -> Answer {
    let exchange = async {
        let answer = client.request(request).await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|error| format!("{error:?}"))?;
        Ok((status, body.to_bytes()))
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err("no answer came".to_owned()))
}

/// A status and a body, or what went wrong.
pub(crate) type Answer = Result<(u16, Bytes), String>;

/// Checks what was answered to a request for a reset.
pub(crate) fn judged(world: &World, door: &Door<'_>, kind: &'static str, trace: &str, email: &str, answer: Answer) {
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err(error) => return unanswered(world, door, kind, Some(trace), &error),
    };
    let told = match status {
        200 if body != told(email).as_bytes() => Err(format!("{:?} was answered for {email:?}", String::from_utf8_lossy(&body))),
        200 if world.ledger.arrivals(trace) == [Arrival::Decoy] => Ok(Told::Decoyed),
        200 => Ok(Told::Allowed),
        400 | 403 | 413 | 415 => reference(&body).map(Told::Refused).ok_or_else(|| format!("{status} without reference")),
        503 => Ok(Told::Unavailable),
        _ => Err(format!("{status} {:?}", String::from_utf8_lossy(&body))),
    };
    world.ledger.count(kind, if matches!(told, Ok(Told::Decoyed)) { "200, by a decoy".to_owned() } else { status.to_string() });
    match told {
        Ok(told) => world.told(trace, told),
        Err(error) => {
            let sent = world.ledger.close(trace, None);
            world.ledger.wrong(format!("{error}: {sent:?}, trace {trace}"));
        }
    }
}

/// Checks what was answered to a request that concerns no guard.
pub(crate) fn passed(world: &World, door: &Door<'_>, kind: &'static str, content: &[u8], answer: Answer) {
    match answer {
        Err(error) => unanswered(world, door, kind, None, &error),
        Ok((200, body)) if body == content => world.ledger.count(kind, "200"),
        Ok((status, body)) => {
            world.ledger.count(kind, status.to_string());
            let (length, right) = (body.len(), content.len());
            world.ledger.wrong(format!("{kind}: {status} with {length} bytes where {right} others are right: {:?}", body.get(..200)));
        }
    }
}

fn unanswered(world: &World, door: &Door<'_>, kind: &'static str, trace: Option<&str>, error: &str) {
    let sent = trace.map(|trace| world.ledger.close(trace, None));
    if door.is_shut() {
        world.ledger.count(kind, "none, since the sidecar was stopped");
    } else {
        world.ledger.count(kind, "none");
        world.ledger.wrong(format!("{kind}: {error}, at a sidecar that ran: {sent:?}"));
    }
}

/// The reference of problem details.
pub(crate) fn reference(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<Value>(body).ok()?["id"].as_str().map(str::to_owned)
}
