//! HTTP/2 and TLS, on either side.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use reset_gatekeeper::proxy::{Proxy, Server, Tls, TlsError, Upstream};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::scene::{Application, Front, Wire, header, status};

/// A certificate for `localhost` and its key, in files.
struct Certificate {
    folder: TempDir,
    pem: String,
}

impl Certificate {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self { folder, pem: made.cert.pem() }
    }

    fn tls(&self) -> Tls {
        Tls::from_files(self.folder.path().join("cert.pem"), self.folder.path().join("key.pem")).unwrap()
    }

    fn client(&self) -> reqwest::Client {
        let root = reqwest::Certificate::from_pem(self.pem.as_bytes()).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap()
    }
}

#[tokio::test]
async fn a_client_of_http_2_in_clear_is_served() {
    let application = Application::open().await;
    let address = application.address;
    drop(application.echo());
    let front = Front::open(address).await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}/path?q", front.address);
    let answer = client.post(url).header("cookie", "a=1").header("x-forwarded-for", "10.0.0.1").body("hello").send().await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (Version::HTTP_2, 200));
    let echo = answer.text().await.unwrap();
    assert!(echo.starts_with("POST /path?q HTTP/1.1\r\n") && echo.ends_with("hello"), "{echo}");
    assert_eq!(header(&echo, "host"), Some(front.address.to_string().as_str()));
    assert_eq!(header(&echo, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!((header(&echo, "content-length"), header(&echo, "transfer-encoding")), (Some("5"), None));
}

/// RFC 9113 §8.3.1
#[tokio::test]
async fn in_http_2_a_host_that_differs_from_the_authority_is_refused() {
    let application = Application::open().await;
    let address = application.address;
    drop(application.echo());
    let front = Front::open(address).await;
    let stream = tokio::net::TcpStream::connect(front.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for (host, expected) in [(None, 200), (Some("a.example"), 200), (Some("b.example"), 400)] {
        let mut request = Request::get("http://a.example/");
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let answer = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{host:?}");
    }
}

/// RFC 8441 is not offered.
#[tokio::test]
async fn in_http_2_nothing_is_tunnelled() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let stream = tokio::net::TcpStream::connect(front.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::connect("a.example:80").body(Full::default()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status().as_u16(), 501);
    let mut request = Request::connect("http://a.example/socket").body(Full::default()).unwrap();
    request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    assert!(sender.send_request(request).await.is_err(), "the server does not offer it");
}

#[tokio::test]
async fn tls_ends_here() {
    let certificate = Certificate::new();
    let application = Application::open().await;
    let address = application.address;
    drop(application.echo());
    let front = Front::with(Server::new().tls(certificate.tls()), super::scene::upstream(address)).await;
    let url = format!("https://localhost:{}/", front.address.port());
    let answer = certificate.client().get(&url).send().await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2, "both were offered");
    let echo = answer.text().await.unwrap();
    assert_eq!(header(&echo, "x-forwarded-proto"), Some("https"));
    assert!(header(&echo, "forwarded").unwrap().contains("proto=https"), "{echo}");

    let mut clear = Wire::connect(front.address).await;
    clear.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!clear.rest().await.contains("HTTP"), "in clear nothing is served");
}

#[test]
fn a_certificate_that_cant_be_used_is_named() {
    let (one, other) = (Certificate::new(), Certificate::new());
    let path = |certificate: &Certificate, name: &str| certificate.folder.path().join(name);
    let missing = Tls::from_files(path(&one, "none.pem"), path(&one, "key.pem")).unwrap_err();
    assert!(matches!(&missing, TlsError::Read { path, .. } if path.ends_with("none.pem")), "{missing}");
    let swapped = Tls::from_files(path(&one, "cert.pem"), path(&one, "cert.pem")).unwrap_err();
    assert!(matches!(&swapped, TlsError::Read { path, .. } if path.ends_with("cert.pem")), "{swapped}");
    let mismatch = Tls::from_files(path(&one, "cert.pem"), path(&other, "key.pem")).unwrap_err();
    assert!(matches!(mismatch, TlsError::Mismatch { .. }), "{mismatch}");
}

/// An application behind TLS, which tells what it got, over these protocols.
async fn secure_application(certificate: &Certificate, protocols: &[&str]) -> u16 {
    let chain = rustls_chain(certificate);
    let mut config = chain;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let Ok(stream) = acceptor.accept(listener.accept().await.unwrap().0).await else { continue };
            tokio::spawn(async move {
                let service = service_fn(tell);
                auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(TokioIo::new(stream), service).await
            });
        }
    });
    port
}

fn rustls_chain(certificate: &Certificate) -> tokio_rustls::rustls::ServerConfig {
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = vec![CertificateDer::from_pem_slice(certificate.pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_file(certificate.folder.path().join("key.pem")).unwrap();
    let provider = std::sync::Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

async fn tell(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.headers().contains_key("upgrade") {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move { TokioIo::new(upgrade.await.unwrap()).write_all(b"through").await });
        let switch = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
        return Ok(switch.body(Full::default()).unwrap());
    }
    let authority = request.uri().authority().map(ToString::to_string);
    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
    let told = format!("{:?} {authority:?} {host:?} {}", request.version(), request.uri().path());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Ok(Response::new(Full::from(format!("{told} {}", String::from_utf8_lossy(&body)))))
}

#[tokio::test]
async fn an_application_behind_tls_is_asked_in_http_2_where_it_can() {
    let certificate = Certificate::new();
    for (protocols, expected) in [
        (&["h2", "http/1.1"][..], "HTTP/2.0 Some(\"site.example\") None /p hi"),
        (&["http/1.1"], "HTTP/1.1 None Some(\"site.example\") /p hi"),
        (&[], "HTTP/1.1 None Some(\"site.example\") /p hi"),
    ] {
        let port = secure_application(&certificate, protocols).await;
        let upstream = Upstream::new(format!("https://localhost:{port}").parse().unwrap()).roots(certificate.pem.clone());
        let front = Front::with(Server::new(), upstream).await;
        for _ in 0..2 {
            let (_, told) = front.ask("POST /p HTTP/1.1\r\nHost: site.example\r\nContent-Length: 2\r\n\r\nhi").await;
            assert_eq!(told, expected);
        }
        let mut client = front.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        assert_eq!(status(&client.head().await), 101, "a tunnel needs HTTP/1.1, and gets it");
        assert_eq!(client.exactly(7).await, "through");
    }
}

#[tokio::test]
async fn an_application_whose_certificate_is_not_trusted_is_502() {
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let port = secure_application(&certificate, &["h2"]).await;
    for roots in [String::new(), other.pem.clone()] {
        let upstream = Upstream::new(format!("https://localhost:{port}").parse().unwrap()).roots(roots);
        let front = Front::with(Server::new(), upstream).await;
        assert_eq!(status(&front.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.0), 502);
    }
    assert!(Proxy::<Incoming>::new(Upstream::new("https://localhost".parse().unwrap()).roots("-----BEGIN CERTIFICATE-----\n!")).is_err());
}
