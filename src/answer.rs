//! What a server answered us, read within a limit.

use bytes::{Bytes, BytesMut};
use reqwest::Response;

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
