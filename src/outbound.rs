//! What is asked of other servers: as us, by no way but the network's own, and within limits.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Response};

/// How long a server may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connect: Duration,
    /// From the question to the end of the answer.
    pub(crate) whole: Duration,
}

/// A client that follows no redirect, and no proxy that the environment names.
pub(crate) fn client(limits: Limits) -> ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(limits.connect)
        .timeout(limits.whole)
        .redirect(Policy::none())
        .no_proxy()
        .user_agent(concat!("reset-gatekeeper/", env!("CARGO_PKG_VERSION")))
}

/// The body of `response`. `None` where it is longer than `limit`, which is found out before that much is read.
pub(crate) async fn body(mut response: Response, limit: usize) -> Result<Option<Bytes>, reqwest::Error> {
    if response.content_length().is_some_and(|length| usize::try_from(length).is_ok_and(|length| length > limit)) {
        return Ok(None);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}
