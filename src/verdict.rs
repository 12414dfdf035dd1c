//! What was decided about a recovery request, and why.
//!
//! [`Reason`] lists everything that blocks, [`Notice`] what is only worth knowing. Their codes are stable: they stand in the
//! audit record, and people search for them.

use std::fmt;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::domain::Standing;

/// Why a recovery request is blocked. The order is that of judging: of all that hold, the first decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The body exceeds the guard's limit.
    BodyTooLarge,
    /// The body is not what its content type says, or is of a type or encoding that can't be read exactly.
    TargetUndecodable,
    /// The request names nobody.
    TargetMissing,
    /// The request names several accounts, or one parser would find another account in it than the next.
    TargetAmbiguous,
    /// What stands in the target is not one addr-spec mailbox at a registrable domain.
    TargetInvalid,
    /// The directory's address and the requested one differ in more than ASCII case.
    TargetMismatch,
    /// The directory says that the address isn't verified.
    EmailUnverified,
    /// The registrable domain is not registered.
    DomainUnregistered,
    /// The domain is about to be dropped; nobody can renew it any more (RFC 5731 §2.3).
    DomainPendingDelete,
    /// The domain was deleted and can only be restored (RFC 3915 §3.1).
    DomainRedemption,
    /// The registration has run out; includes the registrar's grace period.
    DomainExpired,
    /// Registrar or registry took the domain out of the DNS (client hold, server hold).
    DomainOnHold,
    /// The domain was registered, or registered again, after the address was verified.
    DomainReregistered,
    /// The registration is the same, and evidence since the verification shows another holder: it was seen lapsed in between, or its registrar, name servers
    /// and mail servers all changed.
    DomainChangedHands,
    /// The registration runs out within the time that the policy sets.
    DomainExpiring,
    /// The mail host's name does not exist, refuses mail (null MX, RFC 7505), or has neither MX nor address.
    DomainUnresolvable,
    /// No source could tell.
    DomainUnknown,
    /// More requests for this account than the guard lets through.
    TooManyRequests,
}

/// The codes, in both directions.
macro_rules! codes_of_reasons {
    ($($reason:ident = $code:literal),* $(,)?) => {
        impl Reason {
            /// The stable code, as it stands in the audit record.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$reason => $code,)*
                }
            }

            /// The reason of this code. `None` where there is none: a later version may know more.
            #[cfg(any(feature = "postgres", feature = "sqlite"))]
            pub(crate) fn of_code(code: &str) -> Option<Self> {
                match code {
                    $($code => Some(Self::$reason),)*
                    _ => None,
                }
            }
        }
    };
}

codes_of_reasons! {
    BodyTooLarge = "body_too_large",
    TargetUndecodable = "target_undecodable",
    TargetMissing = "target_missing",
    TargetAmbiguous = "target_ambiguous",
    TargetInvalid = "target_invalid",
    TargetMismatch = "target_mismatch",
    EmailUnverified = "email_unverified",
    DomainUnregistered = "domain_unregistered",
    DomainPendingDelete = "domain_pending_delete",
    DomainRedemption = "domain_redemption",
    DomainExpired = "domain_expired",
    DomainOnHold = "domain_on_hold",
    DomainReregistered = "domain_reregistered",
    DomainChangedHands = "domain_changed_hands",
    DomainExpiring = "domain_expiring",
    DomainUnresolvable = "domain_unresolvable",
    DomainUnknown = "domain_unknown",
    TooManyRequests = "too_many_requests",
}

impl Reason {
    /// Whether it is the request that is at fault, whoever it is for. Such a request is refused in every mode: there is nothing to imitate.
    #[must_use]
    pub(crate) const fn is_of_request(self) -> bool {
        match self {
            Self::BodyTooLarge | Self::TargetUndecodable | Self::TargetMissing | Self::TargetAmbiguous | Self::TargetInvalid => true,
            Self::TargetMismatch
            | Self::EmailUnverified
            | Self::DomainUnregistered
            | Self::DomainPendingDelete
            | Self::DomainRedemption
            | Self::DomainExpired
            | Self::DomainOnHold
            | Self::DomainReregistered
            | Self::DomainChangedHands
            | Self::DomainExpiring
            | Self::DomainUnresolvable
            | Self::DomainUnknown
            | Self::TooManyRequests => false,
        }
    }
}

/// What does not block, but is worth a line in the audit record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Notice {
    /// The registration runs out within `notice_within`.
    DomainExpiresSoon,
    /// The registry renewed the domain by itself; whether its holder paid is not known yet (RFC 3915 §3.1, auto renew period).
    DomainAutoRenewed,
    /// No source could tell, and the policy lets such requests through.
    DomainUnknown,
    /// The domain is for sale, as a status service says: sales precede many take-overs.
    DomainForSale,
    /// Who runs the domain changed since the verification, though not so much that it must have changed hands.
    DomainMoved,
    /// Some source could not tell, beside others that could.
    SourceFailed,
    /// Sources contradict each other about the registration. What speaks for a lapse counts.
    SourcesDisagree,
}

impl Notice {
    /// The stable code, as it stands in the audit record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DomainExpiresSoon => "domain_expires_soon",
            Self::DomainAutoRenewed => "domain_auto_renewed",
            Self::DomainUnknown => "domain_unknown",
            Self::DomainForSale => "domain_for_sale",
            Self::DomainMoved => "domain_moved",
            Self::SourceFailed => "source_failed",
            Self::SourcesDisagree => "sources_disagree",
        }
    }
}

macro_rules! written_as_code {
    ($($code:ty),*) => {$(
        impl fmt::Display for $code {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $code {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )*};
}

written_as_code!(Reason, Notice, Standing);

/// Whether a reset may go on, with everything that speaks against it.
///
/// The layer puts it into the extensions of the request that reaches the application, and into those of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    reasons: Vec<Reason>,
    notices: Vec<Notice>,
    standing: Option<Standing>,
    unverify: Option<Reason>,
    reference: Option<Uuid>,
}

impl Verdict {
    pub(crate) fn new(mut reasons: Vec<Reason>, notices: Vec<Notice>, standing: Option<Standing>, unverify: Option<Reason>) -> Self {
        reasons.sort_unstable();
        Self { reasons, notices, standing, unverify, reference: None }
    }

    pub(crate) fn refusal(reason: Reason) -> Self {
        Self { reasons: vec![reason], ..Self::default() }
    }

    pub(crate) fn recorded_as(mut self, reference: Uuid) -> Self {
        self.reference = Some(reference);
        self
    }

    /// Whether no reason holds.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.reasons.is_empty()
    }

    /// `"allow"` or `"block"`, as the audit record has it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        if self.is_allowed() { "allow" } else { "block" }
    }

    /// Every reason that holds, in the order of judging; the first decides.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// What is worth knowing although it does not block.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Where the address's domain stands. `None` where no domain was looked at, as for an address without account.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        self.standing
    }

    /// The reason for which the address must lose its verification for good, if there is one.
    #[must_use]
    pub fn unverify(&self) -> Option<Reason> {
        self.unverify
    }

    /// The `id` of the audit record that tells about this verdict. `None` where none was written.
    #[must_use]
    pub fn reference(&self) -> Option<Uuid> {
        self.reference
    }
}
