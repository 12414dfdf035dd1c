//! The reverse proxy in front of an application that runs elsewhere, with one guarded path.
//!
//! ```text
//! python3 -m http.server 3000 &
//! cargo run --release --example proxy --features serve,testing -- 127.0.0.1:8080 http://127.0.0.1:3000
//! curl -i http://127.0.0.1:8080/                                            # the application's answer
//! curl -i http://127.0.0.1:8080/password-reset -d email=a@lapsed.example    # 403: blocked
//! ```
//!
//! It runs on one thread, as the benchmark wants it. With a third argument there is no gate, just the proxy.

use reset_gatekeeper::account::{Account, MemoryDirectory};
use reset_gatekeeper::audit::Tracing;
use reset_gatekeeper::proxy::{Proxy, Server, Upstream};
use reset_gatekeeper::testing::{Registry, time};
use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, Guard, Reply, Target};
use tower::Layer;

type Error = Box<dyn std::error::Error>;

async fn layer(registry: &Registry) -> Result<GatekeeperLayer, Error> {
    registry.register("lapsed.example", time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
    registry.lapse("lapsed.example");
    let verified_at = Some(time("2020-01-01T00:00:00Z"));
    let account = Account { id: "1".into(), email: "a@lapsed.example".into(), verified: true, verified_at };
    let gatekeeper =
        Gatekeeper::builder().directory(MemoryDirectory::from_iter([account])).domains(registry.rdap().await?).audit(Tracing).build()?;
    Ok(GatekeeperLayer::new(gatekeeper, Reply::refuse()).guard(Guard::post("/password-reset").target(Target::form("email"))))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let upstream = arguments.next().unwrap_or_else(|| "http://127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };

    if arguments.next().is_some() {
        Server::new().run(listener, Proxy::new(Upstream::new(upstream.parse()?))?, interrupted).await;
        return Ok(());
    }
    let registry = Registry::start().await?;
    let guarded = layer(&registry).await?.layer(Proxy::new(Upstream::new(upstream.parse()?))?);
    Server::new().run(listener, guarded, interrupted).await;
    Ok(())
}
