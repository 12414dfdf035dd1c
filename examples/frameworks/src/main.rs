//! Serves one of the applications.
//!
//! ```text
//! cargo run warp
//! curl -i http://127.0.0.1:3002/password-reset -d email=a@healthy.example     # 202: goes on to the application
//! curl -i http://127.0.0.1:3002/password-reset -d email=a@lapsed.example      # 403: blocked
//! ```

use reset_gatekeeper::Reply;
use reset_gatekeeper_frameworks::{FRAMEWORKS, Outbox, gate, gatekeeper};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let asked = std::env::args().nth(1).unwrap_or_default();
    let names = FRAMEWORKS.map(|(name, _)| name).join(", ");
    let (_, serve) = FRAMEWORKS.into_iter().find(|(name, _)| *name == asked).ok_or(format!("name one of {names}"))?;

    let (gatekeeper, _registry) = gatekeeper().await?;
    let address = std::env::args().nth(2).unwrap_or_else(|| "127.0.0.1:3002".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(serve(listener, gate(gatekeeper, Reply::refuse()), Outbox::default()).await?)
}
