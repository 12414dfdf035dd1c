//! The servers, each in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use axum::routing::{get, post};
use axum::{Form, Router};
use reset_gatekeeper::audit::{AuditSink, JsonLines};
use reset_gatekeeper::{Gatekeeper, GatekeeperLayer, Guard, Reply, Target};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::Failure;
use crate::parts::{Forgetful, Healthy, directory};
use crate::wrk::Load;

/// What a server has before its handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    Bare,
    Gated,
    /// With a record of what is let through.
    Recording,
}

impl Site {
    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "serve-bare",
            Self::Gated => "serve-gated",
            Self::Recording => "serve-recording",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Bare, Self::Gated, Self::Recording].into_iter().find(|site| site.name() == name)
    }
}

/// A server that runs until this is dropped.
pub(crate) struct Server {
    process: Child,
    base: String,
}

impl Server {
    pub(crate) fn start(site: Site) -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?).arg(site.name()).stdout(Stdio::piped()).spawn()?;
        let mut base = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut base)?;
        Ok(Self { process, base: base.trim().to_owned() })
    }

    /// Microseconds of processor time for each request.
    pub(crate) fn cost(&self, load: Load, seconds: u32) -> Result<f64, Failure> {
        let before = self.time()?;
        let answered = load.run(&self.base, seconds)?;
        Ok((self.time()? - before) / 1_000.0 / answered as f64)
    }

    /// The processor time of all threads up to now, in nanoseconds.
    fn time(&self) -> Result<f64, Failure> {
        let mut sum = 0.0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let times = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            sum += times.split_whitespace().next().ok_or("no time")?.parse::<f64>()?;
        }
        Ok(sum)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

#[derive(Deserialize)]
struct Recovery {
    email: String,
}

#[derive(Deserialize)]
struct Login {
    name: String,
}

fn pages() -> Router {
    Router::new()
        .route("/articles/{id}", get(|| async { "an article" }))
        .route("/login", post(async |Form(login): Form<Login>| format!("Hello {}", login.name)))
        .route("/password-reset", post(async |Form(recovery): Form<Recovery>| format!("A mail to {} is on its way.", recovery.email)))
}

/// Serves in this process, having said where.
pub(crate) fn run(site: Site) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let router = match site {
            Site::Bare => pages(),
            Site::Gated => pages().layer(layer(Forgetful, false).await?),
            Site::Recording => pages().layer(layer(JsonLines::open(folder.path().join("audit.jsonl")).await?, true).await?),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        axum::serve(listener, router).await?;
        Ok(())
    })
}

async fn layer(audit: impl AuditSink, records_allowed: bool) -> Result<GatekeeperLayer, Failure> {
    let gatekeeper = Gatekeeper::builder().directory(directory()).domains(Healthy).audit(audit).record_allowed(records_allowed).build()?;
    if !gatekeeper.assess("user@example.com").await?.is_allowed() {
        return Err("blocked".into());
    }
    Ok(GatekeeperLayer::new(gatekeeper, Reply::refuse()).guard(Guard::post("/password-reset").target(Target::form("email"))))
}
