//! A proxy, an application behind it that a test plays itself, and clients that write what they like.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use reset_gatekeeper::proxy::{Proxy, Server, Upstream};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Long enough for anything that is to happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The application's end of its connections.
pub(crate) struct Application {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Application {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    /// The next connection of the proxy's.
    pub(crate) async fn accept(&self) -> Wire {
        let (stream, _) = tokio::time::timeout(SOON, self.listener.accept()).await.expect("nobody connects").unwrap();
        Wire(BufReader::new(stream))
    }

    /// Answers every request with what it consists of, and counts.
    pub(crate) fn echo(self) -> Arc<AtomicUsize> {
        let count = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&count);
        tokio::spawn(async move {
            loop {
                let (mut wire, count) = (self.accept_any().await, Arc::clone(&counter));
                tokio::spawn(async move {
                    while let Some(head) = wire.head_if_any().await {
                        count.fetch_add(1, Ordering::SeqCst);
                        let body = wire.body(&head).await;
                        let echo = format!("{head}{body}");
                        wire.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{echo}", echo.len())).await;
                    }
                });
            }
        });
        count
    }

    async fn accept_any(&self) -> Wire {
        Wire(BufReader::new(self.listener.accept().await.unwrap().0))
    }
}

/// One end of a connection, byte by byte.
pub(crate) struct Wire(BufReader<TcpStream>);

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads a message's head, to the blank line.
    pub(crate) async fn head(&mut self) -> String {
        self.head_if_any().await.expect("the connection is closed")
    }

    pub(crate) async fn head_if_any(&mut self) -> Option<String> {
        let mut head = String::new();
        loop {
            let read = tokio::time::timeout(SOON, self.0.read_line(&mut head)).await.expect("no head comes").unwrap_or_default();
            match read {
                0 => return None,
                _ if head.ends_with("\r\n\r\n") => return Some(head),
                _ => {}
            }
        }
    }

    /// Reads the body that `head` announces, decoded but for trailers.
    pub(crate) async fn body(&mut self, head: &str) -> String {
        if let Some(length) = header(head, "content-length") {
            return self.exactly(length.parse().unwrap()).await;
        }
        if header(head, "transfer-encoding").is_none() {
            return String::new();
        }
        let mut body = String::new();
        loop {
            let size = usize::from_str_radix(self.line().await.trim(), 16).unwrap();
            if size == 0 {
                break;
            }
            body += &self.exactly(size).await;
            self.line().await;
        }
        loop {
            match self.line().await.as_str() {
                "\r\n" => return body,
                trailer => body += trailer,
            }
        }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        tokio::time::timeout(SOON, self.0.read_line(&mut line)).await.expect("no line comes").unwrap();
        line
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> String {
        let mut bytes = vec![0; length];
        tokio::time::timeout(SOON, self.0.read_exact(&mut bytes)).await.expect("no bytes come").unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Reads until the other end closes, or resets.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        drop(tokio::time::timeout(SOON, self.0.read_to_end(&mut rest)).await.expect("the connection is not closed"));
        String::from_utf8(rest).unwrap()
    }

    /// An answer: its head and its body.
    pub(crate) async fn answer(&mut self) -> (String, String) {
        let head = self.head().await;
        let body = self.body(&head).await;
        (head, body)
    }

    pub(crate) fn into_stream(self) -> TcpStream {
        self.0.into_inner()
    }
}

/// A header's value in a head; of several lines, the first.
pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// The status in an answer's head.
pub(crate) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).expect(head).parse().expect(head)
}

/// A running proxy.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    pub(crate) running: JoinHandle<()>,
}

impl Front {
    pub(crate) async fn open(application: SocketAddr) -> Self {
        Self::with(Server::new(), upstream(application)).await
    }

    pub(crate) async fn with(server: Server, upstream: Upstream) -> Self {
        Self::serving(server, Proxy::<Incoming>::new(upstream).unwrap()).await
    }

    pub(crate) async fn serving<S, R>(server: Server, service: S) -> Self
    where
        S: tower::Service<http::Request<Incoming>, Response = http::Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<tower::BoxError> + 'static,
        R: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        R::Error: Into<tower::BoxError>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            if stopped.await.is_err() {
                pending().await
            }
        };
        Self { address, stop, running: tokio::spawn(server.run(listener, service, shutdown)) }
    }

    pub(crate) async fn client(&self) -> Wire {
        Wire::connect(self.address).await
    }

    /// What is answered to these bytes, until the connection is closed or an answer is complete.
    pub(crate) async fn ask(&self, request: &str) -> (String, String) {
        let mut client = self.client().await;
        client.send(request).await;
        client.answer().await
    }

    /// Tells it to stop, and gives what completes when it has.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.running
    }
}

pub(crate) fn upstream(application: SocketAddr) -> Upstream {
    Upstream::new(format!("http://{application}").parse().unwrap())
}
