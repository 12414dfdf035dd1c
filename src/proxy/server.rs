//! The server: connections, their limits, and their end.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use ipnet::IpNet;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower_service::Service;

use super::BoxError;
use super::inbound::Inbound;
use super::io::Io;
use super::tls::Tls;
use super::upgrade::Closing;

/// How often a connection of HTTP/2 is asked whether it is still there.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long to wait before asking again for a connection that the system could not give, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How much of a [`Server`] its clients may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    connections: u32,
    streams: u32,
    header_bytes: u32,
    header_timeout: Duration,
    write_timeout: Duration,
    drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            streams: 128,
            header_bytes: 64 * 1024,
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// How many connections there may be, tunnels included. Others wait until there is room. 10 000.
    #[must_use]
    pub const fn connections(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }

    /// How many requests one connection of HTTP/2 may have at a time. 128.
    #[must_use]
    pub const fn streams(mut self, streams: u32) -> Self {
        self.streams = streams;
        self
    }

    /// How long all headers of a request may be, together. 64 KiB; no less than 8 KiB.
    #[must_use]
    pub const fn header_bytes(mut self, bytes: u32) -> Self {
        self.header_bytes = bytes;
        self
    }

    /// How long the headers of a request may take to arrive, or a TLS handshake, and so how long a connection may be idle. 30 seconds.
    #[must_use]
    pub const fn header_timeout(mut self, timeout: Duration) -> Self {
        self.header_timeout = timeout;
        self
    }

    /// How long a client may take nothing of what is sent to it. 60 seconds.
    #[must_use]
    pub const fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// How long answers may take that are under way when the server is to stop. 30 seconds.
    #[must_use]
    pub const fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }
}

/// Serves HTTP/1.1 and HTTP/2 from a listening socket.
///
/// A service of it gets requests that were read unambiguously and can be judged by what they say:
/// - Several hosts, none in HTTP/1.1, a target that is no path, `CONNECT`, `TRACE`, and transfer codings other than `chunked` are refused.
/// - Headers from outside about where a request came from are replaced, except from `trusted_proxies`. The client is told as a
///   [`Client`](crate::Client) extension.
/// - Headers that some applications take the path or the host from (`X-Original-URL`, `X-Rewrite-URL`, `X-Script-Name`, `Proxy`), and all
///   whose name has an underscore, are dropped.
/// - Hop-by-hop headers are dropped, and of a wish to upgrade what would carry requests (`h2c`, `TLS/1.0`).
///
/// Where both `Content-Length` and `Transfer-Encoding` were sent, the length is gone and the connection is closed after the answer
/// (RFC 9112 §6.3).
#[derive(Debug, Clone, Default)]
pub struct Server {
    pub(super) trusted: Arc<[IpNet]>,
    limits: Limits,
    tls: Option<Tls>,
}

impl Server {
    /// A server that trusts no proxy, in clear.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Networks whose `Forwarded` and `X-Forwarded-*` are believed, and added to.
    #[must_use]
    pub fn trusted_proxies(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.trusted = networks.into_iter().collect();
        self
    }

    /// How much its clients may use.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Terminates TLS with this certificate.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Serves connections of `listener` until `shutdown` completes, then ends tunnels, waits for answers that are under way, and returns.
    ///
    /// Dropped before, it ends every connection at once, answers under way included.
    pub async fn run<S, R>(self, listener: TcpListener, service: S, shutdown: impl Future<Output = ()>)
    where
        S: Service<Request<Incoming>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError> + 'static,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let (_unchanging, current) = watch::channel((self, service));
        Self::run_current(listener, current, shutdown).await;
    }

    /// As [`run`](Self::run), with what is `current`: a server and its service that can be replaced while they serve.
    ///
    /// A request is served wholly by what is current when its head has been read, also on a connection that is older; what is under way by then is finished as it began,
    /// tunnels included. A connection is accepted with the certificate that is current. The [limits](Self::limits) are those of the beginning.
    pub async fn run_current<S, R>(listener: TcpListener, current: watch::Receiver<(Self, S)>, shutdown: impl Future<Output = ()>)
    where
        S: Service<Request<Incoming>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError> + 'static,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let limits = current.borrow().0.limits;
        let places = Arc::new(Semaphore::new(limits.connections as usize));
        let (close, closing) = watch::channel(false);
        let graceful = GracefulShutdown::new();
        let desk = Arc::new(Desk::new(limits, Closing(closing)));
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        while let Either::Right((accepted, _)) = select(shutdown.as_mut(), pin!(accept(&listener, &places))).await {
            while connections.try_join_next().is_some() {}
            connections.spawn(Arc::clone(&desk).serve(accepted, current.clone(), graceful.watcher()));
        }

        drop(listener);
        close.send_replace(true);
        let drained = async {
            graceful.shutdown().await;
            // Tunnels have left their connections, and keep their places.
            drop(places.acquire_many(limits.connections).await);
        };
        if tokio::time::timeout(limits.drain_timeout, drained).await.is_err() {
            tracing::warn!("connections are closed with answers under way");
        }
        connections.shutdown().await;
    }
}

struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
}

/// The next connection, as soon as there is room for it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Accepted {
    // The semaphore is never closed.
    let place = match Arc::clone(places).acquire_owned().await {
        Ok(place) => place,
        Err(_) => std::future::pending().await,
    };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Accepted { stream, peer, place },
            // accept(2): errors of the new connection, which is gone already.
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused)
}

/// What all connections have in common.
struct Desk {
    http: auto::Builder<TokioExecutor>,
    limits: Limits,
    closing: Closing,
}

impl Desk {
    fn new(limits: Limits, closing: Closing) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            // Not `pipeline_flush`: with it, no answer leaves before all that was read is understood, a refusal of the rest included.
            .max_buf_size((limits.header_bytes as usize).max(8 * 1024));
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(limits.header_bytes);
        Self { http, limits, closing }
    }

    async fn serve<S, R>(self: Arc<Self>, accepted: Accepted, current: watch::Receiver<(Server, S)>, watcher: Watcher)
    where
        S: Service<Request<Incoming>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError> + 'static,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let Accepted { stream, peer, place } = accepted;
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a connection can't be set up");
        }
        let tls = current.borrow().0.tls.clone();
        let inbound = |scheme| Inbound::new(current, peer.ip(), scheme, self.closing.clone());
        let Some(tls) = tls else {
            return self.serve_stream(stream, inbound("http"), place, watcher).await;
        };
        match tokio::time::timeout(self.limits.header_timeout, tls.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve_stream(stream, inbound("https"), place, watcher).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn serve_stream<T, S, R>(&self, stream: T, service: Inbound<S>, place: OwnedSemaphorePermit, watcher: Watcher)
    where
        S: Service<Request<Incoming>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError> + 'static,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(Io::new(stream, self.limits.header_timeout, self.limits.write_timeout, place));
        if let Err(error) = watcher.watch(self.http.serve_connection_with_upgrades(io, service)).await {
            tracing::debug!(error = %error, "a connection broke");
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // A tunnel has no other limit on how long a peer may be gone unnoticed.
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}
