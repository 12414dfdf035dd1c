//! Where a request enters: the tower [`Layer`] and its service.
//!
//! 1. A request that no guard concerns goes to the inner service at once, unchanged: nothing is boxed, cloned or allocated for it.
//! 2. A recovery request is read, judged, and either answered in the inner service's place or handed on byte for byte, with the
//!    [`Verdict`](crate::Verdict) in its extensions.
//! 3. The service that was made ready is the one that is called. A refused request never calls it.
//! 4. In [decoy](Reply::decoy) mode a blocked request goes on with another name, and its answer comes back with the caller's own. Judged requests lose their
//!    `Accept-Encoding` there, whatever the verdict: an answer that can't be read could show the other name.
//! 5. A connection is never upgraded by a request for a guarded path, since what follows could not be judged: the wish is dropped, as
//!    RFC 9110 §7.8 lets any recipient do.
//!
//! What a deployment can break: a layer between this one and the application that decompresses or rewrites bodies, paths or methods
//! shows the application another request than the one that was judged. Put it outside. A router that has read the path before this layer, as with
//! axum's `Router::layer`, gives the handler what stood there, so a decoy in the path needs the layer to be [around the router](GatekeeperLayer::around_router).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE,
};
use http::request::Parts;
use http::uri::Authority;
use http::{Request, Response, Uri, Version};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Instant, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

use crate::account::DirectoryError;
use crate::body::{Read, Reading, RequestBody, ResponseBody};
use crate::clock::within;
use crate::decoy::{self, Plan, Replacement, Restoration};
use crate::gatekeeper::{Asked, AssessError, Gatekeeper, Occasion};
use crate::reply::{Answer, Reply};
use crate::route::{Concern, Guard, Guards, is_post, is_readable, judging};
use crate::target::{self, Query, Readable, Refusal, Requested, Spot};
use crate::verdict::Verdict;

/// How long the body of a guarded request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a content type holds of whose bodies some framework takes the method. Rack reads `multipart/mixed` and `multipart/related` too.
const MAY_HOLD_OVERRIDE: [&[u8]; 3] = [b"form", b"json", b"multipart"];

/// Headers that tell one body from another, and so a made-up name from the caller's own.
const OF_ONE_BODY: [&str; 5] = ["etag", "content-md5", "digest", "content-digest", "repr-digest"];

/// Headers in which some application looks for the host that was asked.
const OTHER_HOSTS: [&str; 5] = ["x-forwarded-server", "x-forwarded-port", "x-original-host", "x-http-host-override", "x-host"];

/// How many bytes of an answer are read to put the caller's name back. A page that says "we have sent you a mail" is much shorter.
const ANSWER_LIMIT: usize = 1024 * 1024;

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
    is_around_router: bool,
}

impl GatekeeperLayer {
    /// A layer that answers blocked requests as `reply` says. Without a [guard](Self::guard) it blocks nothing.
    #[must_use]
    pub fn new(gatekeeper: Gatekeeper, reply: Reply) -> Self {
        Self { settings: Arc::new(Settings { gatekeeper, reply, guards: Guards::default(), is_around_router: false }) }
    }

    /// Adds a recovery endpoint. Every guard that matches a request judges it.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        let settings = Arc::make_mut(&mut self.settings);
        settings.guards.push(guard, settings.gatekeeper.clock());
        self
    }

    /// A layer of the same gatekeeper with another reply and other guards, to take the place of this one while it serves.
    ///
    /// A guard whose path, methods and [limit](Guard::limit) are as they were goes on counting where it is: nobody has more requests for it. Of several such, each goes
    /// on with that which names accounts alike.
    #[must_use]
    pub fn reloaded(&self, reply: Reply, guards: impl IntoIterator<Item = Guard>) -> Self {
        let Settings { gatekeeper, guards: former, is_around_router, .. } = &*self.settings;
        let (mut former, mut guards) = (former.all(), guards.into_iter().collect::<Vec<_>>());
        for is_alike in [Guard::names_like, Guard::limits_like] {
            for guard in guards.iter_mut().filter(|guard| guard.counter.is_none()) {
                if let Some(at) = former.iter().position(|former| is_alike(guard, former)) {
                    guard.counter = former.remove(at).counter;
                }
            }
        }
        let settings = Settings { gatekeeper: gatekeeper.clone(), reply, guards: Guards::default(), is_around_router: *is_around_router };
        let layer = Self { settings: Arc::new(settings) };
        guards.into_iter().fold(layer, Self::guard)
    }

    /// Says that nothing has read the path before this layer: it is around the router, not a layer of it such as axum's `Router::layer` takes.
    ///
    /// Only then can a [decoy](Reply::decoy) put another name into the path. Else a handler would be given the blocked one all the same, so a blocked request whose account
    /// stands in the path is refused, as by [`Reply::refuse`].
    #[must_use]
    pub fn around_router(mut self) -> Self {
        Arc::make_mut(&mut self.settings).is_around_router = true;
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
    S::Error: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Send,
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
        S::Error: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Send,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Send,
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
///
/// What is rare on that way is boxed, so that this future, which is made for each, stays short.
async fn judged<S, B, R>(settings: Arc<Settings>, mut ready: S, request: Request<B>) -> Result<Response<ResponseBody<R>>, S::Error>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    B: Body<Data = Bytes>,
    R: Body<Data = Bytes>,
{
    let (mut parts, body) = request.into_parts();
    let (mut read, read_at, outcome) = settings.outcome(&parts, body).await;
    // Before the application is asked, so that what it takes is added to the floor alike for everybody, and a slow check doesn't show.
    if !settings.reply.floor.is_zero() {
        sleep_until(read_at + settings.reply.floor).await;
    }
    match outcome {
        Outcome::Passed { verdict, host } => {
            settings.prepare(&mut parts, host);
            let is_judged = verdict.is_some();
            drop(verdict.map(|verdict| parts.extensions.insert(verdict)));
            let response = ready.call(Request::from_parts(parts, read.into_body())).await?;
            if is_judged && settings.reply.decoys_at().is_some() {
                // What is done with the answer to a blocked caller is done with everybody's.
                return Ok(Box::pin(restored(response, &Restoration::default())).await);
            }
            Ok(response.map(ResponseBody::application))
        }
        Outcome::Decoyed { plan, verdict, host } => {
            settings.prepare(&mut parts, host);
            let Some(restoration) = plan.carry_out(&mut parts, &mut read) else {
                return Ok(Answer::unavailable().response(&parts.headers).map(ResponseBody::reply));
            };
            // As beside a stranger's name, or a handler that asks for a verdict would tell who is blocked.
            parts.extensions.insert(Verdict::default());
            let response = ready.call(Request::from_parts(parts, read.into_body())).await?;
            let mut response = Box::pin(restored(response, &restoration)).await;
            response.extensions_mut().insert(verdict);
            Ok(response)
        }
        Outcome::Refused { answer, verdict } => {
            let mut response = answer.response_with(&parts.headers, settings.reply.support()).map(ResponseBody::reply);
            drop(verdict.map(|verdict| response.extensions_mut().insert(verdict)));
            // RFC 9112 §9.6: the rest of the body keeps the connection from being used again, which its client should know.
            if read.is_unread() && parts.version < Version::HTTP_2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        }
    }
}

/// The answer of the application to a request with a made-up name, as its caller may see it.
async fn restored<R: Body<Data = Bytes>>(mut response: Response<R>, restoration: &Restoration) -> Response<ResponseBody<R>> {
    restoration.headers(response.headers_mut());
    for name in OF_ONE_BODY {
        response.headers_mut().remove(name);
    }
    if !Restoration::reads(response.headers()) {
        return response.map(ResponseBody::application);
    }
    let (mut parts, body) = response.into_parts();
    let is_sized = body.size_hint().exact().is_some();
    let mut read = Read::new(body);
    match within(BODY_TIMEOUT, read.fill(ANSWER_LIMIT)).await {
        Ok(Reading::Complete) => {
            let body = restoration.body(&parts.headers, &read.bytes());
            // The answer to HEAD states the length of another's body.
            if parts.headers.contains_key(CONTENT_LENGTH) && !body.is_empty() {
                parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            }
            read.replace(body);
        }
        Ok(Reading::Failed) => return Answer::unavailable().response(&HeaderMap::new()).map(ResponseBody::reply),
        // It goes on as it is: too much of it to be a page about one reset.
        Ok(Reading::TooLong) | Err(_) => {}
    }
    Response::from_parts(parts, ResponseBody::read(read, is_sized))
}

/// What becomes of a request.
enum Outcome {
    /// It goes on as it came, with the verdict, if it was one to be judged, and the host that its guard pins.
    Passed { verdict: Option<Verdict>, host: Option<HeaderValue> },
    /// It goes on with another name.
    Decoyed { plan: Box<Plan>, verdict: Verdict, host: Option<HeaderValue> },
    /// It is answered in the application's place.
    Refused { answer: Answer, verdict: Option<Verdict> },
}

/// What is known of a request before its body is read.
#[derive(Clone, Copy)]
struct Head<'h> {
    parts: &'h Parts,
    query: &'h Query<'h>,
    /// The guards whose path this may be.
    guards: &'h [&'h Guard],
}

impl<'h> Head<'h> {
    /// Whether the body has to be read: some guard judges this request, or would if its form named another method.
    fn needs_body(self) -> bool {
        let may_hold_override = || {
            let mut types = target::all_of(&self.parts.headers, &CONTENT_TYPE).map(|(_, value)| value.as_bytes()).peekable();
            types.peek().is_none() || types.any(|value| MAY_HOLD_OVERRIDE.iter().any(|word| contains(value, word)))
        };
        let overrides = self.query.method_overrides();
        let is_judged = judging(self.guards, self.parts, &overrides).next().is_some();
        is_judged || (is_post(&self.parts.method) && may_hold_override())
    }

    /// Whom the request names for the guards that judge it. Nobody where none does, or it names nobody and may.
    async fn requested<B: Body<Data = Bytes>>(self, read: &mut Read<B>) -> Result<Vec<Requested<'h>>, Refusal> {
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
        if guards.peek().is_none() && body.may_override(&bytes) {
            return Err(Refusal::undecodable("The body may name another method."));
        }
        let readable = Readable { parts, query, body: &body };
        let mut requested = Vec::new();
        for guard in guards {
            if bytes.len() > guard.body_limit {
                return Err(Refusal::too_large());
            }
            requested.extend(readable.requested(guard)?);
        }
        Ok(requested)
    }
}

impl Settings {
    /// What becomes of a request, its body as far as it was read, and when that was.
    async fn outcome<B: Body<Data = Bytes>>(&self, parts: &Parts, body: B) -> (Read<B>, Instant, Outcome) {
        let guards = self.guards.at(parts.uri.path());
        let query = if is_readable(parts.uri.path()) {
            Query::read(&parts.uri)
        } else {
            Err(Refusal::undecodable("The path is too long for its spelling."))
        };
        let head = query.as_ref().map(|query| Head { parts, query, guards: &guards });
        let mut read = Read::new(body);
        let host = guards.iter().find_map(|guard| guard.host.clone());
        if head.is_ok_and(|head| !head.needs_body()) {
            return (read, Instant::now(), Outcome::Passed { verdict: None, host });
        }
        let requested = match head {
            Ok(head) => head.requested(&mut read).await.and_then(|requested| self.replaceable(requested)),
            Err(refusal) => Err(*refusal),
        };
        let read_at = Instant::now();
        let occasion = Occasion { request: Some(parts), enforced: self.reply.enforces() };
        let outcome = match requested {
            Ok(requested) if requested.is_empty() => Outcome::Passed { verdict: None, host },
            Ok(requested) => self.decided(&requested, &mut read, occasion, host).await,
            Err(refusal) => Box::pin(self.refused(refusal, occasion, host)).await,
        };
        (read, read_at, outcome)
    }

    /// In decoy mode, only what could be replaced is looked up at all: else the answer would depend on whether it is blocked.
    fn replaceable<'r>(&self, requested: Vec<Requested<'r>>) -> Result<Vec<Requested<'r>>, Refusal> {
        match self.reply.decoys_at() {
            Some(_) if !requested.iter().all(decoy::is_replaceable) => Err(Refusal::undecodable("The path is not spelled plainly.")),
            _ => Ok(requested),
        }
    }

    async fn decided<B: Body<Data = Bytes>>(
        &self,
        requested: &[Requested<'_>],
        read: &mut Read<B>,
        occasion: Occasion<'_>,
        host: Option<HeaderValue>,
    ) -> Outcome {
        let mut asked = Vec::with_capacity(requested.len());
        for one in requested {
            asked.push(Asked { identifies: one.guard.identifies, name: &one.name, counter: one.guard.counter.as_ref() });
        }
        let verdict = match self.gatekeeper.decide(&asked, occasion).await {
            Ok(verdict) => verdict,
            Err(error) => return self.unavailable(&error, host),
        };
        let Some(reason) = verdict.reasons().first().filter(|_| occasion.enforced && !verdict.is_allowed()) else {
            return Outcome::Passed { verdict: Some(verdict), host };
        };
        let is_read =
            !self.is_around_router && requested.iter().any(|one| one.found.iter().any(|found| matches!(found.spot, Spot::Path(_))));
        match self.reply.decoys_at().filter(|_| !reason.is_of_request() && !is_read) {
            None => Outcome::Refused { answer: Answer::blocked(verdict.reference()), verdict: Some(verdict) },
            Some(domain) => match Box::pin(self.plan(requested, &read.bytes(), occasion, domain)).await {
                Ok(plan) => Outcome::Decoyed { plan: Box::new(plan), verdict, host },
                Err(error) => self.unavailable(&error, host),
            },
        }
    }

    /// How to put names that nobody has into the places in which a request names somebody.
    async fn plan(&self, requested: &[Requested<'_>], body: &[u8], occasion: Occasion<'_>, domain: &str) -> Result<Plan, AssessError> {
        let mut replacements = Vec::with_capacity(requested.len());
        for one in requested {
            let name = self.gatekeeper.nobody_like(one.guard.identifies, &one.name, domain).await?;
            replacements.push(Replacement { requested: one, name });
        }
        let unwritable = || DirectoryError::unavailable("making up a name", "it can't be written in the place of the other");
        let uri = occasion.request.map(|request| &request.uri).ok_or_else(unwritable)?;
        Plan::new(uri, body, &replacements).ok_or_else(|| unwritable().into())
    }

    async fn refused(&self, refusal: Refusal, occasion: Occasion<'_>, host: Option<HeaderValue>) -> Outcome {
        match self.gatekeeper.refuse(refusal.reason, occasion).await {
            Ok(verdict) if occasion.enforced => {
                Outcome::Refused { answer: Answer::unreadable(refusal, verdict.reference()), verdict: Some(verdict) }
            }
            Ok(verdict) => Outcome::Passed { verdict: Some(verdict), host },
            Err(error) => self.unavailable(&error, host),
        }
    }

    /// There is no verdict, and so nothing is let through, unless nothing is blocked anyway.
    fn unavailable(&self, error: &AssessError, host: Option<HeaderValue>) -> Outcome {
        tracing::error!(error = error as &dyn std::error::Error, "a recovery request can't be judged");
        if self.reply.enforces() {
            Outcome::Refused { answer: Answer::unavailable(), verdict: None }
        } else {
            Outcome::Passed { verdict: None, host }
        }
    }

    /// Makes a judged request what the application may see of it.
    fn prepare(&self, parts: &mut Parts, host: Option<HeaderValue>) {
        if self.reply.decoys_at().is_some() {
            parts.headers.remove(ACCEPT_ENCODING);
        }
        if let Some(host) = host {
            pin_host(parts, host);
        }
    }
}

/// Names `host` wherever an application may look for the host that was asked.
fn pin_host(parts: &mut Parts, host: HeaderValue) {
    let uri = std::mem::take(&mut parts.uri);
    let mut pieces = uri.clone().into_parts();
    if pieces.authority.is_some() {
        pieces.authority = Authority::try_from(host.as_bytes()).ok();
    }
    parts.uri = Uri::from_parts(pieces).unwrap_or(uri);
    let forwarded = HeaderName::from_static("x-forwarded-host");
    if parts.headers.contains_key(&forwarded) {
        parts.headers.insert(forwarded, host.clone());
    }
    // RFC 7239 §5.3: it may name a host too. So may what a proxy before us added.
    parts.headers.remove(FORWARDED);
    for name in OTHER_HOSTS {
        parts.headers.remove(name);
    }
    parts.headers.insert(HOST, host);
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
