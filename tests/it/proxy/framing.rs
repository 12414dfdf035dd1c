//! Requests that could be read in two ways.

use std::sync::atomic::Ordering;

use super::scene::{Application, Front, header, status};

/// What is refused, and with which status. None of it may reach the application.
const REFUSED: &[(&str, u16)] = &[
    ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501),
    ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    ("GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX-Folded: 1\r\n 2\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\n X-Folded: 1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\0: 1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\0\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n", 400),
    ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
    ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
];

#[tokio::test]
async fn what_could_be_read_in_two_ways_never_reaches_the_application() {
    let application = Application::open().await;
    let address = application.address;
    let count = application.echo();
    let front = Front::open(address).await;
    for (request, expected) in REFUSED {
        let mut client = front.client().await;
        client.send(request).await;
        let answer = client.rest().await;
        assert_eq!(status(&answer), *expected, "{request:?}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0, "none was forwarded");
}

#[tokio::test]
async fn a_refusal_is_problem_details() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let (head, body) = front.ask("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(header(&head, "content-type"), Some("application/problem+json"));
    assert_eq!(header(&head, "connection"), Some("close"), "what follows may be the other reading of it");
    assert!(body.contains(r#""status":400"#), "{body}");
    let (head, body) = front.ask("GET / HTTP/1.1\r\nAccept: text/html\r\n\r\n").await;
    assert_eq!(header(&head, "content-type"), Some("text/html; charset=utf-8"));
    assert!(body.starts_with("<!doctype html>"), "{body}");
}

/// RFC 9112 §6.3: the length doesn't count, must be removed, and the connection closed.
#[tokio::test]
async fn beside_a_transfer_coding_a_length_is_gone() {
    let application = Application::open().await;
    let address = application.address;
    let count = application.echo();
    let front = Front::open(address).await;
    for fields in ["Content-Length: 33\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 33\r\n"] {
        let before = count.load(Ordering::SeqCst);
        let mut client = front.client().await;
        client.send(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let (head, echo) = client.answer().await;
        assert_eq!((status(&head), header(&echo, "content-length")), (200, None));
        assert!(!echo.contains("smuggled"), "{echo}");
        assert_eq!(client.rest().await, "", "what follows is not read");
        assert_eq!(count.load(Ordering::SeqCst), before + 1);
    }
}

/// A recipient may take a bare line feed for a line's end (RFC 9112 §2.2). What is sent on has none.
#[tokio::test]
async fn what_is_sent_on_is_written_anew() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    client.send("POST /a#b HTTP/1.1\nHost:  a \nX-One:  1\t\nContent-Length: 2\nContent-Length: 2\n\nhi").await;
    let mut wire = application.accept().await;
    let head = wire.head().await;
    assert!(head.starts_with("POST /a HTTP/1.1\r\n"), "{head}");
    assert!(!head.replace("\r\n", "").contains(['\r', '\n']), "{head:?}");
    assert_eq!((header(&head, "host"), header(&head, "x-one")), (Some("a"), Some("1")));
    assert_eq!(head.matches("content-length").count(), 1, "{head}");
}

/// RFC 9112 §3.2.2
#[tokio::test]
async fn of_a_target_in_absolute_form_the_authority_counts() {
    let application = Application::open().await;
    let address = application.address;
    drop(application.echo());
    let front = Front::open(address).await;
    let (_, echo) = front.ask("GET http://real.example:81/p?q HTTP/1.1\r\nHost: other.example\r\n\r\n").await;
    assert!(echo.starts_with("GET /p?q HTTP/1.1\r\n"), "{echo}");
    assert_eq!((header(&echo, "host"), header(&echo, "x-forwarded-host")), (Some("real.example:81"), Some("real.example:81")));
    assert!(!echo.contains("other.example"), "{echo}");
    let (_, echo) = front.ask("GET http://real.example HTTP/1.1\r\nHost: real.example\r\n\r\n").await;
    assert!(echo.starts_with("GET / HTTP/1.1\r\n"), "{echo}");
    let (_, echo) = front.ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(echo.starts_with("OPTIONS * HTTP/1.1\r\n"), "{echo}");
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served() {
    let application = Application::open().await;
    let address = application.address;
    drop(application.echo());
    let front = Front::open(address).await;
    let mut client = front.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.contains("GET / HTTP/1.1\r\n") && answer.contains(&format!("host: {address}\r\n")), "{answer}");
}
