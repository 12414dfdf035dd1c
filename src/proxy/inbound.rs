//! What happens to a request before any service sees it, so that all see what the application will.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Version};
use hyper::body::{Body, Incoming};
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::forwarded::Peer;
use super::headers::{self, Present};
use super::target;
use super::upgrade::{Closing, restrict_wish};
use crate::audit::Client;
use crate::body::ResponseBody;
use crate::reply::Answer;

/// One connection's service.
pub(super) struct Inbound<S> {
    service: TowerToHyperService<S>,
    peer: Peer,
    closing: Closing,
}

impl<S> Inbound<S> {
    pub(super) fn new(service: S, peer: Peer, closing: Closing) -> Self {
        Self { service: TowerToHyperService::new(service), peer, closing }
    }

    /// Makes of a request what the application may see, or tells why it may see none of it.
    fn admit<B: Body>(&self, request: &mut Request<B>) -> Result<(), Answer> {
        let has_body = !request.body().is_end_stream();
        let present = Present::of(request.headers());
        target::check(request, present, |host| self.peer.has_named(host))?;
        if present.upgrade {
            restrict_wish(request, has_body, &self.closing);
        }
        headers::clean_request(request.headers_mut(), present, self.peer.is_trusted());
        let client = self.peer.describe(request.headers_mut());
        request.extensions_mut().insert(Client(client));
        Ok(())
    }
}

impl<S, R> hyper::service::Service<Request<Incoming>> for Inbound<S>
where
    S: Service<Request<Incoming>, Response = Response<R>> + Clone,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = InboundFuture<S>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let kind = match self.admit(&mut request) {
            Ok(()) => Kind::Admitted { inner: self.service.call(request) },
            Err(answer) => Kind::Refused { response: Some(refused(answer, &request)) },
        };
        InboundFuture { kind }
    }
}

#[cold]
fn refused<B>(answer: Answer, request: &Request<B>) -> Response<Bytes> {
    let mut response = answer.response(request.headers());
    if request.version() != Version::HTTP_2 {
        // Who sends what can be read in two ways may have sent more of it.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

pin_project! {
    pub(super) struct InboundFuture<S>
    where
        S: Service<Request<Incoming>>,
    {
        #[pin]
        kind: Kind<S>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<S>
    where
        S: Service<Request<Incoming>>,
    {
        Admitted { #[pin] inner: TowerToHyperServiceFuture<S, Request<Incoming>> },
        Refused { response: Option<Response<Bytes>> },
    }
}

impl<S, R> Future for InboundFuture<S>
where
    S: Service<Request<Incoming>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Admitted { inner } => {
                Poll::Ready(ready!(inner.poll(cx)).map(|response| response.map(ResponseBody::application)))
            }
            KindProjection::Refused { response } => Poll::Ready(Ok(response.take().unwrap_or_default().map(ResponseBody::reply))),
        }
    }
}

impl<S: Service<Request<Incoming>>> fmt::Debug for InboundFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundFuture").finish_non_exhaustive()
    }
}
