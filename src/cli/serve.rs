//! `reset-gatekeeper serve`: the guarded reverse proxy.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use reset_gatekeeper::account::{Directory, DirectoryError, HttpDirectory, Overlay, PostgresDirectory, SqliteDirectory};
use reset_gatekeeper::audit::JsonLines;
use reset_gatekeeper::config::{Config, Site, StateStore, Store};
use reset_gatekeeper::proxy::{Proxy, Server, Tls, Upstream, systemd};
use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, State, SystemClock};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tower_layer::Layer;

use super::sources::sources;
use super::{Failure, chain, configuration_with};

/// How long the last of the audit log's heads may take to be kept.
const CLOSING: Duration = Duration::from_secs(2);

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
        let state = state(&site).await?;
        let audit = JsonLines::open(&site.audit).await?;
        let keeping_heads = keep_heads(&audit, &site, state.clone()).await?;
        let layer = guarded(&config, &site, state, audit).await?;
        eprintln!("reset-gatekeeper: {}", site.summary());
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
            eprintln!("reset-gatekeeper: stopping, once what is under way is answered; a second signal stops at once");
        };
        let at_once = async {
            let (Ok(mut interrupted), Ok(mut terminated)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
                return;
            };
            for _ in 0..2 {
                tokio::select! {
                    _ = interrupted.recv() => {}
                    _ = terminated.recv() => {}
                }
            }
        };
        tokio::select! {
            () = server.run(listener, layer.layer(proxy), stopped) => {}
            () = at_once => {}
        }
        // The log closes with the last of what uses it, and then its last head is kept.
        drop(layer);
        if let Some(keeping) = keeping_heads {
            drop(tokio::time::timeout(CLOSING, keeping).await);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The layer that the configuration describes. Whatever it needs is opened, so that what is wrong with it shows before the port opens.
async fn guarded(config: &Config, site: &Site, state: State, audit: JsonLines) -> Result<GatekeeperLayer, Failure> {
    let mut builder = Gatekeeper::builder();
    if site.state.is_some() {
        builder = builder.state(state.clone());
    }
    let gatekeeper = builder
        .directory(directory(config, site, state).await?)
        .domains(sources(config, true).await?)
        .audit(audit)
        .record_allowed(site.record_allowed)
        .policy(config.policy.clone())
        .timeout(config.cache.timeout)
        .fresh_for(config.cache.fresh_for)
        .stale_for(config.cache.stale_for)
        .providers(config.cache.providers.iter().cloned())
        .build()?;
    let layer = GatekeeperLayer::new(gatekeeper, site.reply.clone());
    Ok(site.guards.iter().cloned().fold(layer, GatekeeperLayer::guard))
}

/// Keeps in the state how far the audit log has got, so that lines that are cut off its end show.
async fn keep_heads(audit: &JsonLines, site: &Site, state: State) -> Result<Option<JoinHandle<()>>, Failure> {
    let mut heads = audit.heads();
    let kept = state.audit_head(&site.audit).await?;
    if kept.is_some_and(|kept| kept.seq > heads.borrow().seq) {
        // What was kept stays, and proves it, until the log goes on under another name.
        tracing::error!(file = %site.audit.display(), "records are missing from the end of the audit log: lines were cut off, or it was replaced");
        return Ok(None);
    }
    let file = site.audit.clone();
    let keeping = tokio::spawn(async move {
        while heads.changed().await.is_ok() {
            let head = heads.borrow_and_update().clone();
            if let Err(error) = state.keep_audit_head(&file, &head).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the head of the audit log is not kept");
            }
        }
    });
    Ok(Some(keeping))
}

/// The state, which outlives the process where the configuration says where.
pub(super) async fn state(site: &Site) -> Result<State, Failure> {
    match &site.state {
        Some(store @ StateStore::Sqlite(file)) => State::open(file).await.map_err(|error| Failure::new(store, error)),
        Some(store @ StateStore::Postgres(url)) => State::connect(url).await.map_err(|error| Failure::new(store, error)),
        None => Ok(State::memory().await?),
    }
}

/// The directory of accounts, with what the state knows laid over it.
pub(super) async fn directory(config: &Config, site: &Site, state: State) -> Result<Overlay<Arc<dyn Directory>>, Failure> {
    let directory = opened(site).await.map_err(|error| config.directory_error(&error, &chain(&error)))?;
    Ok(Overlay::new(directory, state, SystemClock, site.directory.unverifies()))
}

async fn opened(site: &Site) -> Result<Arc<dyn Directory>, DirectoryError> {
    let settings = &site.directory;
    Ok(match (&settings.store, settings.queries.clone()) {
        (Store::Sqlite(file), None) => Arc::new(SqliteDirectory::open(file).await?),
        (Store::Sqlite(file), Some(queries)) => Arc::new(SqliteDirectory::with_queries(file, queries).await?),
        (Store::Postgres(url), None) => Arc::new(PostgresDirectory::connect(url).await?),
        (Store::Postgres(url), Some(queries)) => Arc::new(PostgresDirectory::connect_with(url, queries).await?),
        (Store::Http { url, token }, _) => {
            let directory = HttpDirectory::new(url)?.keys(settings.keys);
            match token {
                Some(token) => Arc::new(directory.token(token)?),
                None => Arc::new(directory),
            }
        }
    })
}
