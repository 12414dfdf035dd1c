//! The signals that end a command that runs for long, SIGTERM and SIGINT, and SIGHUP, by which who moved its log tells it so.

use std::io;

use reset_gatekeeper::audit::JsonLines;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals from when it was opened on.
pub(super) struct Signals {
    interrupted: Signal,
    terminated: Signal,
}

impl Signals {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { interrupted: signal(SignalKind::interrupt())?, terminated: signal(SignalKind::terminate())? })
    }

    /// Waits for the next.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }

    /// Waits for the second, whose sender has no patience left.
    pub(super) async fn second(&mut self) {
        self.next().await;
        self.next().await;
    }
}

/// The signal SIGHUP, from when it was opened on.
pub(super) struct Hangups(Signal);

impl Hangups {
    pub(super) fn open() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Has `log` go over to the file that is at its path, each time.
    pub(super) async fn reopen(mut self, log: JsonLines) {
        while self.0.recv().await.is_some() {
            match log.reopen().await {
                Ok(()) => tracing::info!("the audit log was opened again"),
                // The next record tries again.
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the audit log can't be opened again"),
            }
        }
        std::future::pending().await
    }
}
