//! One request and its answer.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use tokio::time::{Instant, Sleep};

use super::body::{Outgoing, Progress, UpstreamBody, Watch};
use super::dial::Protocols;
use super::pool::{Channel, Lease, Pool};
use super::upgrade::Wish;
use super::{BoxError, ProxyBody, headers};
use crate::body::ResponseBody;
use crate::reply::Answer;

/// Why there is no answer of the application's.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the application can't be reached")]
    Unreachable(#[source] BoxError),
    #[error("the connection to the application broke")]
    Broken(#[source] hyper::Error),
    #[error("the application did not answer in time")]
    Late,
    #[error("the application changed to a protocol that was not asked for")]
    Unasked,
    #[error("the client stopped sending")]
    Stalled,
    #[error("the client broke off")]
    BrokenOff,
    #[error("the request can't be put for the application's protocol")]
    Unfit,
}

impl Failure {
    fn answer(&self) -> Answer {
        let (status, detail) = match self {
            Self::Unreachable(_) => (StatusCode::BAD_GATEWAY, "The application can't be reached. Try again later."),
            Self::Broken(_) | Self::Unasked => (StatusCode::BAD_GATEWAY, "The application gave no proper answer. Try again later."),
            Self::Late => (StatusCode::GATEWAY_TIMEOUT, "The application did not answer in time. Try again later."),
            Self::Stalled => (StatusCode::REQUEST_TIMEOUT, "The body took too long to arrive."),
            Self::BrokenOff => (StatusCode::BAD_REQUEST, "The body broke off."),
            Self::Unfit => (StatusCode::BAD_REQUEST, "The request names no proper host."),
        };
        Answer::failed(status, detail)
    }
}

/// A request that was not answered.
struct Lost<B> {
    failure: Failure,
    /// The request itself, where not a byte of it was sent.
    unsent: Option<Box<Request<Outgoing<B>>>>,
}

impl<B> From<Failure> for Lost<B> {
    fn from(failure: Failure) -> Self {
        Self { failure, unsent: None }
    }
}

/// A request on its way to the application, and all that is kept of it until it is answered.
pub(super) struct Exchange<B> {
    pool: Arc<Pool<Outgoing<B>>>,
    /// `None` while it is under way.
    request: Option<Request<Outgoing<B>>>,
    accept: Option<HeaderValue>,
    wish: Option<Wish>,
    /// `None` where the request has no body.
    watch: Option<Watch>,
}

impl<B> Exchange<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(pool: Arc<Pool<Outgoing<B>>>, request: Request<B>) -> Self {
        let (mut parts, body) = request.into_parts();
        let accept = parts.headers.get(ACCEPT).cloned();
        let wish = Wish::take(&mut parts);
        let (body, watch) = Outgoing::new(body, pool.upstream.body_timeout);
        normalise(&mut parts, &pool.upstream.uri);
        Self { pool, request: Some(Request::from_parts(parts, body)), accept, wish, watch }
    }

    pub(super) async fn answer(mut self) -> Result<Response<ProxyBody<B>>, Infallible> {
        let outcome = self.exchanged().await.and_then(|response| answered(response, self.wish));
        Ok(outcome.map_or_else(|failure| failed(&failure, self.accept), |response| response.map(ResponseBody::application)))
    }

    async fn exchanged(&mut self) -> Result<Response<UpstreamBody<B>>, Failure> {
        // A tunnel needs a connection of its own.
        let protocols = if self.wish.is_some() { Protocols::Http1 } else { Protocols::Any };
        let mut is_repeated = false;
        while let Some(request) = self.request.take() {
            let link = match self.pool.channel(protocols, is_repeated).await.map_err(Failure::Unreachable)? {
                Channel::Http2(sender) => return self.over_http2(sender, request).await,
                Channel::Http1(link) => link,
            };
            let is_reused = link.is_reused();
            let mut copy = if is_reused { self.copy(&request) } else { None };
            let mut lease = Lease::new(link, &self.pool);
            let answer = lease.link.sender.try_send_request(request);
            match self.received(answer, &mut lease).await {
                Ok(response) => return Ok(self.over_http1(response, lease)),
                Err(Lost { unsent: Some(unsent), .. }) if is_reused => self.request = Some(*unsent),
                Err(Lost { failure: failure @ Failure::Broken(_), .. }) => match copy.take() {
                    Some(copy) => self.request = Some(copy),
                    None => return Err(blame(self.watch.as_ref(), failure)),
                },
                Err(Lost { failure, .. }) => return Err(failure),
            }
            // The other idle connections are as old.
            is_repeated = true;
        }
        Err(Failure::Late)
    }

    /// The request once more, where it may be sent once more (RFC 9110 §9.2.2). A body can't: it is gone once it was sent.
    fn copy(&self, request: &Request<Outgoing<B>>) -> Option<Request<Outgoing<B>>> {
        if self.watch.is_some() || self.wish.is_some() || !request.method().is_safe() {
            return None;
        }
        let mut copy = Request::new(Outgoing::empty());
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        copy.headers_mut().clone_from(request.headers());
        Some(copy)
    }

    async fn received<F>(&mut self, answer: F, lease: &mut Lease<Outgoing<B>>) -> Result<Response<Incoming>, Lost<B>>
    where
        F: Future<Output = Result<Response<Incoming>, TrySendError<Request<Outgoing<B>>>>>,
    {
        let mut answer = pin!(answer);
        let (watch, timeout) = (self.watch.as_ref(), self.pool.upstream.timeout);
        lease.link.patience.as_mut().reset(Instant::now() + timeout);
        std::future::poll_fn(|cx| {
            lease.link.drive(cx);
            match answer.as_mut().poll(cx) {
                Poll::Ready(received) => Poll::Ready(received.map_err(Lost::from)),
                Poll::Pending => poll_late(watch, timeout, lease.link.patience.as_mut(), cx).map(|()| Err(Failure::Late.into())),
            }
        })
        .await
    }

    fn over_http1(&self, response: Response<Incoming>, lease: Lease<Outgoing<B>>) -> Response<UpstreamBody<B>> {
        let is_busy = response.status() == StatusCode::SWITCHING_PROTOCOLS || self.watch.as_ref().is_some_and(|watch| !watch.is_complete());
        let lease = if is_busy {
            lease.link.detach();
            None
        } else {
            Some(lease)
        };
        response.map(|body| UpstreamBody::new(body, lease, self.pool.upstream.body_timeout))
    }

    async fn over_http2(
        &mut self,
        mut sender: http2::SendRequest<Outgoing<B>>,
        mut request: Request<Outgoing<B>>,
    ) -> Result<Response<UpstreamBody<B>>, Failure> {
        // RFC 9113 §8.3.1: the authority takes the place of `Host`.
        let host = request.headers_mut().remove(HOST).ok_or(Failure::Unfit)?;
        let mut target = std::mem::take(request.uri_mut()).into_parts();
        target.scheme = Some(Scheme::HTTPS);
        target.authority = Some(host.as_bytes().try_into().map_err(|_| Failure::Unfit)?);
        *request.uri_mut() = Uri::from_parts(target).map_err(|_| Failure::Unfit)?;
        *request.version_mut() = Version::HTTP_2;

        let mut answer = pin!(async {
            sender.ready().await?;
            sender.send_request(request).await
        });
        let (watch, timeout) = (self.watch.as_ref(), self.pool.upstream.timeout);
        let mut patience = pin!(tokio::time::sleep(timeout));
        let response = std::future::poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(received) => Poll::Ready(received.map_err(|error| blame(watch, Failure::Broken(error)))),
            Poll::Pending => poll_late(watch, timeout, patience.as_mut(), cx).map(|()| Err(Failure::Late)),
        })
        .await?;
        Ok(response.map(|body| UpstreamBody::new(body, None, self.pool.upstream.body_timeout)))
    }
}

/// Ready when the application, and not the client, is to blame for its time having passed.
fn poll_late(watch: Option<&Watch>, timeout: Duration, mut patience: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    while patience.as_mut().poll(cx).is_ready() {
        let now = Instant::now();
        let deadline = match watch.map(Watch::progress) {
            None | Some(Progress::Stalled | Progress::Failed) => return Poll::Ready(()),
            Some(Progress::Awaited) => now + timeout,
            Some(Progress::Taken(since) | Progress::Complete(since)) => since + timeout,
        };
        if deadline <= now {
            return Poll::Ready(());
        }
        patience.as_mut().reset(deadline);
    }
    Poll::Pending
}

/// A request that could not be sent because its sender failed is not the application's fault.
fn blame(watch: Option<&Watch>, failure: Failure) -> Failure {
    match watch.map(Watch::progress) {
        Some(Progress::Stalled) => Failure::Stalled,
        Some(Progress::Failed) => Failure::BrokenOff,
        None | Some(Progress::Awaited | Progress::Taken(_) | Progress::Complete(_)) => failure,
    }
}

/// Puts a request of any version as one of HTTP/1.1: the target in origin form, the authority in `Host`.
fn normalise(parts: &mut Parts, upstream: &Uri) {
    parts.version = Version::HTTP_11;
    if parts.uri.scheme().is_some() {
        let mut target = std::mem::take(&mut parts.uri).into_parts();
        (target.scheme, target.authority) = (None, None);
        target.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        parts.uri = Uri::from_parts(target).unwrap_or_default();
    }
    // RFC 9112 §3.2: a request of HTTP/1.0 may lack it, one of HTTP/1.1 must not.
    if !parts.headers.contains_key(HOST)
        && let Some(host) = upstream.authority().and_then(|authority| authority.as_str().parse().ok())
    {
        parts.headers.insert(HOST, host);
    }
}

#[cold]
fn failed<B>(failure: &Failure, accept: Option<HeaderValue>) -> Response<ProxyBody<B>> {
    tracing::warn!(error = failure as &dyn std::error::Error, "a request was not answered by the application");
    let headers = accept.map(|accept| HeaderMap::from_iter([(ACCEPT, accept)])).unwrap_or_default();
    failure.answer().response(&headers).map(ResponseBody::reply)
}

impl<B> From<TrySendError<Request<Outgoing<B>>>> for Lost<B> {
    fn from(mut error: TrySendError<Request<Outgoing<B>>>) -> Self {
        let unsent = error.take_message().map(Box::new);
        Self { failure: Failure::Broken(error.into_error()), unsent }
    }
}

fn answered<B>(mut response: Response<UpstreamBody<B>>, wish: Option<Wish>) -> Result<Response<UpstreamBody<B>>, Failure> {
    // It was the version of that hop.
    *response.version_mut() = Version::HTTP_11;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let wish = wish.filter(|wish| wish.is_granted_by(response.headers())).ok_or(Failure::Unasked)?;
        headers::clean_switching(response.headers_mut());
        wish.fulfil(hyper::upgrade::on(&mut response));
    } else {
        headers::clean_response(response.headers_mut());
    }
    Ok(response)
}
