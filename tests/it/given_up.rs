//! Callers that give up while the database has their change, as they do when their time is up: nothing of it may stay behind on a connection that others get.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;
use reqwest::Url;
use reset_gatekeeper::account::{Directory, PostgresDirectory};
use reset_gatekeeper::audit::Head;
use reset_gatekeeper::domain::cache::Remembered;
use reset_gatekeeper::domain::{History, Report};
use reset_gatekeeper::testing::time;
use reset_gatekeeper::{Identifier, Identifies, Reason, RegistrableDomain, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::postgres::Schema;

/// More than a pool has connections.
const ALL: usize = 16;
const ROUNDS: usize = 20;

/// A way to PostgreSQL on which the answer to the next `BEGIN` can be held up.
struct Way {
    url: String,
    gate: watch::Sender<Gate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// It shuts when the next transaction begins.
    Armed,
    Shut,
}

impl Way {
    async fn to(schema: &Schema) -> Self {
        let mut url = Url::parse(&schema.url).unwrap();
        let server = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_ip_host([127, 0, 0, 1].into()).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        // So that a `BEGIN` can be seen.
        url.query_pairs_mut().append_pair("sslmode", "disable");
        let gate = watch::Sender::new(Gate::Open);
        tokio::spawn({
            let gate = gate.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let server = TcpStream::connect((server.0.as_str(), server.1)).await.unwrap();
                    tokio::spawn(pass_on(client, server, gate.clone()));
                }
            }
        });
        Self { url: url.into(), gate }
    }

    /// Has `change` begin its transaction, and gives it up before it learns that it has.
    async fn give_up<T: std::fmt::Debug>(&self, change: impl Future<Output = T>) {
        self.gate.send_replace(Gate::Armed);
        let mut gate = self.gate.subscribe();
        tokio::select! {
            done = change => panic!("it did not wait: {done:?}"),
            shut = gate.wait_for(|gate| *gate == Gate::Shut) => drop(shut.unwrap()),
        }
        self.gate.send_replace(Gate::Open);
    }
}

async fn pass_on(client: TcpStream, server: TcpStream, gate: watch::Sender<Gate>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.into_split(), server.into_split());
    let mut answers = gate.subscribe();
    let asking = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            if buffer[..read].windows(5).any(|word| word == b"BEGIN") {
                gate.send_if_modified(|gate| *gate == Gate::Armed && std::mem::replace(gate, Gate::Shut) == Gate::Armed);
            }
            to_server.write_all(&buffer[..read]).await.unwrap();
        }
    };
    let answering = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            drop(answers.wait_for(|gate| *gate != Gate::Shut).await.unwrap());
            to_client.write_all(&buffer[..read]).await.unwrap();
        }
    };
    tokio::join!(asking, answering);
}

/// Else a connection goes on to show the accounts as they were then.
#[tokio::test]
async fn after_a_change_that_was_given_up_the_directory_sees_what_others_change() {
    let mut schema = Schema::create().await;
    let way = Way::to(&schema).await;
    let directory = PostgresDirectory::connect(&way.url).await.unwrap();
    schema.run("INSERT INTO accounts (email, verified, verified_at) VALUES ('a@example.com', true, now())").await;
    let name = Identifier::parse(Identifies::Email, "a@example.com").unwrap();
    let account = directory.find(&name).await.unwrap().remove(0);
    way.give_up(directory.unverify(&account, Reason::DomainExpired)).await;
    // So often at a time that each connection of the pool is asked, and for so long that the one in question is back.
    let verified = async || {
        let finds = (0..ALL).map(|_| async { directory.find(&name).await.unwrap()[0].verified });
        join_all(finds).await.into_iter().filter(|verified| *verified).count()
    };
    for _ in 0..ROUNDS {
        assert_eq!(verified().await, ALL);
    }
    schema.run("UPDATE accounts SET verified = false").await;
    assert_eq!(verified().await, 0);
}

/// Else what is kept on that connection is never committed, and locked for everybody.
#[tokio::test]
async fn after_a_change_that_was_given_up_the_state_keeps_what_it_says_it_keeps() {
    let schema = Schema::create().await;
    let way = Way::to(&schema).await;
    let state = State::connect(&way.url).await.unwrap();
    let (domain, at) = (RegistrableDomain::of("example.com").unwrap(), time("2026-01-31T12:00:00Z"));
    let report = Report::unregistered("rdap");
    let history = Arc::new(History::beginning(&report, at));
    let found = Remembered { report: Arc::new(report), history, checked_at: at, confirmed_at: None };
    assert!(state.domain(&domain).await.unwrap().is_none());
    way.give_up(state.keep_domain(&domain, &found)).await;
    let other = State::connect(&schema.url).await.unwrap();
    for round in 0..ROUNDS {
        let files: Vec<PathBuf> = (0..ALL).map(|number| format!("/{round}/{number}.jsonl").into()).collect();
        let head = Head::new(7, "f".repeat(64));
        join_all(files.iter().map(|file| async { state.keep_audit_head(file, &head).await.unwrap() })).await;
        for file in &files {
            assert_eq!(other.audit_head(file).await.unwrap().as_ref(), Some(&head), "{file:?}");
        }
    }
}
