//! poem: the application becomes a tower service, and the layer around it an endpoint again (feature `tower-compat`).
//!
//! poem's own adapter for layers wants a service of poem's requests, and the layer's are those of the crate `http`. An upgrade (WebSocket) does not
//! survive the way there: keep such routes outside.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use http_body_util::combinators::BoxBody;
use poem::endpoint::TowerCompatExt;
use poem::http::uri::Scheme;
use poem::http::{self, StatusCode};
use poem::listener::TcpAcceptor;
use poem::web::{Data, Form, LocalAddr, Path, RemoteAddr};
use poem::{Body, Endpoint, EndpointExt, Request, RequestParts, Route, Server, handler, post};
use reset_gatekeeper::{GatekeeperLayer, RequestBody, Verdict};
use tokio::net::TcpListener;
use tower::{Layer, service_fn};

use crate::{Address, Outbox};

/// Serves the application behind the layer.
///
/// # Errors
/// Where the listener can't be used.
pub async fn serve(listener: TcpListener, gate: GatekeeperLayer, outbox: Outbox) -> io::Result<()> {
    Server::new_with_acceptor(TcpAcceptor::from_tokio(listener)?).run(guarded(app(outbox), gate)).await
}

fn guarded(app: impl Endpoint + 'static, gate: GatekeeperLayer) -> impl Endpoint {
    let app = Arc::new(app);
    let service = service_fn(move |request: http::Request<RequestBody<_>>| {
        let app = Arc::clone(&app);
        async move {
            let (mut parts, body) = request.into_parts();
            let unknown = (LocalAddr::default(), RemoteAddr::default(), Scheme::HTTP);
            let (local, remote, scheme) = parts.extensions.remove().unwrap_or(unknown);
            let parts = RequestParts::from((parts, local, remote, scheme));
            let response = app.get_response(Request::from_parts(parts, Body::from(BoxBody::new(body)))).await;
            Ok::<_, Infallible>(http::Response::from(response))
        }
    });
    // On the way through the crate `http` poem drops what it knows of the connection.
    gate.around_router().layer(service).compat().before(async |mut request: Request| {
        let connection = (request.local_addr().clone(), request.remote_addr().clone(), request.scheme().clone());
        request.extensions_mut().insert(connection);
        Ok(request)
    })
}

fn app(outbox: Outbox) -> impl Endpoint {
    Route::new().at("/password-reset", post(start_reset)).at("/magic-link/:email", post(send_link)).at("/echo", post(echo)).data(outbox)
}

#[handler]
fn start_reset(_: Data<&Verdict>, outbox: Data<&Outbox>, Form(address): Form<Address>) -> StatusCode {
    outbox.send(address.email);
    StatusCode::ACCEPTED
}

#[handler]
fn send_link(outbox: Data<&Outbox>, Path(email): Path<String>) -> StatusCode {
    outbox.send(email);
    StatusCode::ACCEPTED
}

#[handler]
fn echo(body: Body) -> Body {
    body
}
