//! What systemd gives to a service and wants to hear from it: the listening socket, and whether the service is ready.
//!
//! Elsewhere there is no socket, and nobody listens: nothing happens.

use std::io;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::TcpListener;

/// The first socket that was passed on by socket activation. `None` where there is none.
///
/// # Errors
/// Where what was passed on is not a listening TCP socket.
pub fn listener() -> io::Result<Option<TcpListener>> {
    let Some(listener) = ListenFd::from_env().take_tcp_listener(0)? else { return Ok(None) };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Some)
}

/// Tells that the service accepts connections (`Type=notify`).
pub fn ready() {
    notify(NotifyState::Ready);
}

/// Tells that the service is about to stop.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd can't be told");
    }
}
