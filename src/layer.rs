//! Where a request enters: the tower [`Layer`] and its service.
//!
//! 1. A request that no guard concerns goes to the inner service at once, unchanged: nothing is boxed, cloned or allocated for it.
//! 2. A recovery request is read, judged, and either answered in the inner service's place or handed on byte for byte, with the
//!    [`Verdict`](crate::Verdict) in its extensions.
//! 3. The service that was made ready is the one that is called. A refused request never calls it.
//! 4. A connection is never upgraded by a request for a guarded path, since what follows could not be judged: the wish is dropped, as
//!    RFC 9110 §7.8 lets any recipient do.
//!
//! What a deployment can break: a layer between this one and the application that decompresses or rewrites bodies, paths or methods
//! shows the application another request than the one that was judged. Put it outside.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{Read, Reading, RequestBody, ResponseBody};
use crate::clock::within;
use crate::gatekeeper::{AssessError, Gatekeeper, Occasion};
use crate::reply::{Answer, Reply};
use crate::route::{Concern, Guard, Guards, is_post, judging};
use crate::target::{self, Query, Readable, Refusal};
use crate::verdict::Verdict;

/// How long the body of a guarded request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Puts a [`Gatekeeper`] in front of a service.
///
/// ```
/// # use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, Guard, Reply, Target};
/// # fn layer(gatekeeper: Gatekeeper) -> GatekeeperLayer {
/// GatekeeperLayer::new(gatekeeper, Reply::refuse())
///     .guard(Guard::post("/password-reset").target(Target::form("email")))
///     .guard(Guard::post("/api/password-reset").target(Target::json("/email")))
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct GatekeeperLayer {
    settings: Arc<Settings>,
}

#[derive(Debug, Clone)]
struct Settings {
    gatekeeper: Gatekeeper,
    reply: Reply,
    guards: Guards,
}

impl GatekeeperLayer {
    /// A layer that answers blocked requests as `reply` says. Without a [guard](Self::guard) it blocks nothing.
    #[must_use]
    pub fn new(gatekeeper: Gatekeeper, reply: Reply) -> Self {
        Self { settings: Arc::new(Settings { gatekeeper, reply, guards: Guards::default() }) }
    }

    /// Adds a recovery endpoint. Every guard that matches a request judges it.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        Arc::make_mut(&mut self.settings).guards.push(guard);
        self
    }
}

impl<S> Layer<S> for GatekeeperLayer {
    type Service = GatekeeperService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        GatekeeperService { inner, settings: Arc::clone(&self.settings) }
    }
}

/// The service that [`GatekeeperLayer`] makes.
#[derive(Debug, Clone)]
pub struct GatekeeperService<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S, B, R> Service<Request<B>> for GatekeeperService<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
    R: 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.settings.guards.concern(&request) {
            Concern::None => {}
            Concern::Tunnel => refuse_upgrade(&mut request),
            Concern::Recovery => return self.recovery(request),
        }
        ResponseFuture { kind: Kind::Passing { inner: self.inner.call(request.map(RequestBody::passing)) } }
    }
}

impl<S> GatekeeperService<S> {
    // Apart from the usual path, which stays short enough to be inlined.
    #[cold]
    fn recovery<B, R>(&mut self, mut request: Request<B>) -> ResponseFuture<S::Future, R, S::Error>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Send,
        R: 'static,
    {
        refuse_upgrade(&mut request);
        // The clone has not been made ready; the service that has been is the one to call.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        let judged = Box::pin(judged(Arc::clone(&self.settings), ready, request));
        ResponseFuture { kind: Kind::Guarded { judged } }
    }
}

fn refuse_upgrade<B>(request: &mut Request<B>) {
    request.headers_mut().remove(UPGRADE);
    request.headers_mut().remove(HeaderName::from_static("http2-settings"));
    request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
}

/// A request that may be a recovery request, from its body to its answer.
async fn judged<S, B, R>(settings: Arc<Settings>, mut ready: S, request: Request<B>) -> Result<Response<ResponseBody<R>>, S::Error>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    B: Body<Data = Bytes>,
{
    let (mut parts, body) = request.into_parts();
    let (body, outcome) = settings.outcome(&parts, body).await;
    match outcome {
        Ok(verdict) => {
            drop(verdict.map(|verdict| parts.extensions.insert(verdict)));
            ready.call(Request::from_parts(parts, body)).await.map(|response| response.map(ResponseBody::application))
        }
        Err(refused) => {
            let (answer, verdict) = *refused;
            let mut response = answer.response(&parts.headers).map(ResponseBody::reply);
            drop(verdict.map(|verdict| response.extensions_mut().insert(verdict)));
            Ok(response)
        }
    }
}

/// What is answered in the application's place, and the verdict behind it.
type Refused = Box<(Answer, Option<Verdict>)>;

/// What is known of a request before its body is read.
#[derive(Clone, Copy)]
struct Head<'h> {
    parts: &'h Parts,
    query: &'h Query<'h>,
    /// The guards whose path this may be.
    guards: &'h [&'h Guard],
}

impl Head<'_> {
    /// Whether the body has to be read: some guard judges this request, or would if its form named another method.
    fn needs_body(self) -> bool {
        let may_hold_override = || {
            let mut types = self.parts.headers.get_all(CONTENT_TYPE).iter().map(HeaderValue::as_bytes).peekable();
            types.peek().is_none() || types.any(|value| contains(value, b"form") || contains(value, b"json"))
        };
        let overrides = self.query.method_overrides();
        let is_judged = judging(self.guards, self.parts, &overrides).next().is_some();
        is_judged || (is_post(&self.parts.method) && may_hold_override())
    }

    /// The addresses that the request names for the guards that judge it. `None` where none does, or it names nobody and may.
    async fn requested<B: Body<Data = Bytes>>(self, read: &mut Read<B>) -> Result<Option<Vec<String>>, Refusal> {
        let Self { parts, query, guards } = self;
        let limit = guards.iter().map(|guard| guard.body_limit).max().unwrap_or_default();
        match within(BODY_TIMEOUT, read.fill(limit)).await {
            Ok(Reading::Complete) => {}
            Ok(Reading::TooLong) => return Err(Refusal::too_large()),
            Ok(Reading::Failed) => return Err(Refusal::undecodable("The body broke off.")),
            Err(_) => return Err(Refusal::undecodable("The body took too long to arrive.")),
        }
        let bytes = read.bytes();
        let body = target::Body::read(&parts.headers, &bytes).await?;
        let overrides = [query.method_overrides(), body.method_overrides()].concat();
        let mut guards = judging(guards, parts, &overrides).peekable();
        if guards.peek().is_none() && !matches!(body, target::Body::Form(_)) && contains(&bytes, b"_method") {
            // Some frameworks look for an override in JSON, or in a body without a type.
            return Err(Refusal::undecodable("The body may name another method."));
        }
        let readable = Readable { parts, query, body: &body };
        let mut addresses = Vec::new();
        for guard in guards {
            if bytes.len() > guard.body_limit {
                return Err(Refusal::too_large());
            }
            addresses.extend(readable.requested(guard)?);
        }
        Ok((!addresses.is_empty()).then_some(addresses))
    }
}

impl Settings {
    /// The body to be handed on, with the verdict that lets the request through, if it was one to be judged, or the answer that refuses it.
    async fn outcome<B: Body<Data = Bytes>>(&self, parts: &Parts, body: B) -> (RequestBody<B>, Result<Option<Verdict>, Refused>) {
        let guards = self.guards.at(parts.uri.path());
        let query = Query::read(&parts.uri);
        let head = query.as_ref().map(|query| Head { parts, query, guards: &guards });
        if head.is_ok_and(|head| !head.needs_body()) {
            return (RequestBody::passing(body), Ok(None));
        }
        let mut read = Read::new(body);
        let requested = match head {
            Ok(head) => head.requested(&mut read).await,
            Err(refusal) => Err(*refusal),
        };
        let outcome = self.decide(parts, requested).await;
        (read.into_body(), outcome)
    }

    async fn decide(&self, parts: &Parts, requested: Result<Option<Vec<String>>, Refusal>) -> Result<Option<Verdict>, Refused> {
        let occasion = Occasion { request: Some(parts), enforced: self.reply.enforces() };
        let (refusal, verdict) = match requested {
            Ok(None) => return Ok(None),
            Ok(Some(addresses)) => (None, self.gatekeeper.decide(&addresses, occasion).await),
            Err(refusal) => (Some(refusal), self.gatekeeper.refuse(refusal.reason, occasion).await),
        };
        let answer = match &verdict {
            Ok(verdict) if verdict.is_allowed() => None,
            Ok(verdict) => {
                Some(refusal.map_or(Answer::blocked(verdict.reference()), |refusal| Answer::unreadable(refusal, verdict.reference())))
            }
            Err(error) => {
                log(error);
                Some(Answer::unavailable())
            }
        };
        match answer.filter(|_| self.reply.enforces()) {
            Some(answer) => Err(Box::new((answer, verdict.ok()))),
            None => Ok(verdict.ok()),
        }
    }
}

fn log(error: &AssessError) {
    tracing::error!(error = error as &dyn std::error::Error, "a recovery request can't be judged");
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

pin_project! {
    /// The response of a [`GatekeeperService`].
    pub struct ResponseFuture<F, R, E> {
        #[pin]
        kind: Kind<F, R, E>,
    }
}

type Boxed<R, E> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<R>>, E>> + Send>>;

pin_project! {
    #[project = KindProjection]
    enum Kind<F, R, E> {
        Passing { #[pin] inner: F },
        Guarded { judged: Boxed<R, E> },
    }
}

impl<F, R, E> Future for ResponseFuture<F, R, E>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Passing { inner } => {
                Poll::Ready(ready!(inner.poll(cx)).map(|response| response.map(ResponseBody::application)))
            }
            KindProjection::Guarded { judged } => judged.as_mut().poll(cx),
        }
    }
}

impl<F, R, E> fmt::Debug for ResponseFuture<F, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
