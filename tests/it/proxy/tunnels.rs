//! Connections that change their protocol.

use std::sync::Arc;

use reset_gatekeeper::account::MemoryDirectory;
use reset_gatekeeper::proxy::{Proxy, Server};
use reset_gatekeeper::testing::Registry;
use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, Guard, Reply, Target};
use tower::Layer;

use super::scene::{Application, Front, Wire, header, status, upstream};
use crate::stage::Recorder;

const WISH: &str = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

async fn tunnel(application: &Application, front: &Front) -> (Wire, Wire) {
    let mut client = front.client().await;
    client.send(WISH).await;
    let mut wire = application.accept().await;
    let head = wire.head().await;
    assert_eq!((header(&head, "upgrade"), header(&head, "connection")), (Some("websocket"), Some("upgrade")));
    assert!(header(&head, "sec-websocket-key").is_some());
    wire.send(SWITCH).await;
    let head = client.head().await;
    assert_eq!((status(&head), header(&head, "upgrade"), header(&head, "connection")), (101, Some("websocket"), Some("upgrade")));
    assert!(header(&head, "sec-websocket-accept").is_some());
    (client, wire)
}

#[tokio::test]
async fn a_websocket_is_tunnelled_both_ways_until_one_side_ends_it() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let (mut client, mut wire) = tunnel(&application, &front).await;
    for _ in 0..3 {
        client.send("ping").await;
        assert_eq!(wire.exactly(4).await, "ping");
        wire.send("pong").await;
        assert_eq!(client.exactly(4).await, "pong");
    }
    drop(wire);
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn what_came_with_the_switch_is_not_lost() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    client.send(&format!("{WISH}early")).await;
    let mut wire = application.accept().await;
    wire.head().await;
    wire.send(&format!("{SWITCH}hello")).await;
    client.head().await;
    assert_eq!(client.exactly(5).await, "hello");
    assert_eq!(wire.exactly(5).await, "early");
}

#[tokio::test]
async fn an_application_that_does_not_switch_just_answers() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    client.send(WISH).await;
    let mut wire = application.accept().await;
    wire.head().await;
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno").await;
    assert_eq!(client.answer().await.1, "no");
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(wire.head().await.starts_with("GET /next "), "both connections are of use");
}

/// What follows would be requests that nobody judges.
#[tokio::test]
async fn protocols_that_carry_requests_are_not_passed_on() {
    for (protocols, passed) in [
        ("h2c", None),
        ("H2C", None),
        ("HTTP/2.0", None),
        ("TLS/1.0, HTTP/1.1", None),
        ("websocket, h2c", Some("websocket")),
        ("h2c\r\nUpgrade: websocket", Some("websocket")),
    ] {
        let application = Application::open().await;
        let front = Front::open(application.address).await;
        let mut client = front.client().await;
        let settings = "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA";
        client
            .send(&format!(
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocols}\r\n{settings}\r\n\r\n"
            ))
            .await;
        let mut wire = application.accept().await;
        let head = wire.head().await;
        assert_eq!((header(&head, "upgrade"), header(&head, "http2-settings")), (passed, None), "{protocols}");
        assert_eq!(header(&head, "connection"), passed.map(|_| "upgrade"));
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").await;
        assert_eq!(status(&client.head().await), 502, "{protocols}: h2c was not asked for");
        assert_eq!(wire.rest().await, "");
    }
}

#[tokio::test]
async fn a_wish_that_is_none_is_dropped() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let application = Application::open().await;
        let front = Front::open(application.address).await;
        let mut client = front.client().await;
        client.send(request).await;
        let mut wire = application.accept().await;
        let head = wire.head().await;
        assert_eq!((header(&head, "upgrade"), header(&head, "connection")), (None, None), "{request}");
        wire.send(SWITCH).await;
        assert_eq!(status(&client.head().await), 502, "{request}");
    }
}

#[tokio::test]
async fn a_guarded_path_is_never_upgraded() {
    let application = Application::open().await;
    let registry = Registry::start().await.unwrap();
    let gatekeeper = Gatekeeper::builder()
        .directory(MemoryDirectory::default())
        .domains(registry.rdap().await.unwrap())
        .audit(Arc::<Recorder>::default())
        .build()
        .unwrap();
    let layer = GatekeeperLayer::new(gatekeeper, Reply::refuse()).guard(Guard::post("/socket").target(Target::form("email")));
    let front = Front::serving(Server::new(), layer.layer(Proxy::new(upstream(application.address)).unwrap())).await;
    let mut client = front.client().await;
    client.send(WISH).await;
    let mut wire = application.accept().await;
    let head = wire.head().await;
    assert_eq!((header(&head, "upgrade"), header(&head, "connection")), (None, None), "{head}");
    wire.send(SWITCH).await;
    assert_eq!(status(&client.head().await), 502);
    let (_client, _wire) = {
        let mut client = front.client().await;
        client.send(&WISH.replace("/socket", "/other")).await;
        let mut wire = application.accept().await;
        assert_eq!(header(&wire.head().await, "upgrade"), Some("websocket"), "elsewhere it is");
        wire.send(SWITCH).await;
        assert_eq!(status(&client.head().await), 101);
        (client, wire)
    };
}

#[tokio::test]
async fn tunnels_end_when_the_server_stops() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let (mut client, mut wire) = tunnel(&application, &front).await;
    tokio::time::timeout(super::scene::SOON, front.stop()).await.expect("it waits for a tunnel").unwrap();
    assert_eq!((client.rest().await, wire.rest().await), (String::new(), String::new()));
}
