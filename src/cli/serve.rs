//! `reset-gatekeeper serve`: the guarded reverse proxy.

use std::future::pending;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::future::join;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use reset_gatekeeper::admin::Admin;
use reset_gatekeeper::config::{AdminListener, Config};
use reset_gatekeeper::proxy::{Server, systemd};
use reset_gatekeeper::{Gatekeeper, Sweeping, metrics};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::reload::{Front, PATIENCE, Source};
use super::signals::{Hangups, Signals};
use super::sources::sources;
use super::stores::{audit_log, builder, directory, last_head_kept, state};
use super::{Failure, warn_of_secrets};

/// How often what was timed is put into its histograms, so that it takes no room for long.
const UPKEEP: Duration = Duration::from_secs(5);

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
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let served = runtime.block_on(self.serve());
        // A file that can't be read must not keep the process from ending.
        runtime.shutdown_timeout(PATIENCE);
        served
    }

    /// Serves until SIGTERM or SIGINT, and then finishes what is under way. At SIGHUP it opens its audit log again, and reads its configuration again.
    async fn serve(self) -> Result<ExitCode, Failure> {
        let flags = [("--listen", self.listen), ("--upstream", self.upstream)];
        let flags = flags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let source = Source { file: self.config, flags: flags.collect() };
        let config = source.read()?;
        warn_of_secrets(&config);
        let site = config.site()?;
        // Before anything is built that counts into it.
        let metrics = site.admin.as_ref().map(|_| recorder()).transpose()?;
        let webhook = config.webhook()?;
        let state = state(&site.stores).await?;
        let (audit, keeping_heads) = audit_log(&config, &site.stores, state.clone()).await?;
        let hangups = Hangups::open()?;
        let delivering = webhook.map(|webhook| webhook.start(&site.stores.audit, audit.heads(), state.clone())).transpose()?;
        // Whatever it needs is opened, so that what is wrong with it shows before the port opens.
        let directory = Arc::new(directory(&config, &site.stores, state.clone()).await?);
        let mut builder = builder(&config, &site.stores, Arc::clone(&directory), state.clone());
        if config.sweep().is_some() {
            builder = builder.state(state);
        }
        let gatekeeper = builder.domains(sources(&config, true).await?).audit(audit.clone()).build()?;
        eprintln!("reset-gatekeeper: {}", site.summary());
        let front = Front::new(&config, site.clone(), gatekeeper.clone())?;
        let (replacing, current) = watch::channel(front.current()?);
        let (mut first, mut any, mut second) = (Signals::open()?, Signals::open()?, Signals::open()?);
        let listener = match systemd::listener()? {
            Some(listener) => listener,
            None => TcpListener::bind(site.listen).await.map_err(|error| Failure::new(site.listen, error))?,
        };
        let admin = match (&site.admin, metrics) {
            (Some(listener), Some(metrics)) => {
                let admin = Admin::new(gatekeeper.clone())
                    .directory(directory)
                    .enforced(!config.only_observes())
                    .exempts(site.stores.state.is_some())
                    .log(&site.stores.audit)
                    .metrics(move || metrics.render());
                Some(listening(admin, listener).await?)
            }
            _ => None,
        };
        let scheme = if site.tls.is_some() { "https" } else { "http" };
        // Written at once, for those who wait for the line.
        let line = format!("listening on {scheme}://{}\n", listener.local_addr()?);
        eprint!("{line}");
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
            _ = join(Server::run_current(listener, current, stopped), swept) => {}
            () = second.second() => {}
            () = front.reloaded(hangups, audit, source, replacing) => {}
        }
        if let Some(admin) = admin {
            admin.abort();
            drop(admin.await);
        }
        // The log closes with the last of what uses it, and then its last head is kept.
        drop(delivering);
        last_head_kept(keeping_heads).await;
        Ok(ExitCode::SUCCESS)
    }
}

/// `admin` on its listener, until it is aborted.
async fn listening(mut admin: Admin, listener: &AdminListener) -> Result<JoinHandle<()>, Failure> {
    if let Some(token) = &listener.token {
        admin = admin.token(token)?;
    }
    let bound = TcpListener::bind(listener.listen).await.map_err(|error| Failure::new(listener.listen, error))?;
    eprintln!("reset-gatekeeper: admin at http://{}", bound.local_addr()?);
    Ok(tokio::spawn(Server::new().run(bound, admin.router(), pending())))
}

/// What counts. Histograms are in seconds, from tenths of a millisecond on.
fn recorder() -> Result<PrometheusHandle, Failure> {
    const SECONDS: [f64; 14] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
    let handle = PrometheusBuilder::new().set_buckets(&SECONDS)?.install_recorder()?;
    metrics::describe();
    let upkept = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkept.run_upkeep();
        }
    });
    Ok(handle)
}

/// The sweep beside the proxy, where the configuration has one. A site that is only observed is only told about.
fn sweeping(config: &Config, gatekeeper: Gatekeeper) -> Option<Sweeping> {
    let mut settings = config.sweep()?;
    settings.dry_run = config.only_observes();
    Some(gatekeeper.sweep().settings(settings).start())
}
