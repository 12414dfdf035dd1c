//! salvo: the layer is made a hoop (feature `tower-compat`).
//!
//! salvo runs hoops after its router. What stands in the path has been read by then, and a [decoy](reset_gatekeeper::Reply::decoy) can't replace it: such a request is refused.

use std::io;

use http_body_util::BodyExt;
use reset_gatekeeper::{GatekeeperLayer, RequestBody, Verdict};
use salvo::affix_state;
use salvo::conn::tcp::TcpAcceptor;
use salvo::http::{ReqBody, ResBody};
use salvo::prelude::{Depot, Request, Response, Router, Server, StatusCode, TowerLayerCompat, handler};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

use crate::Outbox;

/// Serves the application behind the layer.
///
/// # Errors
/// Where the listener can't be used.
pub async fn serve(listener: TcpListener, gate: GatekeeperLayer, outbox: Outbox) -> io::Result<()> {
    // The handlers want salvo's body again, and the guarded one is another.
    let gate = ServiceBuilder::new().layer(gate).map_request(|request: http::Request<RequestBody<ReqBody>>| {
        request.map(|body| ReqBody::Boxed { inner: Box::pin(body.map_err(Into::into)), fuse_config: None })
    });
    let router = Router::new()
        .hoop(gate.compat())
        .hoop(affix_state::inject(outbox))
        .push(Router::with_path("password-reset").post(start_reset))
        .push(Router::with_path("magic-link/{email}").post(send_link))
        .push(Router::with_path("echo").post(echo));
    Server::new(TcpAcceptor::try_from(listener)?).serve(router).await;
    Ok(())
}

#[handler]
async fn start_reset(request: &mut Request, depot: &mut Depot) -> Result<StatusCode, StatusCode> {
    request.extensions().get::<Verdict>().ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    let email = request.form("email").await.ok_or(StatusCode::BAD_REQUEST)?;
    send(depot, email)
}

#[handler]
async fn send_link(request: &mut Request, depot: &mut Depot) -> Result<StatusCode, StatusCode> {
    send(depot, request.param("email").ok_or(StatusCode::BAD_REQUEST)?)
}

fn send(depot: &Depot, email: String) -> Result<StatusCode, StatusCode> {
    depot.get_typed::<Outbox>().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?.send(email);
    Ok(StatusCode::ACCEPTED)
}

#[handler]
async fn echo(request: &mut Request, response: &mut Response) {
    response.body(ResBody::Boxed(Box::pin(request.take_body().map_err(Into::into))));
}
