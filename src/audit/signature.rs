//! Signatures in an audit log: who rewrites it as a whole, chain and all, lacks the key to sign it anew.
//!
//! 1. With a [`Signer`], the last record of all that are synced together signs them: `signs` says how many they are, itself included, and `signature` is Ed25519
//!    (RFC 8032 §5.1), in base64url without padding (RFC 4648 §5), of the line's bytes before `,"signature"`, which hold `prev` and so all before it.
//! 2. Both stand between `prev` and `hash`, which covers them as every other byte of the line, so that a log is proven without a key as one that isn't signed.
//! 3. A signer signs what it wrote, and nothing that it found: else what others put there would be signed with the next record. Whoever [proves](super::Verifier::public_key)
//!    signatures asks for one of every record, from the first on or from a [later one](super::Verifier::signed_from), where the log is older than its key.
//!
//! What a deployment can break: the key. Who can read it can write any log, so it stands neither in the log's folder nor with those who keep the log. One that is no
//! secret any more proves nothing, of older records neither; and another log that was signed with it would pass for this one. Signatures don't show that lines were cut off after one of them: that takes a [`Head`](super::Head) kept elsewhere.
//! A loss of power may leave records that were about to be signed; nobody was answered for them, and they stay unsigned.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

/// What a log is signed with.
#[derive(Clone)]
pub struct Signer(Arc<Ed25519KeyPair>);

/// What signatures are proven by.
#[derive(Debug, Clone)]
pub struct PublicKey(ParsedPublicKey);

/// Why a text is no key to sign a log with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no private key of Ed25519 in PKCS#8 as PEM")]
pub struct SignerError;

/// Why a text is no key to prove signatures by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no public key of Ed25519 as PEM")]
pub struct PublicKeyError;

impl Signer {
    /// Signs with `key`: a private key of Ed25519 (RFC 8410 §7) in PKCS#8 as PEM, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// Where `key` is none.
    pub fn from_pem(key: &str) -> Result<Self, SignerError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).map_err(|_| SignerError)?;
        // OpenSSL leaves the public key out, which may be (RFC 8410 §7).
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|_| SignerError)?;
        Ok(Self(Arc::new(pair)))
    }

    /// The signature of `content`, as a line has it.
    pub(super) fn signature(&self, content: &[u8]) -> Result<String, Unspecified> {
        Ok(URL_SAFE_NO_PAD.encode(self.0.try_sign(content)?))
    }
}

/// Without the key.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl PublicKey {
    /// The key of a [`Signer`] that others may know: a public key of Ed25519 (RFC 8410 §4) as PEM, as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// Where `key` is none.
    pub fn from_pem(key: &str) -> Result<Self, PublicKeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(key.as_bytes()).map_err(|_| PublicKeyError)?;
        ParsedPublicKey::new(&ED25519, der).map(Self).map_err(|_| PublicKeyError)
    }
}

/// What the last of some records says of them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signed<'a> {
    /// How many they are.
    pub(super) records: u64,
    /// The line's bytes before the signature.
    pub(super) content: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl Signed<'_> {
    /// Whether one of `keys` signed it.
    pub(super) fn is_by(&self, keys: &[PublicKey]) -> bool {
        let signature = URL_SAFE_NO_PAD.decode(self.signature);
        signature.is_ok_and(|signature| keys.iter().any(|PublicKey(key)| key.verify_sig(self.content, &signature).is_ok()))
    }
}
