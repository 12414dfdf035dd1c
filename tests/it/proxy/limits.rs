//! What happens when an application or a client is slow, stops, or breaks off.

use std::time::Duration;

use reset_gatekeeper::proxy::{Limits, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::scene::{Application, Front, SOON, Wire, header, status, upstream};

const BRIEF: Duration = Duration::from_millis(100);

#[tokio::test]
async fn an_application_that_cant_be_reached_is_502() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let front = Front::open(address).await;
    let (head, body) = front.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_eq!((status(&head), header(&head, "content-type")), (502, Some("application/problem+json")));
    assert!(body.contains("can't be reached"), "{body}");
    assert!(!body.contains("127.0.0.1"), "where it is is nobody's business: {body}");
}

#[tokio::test]
async fn an_application_that_breaks_the_protocol_is_502() {
    for answer in [
        "",
        "garbage\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n.",
        "HTTP/1.1 99\r\n\r\n",
    ] {
        let application = Application::open().await;
        let front = Front::open(application.address).await;
        let mut client = front.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut wire = application.accept().await;
        wire.head().await;
        wire.send(answer).await;
        drop(wire);
        assert_eq!(status(&client.head().await), 502, "{answer:?}");
    }
}

#[tokio::test]
async fn an_application_that_does_not_answer_in_time_is_504() {
    let application = Application::open().await;
    let front = Front::with(Server::new(), upstream(application.address).timeout(BRIEF)).await;
    let mut client = front.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut wire = application.accept().await;
    wire.head().await;
    let (head, body) = client.answer().await;
    assert_eq!((status(&head), header(&head, "content-type")), (504, Some("application/problem+json")));
    assert!(body.contains("in time"), "{body}");
    assert_eq!(wire.rest().await, "", "the application is told that nobody waits any more");
}

/// The time runs from when the application had all of the request, so that a long upload is not cut off.
#[tokio::test]
async fn a_long_upload_has_its_time() {
    let application = Application::open().await;
    let address = application.address;
    drop(application.echo());
    let front = Front::with(Server::new(), upstream(address).timeout(BRIEF)).await;
    let mut client = front.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await;
    for byte in ["h", "e", "l", "l", "o"] {
        tokio::time::sleep(BRIEF).await;
        client.send(byte).await;
    }
    assert!(client.answer().await.1.ends_with("hello"));
}

#[tokio::test]
async fn an_application_that_does_not_take_an_upload_is_504() {
    let application = Application::open().await;
    let front = Front::with(Server::new(), upstream(application.address).timeout(BRIEF)).await;
    let mut client = front.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n").await;
    let _wire = application.accept().await;
    let (mut reader, mut writer) = client.into_stream().into_split();
    let flood = tokio::spawn(async move { while writer.write_all(&[b'x'; 65536]).await.is_ok() {} });
    let mut start = [0; 12];
    tokio::time::timeout(SOON, reader.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 504");
    flood.abort();
}

#[tokio::test]
async fn a_client_that_stops_sending_is_408() {
    let application = Application::open().await;
    let front = Front::with(Server::new(), upstream(application.address).body_timeout(BRIEF)).await;
    let mut client = front.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").await;
    let mut wire = application.accept().await;
    wire.head().await;
    assert_eq!(status(&client.head().await), 408);
    assert_eq!(wire.rest().await, "he", "the application does not get it whole");
}

#[tokio::test]
async fn an_application_that_stops_in_the_middle_cuts_the_answer_off() {
    for hangs_up in [true, false] {
        let application = Application::open().await;
        let front = Front::with(Server::new(), upstream(application.address).body_timeout(BRIEF)).await;
        let mut client = front.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut wire = application.accept().await;
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
        let kept = if hangs_up { None } else { Some(wire) };
        assert_eq!(status(&client.head().await), 200);
        assert_eq!(client.rest().await, "2\r\nhi\r\n", "it does not look complete");
        drop(kept);
    }
}

/// An answer may come before the request has been sent.
#[tokio::test]
async fn an_early_answer_does_not_end_the_upload() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhe").await;
    let mut wire = application.accept().await;
    wire.head().await;
    assert_eq!(wire.exactly(2).await, "he");
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
    client.head().await;
    assert_eq!(client.exactly(6).await, "1\r\na\r\n");
    client.send("ho").await;
    assert_eq!(wire.exactly(2).await, "ho");
    wire.send("1\r\nb\r\n0\r\n\r\n").await;
    assert_eq!(client.exactly(11).await, "1\r\nb\r\n0\r\n\r\n");
}

const BIG: usize = 256 << 20;
const CHUNK: usize = 64 << 10;

/// How much the sender could send before the reader read anything. A socket's own buffers are some MiB.
async fn pushed(mut sender: TcpStream) -> (TcpStream, usize) {
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), sender.write(&[b'x'; CHUNK])).await {
        sent += written.unwrap();
    }
    (sender, sent)
}

async fn push_rest(mut sender: TcpStream, mut left: usize) -> TcpStream {
    while left > 0 {
        let length = left.min(CHUNK);
        sender.write_all(&[b'x'; CHUNK][..length]).await.unwrap();
        left -= length;
    }
    sender
}

async fn pull(reader: &mut TcpStream, mut left: usize) {
    let mut buffer = vec![0; CHUNK];
    while left > 0 {
        let read = reader.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "{left} bytes are missing");
        left = left.saturating_sub(read);
    }
}

#[tokio::test]
async fn a_big_upload_goes_as_fast_as_the_application_reads() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    client.send(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BIG}\r\n\r\n")).await;
    let mut wire = application.accept().await;
    wire.head().await;
    let (client, sent) = pushed(client.into_stream()).await;
    assert!(sent < BIG / 8, "{sent} bytes were taken that nobody reads");
    let mut application = wire.into_stream();
    // What was read ahead with the head is a small part of what was sent.
    let (client, ()) = tokio::join!(push_rest(client, BIG - sent), pull(&mut application, BIG - 64 * 1024));
    drop(client);
}

#[tokio::test]
async fn a_big_download_goes_as_fast_as_the_client_reads() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(65536).unwrap();
    let mut client = socket.connect(front.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut wire = application.accept().await;
    wire.head().await;
    wire.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n")).await;
    let (application, sent) = pushed(wire.into_stream()).await;
    assert!(sent < BIG / 8, "{sent} bytes were taken that nobody reads");
    let (application, ()) = tokio::join!(push_rest(application, BIG - sent), pull(&mut client, BIG));
    drop(application);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_does_not_hold_the_upload_up() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhe").await;
    let mut wire = application.accept().await;
    wire.head().await;
    wire.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n")).await;
    let (mut application, _) = pushed(wire.into_stream()).await;
    client.send("ho").await;
    // What came with the head is in no buffer of the test's any more, or is the first to be read.
    let mut sent = [0; 4];
    let arrived = tokio::time::timeout(SOON, async {
        while !sent.ends_with(b"ho") {
            sent.rotate_left(1);
            application.read_exact(&mut sent[3..]).await.unwrap();
        }
    });
    arrived.await.expect("the upload waits for the download");
}

#[tokio::test]
async fn a_client_that_does_not_ask_is_closed() {
    let application = Application::open().await;
    let front = Front::with(Server::new().limits(Limits::default().header_timeout(BRIEF)), upstream(application.address)).await;
    for begun in ["", "P", "PRI * HTTP/2.0", "GET / HTTP/1.1\r\n", "GET /a/longer/path HTTP/1.1\r\nHost: "] {
        let mut client = front.client().await;
        client.send(begun).await;
        let rest = client.rest().await;
        assert!(rest.is_empty() || status(&rest) == 408, "{begun:?}: {rest}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed() {
    let application = Application::open().await;
    let front = Front::with(Server::new().limits(Limits::default().write_timeout(BRIEF)), upstream(application.address)).await;
    let mut client = front.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut wire = application.accept().await;
    wire.head().await;
    wire.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n")).await;
    let mut application = wire.into_stream();
    let broken = async { while application.write_all(&[b'x'; CHUNK]).await.is_ok() {} };
    tokio::time::timeout(SOON, broken).await.expect("the application's connection stays");
}

#[tokio::test]
async fn more_connections_wait_until_there_is_room() {
    let application = Application::open().await;
    let address = application.address;
    drop(application.echo());
    let front = Front::with(Server::new().limits(Limits::default().connections(1)), upstream(address)).await;
    let mut first = front.client().await;
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    first.answer().await;
    let mut second = front.client().await;
    second.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(tokio::time::timeout(BRIEF, second.head()).await.is_err(), "there is no room");
    drop(first);
    second.answer().await;
}

#[tokio::test]
async fn headers_have_a_limit() {
    let application = Application::open().await;
    let address = application.address;
    drop(application.echo());
    let front = Front::open(address).await;
    let (head, _) = front.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(30_000))).await;
    assert_eq!(status(&head), 200);
    let mut client = front.client().await;
    client.send(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70_000))).await;
    assert_eq!(status(&client.head().await), 431);
}

#[tokio::test]
async fn an_answer_under_way_is_finished_before_the_server_stops() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let address = front.address;
    let (mut client, mut idle) = (front.client().await, front.client().await);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut wire = application.accept().await;
    wire.head().await;
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha").await;
    client.head().await;
    let mut stopped = front.stop();
    assert_eq!(idle.rest().await, "", "idle connections are closed at once");
    assert!(tokio::time::timeout(BRIEF, &mut stopped).await.is_err(), "it waits for the answer");
    assert!(TcpStream::connect(address).await.is_err(), "nobody new is let in");
    wire.send("lf").await;
    assert_eq!(client.rest().await, "half");
    tokio::time::timeout(SOON, stopped).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_answer_that_takes_too_long_does_not_keep_the_server_from_stopping() {
    let application = Application::open().await;
    let front = Front::with(Server::new().limits(Limits::default().drain_timeout(BRIEF)), upstream(application.address)).await;
    let mut client = front.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut wire: Wire = application.accept().await;
    wire.head().await;
    tokio::time::timeout(SOON, front.stop()).await.unwrap().unwrap();
    assert_eq!((client.rest().await, wire.rest().await), (String::new(), String::new()));
}
