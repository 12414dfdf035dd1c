//! A guarded request whose account is known and whose domain is remembered, beside `axum::Form` reading the same field of the same request.

use std::convert::Infallible;
use std::hint::black_box;

use axum::body::Body;
use axum::extract::{Form, FromRequest};
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, Guard, Reply, Target};
use serde::Deserialize;
use tokio::runtime::Runtime;
use tower::{Layer, service_fn};

use crate::meter::{Failure, Peer, compare};
use crate::parts::{Forgetful, Healthy, directory};
use crate::service::{answered, application, batch};
use crate::{Row, row};

/// At most what reading the form costs the handler again.
const GOAL: Option<f64> = Some(1.0);

pub(crate) fn rows(runtime: &Runtime) -> Result<Vec<Row>, Failure> {
    let gatekeeper = Gatekeeper::builder().directory(directory()).domains(Healthy).audit(Forgetful).record_allowed(false).build()?;
    if !runtime.block_on(gatekeeper.assess("user@example.com"))?.is_allowed() {
        return Err("blocked".into());
    }
    let ours = GatekeeperLayer::new(gatekeeper, Reply::refuse()).guard(Guard::post("/password-reset").target(Target::form("email")));

    let refused = ours.clone();
    let [bare, ours, bare_of_axum, form, _] = compare(
        "POST /password-reset",
        [
            Peer::new("the bare service, Full<Bytes>", batch(runtime, service_fn(application), request::<Full<Bytes>>)),
            Peer::new("GatekeeperLayer", batch(runtime, ours.layer(service_fn(application)), request::<Full<Bytes>>)),
            Peer::new("the bare service, axum::Body", batch(runtime, service_fn(application), request::<Body>)),
            Peer::new("axum::Form", batch(runtime, service_fn(read_form), request::<Body>)),
            Peer::new(
                "GatekeeperLayer, refusing a repeated field",
                answered(StatusCode::BAD_REQUEST, runtime, refused.layer(service_fn(application)), repeated),
            ),
        ],
    )?;
    let case = "POST /password-reset: decision / axum::Form".to_owned();
    Ok(vec![row(case, ours.beyond(bare), form.beyond(bare_of_axum), GOAL)])
}

fn request<B: From<&'static str>>() -> Request<B> {
    let mut request = Request::new(B::from("email=user%40example.com"));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/password-reset");
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    request
}

/// Names two accounts, and is refused for it.
fn repeated() -> Request<Full<Bytes>> {
    let mut request = request();
    *request.body_mut() = Full::from("email=user%40example.com&email=other%40example.com");
    request
}

#[derive(Deserialize)]
struct Recovery {
    email: String,
}

/// A handler that reads the form and does nothing else.
async fn read_form(request: axum::extract::Request) -> Result<Response<Body>, Infallible> {
    match Form::<Recovery>::from_request(request, &()).await {
        Ok(Form(recovery)) => drop(black_box(recovery.email)),
        Err(rejection) => return Ok(rejection.into_response()),
    }
    Ok(Response::new(Body::empty()))
}
