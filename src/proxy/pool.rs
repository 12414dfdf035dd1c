//! Connections to the application that wait for their next request.
//!
//! A connection of HTTP/1.1 has no task of its own: whoever waits for its answer, or reads that, drives it. One wake-up then carries an
//! answer from the application's socket to the client's, where a pool whose connections are tasks needs three.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Context;

use bytes::Bytes;
use http_body::Body;
use hyper::client::conn::{http1, http2};
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, Sleep};

use super::dial::{Dial, Protocols};
use super::server::PING_INTERVAL;
use super::{BoxError, ProxyError, Upstream};

type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// One connection of HTTP/1.1.
pub(super) struct Link<B> {
    pub(super) sender: http1::SendRequest<B>,
    /// `None` once it has ended.
    connection: Option<Connection>,
    /// Since when it is idle. `None` where it has carried no request yet.
    idle_since: Option<Instant>,
    /// How long the application may take. Kept, since to put it off costs less than to make a new one for each request.
    pub(super) patience: Pin<Box<Sleep>>,
}

impl<B> Link<B> {
    /// Moves bytes in both directions, as far as they go.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            // What went wrong, the sender and the body's reader are told.
            self.connection = None;
        }
    }

    /// Whether it has carried a request before.
    pub(super) const fn is_reused(&self) -> bool {
        self.idle_since.is_some()
    }

    /// Lets it run by itself: where a request is still being sent while its answer is read, or it becomes a tunnel.
    pub(super) fn detach(mut self) {
        if let Some(connection) = self.connection.take() {
            tokio::spawn(connection);
        }
    }
}

/// A connection while a request of it is answered.
pub(super) struct Lease<B> {
    pub(super) link: Link<B>,
    pool: Weak<Pool<B>>,
}

impl<B> Lease<B> {
    pub(super) fn new(link: Link<B>, pool: &Arc<Pool<B>>) -> Self {
        Self { link, pool: Arc::downgrade(pool) }
    }
}

impl<B> Lease<B> {
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        self.link.drive(cx);
    }
}

impl<B: Send + 'static> Lease<B> {
    pub(super) fn give_back(self) {
        if self.link.connection.is_some()
            && self.link.sender.is_ready()
            && let Some(pool) = self.pool.upgrade()
        {
            pool.keep(self.link);
        }
    }
}

/// A connection that is ready for a request.
pub(super) enum Channel<B> {
    Http1(Link<B>),
    Http2(http2::SendRequest<B>),
}

struct Idle<B> {
    links: Vec<Link<B>>,
    is_swept: bool,
}

pub(super) struct Pool<B> {
    pub(super) upstream: Upstream,
    dial: Dial,
    idle: Mutex<Idle<B>>,
    http2: Mutex<Option<http2::SendRequest<B>>>,
}

impl<B> Pool<B> {
    pub(super) fn new(upstream: Upstream) -> Result<Self, ProxyError> {
        let dial = Dial::new(&upstream)?;
        Ok(Self { upstream, dial, idle: Mutex::new(Idle { links: Vec::new(), is_swept: false }), http2: Mutex::new(None) })
    }
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// A connection: one that is idle, or a new one. None of HTTP/1.1 that was idle where it `must_be_new`.
    pub(super) async fn channel(&self, protocols: Protocols, must_be_new: bool) -> Result<Channel<B>, BoxError> {
        if protocols == Protocols::Any
            && let Some(channel) = self.shared()
        {
            return Ok(channel);
        }
        if must_be_new {
            return self.connect(protocols).await;
        }
        match self.reuse() {
            Some(link) => Ok(Channel::Http1(link)),
            None => self.connect(protocols).await,
        }
    }

    fn shared(&self) -> Option<Channel<B>> {
        let mut shared = self.http2.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.as_ref().is_some_and(http2::SendRequest::is_closed) {
            *shared = None;
        }
        shared.clone().map(Channel::Http2)
    }

    /// The connection that has been idle for the shortest time. Should the application have closed it, then the request comes back unsent.
    fn reuse(&self) -> Option<Link<B>> {
        let link = self.idle.lock().unwrap_or_else(PoisonError::into_inner).links.pop()?;
        // The others are older still.
        link.idle_since.filter(|since| since.elapsed() < self.upstream.keep_idle).map(|_| link)
    }

    async fn connect(&self, protocols: Protocols) -> Result<Channel<B>, BoxError> {
        let stream = self.dial.stream(protocols).await?;
        if !stream.connected().is_negotiated_h2() {
            let (sender, connection) = http1::Builder::new().handshake(stream).await?;
            let connection: Connection = Box::pin(connection.with_upgrades());
            let patience = Box::pin(tokio::time::sleep(self.upstream.timeout));
            return Ok(Channel::Http1(Link { sender, connection: Some(connection), idle_since: None, patience }));
        }
        let (sender, connection) =
            http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL).handshake(stream).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the application ended");
            }
        });
        *self.http2.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
        Ok(Channel::Http2(sender))
    }
}

impl<B: Send + 'static> Pool<B> {
    fn keep(self: Arc<Self>, mut link: Link<B>) {
        link.idle_since = Some(Instant::now());
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.links.push(link);
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self)));
        }
    }

    /// Closes connections that have been idle for too long. Whether any is left.
    fn close_idle(&self) -> bool {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.links.retain(|link| link.idle_since.is_some_and(|since| since.elapsed() < self.upstream.keep_idle));
        idle.is_swept = !idle.links.is_empty();
        idle.is_swept
    }
}

async fn sweep<B: Send + 'static>(pool: Weak<Pool<B>>) {
    let Some(period) = pool.upgrade().map(|pool| pool.upstream.keep_idle) else { return };
    loop {
        tokio::time::sleep(period).await;
        if !pool.upgrade().is_some_and(|pool| pool.close_idle()) {
            return;
        }
    }
}
