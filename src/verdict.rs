//! What was decided about a recovery request, and why.
//!
//! [`Reason`] lists everything that blocks, [`Notice`] what is only worth knowing. Their codes are stable: they stand in the
//! audit record, and people search for them.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::audit::Decision;
use crate::domain::Standing;
use crate::exemption::Exemption;

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
macro_rules! codes {
    ($kind:ident: $($word:ident = $code:literal),* $(,)?) => {
        impl $kind {
            /// All that this version knows.
            pub const ALL: &'static [Self] = &[$(Self::$word),*];

            /// The stable code, as it stands in the audit record.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => $code,)*
                }
            }

            /// What has this code. `None` where there is none: a later version may know more.
            pub(crate) fn of_code(code: &str) -> Option<Self> {
                match code {
                    $($code => Some(Self::$word),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    Reason:
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

/// What a reason is about.
enum Subject {
    /// The request, whoever it is for.
    Request,
    /// How this account is asked for.
    Asking,
    /// How the account or its domain stands.
    Standing,
}

impl Reason {
    const fn subject(self) -> Subject {
        match self {
            Self::BodyTooLarge | Self::TargetUndecodable | Self::TargetMissing | Self::TargetAmbiguous | Self::TargetInvalid => {
                Subject::Request
            }
            Self::TargetMismatch | Self::TooManyRequests => Subject::Asking,
            Self::EmailUnverified
            | Self::DomainUnregistered
            | Self::DomainPendingDelete
            | Self::DomainRedemption
            | Self::DomainExpired
            | Self::DomainOnHold
            | Self::DomainReregistered
            | Self::DomainChangedHands
            | Self::DomainExpiring
            | Self::DomainUnresolvable
            | Self::DomainUnknown => Subject::Standing,
        }
    }

    /// Whether it is the request that is at fault, whoever it is for. Such a request is refused in every mode: there is nothing to imitate.
    #[must_use]
    pub(crate) const fn is_of_request(self) -> bool {
        matches!(self.subject(), Subject::Request)
    }

    /// Whether it is about how the account or its domain stands, so that whoever knows better may exempt it.
    pub(crate) const fn is_of_standing(self) -> bool {
        matches!(self.subject(), Subject::Standing)
    }

    /// Whether it says that the domain is no longer its former holder's.
    pub(crate) const fn is_of_another_holder(self) -> bool {
        matches!(self, Self::DomainReregistered | Self::DomainChangedHands)
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

codes! {
    Notice:
    DomainExpiresSoon = "domain_expires_soon",
    DomainAutoRenewed = "domain_auto_renewed",
    DomainUnknown = "domain_unknown",
    DomainForSale = "domain_for_sale",
    DomainMoved = "domain_moved",
    SourceFailed = "source_failed",
    SourcesDisagree = "sources_disagree",
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

macro_rules! read_as_code {
    ($($code:ty),*) => {$(
        impl<'de> Deserialize<'de> for $code {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let code = Cow::<'de, str>::deserialize(deserializer)?;
                Self::of_code(&code).ok_or_else(|| serde::de::Error::unknown_variant(&code, &[]))
            }
        }
    )*};
}

read_as_code!(Reason, Notice);

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
    exemption: Option<Exemption>,
}

impl Verdict {
    pub(crate) fn new(mut reasons: Vec<Reason>, notices: Vec<Notice>, standing: Option<Standing>, unverify: Option<Reason>) -> Self {
        reasons.sort_unstable();
        Self { reasons, notices, standing, unverify, reference: None, exemption: None }
    }

    pub(crate) fn refusal(reason: Reason) -> Self {
        Self { reasons: vec![reason], ..Self::default() }
    }

    /// The same, let pass by `exemption` if every reason is one that an exemption can be for.
    pub(crate) fn exempted(self, exemption: Exemption) -> Self {
        if self.is_exemptible() { Self { exemption: Some(exemption), ..self } } else { self }
    }

    /// The same, with what else speaks against it by `other`.
    pub(crate) fn beside(mut self, other: &Self) -> Self {
        self.reasons.extend(other.reasons.iter().filter(|reason| reason.is_of_another_holder()));
        self.reasons.sort_unstable();
        self.reasons.dedup();
        self
    }

    /// Whether something blocks, and nothing that an exemption can't be for.
    pub(crate) fn is_exemptible(&self) -> bool {
        !self.reasons.is_empty() && self.reasons.iter().all(|reason| reason.is_of_standing())
    }

    pub(crate) fn recorded_as(mut self, reference: Uuid) -> Self {
        self.reference = Some(reference);
        self
    }

    /// Whether no reason holds, or an exemption lets it pass all the same.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.reasons.is_empty() || self.exemption.is_some()
    }

    /// What it comes to.
    #[must_use]
    pub fn decision(&self) -> Decision {
        if self.is_allowed() { Decision::Allow } else { Decision::Block }
    }

    /// `"allow"` or `"block"`, as the audit record has it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.decision().as_str()
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

    /// What lets it pass although reasons hold.
    #[must_use]
    pub fn exemption(&self) -> Option<&Exemption> {
        self.exemption.as_ref()
    }

    /// The `id` of the audit record that tells about this verdict. `None` where none was written.
    #[must_use]
    pub fn reference(&self) -> Option<Uuid> {
        self.reference
    }
}
