//! What a site keeps, opened: its state, its directory and its audit log, and what a gatekeeper over them begins with.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reset_gatekeeper::account::{Directory, DirectoryError, HttpDirectory, Overlay, PostgresDirectory, SqliteDirectory};
use reset_gatekeeper::audit::{Head, JsonLines, still_holds};
use reset_gatekeeper::config::{Config, StateStore, Store, Stores};
use reset_gatekeeper::{Gatekeeper, GatekeeperBuilder, State, SystemClock};
use tokio::task::JoinHandle;

use super::{Failure, chain};

/// How long the last of the audit log's heads may take to be kept.
const CLOSING: Duration = Duration::from_secs(2);

/// The state, which outlives the process where the configuration says where.
pub(super) async fn state(stores: &Stores) -> Result<State, Failure> {
    match &stores.state {
        Some(store @ StateStore::Sqlite(file)) => State::open(file).await.map_err(|error| Failure::new(store, error)),
        Some(store @ StateStore::Postgres(url)) => State::connect(url).await.map_err(|error| Failure::new(store, error)),
        None => Ok(State::memory().await?),
    }
}

/// The state, for a command that changes nothing else: one that ends with the command is an error.
pub(super) async fn lasting_state(stores: &Stores) -> Result<State, Failure> {
    if stores.state.is_none() {
        return Err(Failure::from(NoState));
    }
    state(stores).await
}

#[derive(Debug, thiserror::Error)]
#[error("`state.url` is missing: in memory, nothing of this would outlive the command")]
struct NoState;

/// The directory of accounts, with what the state knows laid over it.
pub(super) async fn directory(config: &Config, stores: &Stores, state: State) -> Result<Overlay<Arc<dyn Directory>>, Failure> {
    let directory = opened(stores).await.map_err(|error| config.directory_error(&error, &chain(&error)))?;
    Ok(Overlay::new(directory, state, SystemClock, stores.directory.unverifies()))
}

async fn opened(stores: &Stores) -> Result<Arc<dyn Directory>, DirectoryError> {
    let settings = &stores.directory;
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

/// A gatekeeper over `directory` and the state, that lacks its sources and its audit log yet.
pub(super) fn builder(config: &Config, stores: &Stores, directory: impl Directory, state: State) -> GatekeeperBuilder {
    let mut builder = Gatekeeper::builder();
    if stores.state.is_some() {
        builder = builder.state(state);
    }
    let builder = builder
        .directory(directory)
        .record_allowed(stores.record_allowed)
        .policy(config.policy.clone())
        .timeout(config.cache.timeout)
        .fresh_for(config.cache.fresh_for)
        .stale_for(config.cache.stale_for);
    builder.providers(config.cache.providers.iter().cloned())
}

/// The audit log. How far it has got is kept in the state until the log is closed, so that lines that are cut off its end show.
pub(super) async fn audit_log(config: &Config, stores: &Stores, state: State) -> Result<(JsonLines, Option<JoinHandle<()>>), Failure> {
    let settings = config.audit()?;
    // Before the log is opened, which others may write meanwhile.
    let kept = state.audit_head(&stores.audit).await?;
    let mut log = JsonLines::builder(&stores.audit).format(settings.format).emails(settings.emails);
    if let Some(signer) = settings.signer {
        log = log.signer(signer);
    }
    if let Some(bytes) = stores.rotate_at {
        log = log.rotate_at(bytes);
    }
    if let Some(age) = stores.rotate_every {
        log = log.rotate_every(age);
    }
    if let Some(head) = &kept {
        log = log.known_head(head.clone());
    }
    let audit = log.open().await?;
    let mut heads = audit.heads();
    if let Some(kept) = kept.filter(|kept| *kept != *heads.borrow())
        && !is_held(&stores.audit, kept).await
    {
        // What was kept stays and proves it, until the log is moved away or goes on under another name.
        return Ok((audit, None));
    }
    let file = stores.audit.clone();
    let keeping = tokio::spawn(async move {
        while heads.changed().await.is_ok() {
            let head = heads.borrow_and_update().clone();
            if let Err(error) = state.keep_audit_head(&file, &head).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the head of the audit log is not kept");
            }
        }
    });
    Ok((audit, Some(keeping)))
}

/// Whether the log at `file` has the record that `kept` is the end of. It says so where not.
async fn is_held(file: &Path, kept: Head) -> bool {
    let (seq, log) = (kept.seq, file.to_owned());
    let held = tokio::task::spawn_blocking(move || still_holds(&log, &kept)).await;
    match held.map_err(io::Error::other).flatten() {
        Ok(true) => true,
        Ok(false) => {
            let what = "records are missing from the end of the audit log, or it was rewritten or replaced: the one that it ended in is there no more; \
                        `audit verify --config` proves it until the log is moved away with its rotated files";
            tracing::error!(file = %file.display(), seq, "{what}");
            false
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(file = %file.display(), seq, error, "whether the audit log has the record that it ended in is not known");
            false
        }
    }
}

/// Waits for the last head of a log that nobody uses any more.
pub(super) async fn last_head_kept(keeping: Option<JoinHandle<()>>) {
    if let Some(keeping) = keeping {
        drop(tokio::time::timeout(CLOSING, keeping).await);
    }
}
