//! What SIGHUP changes of a sidecar that serves, and what it doesn't.

use std::convert::Infallible;
use std::future::pending;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use reset_gatekeeper::proxy::Server;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::proxy::scene::{Application, Wire, status};
use crate::serve::{Place, Sidecar};

const CONFIRM: &str = "[[guard]]\npath = \"/confirm\"\nmethods = [\"PUT\"]\ntarget = \"form:email\"\n";
const PAGE: &str = "page = \"SELECT id, email, verified, verified_at FROM users WHERE id > $1 ORDER BY id LIMIT $2\"\n";
const LAPSED: &str = "email=lapsed@lapsed.com";

/// Has `edit` change the configuration.
fn edit(place: &Place, edit: impl FnOnce(String) -> String) {
    let file = place.path("gatekeeper.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, edit(text)).unwrap();
}

/// The lines that the sidecar has written so far.
fn said(place: &Place) -> Vec<String> {
    let text = std::fs::read_to_string(place.path("serve.log")).unwrap();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

/// Sends SIGHUP, and gives what the sidecar says to it.
async fn hang_up(place: &Place, sidecar: &Sidecar) -> String {
    let before = said(place).len();
    assert!(Command::new("kill").args(["-HUP", &sidecar.child.id().to_string()]).status().unwrap().success());
    for _ in 0..400 {
        if let Some(line) = said(place).get(before) {
            return line.clone();
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    unreachable!("it says nothing: {:?}", said(place));
}

async fn connect(sidecar: &Sidecar) -> Wire {
    Wire::connect(sidecar.base.rsplit_once('/').unwrap().1.parse().unwrap()).await
}

/// Sends a form over a connection that is kept.
async fn send(wire: &mut Wire, method_and_path: &str, more: &str, form: &str) -> u16 {
    let length = form.len();
    let head = format!("{method_and_path} HTTP/1.1\r\nHost: site\r\n{more}Content-Type: application/x-www-form-urlencoded\r\n");
    wire.send(&format!("{head}Content-Length: {length}\r\n\r\n{form}")).await;
    status(&wire.answer().await.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_guard_that_is_added_judges_the_next_request_of_a_connection_that_is_kept() {
    let place = Place::open().await;
    let sidecar = place.serve().await;
    let mut kept = connect(&sidecar).await;
    assert_eq!(send(&mut kept, "PUT /confirm", "", LAPSED).await, 404, "the application has no such page, and was asked");
    let stream = TcpStream::connect(sidecar.base.trim_start_matches("http://")).await.unwrap();
    let (mut http2, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = || {
        let request = Request::put(format!("{}/confirm", sidecar.base)).header("content-type", "application/x-www-form-urlencoded");
        request.body(Full::new(Bytes::from(LAPSED))).unwrap()
    };
    assert_eq!(http2.send_request(request()).await.unwrap().status(), 404);

    edit(&place, |text| text + CONFIRM);
    let line = hang_up(&place, &sidecar).await;
    assert!(line.starts_with("reset-gatekeeper: reloaded: guards: 2; accounts: "), "{line}");
    assert_eq!(send(&mut kept, "PUT /confirm", "", LAPSED).await, 403);
    assert_eq!(http2.send_request(request()).await.unwrap().status(), 403);
    assert_eq!(sidecar.reset("lapsed@lapsed.com").await, 403, "the other is as it was");
    assert_eq!(sidecar.reset("good@healthy.com").await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_under_way_is_finished_as_it_began() {
    let place = Place::open().await;
    let [old, new] = [Application::open().await, Application::open().await];
    let upstream = |text: String, address| {
        let line = text.lines().find(|line| line.starts_with("upstream = ")).unwrap().to_owned();
        text.replace(&line, &format!("upstream = \"http://{address}\""))
    };
    edit(&place, |text| upstream(text, old.address));
    let sidecar = place.serve().await;
    let (mut asking, mut guarded) = (connect(&sidecar).await, connect(&sidecar).await);
    asking.send("GET /page HTTP/1.1\r\nHost: site\r\n\r\n").await;
    let mut asked = old.accept().await;
    asked.head().await;
    let head = "POST /reset HTTP/1.1\r\nHost: site\r\nExpect: 100-continue\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    guarded.send(&format!("{head}Content-Length: {}\r\n\r\n", LAPSED.len())).await;
    assert_eq!(status(&guarded.head().await), 100, "it reads the body");

    // Another application, and what was guarded is guarded no more.
    edit(&place, |text| upstream(text, new.address).replace("\"/reset\"", "\"/elsewhere\""));
    let line = hang_up(&place, &sidecar).await;
    assert!(line.contains(" reloaded: "), "{line}");
    guarded.send(LAPSED).await;
    assert_eq!(status(&guarded.answer().await.0), 403);
    asked.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold").await;
    assert_eq!(asking.answer().await.1, "old");
    drop(new.echo());
    asking.send("GET /page HTTP/1.1\r\nHost: site\r\n\r\n").await;
    let echo = asking.answer().await.1;
    assert!(echo.starts_with("GET /page "), "the next goes to the other: {echo}");
    assert_eq!(send(&mut guarded, "POST /reset", "", LAPSED).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_configuration_that_is_wrong_changes_nothing() {
    let place = Place::open().await;
    let sidecar = place.serve().await;
    let mut kept = connect(&sidecar).await;
    let good = std::fs::read_to_string(place.path("gatekeeper.toml")).unwrap();
    let rows = [
        (format!("{good}\n[policy\n"), "gatekeeper.toml:"),
        (good.replace("path = \"/reset\"", "paths = \"/reset\""), "`path`"),
        (good.replace("form:email", "query:"), "target"),
        (good.replace("mode = \"refuse\"", ""), "mode"),
        (good.replace("/reset", "/other").replace("target =", "identifies = \"token\"\ntarget ="), "`guard.identifies`"),
        (format!("{good}[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n{CONFIRM}"), "`tls`"),
    ];
    for (text, told) in &rows {
        edit(&place, |_| text.clone());
        let before = said(&place).len();
        let line = hang_up(&place, &sidecar).await;
        assert!(line.contains("WARN") && line.contains("not reloaded, all stays as it was: ") && line.contains(told), "{told}: {line}");
        assert_eq!(send(&mut kept, "POST /reset", "", LAPSED).await, 403, "{told}");
        assert_eq!(sidecar.page().await.0, 200);
        assert_eq!(said(&place).len(), before + 1, "one line: {:?}", said(&place));
    }
    std::fs::remove_file(place.path("gatekeeper.toml")).unwrap();
    let line = hang_up(&place, &sidecar).await;
    assert!(line.contains("gatekeeper.toml can't be read"), "{line}");
    assert_eq!(send(&mut kept, "POST /reset", "", LAPSED).await, 403);

    std::fs::write(place.path("gatekeeper.toml"), format!("{good}{CONFIRM}")).unwrap();
    assert!(hang_up(&place, &sidecar).await.contains(" reloaded: guards: 2; "));
    assert_eq!(send(&mut kept, "PUT /confirm", "", LAPSED).await, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_takes_a_restart_is_named_and_nothing_changes() {
    let place = Place::open().await;
    std::fs::write(place.path("state"), "sqlite:state.db").unwrap();
    edit(&place, |text| text.replace("url = \"sqlite:state.db\"", "url_file = \"state\""));
    let good = std::fs::read_to_string(place.path("gatekeeper.toml")).unwrap();
    let sidecar = place.serve().await;
    let mut kept = connect(&sidecar).await;
    let rows = [
        (good.replace("url_file = \"state\"", "url = \"sqlite:other.db\""), "`state.url`, `state.url_file`"),
        (good.replace("127.0.0.1:0", "127.0.0.1:1"), "`listen`"),
        (good.replace("sqlite:app.db", "sqlite:other.db"), "`directory.url`"),
        (good.replace("[\"rdap\"]", "[\"rdap\", \"dns\"]\ntimeout = \"1s\""), "`domains.sources`, `domains.timeout`"),
        (good.replace("mode = \"refuse\"", "mode = \"observe\""), "`reply.mode`"),
        (format!("{good}[policy]\nexpiring_within = \"1d\"\n"), "`policy.expiring_within`"),
        (format!("{good}[audit]\nfile = \"other.jsonl\"\n"), "`audit.file`"),
        (format!("{}[sweep]\n", good.replace("[directory]\n", &format!("[directory]\n{PAGE}"))), "`directory.page`, `sweep`"),
        (format!("admin = \"127.0.0.1:0\"\n{good}"), "`admin`"),
    ];
    for (text, keys) in &rows {
        edit(&place, |_| format!("{text}{CONFIRM}"));
        let line = hang_up(&place, &sidecar).await;
        let told = format!("not reloaded, all stays as it was: a restart is needed for what changed: {keys}");
        assert!(line.contains("WARN") && line.ends_with(&told), "{keys}: {line}");
        assert_eq!(send(&mut kept, "PUT /confirm", "", LAPSED).await, 404, "{keys}: nor is the guard there");
        assert_eq!(send(&mut kept, "POST /reset", "", LAPSED).await, 403, "{keys}");
    }
    assert!(!place.path("other.db").exists());
    // What a file says counts, not its name.
    edit(&place, |_| good.clone());
    std::fs::write(place.path("state"), "sqlite:other.db").unwrap();
    assert!(hang_up(&place, &sidecar).await.ends_with(": `state.url_file`"));
    // Nor does it matter that what holds anyway is written.
    std::fs::write(place.path("state"), "sqlite:state.db").unwrap();
    edit(&place, |_| format!("{good}[policy]\nexpiring_within = \"7d\"\n"));
    assert!(hang_up(&place, &sidecar).await.contains(" reloaded: "));
}

/// Certificates are renewed while nothing else changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_renewed_certificate_is_presented_to_new_connections() {
    let place = Place::open().await;
    let renew = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(place.path("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(place.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
        move || reqwest::Client::builder().no_proxy().tls_certs_only([root.clone()]).build().unwrap()
    };
    edit(&place, |text| format!("{text}[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n"));
    let old = renew();
    let sidecar = place.serve().await;
    let url = format!("{}/page", sidecar.base.replace("127.0.0.1", "localhost"));
    assert!(url.starts_with("https://"), "{url}");
    let kept = old();
    assert_eq!(kept.get(&url).send().await.unwrap().status(), 200);

    let new = renew();
    assert!(new().get(&url).send().await.is_err(), "it was not told yet");
    assert!(hang_up(&place, &sidecar).await.contains(" reloaded: "));
    assert_eq!(new().get(&url).send().await.unwrap().status(), 200);
    assert!(old().get(&url).send().await.is_err(), "nobody gets the old one any more");
    assert_eq!(kept.get(&url).send().await.unwrap().status(), 200, "a connection that is kept goes on");

    // One that can't be used is not: half of a renewal.
    std::fs::write(place.path("key.pem"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let line = hang_up(&place, &sidecar).await;
    assert!(line.contains("not reloaded") && line.contains("cert.pem can't be used with its key"), "{line}");
    assert_eq!(new().get(&url).send().await.unwrap().status(), 200);
}

/// Or whoever can wait for a reload, such as that of each night, had as many requests again.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_limit_goes_on_counting_across_reloads() {
    let place = Place::open().await;
    edit(&place, |text| text.replace("target = \"form:email\"", "target = \"form:email\"\nlimit = \"2/d\""));
    let sidecar = place.serve().await;
    for email in ["good@healthy.com", "nobody@healthy.com"] {
        assert_eq!([sidecar.reset(email).await, sidecar.reset(email).await], [200, 200], "{email}");
    }
    hang_up(&place, &sidecar).await;
    assert_eq!(sidecar.reset("good@healthy.com").await, 403);
    // One before it, and another for the same requests, another reply, another timeout.
    let other = "[[guard]]\npath = \"/reset\"\ntarget = \"query:login\"\nmissing = \"pass\"\nlimit = \"2/d\"\n";
    edit(&place, |text| text.replacen("[[guard]]", &format!("{CONFIRM}limit = \"2/d\"\n{other}[[guard]]"), 1).replace("\"2s\"", "\"3s\""));
    assert!(hang_up(&place, &sidecar).await.contains(" reloaded: guards: 3; "));
    for email in ["good@healthy.com", "nobody@healthy.com"] {
        assert_eq!(sidecar.reset(email).await, 403, "{email}");
    }
    let mut kept = connect(&sidecar).await;
    let confirmed = send(&mut kept, "PUT /confirm", "", "email=good@healthy.com").await;
    assert_eq!(confirmed, 404, "the new one begins to count, and the application was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn flags_override_what_is_read_again_too() {
    let place = Place::open().await;
    let other = Application::open().await;
    let upstream = format!("http://{}", other.address);
    drop(other.echo());
    let sidecar = place.start(place.command(&["serve", "--upstream", &upstream, "--listen", "127.0.0.1:0"])).await;
    assert!(sidecar.page().await.1.starts_with("GET /page "));
    edit(&place, |text| text.replace("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:1\"") + CONFIRM);
    assert!(hang_up(&place, &sidecar).await.contains(" reloaded: guards: 2; "));
    assert!(sidecar.page().await.1.starts_with("GET /page "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_proxy_is_trusted_from_its_next_request_on() {
    let place = Place::open().await;
    let sidecar = place.serve().await;
    let mut kept = connect(&sidecar).await;
    let client = async |kept: &mut Wire| {
        assert_eq!(send(kept, "POST /reset", "X-Forwarded-For: 203.0.113.7\r\n", "email=good@healthy.com").await, 200);
        place.records().last().unwrap()["request"]["client"].as_str().unwrap().to_owned()
    };
    assert_eq!(client(&mut kept).await, "127.0.0.1");
    let plain = std::fs::read_to_string(place.path("gatekeeper.toml")).unwrap();
    edit(&place, |text| format!("trusted_proxies = [\"127.0.0.0/8\"]\n{text}"));
    hang_up(&place, &sidecar).await;
    assert_eq!(client(&mut kept).await, "203.0.113.7");
    edit(&place, |_| plain);
    hang_up(&place, &sidecar).await;
    assert_eq!(client(&mut kept).await, "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_slips_by_while_it_is_reloaded() {
    let place = Place::open().await;
    let sidecar = Arc::new(place.serve().await);
    let over = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let (sidecar, over) = (Arc::clone(&sidecar), Arc::clone(&over));
            tokio::spawn(async move {
                let mut kept = connect(&sidecar).await;
                let mut asked = 0;
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(send(&mut kept, "POST /reset", "", LAPSED).await, 403);
                    assert_eq!(sidecar.reset("lapsed@lapsed.com").await, 403);
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    for number in 0..20 {
        edit(&place, |text| match number % 2 {
            0 => text + CONFIRM,
            _ => text.replace(CONFIRM, ""),
        });
        assert!(hang_up(&place, &sidecar).await.contains(" reloaded: "));
    }
    over.store(true, Ordering::Relaxed);
    for asking in asking {
        assert!(asking.await.unwrap() > 0);
    }
    assert!(place.mailed().is_empty());
}

#[tokio::test]
async fn the_last_change_counts_although_whoever_made_it_is_gone() {
    let answer = |word: &'static str| std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(word))));
    let service = |word| tower::service_fn(move |_: Request<Incoming>| answer(word));
    let (replacing, current) = watch::channel((Server::new(), service("old")));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut kept = Wire::connect(listener.local_addr().unwrap()).await;
    tokio::spawn(Server::run_current(listener, current, pending()));
    let answered = async |kept: &mut Wire| {
        kept.send("GET / HTTP/1.1\r\nHost: site\r\n\r\n").await;
        kept.answer().await.1
    };
    assert_eq!(answered(&mut kept).await, "old");
    replacing.send_replace((Server::new(), service("new")));
    drop(replacing);
    assert_eq!(answered(&mut kept).await, "new");
}
