//! What serves, as the configuration has it, and what SIGHUP changes about it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use reset_gatekeeper::audit::JsonLines;
use reset_gatekeeper::config::{Config, Fixed, Site};
use reset_gatekeeper::proxy::{Proxy, Server, Tls, Upstream};
use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, GatekeeperService, RequestBody};
use tokio::sync::watch;
use tower_layer::Layer;

use super::signals::Hangups;
use super::{Failure, overridden};

/// How long the files may take to be read.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What a connection is served by.
pub(super) type Current = (Server, GatekeeperService<Proxy<RequestBody<Incoming>>>);

/// Where the configuration is, and the flags over it.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) file: PathBuf,
    pub(super) flags: Vec<(String, String)>,
}

impl Source {
    pub(super) fn read(&self) -> Result<Config, Failure> {
        Ok(overridden(Some(&self.file), self.flags.iter().cloned())?)
    }
}

/// What serves, and by which configuration.
pub(super) struct Front {
    site: Site,
    fixed: Fixed,
    layer: GatekeeperLayer,
    proxy: Proxy<RequestBody<Incoming>>,
}

impl Front {
    pub(super) fn new(config: &Config, site: Site, gatekeeper: Gatekeeper) -> Result<Self, Failure> {
        let layer = GatekeeperLayer::new(gatekeeper, site.reply.clone()).around_router();
        let layer = site.guards.iter().cloned().fold(layer, GatekeeperLayer::guard);
        Ok(Self { fixed: config.fixed()?, layer, proxy: proxy(&site)?, site })
    }

    /// What serves by the configuration that is at `source` now, where all that takes effect at a start alone is as it was.
    fn next(&self, source: &Source) -> Result<(Self, Current), Failure> {
        let config = source.read()?;
        config.sources()?;
        config.audit()?;
        config.webhook()?;
        let (site, fixed) = (config.site()?, config.fixed()?);
        let differing = self.fixed.differing(&fixed);
        if !differing.is_empty() {
            return Err(Failure::from(NeedsRestart(differing)));
        }
        let layer = self.layer.reloaded(site.reply.clone(), site.guards.iter().cloned());
        let is_same_application = (&site.upstream, site.timeout) == (&self.site.upstream, self.site.timeout);
        // Its connections are kept where they can be.
        let proxy = if is_same_application { self.proxy.clone() } else { proxy(&site)? };
        let next = Self { site, fixed, layer, proxy };
        let current = next.current()?;
        Ok((next, current))
    }

    /// What connections are served by. Reads the certificate.
    pub(super) fn current(&self) -> Result<Current, Failure> {
        let mut server = Server::new().trusted_proxies(self.site.trusted_proxies.iter().copied());
        if let Some(tls) = &self.site.tls {
            server = server.tls(Tls::from_files(&tls.certificate, &tls.key)?);
        }
        Ok((server, self.layer.layer(self.proxy.clone())))
    }

    /// At each SIGHUP, opens `log` again and has `current` be what the configuration says then. Where that can't be, all stays as it was.
    pub(super) async fn reloaded(self, mut hangups: Hangups, log: JsonLines, source: Source, current: watch::Sender<Current>) {
        let mut front = Arc::new(self);
        while hangups.next().await {
            match log.reopen().await {
                Ok(()) => tracing::info!("the audit log was opened again"),
                // The next record tries again.
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the audit log can't be opened again"),
            }
            let (former, from) = (Arc::clone(&front), source.clone());
            // Files are read, which may take a while.
            let next = tokio::task::spawn_blocking(move || former.next(&from));
            let next = tokio::time::timeout(PATIENCE, next).await.map_err(|_| Failure::from(TooSlow));
            match next.and_then(|next| next.map_err(Failure::from).flatten()) {
                Ok((next, serving)) => {
                    current.send_replace(serving);
                    let line = format!("reset-gatekeeper: reloaded: {}\n", next.site.summary());
                    // Whoever read it at the start may be gone by now.
                    drop(std::io::stderr().write_all(line.as_bytes()));
                    front = Arc::new(next);
                }
                Err(failure) => tracing::warn!("not reloaded, all stays as it was: {failure}"),
            }
        }
        std::future::pending().await
    }
}

fn proxy(site: &Site) -> Result<Proxy<RequestBody<Incoming>>, Failure> {
    Ok(Proxy::new(Upstream::new(site.upstream.clone()).timeout(site.timeout))?)
}

/// A file that is a pipe, or on a disk that hangs.
#[derive(Debug, thiserror::Error)]
#[error("the configuration, or a file that it names, can't be read in {} s", PATIENCE.as_secs())]
struct TooSlow;

/// Keys whose change takes effect at a start alone.
#[derive(Debug, thiserror::Error)]
#[error("a restart is needed for what changed: `{}`", .0.join("`, `"))]
struct NeedsRestart(Vec<String>);
