//! The layer on plain hyper, as short as it can be.
//!
//! ```text
//! cargo run --example hyper
//! curl -i http://127.0.0.1:3001/password-reset -d email=a@healthy.example     # 202: goes on to the application
//! curl -i http://127.0.0.1:3001/password-reset -d email=a@lapsed.example      # 403: blocked
//! ```

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use reset_gatekeeper::account::{Account, MemoryDirectory};
use reset_gatekeeper::audit::Tracing;
use reset_gatekeeper::testing::{Registry, time};
use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, Guard, Reply, RequestBody, Target};
use tower::{ServiceBuilder, service_fn};

async fn application(_: Request<RequestBody<Incoming>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let registry = Registry::start().await?;
    let verified_at = Some(time("2020-01-01T00:00:00Z"));
    let accounts = ["healthy.example", "lapsed.example"].map(|domain| {
        registry.register(domain, time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
        Account { id: domain.into(), email: format!("a@{domain}"), verified: true, verified_at }
    });
    registry.lapse("lapsed.example");

    let gatekeeper =
        Gatekeeper::builder().directory(MemoryDirectory::from_iter(accounts)).domains(registry.rdap().await?).audit(Tracing).build()?;
    let layer = GatekeeperLayer::new(gatekeeper, Reply::refuse()).guard(Guard::post("/password-reset").target(Target::form("email")));
    let service = TowerToHyperService::new(ServiceBuilder::new().layer(layer).service(service_fn(application)));

    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3001".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone()));
    }
}
