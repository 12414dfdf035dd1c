//! What happens to a request before any service sees it, so that all see what the application will.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Version};
use hyper::body::{Body, Incoming};
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use ipnet::IpNet;
use pin_project_lite::pin_project;
use tokio::sync::watch;
use tower_service::Service;

use super::forwarded::Peer;
use super::headers::{self, Present};
use super::server::Server;
use super::target;
use super::upgrade::{Closing, restrict_wish};
use crate::audit::Client;
use crate::body::ResponseBody;
use crate::reply::Answer;

/// One connection's service.
pub(super) struct Inbound<S> {
    /// Never held for longer than it takes to hand a request on.
    serving: Mutex<Serving<S>>,
    closing: Closing,
}

/// By what a connection is served.
struct Serving<S> {
    current: watch::Receiver<(Server, S)>,
    service: TowerToHyperService<S>,
    peer: Peer,
}

impl<S: Clone> Inbound<S> {
    /// A service for a connection from `address`, which serves each request by what is `current` then.
    pub(super) fn new(mut current: watch::Receiver<(Server, S)>, address: IpAddr, scheme: &'static str, closing: Closing) -> Self {
        let (trusted, service) = latest(&mut current);
        let serving = Serving { current, service, peer: Peer::new(address, scheme, trusted) };
        Self { serving: Mutex::new(serving), closing }
    }
}

fn latest<S: Clone>(current: &mut watch::Receiver<(Server, S)>) -> (Arc<[IpNet]>, TowerToHyperService<S>) {
    let (server, service) = &*current.borrow_and_update();
    (Arc::clone(&server.trusted), TowerToHyperService::new(service.clone()))
}

impl<S: Clone> Serving<S> {
    /// Goes over to what is current. Where that is what it was, this reads one number.
    fn renew(&mut self) {
        // Where nobody is left who could change it, that is an error, and whether it was changed before isn't told.
        if self.current.has_changed().unwrap_or(true) {
            let (trusted, service) = latest(&mut self.current);
            self.service = service;
            self.peer.trust(trusted);
        }
    }

    /// Makes of a request what the application may see, or tells why it may see none of it.
    fn admit<B: Body>(&mut self, request: &mut Request<B>, closing: &Closing) -> Result<(), Answer> {
        let has_body = !request.body().is_end_stream();
        let present = Present::of(request.headers());
        target::check(request, present, |host| self.peer.has_named(host))?;
        if present.upgrade {
            restrict_wish(request, has_body, closing);
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
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        serving.renew();
        let kind = match serving.admit(&mut request, &self.closing) {
            Ok(()) => Kind::Admitted { inner: serving.service.call(request) },
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
