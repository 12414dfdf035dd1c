//! `reset-gatekeeper serve`: the guarded reverse proxy.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use futures_util::future::join;
use reset_gatekeeper::config::Config;
use reset_gatekeeper::proxy::{Proxy, Server, Tls, Upstream, systemd};
use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, Sweeping};
use tokio::net::TcpListener;
use tower_layer::Layer;

use super::signals::Signals;
use super::sources::sources;
use super::stores::{audit_log, builder, last_head_kept, state};
use super::{Failure, configuration_with};

/// What the arguments of `serve` may be.
#[derive(Args)]
pub(crate) struct Serve {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Listen here instead
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Guard this application instead
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
}

impl Serve {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(self.serve())
    }

    /// Serves until SIGTERM or SIGINT, and then finishes what is under way.
    async fn serve(self) -> Result<ExitCode, Failure> {
        let flags = [("--listen", self.listen), ("--upstream", self.upstream)];
        let flags = flags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let config = configuration_with(Some(&self.config), flags)?;
        let site = config.site()?;
        let state = state(&site.stores).await?;
        let (audit, keeping_heads) = audit_log(&site.stores, state.clone()).await?;
        // Whatever it needs is opened, so that what is wrong with it shows before the port opens.
        let mut builder = builder(&config, &site.stores, state.clone()).await?;
        if config.sweep().is_some() {
            builder = builder.state(state);
        }
        let gatekeeper = builder.domains(sources(&config, true).await?).audit(audit).build()?;
        let layer = GatekeeperLayer::new(gatekeeper.clone(), site.reply.clone());
        let layer = site.guards.iter().cloned().fold(layer, GatekeeperLayer::guard);
        eprintln!("reset-gatekeeper: {}", site.summary());
        let proxy = Proxy::new(Upstream::new(site.upstream.clone()).timeout(site.timeout))?;
        let mut server = Server::new().trusted_proxies(site.trusted_proxies.iter().copied());
        if let Some(tls) = &site.tls {
            server = server.tls(Tls::from_files(&tls.certificate, &tls.key)?);
        }
        let (mut first, mut any, mut second) = (Signals::open()?, Signals::open()?, Signals::open()?);
        let listener = match systemd::listener()? {
            Some(listener) => listener,
            None => TcpListener::bind(site.listen).await.map_err(|error| Failure::new(site.listen, error))?,
        };
        let scheme = if site.tls.is_some() { "https" } else { "http" };
        eprintln!("listening on {scheme}://{}", listener.local_addr()?);
        systemd::ready();
        let stopped = async {
            first.next().await;
            systemd::stopping();
            eprintln!("reset-gatekeeper: stopping, once what is under way is answered; a second signal stops at once");
        };
        let sweeping = sweeping(&config, gatekeeper);
        let swept = async {
            if let Some(sweeping) = sweeping {
                any.next().await;
                sweeping.stop().await;
            }
        };
        tokio::select! {
            _ = join(server.run(listener, layer.layer(proxy), stopped), swept) => {}
            () = second.second() => {}
        }
        // The log closes with the last of what uses it, and then its last head is kept.
        drop(layer);
        last_head_kept(keeping_heads).await;
        Ok(ExitCode::SUCCESS)
    }
}

/// The sweep beside the proxy, where the configuration has one. A site that is only observed is only told about.
fn sweeping(config: &Config, gatekeeper: Gatekeeper) -> Option<Sweeping> {
    let mut settings = config.sweep()?;
    settings.dry_run = config.only_observes();
    Some(gatekeeper.sweep().settings(settings).start())
}
