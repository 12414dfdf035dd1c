//! The server's own certificate.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A certificate and its key, with which a [`Server`](super::Server) terminates TLS.
#[derive(Clone)]
pub struct Tls {
    pub(super) acceptor: TlsAcceptor,
}

impl Tls {
    /// The certificate chain and the private key in these PEM files. HTTP/2 and HTTP/1.1 are offered.
    ///
    /// # Errors
    /// Where a file can't be read or holds something else, or the two do not belong together.
    pub fn from_files(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        let chain =
            CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).map_err(|source| TlsError::read(certificate, source))?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::read(key, source))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
            .map_err(|source| TlsError::Mismatch { certificate: certificate.to_owned(), source })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read, or holds no such thing.
    #[error("{} can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: pem::Error,
    },
    /// The chain is empty or broken, or the key is another certificate's.
    #[error("{} can't be used with its key", certificate.display())]
    Mismatch {
        /// The file with the certificate.
        certificate: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
}

impl TlsError {
    fn read(path: &Path, source: pem::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }
}
