//! What the world shows of a domain: to RDAP and the DNS, as the gatekeeper asks them, and to status services.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use reset_gatekeeper::domain::{Delegation, DomainSource, History, Mail, Report, SourceError, Status};
use reset_gatekeeper::testing::SetClock;
use reset_gatekeeper::{Clock, RegistrableDomain};

use crate::dice::throw;
use crate::figures::{Ends, STATUS_UNKNOWN};
use crate::operators::Operators;
use crate::world::{Face, Phase, World, moment, seconds};

/// How many DNS queries a report takes: name servers, mail servers, keys.
const QUERIES: u64 = 3;

impl World {
    /// What the DNS says of the domain.
    fn dns_report(&self, domain: u32, at: i64) -> Result<Report, SourceError> {
        if self.is_dns_down(domain, at) {
            let name = self.domains[domain as usize].name.to_string();
            return Err(SourceError::Dns { name, source: "its servers fail".into() });
        }
        let face = self.domains[domain as usize].face(at);
        let mut report = Report::about_nothing("dns");
        report.in_dns = Some(face.is_in_dns());
        if face.is_in_dns() {
            report.name_servers = self.name_servers(face);
            report.mail_servers = face.servers.mail.map(|mail| format!("mx.{}", self.operators.name(mail))).into_iter().collect();
            // A parked name has an address, which stands in for its mail servers.
            report.mail = Some(Mail::Accepted);
            report.ds = Some(keys(face));
        } else {
            report.mail = Some(Mail::NoHost);
        }
        Ok(report)
    }

    fn name_servers(&self, face: &Face) -> Vec<String> {
        let operator = self.operators.name(face.servers.names);
        ["ns1", "ns2"].map(|host| format!("{host}.{operator}")).to_vec()
    }

    /// What the registry says, with what the DNS adds.
    pub(crate) fn report(&self, domain: u32, at: i64) -> Result<Report, SourceError> {
        let this = &self.domains[domain as usize];
        let (face, way) = (this.face(at), this.top_level());
        let dns = self.dns_report(domain, at);
        if !way.rdap {
            return dns.map(|mut dns| {
                dns.registered = dns.in_dns;
                dns
            });
        }
        if self.is_registry_down(domain, at) {
            let source = SourceError::Refused { url: "rdap".to_owned(), status: 503, retry_after: None };
            return Err(match dns {
                Ok(dns) => SourceError::Undecided { dns: Arc::new(dns), source: Box::new(source) },
                Err(_) => source,
            });
        }
        let is_hidden = face.phase != Phase::Registered && !way.redemption_shown;
        let mut report =
            if face.phase == Phase::Free || is_hidden { Report::unregistered("rdap") } else { self.registration(domain, face) };
        if let Ok(dns) = dns {
            report.in_dns = dns.in_dns;
            report.mail = dns.mail;
            report.mail_servers = dns.mail_servers;
            report.ds = dns.ds.or(report.ds);
        }
        Ok(report)
    }

    fn registration(&self, domain: u32, face: &Face) -> Report {
        let way = self.domains[domain as usize].top_level();
        let mut report = Report::registered("rdap");
        report.statuses = match face.phase {
            Phase::Redemption => vec![Status::RedemptionPeriod, Status::PendingDelete],
            Phase::PendingDelete => vec![Status::PendingDelete],
            Phase::Registered | Phase::Free => {
                let shown =
                    [(face.held, Status::ClientHold), (face.added, Status::AddPeriod), (face.auto_renewed, Status::AutoRenewPeriod)];
                let shown: Vec<_> = shown.into_iter().filter_map(|(holds, status)| holds.then_some(status)).collect();
                // RFC 5731 §2.3: `ok` stands alone.
                if shown.is_empty() { vec![Status::from("active")] } else { shown }
            }
        };
        if way.dated {
            report.registered_at = Some(moment(face.registered_at));
        }
        if way.ends != Ends::Hidden {
            report.expires_at = Some(moment(face.expires_at));
        }
        if self.is_registrar_asked(domain, face) && !Operators::is_silent(face.registrar) {
            report.registrar_expires_at = Some(moment(face.paid_until));
        }
        report.registrar = way.registrar.then(|| face.registrar.to_string());
        report.handle = way.handle.then(|| format!("{}_{}", face.handle, way.name));
        report.name_servers = self.name_servers(face);
        report.ds = Some(keys(face));
        report.delegation_signed = Some(face.servers.keys != 0);
        report
    }

    /// Whether the registry leaves it to the registrar to say when the term ends.
    fn is_registrar_asked(&self, domain: u32, face: &Face) -> bool {
        self.domains[domain as usize].top_level().rdap && face.auto_renewed && face.phase == Phase::Registered
    }

    /// How many questions to registries a report takes.
    fn questions(&self, domain: u32, at: i64) -> u64 {
        let this = &self.domains[domain as usize];
        u64::from(this.top_level().rdap) + u64::from(self.is_registrar_asked(domain, this.face(at)))
    }

    /// What a status service says.
    pub(crate) fn words(&self, domain: u32, at: i64) -> Words {
        if throw(self.seed, [8, u64::from(domain), at as u64]) < STATUS_UNKNOWN {
            return Words { unknown: true, ..Words::default() };
        }
        let this = &self.domains[domain as usize];
        let face = this.face(at);
        let is_shown = self.is_lapse_shown(domain);
        let has_ended =
            face.phase == Phase::Registered && face.paid_until.min(face.expires_at) <= at && this.top_level().ends != Ends::Hidden;
        Words {
            unknown: false,
            undelegated: !face.is_in_dns(),
            inactive: face.phase == Phase::Free,
            expiring: (has_ended || face.phase == Phase::Redemption) && is_shown,
            deleting: face.phase == Phase::PendingDelete && is_shown,
            parked: face.is_in_dns() && Operators::is_market(face.servers.names),
        }
    }

    /// Whether the DNS has no mail server for the domain.
    pub(crate) fn lacks_mail(&self, domain: u32, at: i64) -> bool {
        let face = self.domains[domain as usize].face(at);
        !face.is_in_dns() || face.servers.mail.is_none()
    }
}

/// Those words of a status service that anybody reacts to. A healthy domain has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) unknown: bool,
    pub(crate) undelegated: bool,
    pub(crate) inactive: bool,
    pub(crate) expiring: bool,
    pub(crate) deleting: bool,
    pub(crate) parked: bool,
}

fn keys(face: &Face) -> Vec<String> {
    if face.servers.keys == 0 { Vec::new() } else { vec![format!("{:08x}", face.servers.keys)] }
}

/// The registries and the DNS of the world, at the moment that the clock shows.
#[derive(Clone)]
pub(crate) struct Registries(Arc<Inner>);

struct Inner {
    world: Arc<World>,
    clock: SetClock,
    registry: AtomicU64,
    dns: AtomicU64,
    /// What the gatekeeper has seen of domains that come into other hands.
    seen: Mutex<HashMap<u32, History>>,
}

impl Registries {
    pub(crate) fn new(world: Arc<World>, clock: SetClock) -> Self {
        Self(Arc::new(Inner { world, clock, registry: AtomicU64::new(0), dns: AtomicU64::new(0), seen: Mutex::default() }))
    }

    /// Questions to registries, and queries of the DNS.
    pub(crate) fn asked(&self) -> (u64, u64) {
        (self.0.registry.load(Ordering::Relaxed), self.0.dns.load(Ordering::Relaxed))
    }

    /// What was seen of the domain, which comes into other hands.
    pub(crate) fn seen(&self, domain: u32) -> Option<History> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&domain).cloned()
    }

    fn number(&self, domain: &RegistrableDomain) -> Result<u32, SourceError> {
        self.0.world.number(domain.as_str()).ok_or(SourceError::NoSource)
    }
}

#[async_trait]
impl DomainSource for Registries {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        let (number, this) = (self.number(domain)?, &self.0);
        let now = this.clock.now();
        let at = seconds(now);
        this.registry.fetch_add(this.world.questions(number, at), Ordering::Relaxed);
        this.dns.fetch_add(QUERIES, Ordering::Relaxed);
        let report = this.world.report(number, at)?;
        if this.world.domains[number as usize].taking.is_some() {
            let mut seen = this.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let history = seen.get(&number).map_or_else(|| History::beginning(&report, now), |history| history.after(&report, now));
            seen.insert(number, history);
        }
        Ok(report)
    }

    async fn delegation(&self, domain: &RegistrableDomain) -> Result<Option<Delegation>, SourceError> {
        let (number, this) = (self.number(domain)?, &self.0);
        this.dns.fetch_add(1, Ordering::Relaxed);
        let report = this.world.dns_report(number, seconds(this.clock.now()))?;
        Ok(Some(if report.in_dns == Some(true) { Delegation::To(report.name_servers) } else { Delegation::Absent }))
    }
}

impl Words {
    /// Whether PyPI's job would un-verify an address for these.
    pub(crate) fn are_bad(self) -> bool {
        self.undelegated || self.inactive || self.expiring || self.deleting || self.unknown
    }
}
