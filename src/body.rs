//! Bodies on their way through the layer: a request's, untouched or read and given back byte for byte, and a response's.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a request that reaches the application.
    pub struct RequestBody<B: Body> {
        #[pin]
        kind: RequestKind<B>,
    }
}

pin_project! {
    #[project = RequestKindProjection]
    enum RequestKind<B: Body> {
        Passing { #[pin] body: B },
        Read { read: Box<Read<B>> },
    }
}

impl<B: Body> RequestBody<B> {
    pub(crate) const fn passing(body: B) -> Self {
        Self { kind: RequestKind::Passing { body } }
    }
}

impl<B: Body> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes>> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            RequestKindProjection::Passing { body } => body.poll_frame(cx),
            RequestKindProjection::Read { read } => read.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            RequestKind::Passing { body } => body.is_end_stream(),
            RequestKind::Read { read } => read.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            RequestKind::Passing { body } => body.size_hint(),
            RequestKind::Read { read } => read.size_hint(),
        }
    }
}

/// A piece of a body that is worth a frame of its own.
const SMALL: usize = 1024;

/// One to which no small ones are added any more, since that may copy it.
const LARGE: usize = 64 * 1024;

/// How reading a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    Complete,
    TooLong,
    Failed,
}

/// A body as far as it was read, and what is left of it.
pub(crate) struct Read<B: Body> {
    frames: VecDeque<Frame<Bytes>>,
    length: usize,
    error: Option<B::Error>,
    rest: Option<Pin<Box<B>>>,
}

impl<B: Body<Data = Bytes>> Read<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { frames: VecDeque::new(), length: 0, error: None, rest: Some(Box::pin(body)) }
    }

    /// Reads on until the body ends, or is known to be longer than `limit`.
    ///
    /// Cancel safe: what was read stays.
    pub(crate) async fn fill(&mut self, limit: usize) -> Reading {
        while let Some(rest) = &mut self.rest {
            let announced = usize::try_from(rest.size_hint().lower()).unwrap_or(usize::MAX);
            if self.length.saturating_add(announced) > limit {
                return Reading::TooLong;
            }
            match rest.frame().await {
                Some(Ok(frame)) => {
                    self.length += frame.data_ref().map_or(0, Bytes::len);
                    self.push(frame);
                }
                Some(Err(error)) => {
                    self.error = Some(error);
                    self.rest = None;
                }
                None => self.rest = None,
            }
            if self.length > limit {
                return Reading::TooLong;
            }
        }
        if self.error.is_some() { Reading::Failed } else { Reading::Complete }
    }

    /// Keeps `frame`, a small one in the same piece as those before: a body of single bytes costs no more than another.
    fn push(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) if data.len() >= SMALL => self.frames.push_back(Frame::data(data)),
            Ok(data) => {
                let last = self.frames.pop_back().map(Frame::into_data);
                let mut joined = match last {
                    Some(Ok(last)) if last.len() < LARGE => last.try_into_mut().unwrap_or_else(|last| BytesMut::from(&*last)),
                    Some(Ok(last)) => {
                        self.frames.push_back(Frame::data(last));
                        BytesMut::new()
                    }
                    Some(Err(trailers)) => {
                        self.frames.push_back(trailers);
                        BytesMut::new()
                    }
                    None => BytesMut::new(),
                };
                joined.extend_from_slice(&data);
                self.frames.push_back(Frame::data(joined.freeze()));
            }
            Err(trailers) => self.frames.push_back(trailers),
        }
    }

    /// All data read so far, in one piece.
    pub(crate) fn bytes(&mut self) -> Bytes {
        if self.frames.iter().filter(|frame| frame.is_data()).count() > 1 {
            let mut joined = BytesMut::with_capacity(self.length);
            self.frames.iter().filter_map(Frame::data_ref).for_each(|data| joined.extend_from_slice(data));
            self.frames.retain(|frame| !frame.is_data());
            self.frames.push_front(Frame::data(joined.freeze()));
        }
        self.frames.front().and_then(Frame::data_ref).cloned().unwrap_or_default()
    }

    /// Whether more of it is to come.
    pub(crate) fn is_unread(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| !rest.is_end_stream())
    }

    /// Puts `data` in the place of all data read so far.
    pub(crate) fn replace(&mut self, data: Bytes) {
        self.frames.retain(|frame| !frame.is_data());
        self.length = data.len();
        if !data.is_empty() {
            self.frames.push_front(Frame::data(data));
        }
    }

    /// The body as it came, to be read once more.
    pub(crate) fn into_body(self) -> RequestBody<B> {
        RequestBody { kind: RequestKind::Read { read: Box::new(self) } }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(frame) = self.frames.pop_front() {
            self.length -= frame.data_ref().map_or(0, Bytes::len);
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let frame = ready!(rest.as_mut().poll_frame(cx));
        if frame.is_none() {
            self.rest = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.error.is_none() && self.rest.as_ref().is_none_or(|rest| rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.length as u64;
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
            hint.set_upper(upper);
        }
        hint
    }
}

pin_project! {
    /// The body of a response: the application's, untouched or read and rewritten, or that of a reply of our own.
    pub struct ResponseBody<B> {
        #[pin]
        kind: ResponseKind<B>,
    }
}

pin_project! {
    #[project = ResponseKindProjection]
    enum ResponseKind<B> {
        Application { #[pin] body: B },
        Read { frames: VecDeque<Frame<Bytes>>, rest: Option<Pin<Box<B>>>, is_sized: bool },
        Reply { #[pin] body: Full<Bytes> },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) const fn application(body: B) -> Self {
        Self { kind: ResponseKind::Application { body } }
    }

    /// The application's, as far as it was read without an error. Where it did not come with its length, it does not go with one.
    pub(crate) fn read(read: Read<B>, is_sized: bool) -> Self
    where
        B: Body,
    {
        Self { kind: ResponseKind::Read { frames: read.frames, rest: read.rest, is_sized } }
    }

    pub(crate) fn reply(body: Bytes) -> Self {
        Self { kind: ResponseKind::Reply { body: Full::new(body) } }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

/// An empty body, as outer layers that answer by themselves need one.
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::reply(Bytes::new())
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            ResponseKindProjection::Application { body } => body.poll_frame(cx),
            ResponseKindProjection::Read { frames, rest, is_sized } => {
                if let Some(frame) = frames.pop_front() {
                    return Poll::Ready(Some(Ok(frame)));
                }
                let frame = rest.as_mut().map_or(Poll::Ready(None), |rest| rest.as_mut().poll_frame(cx));
                // There is no more to come, and whoever asks may know.
                *is_sized |= matches!(frame, Poll::Ready(None));
                frame
            }
            ResponseKindProjection::Reply { body } => body.poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            ResponseKind::Application { body } => body.is_end_stream(),
            ResponseKind::Read { frames, rest, is_sized } => {
                *is_sized && frames.is_empty() && rest.as_ref().is_none_or(|rest| rest.is_end_stream())
            }
            ResponseKind::Reply { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            ResponseKind::Application { body } => body.size_hint(),
            ResponseKind::Read { frames, rest: None, is_sized: true } => {
                SizeHint::with_exact(frames.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum())
            }
            ResponseKind::Read { .. } => SizeHint::new(),
            ResponseKind::Reply { body } => body.size_hint(),
        }
    }
}
