//! Security event tokens (RFC 8417) of the OpenID RISC profile 1.0, pushed as RFC 8935 has it.
//!
//! | record | event |
//! |---|---|
//! | `email_unverified`, carried out | `recovery-information-changed`: the address recovers the account no longer |
//! | the same, of a domain that was registered anew or changed hands | `identifier-recycled` too: the address is in somebody else's hand now |
//! | `reset_allowed`, and `reset_blocked` that was only observed | `recovery-activated` |
//!
//! What else is recorded has no event there: that a domain merely lapsed makes nobody the new holder of its addresses, which `identifier-recycled` would say. The subject is the
//! address (RFC 9493 §3.2.2), which `identifier-recycled` asks for.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;
use serde_json::json;

use super::message::Message;
use crate::audit::{Event, Record};
use crate::verdict::Reason;

const RECOVERY_ACTIVATED: &str = "recovery-activated";
const RECOVERY_INFORMATION_CHANGED: &str = "recovery-information-changed";
const IDENTIFIER_RECYCLED: &str = "identifier-recycled";

/// Who sends security event tokens, to whom, and what they are signed with.
#[derive(Debug, Clone)]
pub struct Risc {
    issuer: String,
    audience: String,
    key: SigningKey,
}

/// Why a text is no key to sign tokens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no private key of P-256 or Ed25519 in PKCS#8 as PEM")]
pub struct SigningKeyError;

#[derive(Clone)]
enum SigningKey {
    Es256(Arc<EcdsaKeyPair>),
    EdDsa(Arc<Ed25519KeyPair>),
}

/// Without the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("alg", &self.algorithm()).finish_non_exhaustive()
    }
}

impl Risc {
    /// Tokens of `issuer` for `audience` (RFC 8417 §2.2, `iss` and `aud`), signed with `key`: a private key in PKCS#8 (RFC 5958) as PEM, of P-256 for ES256 (RFC 7518 §3.4) or of
    /// Ed25519 for EdDSA (RFC 8037).
    ///
    /// # Errors
    /// Where `key` is none.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>, key: &str) -> Result<Self, SigningKeyError> {
        Ok(Self { issuer: issuer.into(), audience: audience.into(), key: SigningKey::parse(key)? })
    }

    /// What `record` has to tell, each event a token: one that told of several would be against the profile (Shared Signals Framework 1.0, on `events`).
    pub(super) fn messages(&self, record: &Record, seq: u64, now: SystemTime) -> Vec<Message> {
        let Some(account) = &record.account else { return Vec::new() };
        let message = |event: &&str| {
            let id = format!("{}-{event}", record.id);
            let token = self.token(&id, event, &account.email, record, now)?;
            Some(Message { seq, id, content_type: HeaderValue::from_static("application/secevent+jwt"), body: token.into() })
        };
        events(record).iter().filter_map(message).collect()
    }

    fn token(&self, id: &str, event: &str, email: &str, record: &Record, now: SystemTime) -> Option<String> {
        let claims = json!({
            "iss": self.issuer,
            "aud": self.audience,
            "jti": id,
            "iat": seconds(now),
            "toe": seconds(record.time),
            "txn": record.id,
            "sub_id": {"format": "email", "email": email},
            "events": {format!("https://schemas.openid.net/secevent/risc/event-type/{event}"): {}},
        });
        // RFC 8417 §2.3: explicitly typed, so that it is taken for no other token.
        let header = json!({"alg": self.key.algorithm(), "typ": "secevent+jwt"});
        let signed = format!("{}.{}", part(&header)?, part(&claims)?);
        let Some(signature) = self.key.signature(signed.as_bytes()) else {
            tracing::error!(id, "a security event token could not be signed, and is not delivered");
            return None;
        };
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn events(record: &Record) -> &'static [&'static str] {
    let is_recycled = record.reasons.iter().any(|reason| matches!(reason, Reason::DomainReregistered | Reason::DomainChangedHands));
    match (record.event, record.enforced) {
        (Event::EmailUnverified, true) if is_recycled => &[RECOVERY_INFORMATION_CHANGED, IDENTIFIER_RECYCLED],
        (Event::EmailUnverified, true) => &[RECOVERY_INFORMATION_CHANGED],
        (Event::ResetAllowed, _) | (Event::ResetBlocked, false) => &[RECOVERY_ACTIVATED],
        (Event::ResetBlocked, true) | (Event::EmailUnverified, false) | (Event::DomainChanged | Event::SourceFailed, _) => &[],
    }
}

impl SigningKey {
    fn parse(pem: &str) -> Result<Self, SigningKeyError> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| SigningKeyError)?;
        let bytes = key.secret_pkcs8_der();
        let es256 = || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes).map(|key| Self::Es256(Arc::new(key)));
        // As other programs write it, without the public key (RFC 8410 §7).
        let eddsa = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).map(|key| Self::EdDsa(Arc::new(key)));
        eddsa.or_else(|_| es256()).map_err(|_| SigningKeyError)
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signature = match self {
            Self::Es256(key) => key.sign(&SystemRandom::new(), message).ok()?,
            Self::EdDsa(key) => key.sign(message),
        };
        Some(signature.as_ref().to_vec())
    }
}

fn part(content: &impl Serialize) -> Option<String> {
    serde_json::to_vec(content).ok().map(|json| URL_SAFE_NO_PAD.encode(json))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
