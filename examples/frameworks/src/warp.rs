//! warp: a filter is made a tower service, and the layer is put around that. The service is served by hyper-util, since warp's own server takes filters alone.

use std::io;

use bytes::Bytes;
use futures_util::TryStreamExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use reset_gatekeeper::{GatekeeperLayer, Verdict};
use tokio::net::TcpListener;
use tower::Layer;
use warp::http::StatusCode;
use warp::{Buf, Filter, Rejection, Reply};

use crate::{Address, Outbox};

/// Serves the application behind the layer.
///
/// # Errors
/// Where no connection can be accepted any more.
pub async fn serve(listener: TcpListener, gate: GatekeeperLayer, outbox: Outbox) -> io::Result<()> {
    let service = TowerToHyperService::new(gate.around_router().layer(warp::service(app(outbox))));
    loop {
        let (stream, _) = listener.accept().await?;
        let service = service.clone();
        tokio::spawn(async move { auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await });
    }
}

fn app(outbox: Outbox) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    let send = move |email| {
        outbox.send(email);
        StatusCode::ACCEPTED
    };
    let mail = send.clone();
    // `ext::get` rejects a request that was not judged.
    let verdict = warp::ext::get::<Verdict>().map(|_: Verdict| ()).untuple_one();
    let reset = warp::path!("password-reset").and(verdict).and(warp::body::form()).map(move |Address { email }| send(email));
    let link = warp::path!("magic-link" / String).map(mail);
    let echo = warp::path!("echo").and(warp::body::stream()).map(|body| warp::reply::stream(TryStreamExt::map_ok(body, bytes)));
    warp::post().and(reset.or(link).or(echo))
}

fn bytes(mut piece: impl Buf) -> Bytes {
    piece.copy_to_bytes(piece.remaining())
}
