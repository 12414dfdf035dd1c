//! Requests and answers on their way: headers, bodies, trailers, connections.

use std::sync::atomic::Ordering;

use super::scene::{Application, Front, header, status, upstream};
use reset_gatekeeper::proxy::{Proxy, ProxyError, Upstream};

#[tokio::test]
async fn a_request_and_its_answer_arrive_as_they_were_sent() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    client.send("POST /a%2Fb/../c?q=%20&r HTTP/1.1\r\nHost: Example.com:81\r\nCookie: a=b\r\nX-Own: 1\r\nX-Own: 2\r\nContent-Length: 5\r\n\r\nhello").await;
    let mut wire = application.accept().await;
    let head = wire.head().await;
    assert!(head.starts_with("POST /a%2Fb/../c?q=%20&r HTTP/1.1\r\n"), "{head}");
    for line in ["host: Example.com:81\r\n", "cookie: a=b\r\n", "x-own: 1\r\nx-own: 2\r\n", "content-length: 5\r\n"] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert_eq!(wire.exactly(5).await, "hello");
    wire.send("HTTP/1.1 418 Own Words\r\nServer: gunicorn\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    let (head, body) = client.answer().await;
    assert_eq!(status(&head), 418);
    for line in [
        "server: gunicorn\r\n",
        "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        "set-cookie: a=1\r\nset-cookie: b=2\r\n",
        "content-length: 2\r\n",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert_eq!(body, "hi");
}

/// RFC 9110 §7.6.1
#[tokio::test]
async fn hop_by_hop_headers_stay_on_their_hop() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nProxy-Authorization: x\r\nTE: gzip\r\nUpgrade: websocket\r\n\r\n")
        .await;
    let mut wire = application.accept().await;
    let head = wire.head().await;
    for name in ["connection", "x-mine", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade"] {
        assert_eq!(header(&head, name), None, "{name} in {head}");
    }
    wire.send("HTTP/1.1 200 OK\r\nConnection: close, X-Theirs\r\nX-Theirs: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n").await;
    let (head, _) = client.answer().await;
    for name in ["connection", "x-theirs", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(header(&head, name), None, "{name} in {head}");
    }
}

/// RFC 9110 §7.6.1: "must not send a connection option corresponding to a field that is intended for all recipients".
#[tokio::test]
async fn a_connection_header_takes_away_nothing_that_matters() {
    let application = Application::open().await;
    let address = application.address;
    drop(application.echo());
    let front = Front::open(address).await;
    let named =
        "close, Host, Content-Length, Content-Type, Cookie, Authorization, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Forwarded";
    let (_, echo) = front
        .ask(&format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: {named}\r\nContent-Type: text/plain\r\nCookie: c\r\nAuthorization: d\r\nContent-Length: 1\r\n\r\n."))
        .await;
    for name in [
        "host",
        "content-length",
        "content-type",
        "cookie",
        "authorization",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "forwarded",
    ] {
        assert!(header(&echo, name).is_some(), "{name} in {echo}");
    }
}

/// RFC 9110 §6.5, §10.1.4
#[tokio::test]
async fn trailers_go_both_ways() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n")
        .await;
    let mut wire = application.accept().await;
    let head = wire.head().await;
    assert_eq!((header(&head, "te"), header(&head, "connection")), (Some("trailers"), Some("te")));
    assert_eq!(header(&head, "content-length"), None);
    assert_eq!(wire.body(&head).await, "hix-sum: 1\r\n");
    wire.send("HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nho\r\n0\r\nx-sum: 2\r\n\r\n").await;
    assert_eq!(client.answer().await.1, "hox-sum: 2\r\n");
}

/// RFC 9110 §6.5.1: a server may merge trailers into the headers, where these would count.
#[tokio::test]
async fn what_must_not_come_from_outside_comes_in_no_trailer() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    let named = "x-sum, x-forwarded-for, x-original-url, x-http-method-override, cookie, x_sum";
    let trailers =
        "x-forwarded-for: 6.6.6.6\r\nx-original-url: /reset\r\nx-http-method-override: PUT\r\ncookie: a=b\r\nx_sum: 2\r\nx-sum: 1";
    client
        .send(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTrailer: {named}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n{trailers}\r\n\r\n"
        ))
        .await;
    let mut wire = application.accept().await;
    let head = wire.head().await;
    assert_eq!(wire.body(&head).await, "hix-sum: 1\r\n");
}

#[tokio::test]
async fn an_answer_without_a_body_keeps_its_length() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut wire = application.accept().await;
    wire.head().await;
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n").await;
    assert_eq!(header(&client.head().await, "content-length"), Some("1234"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    wire.head().await;
    wire.send("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!((status(&head), header(&head, "etag")), (304, Some("\"1\"")));
    client.send("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    wire.head().await;
    wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(status(&client.head().await), 204);
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_arrives_whole() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut wire = application.accept().await;
    wire.head().await;
    wire.send("HTTP/1.0 200 OK\r\n\r\nall of it").await;
    drop(wire);
    assert_eq!(client.answer().await.1, "all of it");
}

#[tokio::test]
async fn a_connection_to_the_application_is_used_again() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let (mut first, mut second) = (front.client().await, front.client().await);
    let mut wire = None;
    for client in [&mut first, &mut second] {
        for answer in ["content-length: 2\r\n\r\nhi", "content-length: 0\r\n\r\n", "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"]
        {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            if wire.is_none() {
                wire = Some(application.accept().await);
            }
            let wire = wire.as_mut().unwrap();
            wire.head().await;
            wire.send(&format!("HTTP/1.1 200 OK\r\n{answer}")).await;
            client.answer().await;
        }
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_before_the_application_would() {
    let application = Application::open().await;
    let front =
        Front::with(reset_gatekeeper::proxy::Server::new(), upstream(application.address).keep_idle(std::time::Duration::from_millis(50)))
            .await;
    let mut client = front.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut wire = application.accept().await;
    wire.head().await;
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(wire.rest().await, "");
}

/// RFC 9110 §9.2.2: what is not idempotent must not be sent again where it may have been carried out.
#[tokio::test]
async fn a_broken_idle_connection_is_retried_for_get_and_not_for_post() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut wire = application.accept().await;
    wire.head().await;
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.answer().await;

    client.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(wire.head().await.starts_with("GET /2 "), "it came by the connection that was idle");
    drop(wire);
    let mut wire = application.accept().await;
    assert!(wire.head().await.starts_with("GET /2 "), "and comes again by a new one");
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(status(&client.answer().await.0), 200);

    client.send("POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    assert!(wire.head().await.starts_with("POST /3 "));
    drop(wire);
    assert_eq!(status(&client.answer().await.0), 502);
}

#[tokio::test]
async fn a_connection_that_the_application_closed_meanwhile_is_not_used() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut wire = application.accept().await;
    wire.head().await;
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.answer().await;
    drop(wire);
    client.send("POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    let mut wire = application.accept().await;
    assert!(wire.head().await.starts_with("POST /2 "));
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(status(&client.answer().await.0), 200);
}

#[tokio::test]
async fn a_client_that_hangs_up_takes_its_request_back() {
    let application = Application::open().await;
    let front = Front::open(application.address).await;
    let mut client = front.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut wire = application.accept().await;
    wire.head().await;
    drop(client);
    assert_eq!(wire.rest().await, "", "the application sees it hang up");
}

/// RFC 9110 §10.1.1
#[tokio::test]
async fn a_client_that_waits_for_100_is_told_to_go_on() {
    let application = Application::open().await;
    let address = application.address;
    let count = application.echo();
    let front = Front::open(address).await;
    let mut client = front.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(status(&client.head().await), 100);
    client.send("hello").await;
    let (head, echo) = client.answer().await;
    assert_eq!((status(&head), header(&echo, "expect")), (200, None));
    assert!(echo.ends_with("hello"));
    let (head, _) = front.ask("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-maybe\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!((status(&head), count.load(Ordering::SeqCst)), (417, 1));
}

#[test]
fn an_upstream_is_a_scheme_a_host_and_a_port() {
    for good in ["http://localhost:3000", "https://app.example", "http://127.0.0.1:3000/", "http://[::1]:3000"] {
        assert!(Proxy::<String>::new(Upstream::new(good.parse().unwrap())).is_ok(), "{good}");
    }
    for bad in ["localhost:3000", "/path", "ftp://a", "http://a/path", "http://a?b", "http://user@a"] {
        let refused = Proxy::<String>::new(Upstream::new(bad.parse().unwrap()));
        assert!(matches!(refused, Err(ProxyError::Upstream(_))), "{bad}");
    }
}
