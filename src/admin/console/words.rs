//! What the codes mean, and what an operator may do.

use crate::domain::Signal;
use crate::verdict::{Notice, Reason};

/// What a reason says about the request, the account or the domain.
pub(super) const fn meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::BodyTooLarge => "The request's body was longer than the guard reads.",
        Reason::TargetUndecodable => "The request's body or address could not be read exactly as the application would read it.",
        Reason::TargetMissing => "The request named nobody.",
        Reason::TargetAmbiguous => "The request named several accounts, or two programs would find different accounts in it.",
        Reason::TargetInvalid => "What the request named is not one plain e-mail address, or not a name that an account can have.",
        Reason::TargetMismatch => {
            "The address that was asked for and the one that is stored differ in more than upper and lower case: they only look alike."
        }
        Reason::EmailUnverified => "The address of the account is not verified, or has lost its verification because its domain lapsed.",
        Reason::DomainUnregistered => "Nobody has registered the domain. Anybody can, and would then receive the mail.",
        Reason::DomainPendingDelete => "The domain is about to be deleted; its holder can't renew it any more.",
        Reason::DomainRedemption => "The registration was deleted. For a few weeks its former holder can still restore it.",
        Reason::DomainExpired => "The registration has run out, and its holder has not renewed it.",
        Reason::DomainOnHold => "The registrar or the registry has taken the domain out of the DNS, so its holder receives no mail there.",
        Reason::DomainReregistered => {
            "The domain was registered anew after the address was verified: whoever has it now need not be who had it then."
        }
        Reason::DomainChangedHands => {
            "Since the address was verified, the domain was seen lapsed, or everything by which its holder runs it has changed."
        }
        Reason::DomainExpiring => "The registration ends within the time that the policy sets.",
        Reason::DomainUnresolvable => "The mail host has no name in the DNS, or takes no mail.",
        Reason::DomainUnknown => "No source could tell how the domain stands.",
        Reason::TooManyRequests => "There were more requests for this account than the guard lets through.",
    }
}

/// What an operator may do about it.
pub(super) const fn remedy(reason: Reason) -> &'static str {
    match reason {
        Reason::BodyTooLarge => "Raise the guard's body_limit if such requests are genuine.",
        Reason::TargetUndecodable | Reason::TargetMissing | Reason::TargetAmbiguous | Reason::TargetInvalid => {
            "Nothing, where a person can ask again by the application's own form. If that very form sends it, the guard's target does not fit it."
        }
        Reason::TargetMismatch => {
            "Nothing: look-alike addresses are how such accounts are taken. The holder asks with the address as it is stored."
        }
        Reason::EmailUnverified => {
            "Have the holder verify an address again by another way than a reset, or exempt the account once you know who asks."
        }
        Reason::DomainUnregistered | Reason::DomainPendingDelete | Reason::DomainRedemption | Reason::DomainExpired => {
            "Help the holder to another address, once you know by another way that it is them. Exempt the account only for as long as that takes."
        }
        Reason::DomainOnHold => "The holder settles it with their registrar. It passes by itself after that.",
        Reason::DomainReregistered | Reason::DomainChangedHands => {
            "Find out by another way than e-mail whether the holder is still the same. If so, have the address verified again, or exempt the account."
        }
        Reason::DomainExpiring => "The holder renews the domain, and it passes by itself.",
        Reason::DomainUnresolvable => "The holder repairs the domain's mail. A reset would not have reached them anyway.",
        Reason::DomainUnknown => "Look at the sources on the overview. It passes by itself once one answers.",
        Reason::TooManyRequests => "Wait. If it goes on, somebody tries to get into the account or to annoy its holder.",
    }
}

/// What is worth knowing besides.
pub(super) const fn notice(notice: Notice) -> &'static str {
    match notice {
        Notice::DomainExpiresSoon => "The registration ends soon.",
        Notice::DomainAutoRenewed => "The registry has renewed the domain by itself; whether its holder paid is not known yet.",
        Notice::DomainUnknown => "No source could tell, and the policy lets such requests through.",
        Notice::DomainForSale => "The domain is for sale.",
        Notice::DomainMoved => {
            "Who runs the domain has changed since the verification, though not so much that it must have changed hands."
        }
        Notice::SourceFailed => "Some source could not tell, beside others that could.",
        Notice::SourcesDisagree => "The sources contradict each other. What speaks for a lapse counts.",
    }
}

/// What about a domain changed.
pub(super) const fn change(signal: Signal) -> &'static str {
    match signal {
        Signal::Registrar => "another registrar",
        Signal::NameServers => "name servers of other operators",
        Signal::Market => "name servers of a market for domains, or of a registrar's for names that were not paid for",
        Signal::MailServers => "mail servers of other operators",
        Signal::Ds => "other signing keys, or none any more",
        Signal::Hold => "on hold",
        Signal::Absence => "it had vanished from the DNS in between",
        Signal::Handle => "a new registration, by its key at the registry",
    }
}
