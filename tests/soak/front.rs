//! A way to the registry that can be shut, so that connections are refused there, and opened again.

use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    registry: SocketAddr,
    open: Mutex<Option<JoinHandle<()>>>,
    /// Keeps the port, also while nobody listens.
    _place: TcpSocket,
}

impl Front {
    pub(crate) fn open(registry: SocketAddr) -> Self {
        let place = socket("127.0.0.1:0".parse().unwrap());
        let front = Self { address: place.local_addr().unwrap(), registry, open: Mutex::default(), _place: place };
        front.reopen();
        front
    }

    pub(crate) fn reopen(&self) {
        let (listener, registry) = (socket(self.address).listen(64).unwrap(), self.registry);
        let open = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut asking, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(async move {
                    if let Ok(mut asked) = TcpStream::connect(registry).await {
                        drop(tokio::io::copy_bidirectional(&mut asking, &mut asked).await);
                    }
                });
            }
        });
        *self.open.lock().unwrap() = Some(open);
    }

    /// Also breaks off every connection that is there.
    pub(crate) async fn shut(&self) {
        let open = self.open.lock().unwrap().take().expect("it is open");
        open.abort();
        drop(open.await);
    }
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}
