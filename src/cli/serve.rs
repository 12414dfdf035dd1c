//! `reset-gatekeeper serve`: the guarded reverse proxy.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use reset_gatekeeper::account::{Directory, HttpDirectory, Overlay, PostgresDirectory, SqliteDirectory};
use reset_gatekeeper::audit::JsonLines;
use reset_gatekeeper::config::{Config, Site, Store};
use reset_gatekeeper::proxy::{Proxy, Server, Tls, Upstream, systemd};
use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, State, SystemClock};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower_layer::Layer;

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
        let layer = guarded(&config, &site).await?;
        let proxy = Proxy::new(Upstream::new(site.upstream.clone()).timeout(site.timeout))?;
        let mut server = Server::new().trusted_proxies(site.trusted_proxies.iter().copied());
        if let Some(tls) = &site.tls {
            server = server.tls(Tls::from_files(&tls.certificate, &tls.key)?);
        }
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let listener = match systemd::listener()? {
            Some(listener) => listener,
            None => TcpListener::bind(site.listen).await.map_err(|error| Failure::new(site.listen, error))?,
        };
        let scheme = if site.tls.is_some() { "https" } else { "http" };
        eprintln!("listening on {scheme}://{}", listener.local_addr()?);
        systemd::ready();
        let stopped = async {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
            systemd::stopping();
        };
        server.run(listener, layer.layer(proxy), stopped).await;
        Ok(ExitCode::SUCCESS)
    }
}

/// The layer that the configuration describes. Whatever it needs is opened, so that what is wrong with it shows before the port opens.
async fn guarded(config: &Config, site: &Site) -> Result<GatekeeperLayer, Failure> {
    let gatekeeper = Gatekeeper::builder()
        .directory(directory(site).await?)
        .domains(config.rdap.clone().build().await?)
        .audit(JsonLines::open(&site.audit).await?)
        .record_allowed(site.record_allowed)
        .policy(config.policy.clone())
        .timeout(config.cache.timeout)
        .fresh_for(config.cache.fresh_for)
        .stale_for(config.cache.stale_for)
        .build()?;
    let layer = GatekeeperLayer::new(gatekeeper, site.reply.clone());
    Ok(site.guards.iter().cloned().fold(layer, GatekeeperLayer::guard))
}

/// The directory of accounts, with what the state knows laid over it.
pub(super) async fn directory(site: &Site) -> Result<Overlay<Arc<dyn Directory>>, Failure> {
    let state = match &site.state {
        Some(file) => State::open(file).await.map_err(|error| Failure::new(file.display(), error))?,
        None => State::memory().await?,
    };
    let settings = &site.directory;
    let directory: Arc<dyn Directory> = match (&settings.store, settings.queries.clone()) {
        (Store::Sqlite(file), None) => Arc::new(SqliteDirectory::open(file).await.map_err(|error| Failure::new(file.display(), error))?),
        (Store::Sqlite(file), Some(queries)) => {
            Arc::new(SqliteDirectory::with_queries(file, queries).await.map_err(|error| Failure::new(file.display(), error))?)
        }
        (Store::Postgres(url), None) => Arc::new(PostgresDirectory::connect(url).await?),
        (Store::Postgres(url), Some(queries)) => Arc::new(PostgresDirectory::connect_with(url, queries).await?),
        (Store::Http { url, token: None }, _) => Arc::new(HttpDirectory::new(url)?),
        (Store::Http { url, token: Some(token) }, _) => Arc::new(HttpDirectory::new(url)?.token(token)?),
    };
    Ok(Overlay::new(directory, state, SystemClock, settings.unverifies()))
}
