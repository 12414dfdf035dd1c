//! The reverse proxy, over real sockets.

mod forwarding;
mod framing;
mod limits;
mod origin;
mod protocols;
pub(crate) mod scene;
mod tunnels;
