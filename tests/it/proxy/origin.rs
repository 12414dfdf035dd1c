//! Where a request came from, as the application and the audit record are told.

use std::sync::Arc;

use reset_gatekeeper::account::{Account, MemoryDirectory};
use reset_gatekeeper::proxy::{Proxy, Server};
use reset_gatekeeper::testing::{Registry, SetClock, time};
use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, Guard, Reply, Target};
use tower::Layer;

use super::scene::{Application, Front, header, status, upstream};
use crate::stage::{NOW, Recorder, VERIFIED};

async fn echoed(server: Server, fields: &str) -> String {
    let application = Application::open().await;
    let address = application.address;
    drop(application.echo());
    let front = Front::with(server, upstream(address)).await;
    let (head, echo) = front.ask(&format!("GET / HTTP/1.1\r\nHost: site.example\r\n{fields}\r\n")).await;
    assert_eq!(status(&head), 200, "{echo}");
    echo
}

fn trusting(networks: &[&str]) -> Server {
    Server::new().trusted_proxies(networks.iter().map(|network| network.parse().unwrap()))
}

fn count(echo: &str, name: &str) -> usize {
    echo.lines().filter(|line| line.split_once(':').is_some_and(|(key, _)| key == name)).count()
}

#[tokio::test]
async fn from_an_untrusted_peer_nothing_is_believed() {
    let claims = "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\nForwarded: for=10.0.0.1;host=evil.example\r\n\
                  X-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Server: evil\r\nX-Real-IP: 10.0.0.1\r\nX-Client-IP: 10.0.0.1\r\nTrue-Client-IP: 10.0.0.1\r\nCF-Connecting-IP: 10.0.0.1\r\n\
                  Fastly-Client-IP: 10.0.0.1\r\nX-Cluster-Client-IP: 10.0.0.1\r\nFront-End-Https: on\r\n";
    let echo = echoed(trusting(&["192.0.2.0/24"]), claims).await;
    assert_eq!(header(&echo, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(header(&echo, "x-forwarded-proto"), Some("http"));
    assert_eq!(header(&echo, "x-forwarded-host"), Some("site.example"));
    assert_eq!(header(&echo, "forwarded"), Some("for=127.0.0.1;proto=http;host=\"site.example\""));
    for name in ["x-forwarded-for", "forwarded", "x-forwarded-host"] {
        assert_eq!(count(&echo, name), 1, "{name} in {echo}");
    }
    assert!(!echo.contains("evil") && !echo.contains("10.0.0") && !echo.contains("front-end"), "{echo}");
}

#[tokio::test]
async fn from_a_trusted_peer_what_it_tells_is_added_to() {
    let echo = echoed(
        trusting(&["127.0.0.0/8"]),
        "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 10.0.0.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public.example\r\nX-Real-IP: 203.0.113.7\r\n",
    )
    .await;
    assert_eq!(header(&echo, "x-forwarded-for"), Some("203.0.113.7, 10.0.0.2, 127.0.0.1"));
    assert_eq!((header(&echo, "x-forwarded-proto"), header(&echo, "x-forwarded-host")), (Some("https"), Some("public.example")));
    assert_eq!(header(&echo, "x-real-ip"), Some("203.0.113.7"));
    assert_eq!(header(&echo, "forwarded"), Some("for=203.0.113.7;proto=https;host=\"public.example\", for=10.0.0.2, for=127.0.0.1"));
    assert_eq!((count(&echo, "x-forwarded-for"), count(&echo, "forwarded")), (1, 1));

    let echo = echoed(
        trusting(&["127.0.0.0/8"]),
        "Forwarded: for=\"[2001:db8::7]:80\";proto=https;host=\"public.example\"\r\nForwarded: for=_gone\r\n",
    )
    .await;
    let told = "for=\"[2001:db8::7]:80\";proto=https;host=\"public.example\", for=_gone";
    assert_eq!(header(&echo, "forwarded"), Some(&*format!("{told}, for=127.0.0.1;proto=http;host=\"site.example\"")));
    assert_eq!(header(&echo, "x-forwarded-for"), Some("2001:db8::7, _gone, 127.0.0.1"));
    assert_eq!((header(&echo, "x-forwarded-proto"), header(&echo, "x-forwarded-host")), (Some("https"), Some("public.example")));

    let echo = echoed(trusting(&["127.0.0.0/8"]), "Forwarded: for=\"broken\r\n").await;
    assert_eq!(header(&echo, "forwarded"), Some("for=127.0.0.1;proto=http;host=\"site.example\""));
}

/// Applications behind WSGI, Rack or CGI can't tell `_` from `-`; some take path, host or environment from headers.
#[tokio::test]
async fn nothing_shows_the_application_another_request_than_was_judged() {
    let disguises = "X-Original-URL: /evil\r\nX-Rewrite-URL: /evil\r\nX-Script-Name: /evil\r\nScript-Name: /evil\r\nPath-Info: /evil\r\nSCRIPT_NAME: /evil\r\nPATH_INFO: /evil\r\nProxy: http://evil\r\n\
                     X_Forwarded_For: evil\r\nX_Forwarded-Host: evil\r\nContent_Length: 3\r\nTransfer_Encoding: evil\r\nX_HTTP_Method_Override: evil\r\nHost_: evil\r\nX_Email: evil\r\n";
    for server in [Server::new(), trusting(&["127.0.0.1/32"])] {
        let echo = echoed(server, disguises).await;
        assert!(!echo.contains("evil") && !echo.contains('_'), "{echo}");
    }
}

/// The client in the audit record: behind trusted proxies, the right-most address that is not one of theirs.
#[tokio::test]
async fn the_record_names_the_client() {
    let application = Application::open().await;
    let address = application.address;
    let reached = application.echo();
    let registry = Registry::start().await.unwrap();
    registry.register("lapsed.example", time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
    registry.lapse("lapsed.example");
    let account = Account { id: "1".into(), email: "a@lapsed.example".into(), verified: true, verified_at: Some(time(VERIFIED)) };
    let audit = Arc::<Recorder>::default();
    let gatekeeper = Gatekeeper::builder()
        .directory(MemoryDirectory::from_iter([account]))
        .domains(registry.rdap().await.unwrap())
        .audit(Arc::clone(&audit))
        .clock(SetClock::at(NOW))
        .build()
        .unwrap();
    let layer = GatekeeperLayer::new(gatekeeper, Reply::refuse()).guard(Guard::post("/reset").target(Target::form("email")));
    for (trusted, told, expected) in [
        (&[][..], "203.0.113.7", "127.0.0.1"),
        (&["127.0.0.0/8"], "203.0.113.7", "203.0.113.7"),
        (&["127.0.0.0/8"], "1.1.1.1, 203.0.113.7", "203.0.113.7"),
        (&["127.0.0.0/8", "10.0.0.0/8"], "1.1.1.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
        (&["127.0.0.0/8", "10.0.0.0/8"], "10.0.0.1, 10.1.1.1", "10.0.0.1"),
        (&["127.0.0.0/8"], "1.1.1.1, garbage", "127.0.0.1"),
        (&["127.0.0.0/8"], "[2001:db8::1]:4711", "2001:db8::1"),
        (&["127.0.0.0/8"], "", "127.0.0.1"),
    ] {
        let front = Front::serving(trusting(trusted), layer.layer(Proxy::new(upstream(address)).unwrap())).await;
        let form = "email=a@lapsed.example";
        let (head, _) = front
            .ask(&format!(
                "POST /reset HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {told}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
                form.len()
            ))
            .await;
        assert_eq!(status(&head), 403);
        assert_eq!(audit.last().request.unwrap().client, Some(expected.parse().unwrap()), "{told} by {trusted:?}");
    }
    assert_eq!(reached.load(std::sync::atomic::Ordering::SeqCst), 0);
}
