//! A client's connection that ends when nothing moves: hyper has no limit for a client that connects and stays silent, or that asks and then
//! does not read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

/// How many bytes tell HTTP/1.1 from HTTP/2: from there on hyper keeps the limit (RFC 9113 §3.4).
const PREFACE: usize = 24;

/// A connection and its place among those that the server has. It keeps both as a tunnel, too.
pub(super) struct Io<T> {
    stream: T,
    opening: Option<Pin<Box<Sleep>>>,
    read: usize,
    stalled: Option<Pin<Box<Sleep>>>,
    write_timeout: Duration,
    _place: OwnedSemaphorePermit,
}

impl<T> Io<T> {
    pub(super) fn new(stream: T, open_timeout: Duration, write_timeout: Duration, place: OwnedSemaphorePermit) -> Self {
        let opening = Some(Box::pin(tokio::time::sleep(open_timeout)));
        Self { stream, opening, read: 0, stalled: None, write_timeout, _place: place }
    }

    fn limited<R>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.stalled = None;
            // An answer was given, so hyper has seen a request.
            self.opening = None;
            return written;
        }
        let limit = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Io<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Some(opening) = &mut self.opening {
            if read.is_pending() {
                ready!(opening.as_mut().poll(cx));
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not ask")));
            }
            self.read += buffer.filled().len() - before;
            if self.read >= PREFACE {
                self.opening = None;
            }
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Io<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.limited(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.limited(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
