//! Connections that change their protocol (RFC 9110 §7.8), and the tunnels that they become.
//!
//! A tunnel carries what nobody judges. So it is opened only after the application agreed, to a protocol that the client asked for, and
//! never for one that carries requests: they would reach the application unseen.

use std::pin::pin;

use futures_util::future::{Either, select, try_join};
use http::Request;
use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use super::headers::{HTTP2_SETTINGS, tokens};

/// Turns true when the server is about to stop, and tunnels with it.
#[derive(Debug, Clone)]
pub(super) struct Closing(pub(super) watch::Receiver<bool>);

impl Closing {
    async fn wait(mut self) {
        drop(self.0.wait_for(|closing| *closing).await);
    }
}

/// What is left of a request's wish to change the protocol: the protocols that may be tunnelled. Without one, nothing of it is left.
pub(super) fn restrict_wish<B>(request: &mut Request<B>, has_body: bool, closing: &Closing) {
    // hyper knows no wish in HTTP/1.0, as RFC 9110 §7.8 has it.
    let is_wish = !has_body
        && request.extensions().get::<OnUpgrade>().is_some()
        && tokens(request.headers(), &CONNECTION).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    let protocols: Vec<_> = tokens(request.headers(), &UPGRADE).filter(|protocol| is_wish && is_tunnelled(protocol)).collect();
    let protocols = HeaderValue::from_bytes(&protocols.join(&b", "[..])).ok().filter(|protocols| !protocols.is_empty());
    request.headers_mut().remove(HTTP2_SETTINGS);
    match protocols {
        Some(protocols) => {
            request.headers_mut().insert(UPGRADE, protocols);
            request.extensions_mut().insert(closing.clone());
        }
        None => {
            request.headers_mut().remove(UPGRADE);
            request.extensions_mut().remove::<OnUpgrade>();
        }
    }
}

/// HTTP in any version, in clear or inside TLS, would carry requests that nobody judges.
fn is_tunnelled(protocol: &[u8]) -> bool {
    let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
    ![&b"http"[..], b"h2c", b"h2", b"h3", b"tls"].iter().any(|carrier| name.eq_ignore_ascii_case(carrier))
}

/// A client's wish to change the protocol, which goes to the application.
pub(super) struct Wish {
    client: OnUpgrade,
    protocols: HeaderValue,
    closing: Option<Closing>,
}

impl Wish {
    /// The wish of a request that has one, for which its headers are set.
    pub(super) fn take(parts: &mut Parts) -> Option<Self> {
        let client = parts.extensions.remove::<OnUpgrade>()?;
        let closing = parts.extensions.remove::<Closing>();
        let protocols = parts.headers.get(UPGRADE).cloned()?;
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        Some(Self { client, protocols, closing })
    }

    /// Whether the protocol that the application changes to is one of those asked for.
    pub(super) fn is_granted_by(&self, response: &HeaderMap) -> bool {
        let mut granted = tokens(response, &UPGRADE).peekable();
        granted.peek().is_some()
            && granted.all(|protocol| super::headers::split(&self.protocols).any(|asked| asked.eq_ignore_ascii_case(protocol)))
    }

    /// Joins both connections for as long as both sides and the server want.
    pub(super) fn fulfil(self, application: OnUpgrade) {
        tokio::spawn(async move {
            let joined = async {
                let (client, application) = try_join(self.client, application).await.map_err(std::io::Error::other)?;
                tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(application)).await
            };
            let closing = async {
                match self.closing {
                    Some(closing) => closing.wait().await,
                    None => std::future::pending().await,
                }
            };
            match select(pin!(joined), pin!(closing)).await {
                Either::Left((Err(error), _)) => tracing::debug!(%error, "a tunnel broke"),
                Either::Left((Ok(_), _)) | Either::Right(_) => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_requests_is_never_tunnelled() {
        for protocol in ["h2c", "H2C", "http/2.0", "HTTP/3", "http", "TLS/1.0", "tls", "h2"] {
            assert!(!is_tunnelled(protocol.as_bytes()), "{protocol}");
        }
        for protocol in ["websocket", "WebSocket", "connect-udp", "httpx"] {
            assert!(is_tunnelled(protocol.as_bytes()), "{protocol}");
        }
    }
}
