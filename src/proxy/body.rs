//! Bodies on their way through the proxy: each is read as fast as the other side takes it, and none may pause for long.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::BoxError;
use super::pool::Lease;

/// A body's sender paused for too long.
#[derive(Debug, thiserror::Error)]
#[error("the body stalled")]
struct Stalled;

/// A limit on how long nothing may happen. Costs no timer while something does.
struct Pause {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    is_running: bool,
}

impl Pause {
    const fn new(limit: Duration) -> Self {
        Self { limit, sleep: None, is_running: false }
    }

    const fn end(&mut self) {
        self.is_running = false;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limit)));
        if !self.is_running {
            sleep.as_mut().reset(Instant::now() + self.limit);
            self.is_running = true;
        }
        sleep.as_mut().poll(cx)
    }
}

/// How far a request's body has come.
#[derive(Debug, Clone, Copy)]
pub(super) enum Progress {
    /// It is the client's turn to send.
    Awaited,
    /// It is the application's turn to take more.
    Taken(Instant),
    /// The application has it all.
    Complete(Instant),
    /// The client paused for too long.
    Stalled,
    /// The client broke off.
    Failed,
}

/// The progress of one request's body, as the one who waits for the answer sees it.
#[derive(Debug, Clone)]
pub(super) struct Watch(Arc<Mutex<Progress>>);

impl Watch {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Progress::Awaited)))
    }

    fn set(&self, progress: Progress) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    pub(super) fn progress(&self) -> Progress {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self.progress(), Progress::Complete(_))
    }
}

/// A request's body as the application gets it.
pub(super) struct Outgoing<B> {
    // A request without a body is not watched, and costs nothing.
    watched: Option<(B, Watch, Pause)>,
}

impl<B> Outgoing<B> {
    pub(super) const fn empty() -> Self {
        Self { watched: None }
    }
}

impl<B: Body> Outgoing<B> {
    pub(super) fn new(body: B, limit: Duration) -> (Self, Option<Watch>) {
        if body.is_end_stream() {
            return (Self::empty(), None);
        }
        let watch = Watch::new();
        (Self { watched: Some((body, watch.clone(), Pause::new(limit))) }, Some(watch))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Outgoing<B>
where
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some((body, watch, pause)) = &mut self.watched else { return Poll::Ready(None) };
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                pause.end();
                if let Some(trailers) = frame.trailers_mut() {
                    super::headers::clean_trailers(trailers);
                }
                let now = Instant::now();
                watch.set(if body.is_end_stream() { Progress::Complete(now) } else { Progress::Taken(now) });
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                watch.set(Progress::Failed);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                watch.set(Progress::Complete(Instant::now()));
                Poll::Ready(None)
            }
            Poll::Pending => {
                watch.set(Progress::Awaited);
                ready!(pause.poll(cx));
                watch.set(Progress::Stalled);
                Poll::Ready(Some(Err(Stalled.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.watched.as_ref().is_none_or(|(body, ..)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.watched.as_ref().map_or_else(|| SizeHint::with_exact(0), |(body, ..)| body.size_hint())
    }
}

/// The application's answer as the client gets it.
///
/// Dropped before its end it closes the connection to the application, so that nobody works for a client that is gone.
pub struct UpstreamBody<B> {
    incoming: Incoming,
    lease: Option<Lease<Outgoing<B>>>,
    pause: Pause,
}

impl<B: Send + 'static> UpstreamBody<B> {
    pub(super) fn new(incoming: Incoming, lease: Option<Lease<Outgoing<B>>>, limit: Duration) -> Self {
        let mut body = Self { incoming, lease, pause: Pause::new(limit) };
        body.give_back_at_end();
        body
    }

    /// The connection is free for the next request as soon as the answer has been read.
    fn give_back_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(cx);
        match (&mut self.lease, frame) {
            (Some(lease), Poll::Pending) => {
                lease.drive(cx);
                Pin::new(&mut self.incoming).poll_frame(cx)
            }
            (_, frame) => frame,
        }
    }
}

impl<B> fmt::Debug for UpstreamBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamBody").finish_non_exhaustive()
    }
}

impl<B: Send + 'static> Body for UpstreamBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.poll_incoming(cx) {
            Poll::Ready(frame) => {
                self.pause.end();
                if frame.is_none() {
                    if let Some(lease) = self.lease.take() {
                        lease.give_back();
                    }
                } else {
                    self.give_back_at_end();
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                ready!(self.pause.poll(cx));
                tracing::warn!("the application stopped in the middle of an answer");
                Poll::Ready(Some(Err(Stalled.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
