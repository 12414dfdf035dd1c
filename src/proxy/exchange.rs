//! One request and its answer.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::client::conn::TrySendError;
use tokio::time::{Instant, Sleep};

use super::body::{Outgoing, Progress, UpstreamBody, Watch};
use super::dial::Protocols;
use super::pool::{Channel, Lease, Link, Pool};
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
    unsent: Option<Request<Outgoing<B>>>,
}

impl<B> From<Failure> for Lost<B> {
    fn from(failure: Failure) -> Self {
        Self { failure, unsent: None }
    }
}

pub(super) async fn exchange<B>(pool: Arc<Pool<Outgoing<B>>>, request: Request<B>) -> Result<Response<ProxyBody<B>>, Infallible>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    let accept = request.headers().get(ACCEPT).cloned();
    let outcome = forward(&pool, request).await;
    Ok(outcome.map_or_else(|failure| failed(&failure, accept), |response| response.map(ResponseBody::application)))
}

#[cold]
fn failed<B>(failure: &Failure, accept: Option<HeaderValue>) -> Response<ProxyBody<B>> {
    tracing::warn!(error = failure as &dyn std::error::Error, "a request was not answered by the application");
    let headers = accept.map(|accept| HeaderMap::from_iter([(ACCEPT, accept)])).unwrap_or_default();
    failure.answer().response(&headers).map(ResponseBody::reply)
}

async fn forward<B>(pool: &Arc<Pool<Outgoing<B>>>, request: Request<B>) -> Result<Response<UpstreamBody<B>>, Failure>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (mut parts, body) = request.into_parts();
    let wish = Wish::take(&mut parts);
    let (body, watch) = Outgoing::new(body, pool.upstream.body_timeout);
    let exchange = Exchange { pool, watch };
    exchange.normalise(&mut parts);
    // RFC 9110 §9.2.2: what is safe may be sent again. A body can't: it is gone once it was sent.
    let is_repeatable = exchange.watch.is_none() && wish.is_none() && parts.method.is_safe();
    let protocols = if wish.is_some() { Protocols::Http1 } else { Protocols::Any };

    let mut request = Request::from_parts(parts, body);
    let mut is_repeated = false;
    let response = loop {
        let link = match pool.channel(protocols, is_repeated).await.map_err(Failure::Unreachable)? {
            Channel::Http2(sender) => break exchange.over_http2(sender, request).await?,
            Channel::Http1(link) => link,
        };
        let is_reused = link.is_reused();
        let mut copy = (is_reused && is_repeatable).then(|| copy(&request));
        match exchange.over_http1(link, request).await {
            Ok(response) => break response,
            Err(Lost { unsent: Some(unsent), .. }) if is_reused => request = unsent,
            Err(Lost { failure: failure @ Failure::Broken(_), .. }) => match copy.take() {
                Some(copy) => request = copy,
                None => return Err(exchange.blame(failure)),
            },
            Err(Lost { failure, .. }) => return Err(failure),
        }
        // The other idle connections are as old.
        is_repeated = true;
    };
    answered(response, wish)
}

fn copy<B>(request: &Request<Outgoing<B>>) -> Request<Outgoing<B>> {
    let mut copy = Request::new(Outgoing::empty());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

struct Exchange<'p, B> {
    pool: &'p Arc<Pool<Outgoing<B>>>,
    /// `None` where the request has no body.
    watch: Option<Watch>,
}

impl<B> Exchange<'_, B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// Puts a request of any version as one of HTTP/1.1: the target in origin form, the authority in `Host`.
    fn normalise(&self, parts: &mut Parts) {
        parts.version = Version::HTTP_11;
        if parts.uri.scheme().is_some() {
            let mut target = std::mem::take(&mut parts.uri).into_parts();
            (target.scheme, target.authority) = (None, None);
            target.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
            parts.uri = Uri::from_parts(target).unwrap_or_default();
        }
        // RFC 9112 §3.2: a request of HTTP/1.0 may lack it, one of HTTP/1.1 must not.
        if !parts.headers.contains_key(HOST)
            && let Some(host) = self.pool.upstream.uri.authority().and_then(|authority| authority.as_str().parse().ok())
        {
            parts.headers.insert(HOST, host);
        }
    }

    async fn over_http1(&self, link: Link<Outgoing<B>>, request: Request<Outgoing<B>>) -> Result<Response<UpstreamBody<B>>, Lost<B>> {
        let mut lease = Lease::new(link, self.pool);
        let answer = lease.link.sender.try_send_request(request);
        let response = self.within_time(answer, Some(&mut lease)).await?.map_err(Lost::from)?;
        let is_busy = response.status() == StatusCode::SWITCHING_PROTOCOLS || self.watch.as_ref().is_some_and(|watch| !watch.is_complete());
        let lease = if is_busy {
            lease.link.detach();
            None
        } else {
            Some(lease)
        };
        Ok(response.map(|body| UpstreamBody::new(body, lease, self.pool.upstream.body_timeout)))
    }

    async fn over_http2(
        &self,
        mut sender: hyper::client::conn::http2::SendRequest<Outgoing<B>>,
        mut request: Request<Outgoing<B>>,
    ) -> Result<Response<UpstreamBody<B>>, Failure> {
        // RFC 9113 §8.3.1: the authority takes the place of `Host`.
        let host = request.headers_mut().remove(HOST).ok_or(Failure::Unfit)?;
        let mut target = std::mem::take(request.uri_mut()).into_parts();
        target.scheme = Some(Scheme::HTTPS);
        target.authority = Some(host.as_bytes().try_into().map_err(|_| Failure::Unfit)?);
        *request.uri_mut() = Uri::from_parts(target).map_err(|_| Failure::Unfit)?;
        *request.version_mut() = Version::HTTP_2;

        let answer = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let response = self.within_time(answer, None).await?.map_err(|error| self.blame(Failure::Broken(error)))?;
        Ok(response.map(|body| UpstreamBody::new(body, None, self.pool.upstream.body_timeout)))
    }

    /// What `answer` gives, or [`Failure::Late`] when the application, and not the client, is to blame for `timeout` having passed.
    async fn within_time<F: Future>(&self, answer: F, mut lease: Option<&mut Lease<Outgoing<B>>>) -> Result<F::Output, Failure> {
        let timeout = self.pool.upstream.timeout;
        let (mut answer, mut patience) = (pin!(answer), pin!(None));
        std::future::poll_fn(|cx| {
            if let Some(lease) = &mut lease {
                lease.drive(cx);
            }
            if let Poll::Ready(output) = answer.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if patience.is_none() {
                patience.set(Some(tokio::time::sleep(timeout)));
            }
            let Some(patience) = patience.as_mut().as_pin_mut() else { return Poll::Pending };
            self.poll_late(patience, cx).map(|()| Err(Failure::Late))
        })
        .await
    }

    fn poll_late(&self, mut patience: std::pin::Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.pool.upstream.timeout;
        while patience.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let deadline = match self.watch.as_ref().map(Watch::progress) {
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
    fn blame(&self, failure: Failure) -> Failure {
        match self.watch.as_ref().map(Watch::progress) {
            Some(Progress::Stalled) => Failure::Stalled,
            Some(Progress::Failed) => Failure::BrokenOff,
            None | Some(Progress::Awaited | Progress::Taken(_) | Progress::Complete(_)) => failure,
        }
    }
}

impl<B> From<TrySendError<Request<Outgoing<B>>>> for Lost<B> {
    fn from(mut error: TrySendError<Request<Outgoing<B>>>) -> Self {
        let unsent = error.take_message();
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
