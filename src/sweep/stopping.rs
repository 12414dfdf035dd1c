//! The wish to stop, which everything under way looks out for.

use std::time::Duration;

use tokio::sync::watch;

/// Whether the sweep is to stop. Clones share the wish.
#[derive(Debug, Clone)]
pub(super) struct Stopping(watch::Sender<bool>);

impl Stopping {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(super) fn stop(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn is_wished(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is.
    pub(super) async fn wished(&self) {
        // The sender is `self`, so it is never gone.
        drop(self.0.subscribe().wait_for(|stop| *stop).await);
    }

    /// Waits, unless it is to stop.
    pub(super) async fn pause(&self, span: Duration) {
        drop(tokio::time::timeout(span, self.wished()).await);
    }
}
