//! The application behind the sidecars. It reads requests for resets as leniently as any does, and tells the world whom it would mail.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::Method;
use http::header::CONTENT_TYPE;
use reqwest::Url;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::world::World;

pub(crate) fn serve(listener: TcpListener, world: Arc<World>) {
    let app = Router::new().fallback(answer).with_state(world);
    tokio::spawn(async { axum::serve(listener, app).await });
}

/// What `/bytes` answers.
pub(crate) fn bytes(seed: u64, length: usize) -> Bytes {
    let mut state = seed | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// What is answered to a request for a reset, whether the account exists or not.
pub(crate) fn told(email: &str) -> String {
    format!("If there is an account for {email}, a mail is on its way.\n")
}

async fn answer(State(world): State<Arc<World>>, request: Request) -> Response {
    let url = Url::parse(&format!("http://application{}", request.uri())).unwrap();
    let of_query = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/bytes") => {
            let number = |name| of_query(name).unwrap().parse::<u64>().unwrap();
            bytes(number("seed"), number("length") as usize).into_response()
        }
        (&Method::POST, "/upload") => Body::new(request.into_body()).into_response(),
        _ => {
            let (parts, body) = request.into_parts();
            let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
            // Whoever breaks off gets no mail.
            let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else { return Body::empty().into_response() };
            let content_type = header(CONTENT_TYPE.as_str());
            let email = of_query("email").or_else(|| of_body(&content_type, &body)).unwrap_or_default();
            world.received(header("traceparent").split('-').nth(1).unwrap_or_default(), &email);
            told(&email).into_response()
        }
    }
}

fn of_body(content_type: &str, body: &[u8]) -> Option<String> {
    if content_type.contains("json") {
        return serde_json::from_slice::<Value>(body).ok()?.get("email")?.as_str().map(str::to_owned);
    }
    let text = std::str::from_utf8(body).ok()?;
    if content_type.contains("multipart") {
        let (_, value) = text.split_once("name=\"email\"\r\n\r\n")?;
        return Some(value.split_once("\r\n")?.0.to_owned());
    }
    let form = Url::parse(&format!("http://form/?{text}")).ok()?;
    form.query_pairs().find(|(key, _)| key == "email").map(|(_, value)| value.into_owned())
}
