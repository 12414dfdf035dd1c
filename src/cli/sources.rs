//! The sources that the configuration names, as one.

use std::num::NonZeroU32;

use reset_gatekeeper::config::{Config, Nameserver};
use reset_gatekeeper::domain::Sources;
use reset_gatekeeper::domain::dns::Dns;
use reset_gatekeeper::domain::domainr::Domainr;
use reset_gatekeeper::domain::fastly::Fastly;
use reset_gatekeeper::domain::rdap::RdapBuilder;
use reset_gatekeeper::domain::whois::Whois;

use super::Failure;

/// How often a registry is asked a second where nothing is said about it, and at most.
const USUAL: u32 = 16;
const MOST: f64 = 100_000.0;

/// All that are asked. What runs for long must start even where the list of registries can't be had.
pub(super) async fn sources(config: &Config, starts_without_bootstrap: bool) -> Result<Sources, Failure> {
    let settings = config.sources()?;
    let mut sources = Sources::new().patience(config.cache.timeout / 2);
    if settings.rdap || settings.dns.is_some() {
        // Where the registries aren't to be asked, their list still tells for which domains the DNS may not vouch.
        let rdap = paced(config).starts_without_bootstrap(starts_without_bootstrap || !settings.rdap).build().await;
        let rdap = rdap.map_err(|error| Failure::new("`domains.rdap.bootstrap`", error))?;
        sources = if settings.rdap { sources.registry(rdap) } else { sources.registry(rdap.unasked()) };
    }
    if let Some(fastly) = settings.fastly {
        sources = sources.registration("fastly", Fastly::new(fastly.secret)?.endpoint(&fastly.url)?);
    }
    if let Some(domainr) = settings.domainr {
        sources = sources.registration("domainr", Domainr::new(domainr.secret)?.endpoint(&domainr.url)?);
    }
    if settings.whois {
        sources = sources.registration("whois", Whois::new());
    }
    match settings.dns {
        None => Ok(sources),
        Some(Nameserver::System) => Ok(sources.dns(Dns::system()?)),
        Some(Nameserver::At(address)) => Ok(sources.dns(Dns::resolver(address)?)),
    }
}

/// The registries, asked as fast as a sweep is to ask them where that is faster than usual.
fn paced(config: &Config) -> RdapBuilder {
    let rate = config.sweep().and_then(|sweep| sweep.rate).unwrap_or_default();
    // Beside a sweep there are resets.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
    let pace = NonZeroU32::new((rate * 1.25).clamp(0.0, MOST) as u32);
    match pace.filter(|pace| pace.get() > USUAL) {
        Some(pace) => config.rdap.clone().pace(pace),
        None => config.rdap.clone(),
    }
}
