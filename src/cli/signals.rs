//! The signals that end a command that runs for long, SIGTERM and SIGINT, and SIGHUP, by which who moved its log or changed its configuration tells it so.

use std::io;

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

    /// Waits for the next. Several that come meanwhile are one. Says whether any can come.
    pub(super) async fn next(&mut self) -> bool {
        self.0.recv().await.is_some()
    }
}
