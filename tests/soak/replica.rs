//! One sidecar: started, stopped, killed and started again, each time at another port.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reset_gatekeeper::audit::segments;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_reset-gatekeeper");

/// A sidecar with a folder of its own, for its configuration and its audit log.
pub(crate) struct Replica {
    pub(crate) folder: PathBuf,
    running: Mutex<Option<Running>>,
    /// Counts the times that it was told to stop: whoever asked it before may have got no answer.
    stops: AtomicUsize,
}

struct Running {
    child: Child,
    address: SocketAddr,
    admin: String,
}

impl Replica {
    pub(crate) fn new(folder: PathBuf) -> Self {
        std::fs::create_dir(&folder).unwrap();
        Self { folder, running: Mutex::default(), stops: AtomicUsize::new(0) }
    }

    /// Starts it by this configuration, and waits until it listens. Says whether it does: it does not where its database keeps it waiting.
    pub(crate) async fn start(&self, configuration: &str) -> bool {
        std::fs::write(self.configuration(), configuration).unwrap();
        let log = self.folder.join("serve.log");
        let file = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let told_before = file.metadata().unwrap().len() as usize;
        let mut command = Command::new(PROGRAM);
        command
            .arg("serve")
            .arg("--config")
            .arg(self.configuration())
            .env("RUST_LOG", "error,reset_gatekeeper::cli::reload=warn")
            .stdout(Stdio::null())
            .stderr(file);
        let mut child = command.spawn().unwrap();
        loop {
            let text = std::fs::read_to_string(&log).unwrap();
            let text = &text[told_before..];
            let told = |prefix: &str| text.split_inclusive('\n').find_map(|line| line.strip_prefix(prefix)?.strip_suffix('\n'));
            if let Some(address) = told("listening on http://") {
                let admin = told("reset-gatekeeper: admin at ").unwrap_or_default().to_owned();
                let address = address.parse().unwrap();
                *self.running.lock().unwrap() = Some(Running { child, address, admin });
                return true;
            }
            if child.try_wait().unwrap().is_some() {
                // Others use the database, too.
                assert!(["timed out", "too many clients"].iter().any(|busy| text.contains(busy)), "it does not start: {text}");
                return false;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Where it listens, and how often it was stopped so far. `None` while it doesn't run.
    pub(crate) fn address(&self) -> Option<(SocketAddr, usize)> {
        let running = self.running.lock().unwrap();
        Some((running.as_ref()?.address, self.stops()))
    }

    pub(crate) fn admin(&self) -> Option<String> {
        self.running.lock().unwrap().as_ref().map(|running| running.admin.clone())
    }

    pub(crate) fn stops(&self) -> usize {
        self.stops.load(Ordering::SeqCst)
    }

    /// Lets it finish what is under way.
    pub(crate) async fn stop(&self) -> ExitStatus {
        let child = self.taken();
        signal(child.id(), "-TERM");
        waited(child).await
    }

    /// Ends it in the middle of what it does.
    pub(crate) async fn kill(&self) {
        let mut child = self.taken();
        child.kill().unwrap();
        waited(child).await;
    }

    fn taken(&self) -> Child {
        let mut running = self.running.lock().unwrap();
        self.stops.fetch_add(1, Ordering::SeqCst);
        running.take().expect("it runs").child
    }

    /// Moves its log away, as other programs rotate logs, and has it open a new one.
    pub(crate) async fn move_log(&self) {
        let moved = (1..).map(|number| self.folder.join(format!("moved-{number}.jsonl"))).find(|file| !file.exists()).unwrap();
        if std::fs::rename(self.log(), moved).is_err() {
            return; // nothing was recorded since the last time
        }
        let id = self.running.lock().unwrap().as_ref().map(|running| running.child.id());
        signal(id.expect("it runs"), "-HUP");
        while !self.log().exists() {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Has it go over to this configuration, and waits until it has.
    pub(crate) async fn reload(&self, configuration: &str) {
        let log = self.folder.join("serve.log");
        let told_before = std::fs::metadata(&log).unwrap().len() as usize;
        // Whole, whenever it is read.
        let new = self.folder.join("gatekeeper.toml.new");
        std::fs::write(&new, configuration).unwrap();
        std::fs::rename(new, self.configuration()).unwrap();
        let id = self.running.lock().unwrap().as_ref().map(|running| running.child.id());
        signal(id.expect("it runs"), "-HUP");
        loop {
            let text = std::fs::read_to_string(&log).unwrap();
            let told = &text[told_before..];
            assert!(!told.contains("not reloaded"), "a harmless change is not taken: {told}");
            if told.contains("reset-gatekeeper: reloaded: ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// How many KiB it keeps in memory (VmRSS), and how many descriptors it has open.
    pub(crate) fn size(&self) -> Option<(u64, u64)> {
        let id = self.running.lock().unwrap().as_ref()?.child.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())?;
        Some((resident, std::fs::read_dir(format!("/proc/{id}/fd")).ok()?.count() as u64))
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("gatekeeper.toml")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("audit.jsonl")
    }

    /// All files of its audit log, also those that were moved.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path());
        let moved = files.filter(|file| file.file_name().unwrap().to_string_lossy().starts_with("moved-"));
        moved.chain(segments(&self.log()).unwrap()).collect()
    }

    /// What `audit verify` says about them, up to the end that the state knows.
    pub(crate) fn verified(&self) -> Output {
        let verify = || {
            Command::new(PROGRAM).args(["audit", "verify"]).args(self.logs()).arg("--config").arg(self.configuration()).output().unwrap()
        };
        let is_late = |output: &Output| output.status.code() == Some(2) && String::from_utf8_lossy(&output.stderr).contains("timed out");
        std::iter::repeat_with(verify).find(|output| !is_late(output)).expect("it repeats without end")
    }

    /// The lines of its log that tell of errors, panics included.
    pub(crate) fn errors(&self) -> Vec<String> {
        let said = std::fs::read_to_string(self.folder.join("serve.log")).unwrap();
        said.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).map(str::to_owned).collect()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.lock().unwrap().take() {
            drop(running.child.kill());
            drop(running.child.wait());
        }
    }
}

fn signal(process: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
}

async fn waited(mut child: Child) -> ExitStatus {
    tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap()
}

/// The records of a log's files.
pub(crate) fn records(files: &[impl AsRef<Path>]) -> impl Iterator<Item = serde_json::Value> {
    files.iter().flat_map(|file| {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
    })
}
