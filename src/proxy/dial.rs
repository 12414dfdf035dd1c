//! Connections to the application: name, TCP, TLS.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tower_service::Service;

use super::{BoxError, ProxyError, Upstream};

pub(crate) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Which protocols a connection may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocols {
    /// HTTP/2 where TLS agrees on it, HTTP/1.1 else.
    Any,
    /// HTTP/1.1 only, as a tunnel needs it.
    Http1,
}

pub(crate) struct Dial {
    uri: Uri,
    timeout: Duration,
    any: HttpsConnector<HttpConnector>,
    http1: HttpsConnector<HttpConnector>,
}

impl Dial {
    pub(crate) fn new(upstream: &Upstream) -> Result<Self, ProxyError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        tcp.set_connect_timeout(Some(upstream.connect_timeout));
        let config = config(upstream).map_err(ProxyError::Roots)?;
        let builder = |config| HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        Ok(Self {
            uri: upstream.uri.clone(),
            timeout: upstream.connect_timeout,
            any: builder(config.clone()).enable_http1().enable_http2().wrap_connector(tcp.clone()),
            http1: builder(config).enable_http1().wrap_connector(tcp),
        })
    }

    pub(crate) async fn stream(&self, protocols: Protocols) -> Result<Stream, BoxError> {
        let mut connector = match protocols {
            Protocols::Any => self.any.clone(),
            Protocols::Http1 => self.http1.clone(),
        };
        tokio::time::timeout(self.timeout, connector.call(self.uri.clone())).await.unwrap_or_else(|elapsed| Err(elapsed.into()))
    }
}

fn config(upstream: &Upstream) -> Result<ClientConfig, BoxError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    if upstream.uri.scheme() == Some(&Scheme::HTTP) {
        // Reading the platform's certificates takes a while, and nobody would use them.
        return Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    }
    let roots = CertificateDer::pem_slice_iter(&upstream.roots).collect::<Result<Vec<_>, _>>()?;
    let verifier = Arc::new(Verifier::new_with_extra_roots(roots, provider)?);
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}
