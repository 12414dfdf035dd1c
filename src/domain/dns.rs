//! What the DNS has: whether a name is delegated, to whom, and whether mail can reach it.
//!
//! 1. A name is gone where the DNS says so (NXDOMAIN, RFC 8020), and for no other cause. Where it has other records than those asked for (NODATA, RFC 2308
//!    §2.2) it is there. A refusal, a server's failure, which a wrong signature is too (RFC 4035 §5.5, RFC 8914), silence, an answer that can't be read or that
//!    is cut short over TCP as well: the DNS could not tell, which is an error.
//! 2. Of name servers, mail servers and signing keys, the name servers must be known for a report. What else could not be told is `None` in it.
//! 3. Mail reaches a host by its MX records or, where it has none, by its address (RFC 5321 §5.1). An alias (CNAME) is followed. A sole MX of `.` refuses
//!    mail (RFC 7505). Whether the servers that MX records name exist is not asked: only the mail itself would show it.
//! 4. A name that answers without having name servers may owe that to a wildcard of its registry, or to a resolver that makes up addresses for free names. So a
//!    name beside it is asked about that nobody can have registered. If mail reaches that by the same servers, or as little, nothing is said about either.
//! 5. The system's resolver may be that of a network which has only its own names. So where it denies a name, it must know the top-level domain, or it could not tell. One
//!    that was set for this is taken at its word.
//! 6. Where the DNS leads for a name is one question, about name servers. Only a name that it denies is asked about again, by rules 1 and 5.
//!
//! What is trusted is the resolver. It should validate DNSSEC, and stand on the same machine or network: nothing protects the answers on the way to here. None is
//! remembered here; a resolver remembers them as long as their records permit.

mod answer;
mod servers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join, join3};
use hickory_resolver::proto::rr::{Name, RecordType};

use answer::Answer;
use servers::{Servers, failed};

use crate::address::RegistrableDomain;
use crate::domain::{DNS, Delegation, DomainSource, Mail, Report, SourceError};

const DS_PATIENCE: Duration = Duration::from_millis(500);

/// Asks the DNS, by a recursive resolver. Clones share its sockets.
#[derive(Debug, Clone)]
pub struct Dns {
    servers: Arc<Servers>,
    /// Whether the resolvers were not chosen for this, and may be those of a network that knows only its own names.
    is_of_system: bool,
}

impl Dns {
    /// Asks the resolvers of `/etc/resolv.conf` (elsewhere those that the system is set to), as they are now. They are asked in turn until one can tell. Its
    /// search list and other options, `/etc/hosts` and multicast are no part of this.
    ///
    /// # Errors
    /// Where the file can't be read, or names no resolver.
    pub fn system() -> Result<Self, SourceError> {
        Ok(Self { servers: Arc::new(Servers::of_system()?), is_of_system: true })
    }

    /// Asks the resolver at `address`, over UDP and, where an answer is too long for that, TCP.
    ///
    /// # Errors
    /// Where the client can't be set up. Whether a resolver is there shows only when it is asked.
    pub fn resolver(address: SocketAddr) -> Result<Self, SourceError> {
        Ok(Self { servers: Arc::new(Servers::one(address)?), is_of_system: false })
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Answer, SourceError> {
        self.servers.ask(name, kind).await
    }

    /// Makes sure that resolvers which lack `host` know its top-level domain. Those of an isolated network lack everything.
    async fn doubt_absence(&self, host: &str) -> Result<(), SourceError> {
        let top_level = host.rsplit('.').next().unwrap_or_default();
        if self.is_of_system && !self.ask(&absolute(top_level)?, RecordType::NS).await?.has_name() {
            return Err(failed(host, "the system's resolver does not even know its top-level domain"));
        }
        Ok(())
    }

    /// Whether mail can reach `name`, whose MX records are `mx` (RFC 5321 §5.1).
    async fn mail_by(&self, name: &Name, mx: Result<Answer, SourceError>) -> Result<Mail, SourceError> {
        let mx = mx?;
        if !mx.is_empty() {
            // RFC 7505 §3: a null MX stands alone. Beside others it means nothing.
            return Ok(if mx.exchanges().is_empty() { Mail::Refused } else { Mail::Accepted });
        }
        if !mx.reaches_a_name() {
            return Ok(Mail::NoHost);
        }
        let (v4, v6) = join(self.ask(name, RecordType::A), self.ask(name, RecordType::AAAA)).await;
        match (v4, v6) {
            (Ok(addresses), _) | (_, Ok(addresses)) if !addresses.is_empty() => Ok(Mail::Accepted),
            (Ok(_), Ok(_)) => Ok(Mail::NoServer),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }
}

#[async_trait]
impl DomainSource for Dns {
    async fn report(&self, domain: &RegistrableDomain) -> Result<Report, SourceError> {
        let name = absolute(domain.as_str())?;
        // Some servers never answer about DS, which is the least that is to be known.
        let ds = tokio::time::timeout(DS_PATIENCE, self.ask(&name, RecordType::DS));
        let (ns, mx, ds) = join3(self.ask(&name, RecordType::NS), self.ask(&name, RecordType::MX), ds).await;
        let ns = ns?;
        let mut report = Report::about_nothing(DNS);
        // Servers exist that deny a whole name for want of one kind of record. Any other answer about it outweighs them.
        if !ns.has_name() && !mx.as_ref().is_ok_and(Answer::has_name) {
            self.doubt_absence(domain.as_str()).await?;
            report.in_dns = Some(false);
            report.mail = Some(Mail::NoHost);
            return Ok(report);
        }
        let mail_servers = mx.as_ref().map(Answer::exchanges).unwrap_or_default();
        let mail = self.mail_by(&name, mx).await;
        let name_servers = ns.name_servers();
        if name_servers.is_empty() {
            let mail = mail?;
            let sibling = sibling(domain)?;
            let mx = self.ask(&sibling, RecordType::MX).await?;
            if mx.has_name() && mx.exchanges() == mail_servers && self.mail_by(&sibling, Ok(mx)).await? == mail {
                return Ok(report);
            }
            report.mail = Some(mail);
        } else {
            report.mail = mail.ok();
        }
        report.in_dns = Some(true);
        report.name_servers = name_servers;
        report.mail_servers = mail_servers;
        report.ds = ds.ok().and_then(Result::ok).and_then(|ds| ds.digests());
        Ok(report)
    }

    async fn mail(&self, host: &str) -> Result<Option<Mail>, SourceError> {
        let name = absolute(host)?;
        let mail = self.mail_by(&name, self.ask(&name, RecordType::MX).await).await?;
        if mail == Mail::NoHost {
            self.doubt_absence(host).await?;
        }
        Ok(Some(mail))
    }

    async fn delegation(&self, domain: &RegistrableDomain) -> Result<Option<Delegation>, SourceError> {
        let name = absolute(domain.as_str())?;
        let ns = self.ask(&name, RecordType::NS).await?;
        // As in a report: any other answer about the name outweighs a denial.
        if !ns.has_name() && !self.ask(&name, RecordType::MX).await.is_ok_and(|mx| mx.has_name()) {
            self.doubt_absence(domain.as_str()).await?;
            return Ok(Some(Delegation::Absent));
        }
        Ok(Some(Delegation::To(ns.name_servers())))
    }
}

/// `host` as a name that no search list is applied to.
fn absolute(host: &str) -> Result<Name, SourceError> {
    let mut name = Name::from_ascii(host).map_err(|error| failed(host, error))?;
    name.set_fqdn(true);
    if name.is_root() { Err(failed(host, "no name of a host")) } else { Ok(name) }
}

/// A name beside `domain` that nobody can have registered. It can't be foreseen either, so no registry or resolver can treat it apart.
fn sibling(domain: &RegistrableDomain) -> Result<Name, SourceError> {
    let mut label = [0; 16];
    getrandom::fill(&mut label).map_err(|error| failed(domain.as_str(), error))?;
    let suffix = domain.as_str().split_once('.').map_or("", |(_, suffix)| suffix);
    absolute(&format!("{}.{suffix}", hex::encode(label)))
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::NameServer;

    /// The resolver of a container or a test network often says of every name that it does not exist.
    #[tokio::test]
    async fn a_systems_resolver_that_lacks_the_top_level_domain_too_could_not_tell() {
        let server = NameServer::start().await.unwrap();
        server.delegate("example.com", ["ns.example.net"]);
        let servers = Arc::new(Servers::one(server.address()).unwrap());
        let [chosen, of_system] = [false, true].map(|is_of_system| Dns { servers: Arc::clone(&servers), is_of_system });
        let gone = RegistrableDomain::of("gone.zz").unwrap();
        assert_eq!(chosen.report(&gone).await.unwrap().in_dns, Some(false));
        assert_eq!(chosen.mail("mail.gone.zz").await.unwrap(), Some(Mail::NoHost));
        assert_eq!(chosen.delegation(&gone).await.unwrap(), Some(Delegation::Absent));
        assert!(of_system.report(&gone).await.is_err() && of_system.mail("mail.gone.zz").await.is_err());
        assert!(of_system.delegation(&gone).await.is_err());
        // Where it knows that, it is believed.
        let gone = RegistrableDomain::of("gone.com").unwrap();
        assert_eq!(of_system.report(&gone).await.unwrap().in_dns, Some(false));
        assert_eq!(of_system.delegation(&gone).await.unwrap(), Some(Delegation::Absent));
    }
}
