//! The application behind every layer, and a batch of requests for it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::iter::repeat_with;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::{Request, Response, StatusCode};
use tokio::runtime::Runtime;
use tower::Service;

use crate::meter::{CALLS, Failure, Meter};

/// Answers everything with nothing. Its body is axum's, as `tower_governor` knows no other of its kind.
pub(crate) fn application<B>(request: Request<B>) -> Ready<Result<Response<axum::body::Body>, Infallible>> {
    drop(black_box(request));
    ready(Ok(Response::new(axum::body::Body::empty())))
}

/// A batch of calls of `service`, with requests that are made before the time runs, all of which succeed.
pub(crate) fn batch<S, B, R>(runtime: &Runtime, service: S, request: fn() -> Request<B>) -> impl FnMut(Meter) -> Result<f64, Failure>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
{
    answered(StatusCode::OK, runtime, service, request)
}

/// A batch of calls that are answered with `status`.
pub(crate) fn answered<S, B, R>(
    status: StatusCode,
    runtime: &Runtime,
    mut service: S,
    request: fn() -> Request<B>,
) -> impl FnMut(Meter) -> Result<f64, Failure>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
{
    move |meter| {
        let requests: Vec<_> = repeat_with(request).take(CALLS).collect();
        let _context = runtime.enter();
        meter.per_call(|| calls(status, &mut service, requests))
    }
}

/// Nothing here waits for anything, so each response is there at the first poll.
fn calls<S, B, R>(status: StatusCode, service: &mut S, requests: Vec<Request<B>>) -> Result<(), Failure>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
{
    let mut cx = Context::from_waker(Waker::noop());
    for request in requests {
        if service.poll_ready(&mut cx).is_pending() {
            return Err("not ready".into());
        }
        match pin!(service.call(request)).poll(&mut cx) {
            Poll::Ready(response) if black_box(&response).as_ref().is_ok_and(|response| response.status() == status) => {}
            _ => return Err("not answered, or with another status".into()),
        }
    }
    Ok(())
}
