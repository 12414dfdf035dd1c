//! The reverse proxy behind `reset-gatekeeper serve`: [`Server`], around any service, and [`Proxy`], the service that asks the application.
//!
//! 1. A request that could be read in two ways is answered here, and never forwarded: see [`Server`].
//! 2. Headers that tell where a request came from, or that could make the application see another request than the one that was judged,
//!    are replaced or dropped before the inner service sees them: what it judges is what the application gets.
//! 3. Hop-by-hop headers (RFC 9110 §7.6.1) stay on their hop. Bodies and trailers are streamed both ways, and nobody reads ahead.
//! 4. A connection becomes a tunnel only when the application answers 101 to a wish that was passed on (RFC 9110 §7.8).
//! 5. An application that can't be reached or breaks the protocol is 502, one that doesn't answer in time is 504.
//!
//! What a deployment can break: an entry in `trusted_proxies` that is not a proxy of yours lets its users claim any address.
//!
//! Where we depart from RFC 9110: no `Via` is added (§7.6.3), as many applications stop compressing their answers when they see one, and
//! `TRACE` is not implemented (§9.3.8), since its answer would show what the proxy added.
//!
//! ```no_run
//! # async fn serve(layer: reset_gatekeeper::GatekeeperLayer) -> Result<(), Box<dyn std::error::Error>> {
//! use reset_gatekeeper::proxy::{Proxy, Server, Upstream};
//! use tower::Layer;
//!
//! let proxy = Proxy::new(Upstream::new("http://127.0.0.1:3000".parse()?))?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! let interrupted = async { drop(tokio::signal::ctrl_c().await) };
//! Server::new().run(listener, layer.layer(proxy), interrupted).await;
//! # Ok(()) }
//! ```

mod body;
mod dial;
mod exchange;
mod forwarded;
mod headers;
mod inbound;
mod io;
mod pool;
mod server;
pub mod systemd;
mod target;
mod tls;
mod upgrade;

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body::Body;
use tower_service::Service;

use crate::body::ResponseBody;

use body::Outgoing;
use exchange::Exchange;
use pool::Pool;

pub use body::UpstreamBody;
pub use server::{Limits, Server};
pub use tls::{Tls, TlsError};

/// The application behind the proxy, and how long it may take.
#[derive(Debug, Clone)]
pub struct Upstream {
    uri: Uri,
    timeout: Duration,
    connect_timeout: Duration,
    body_timeout: Duration,
    keep_idle: Duration,
    roots: Vec<u8>,
}

impl Upstream {
    /// The application at `uri`: `http://` or `https://`, a host, and perhaps a port.
    #[must_use]
    pub const fn new(uri: Uri) -> Self {
        Self {
            uri,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(60),
            // Application servers close idle connections soon: gunicorn after 2 s, node after 5 s.
            keep_idle: Duration::from_millis(1800),
            roots: Vec::new(),
        }
    }

    /// How long the application may take to begin its answer, counted from when it took the last of the request. 30 seconds.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a connection to the application may take, with its TLS handshake. 5 seconds.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the sender of a body may pause, the client or the application. 60 seconds.
    #[must_use]
    pub const fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// How long an idle connection to the application is kept for the next request. 1.8 seconds.
    #[must_use]
    pub const fn keep_idle(mut self, time: Duration) -> Self {
        self.keep_idle = time;
        self
    }

    /// Certificates, in PEM, that vouch for the application beside those that the platform trusts.
    #[must_use]
    pub fn roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = pem.into();
        self
    }
}

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The application's address is more or less than a scheme, a host and a port.
    #[error("`{0}` is not of the form http://HOST:PORT or https://HOST:PORT")]
    Upstream(Uri),
    /// The certificates that are to be trusted can't be read, or the platform's can't.
    #[error("the certificates to be trusted can't be read")]
    Roots(#[source] BoxError),
}

/// Forwards requests to one application.
///
/// It relies on [`Server`] to have refused and cleaned what must not be forwarded. It is always ready, and never fails: where the
/// application does, it answers 502 or 504. A clone shares its connections.
pub struct Proxy<B> {
    pool: Arc<Pool<Outgoing<B>>>,
}

impl<B> Proxy<B> {
    /// A proxy for `upstream`. Connects to nothing yet.
    ///
    /// # Errors
    /// Where the address has a path or another scheme, or certificates can't be read.
    pub fn new(upstream: Upstream) -> Result<Self, ProxyError> {
        let is_base = upstream.uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS)
            && upstream.uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && upstream.uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        if !is_base {
            return Err(ProxyError::Upstream(upstream.uri));
        }
        Ok(Self { pool: Arc::new(Pool::new(upstream)?) })
    }
}

impl<B> Clone for Proxy<B> {
    fn clone(&self) -> Self {
        Self { pool: Arc::clone(&self.pool) }
    }
}

impl<B> fmt::Debug for Proxy<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("upstream", &self.pool.upstream.uri).finish()
    }
}

/// The body of a [`Proxy`]'s response.
pub type ProxyBody<B> = ResponseBody<UpstreamBody<B>>;

impl<B> Service<Request<B>> for Proxy<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ProxyBody<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(Exchange::new(Arc::clone(&self.pool), request).answer())
    }
}

type BoxError = Box<dyn Error + Send + Sync>;
