//! Several processes that sweep one directory at once, as on several machines, while the registry fails now and then and some of them are killed.
//!
//! `GATEKEEPER_SWEEP_DOMAINS` sets how many domains there are, `GATEKEEPER_SWEEP_RATE` how many questions a second the registry is asked.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reset_gatekeeper::testing::{Fault, Phase, Registry, time};

use tokio::time::Instant;

use crate::postgres::Schema;

/// Every hundredth domain has lapsed.
const LAPSED: usize = 100;

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

struct Field {
    registry: Registry,
    schema: Schema,
    folder: tempfile::TempDir,
    domains: usize,
}

impl Field {
    async fn open(domains: usize, rate: usize) -> Self {
        let (registry, schema) = (Registry::start().await.unwrap(), Schema::create().await);
        let mut field = Self { registry, schema, folder: tempfile::tempdir().unwrap(), domains };
        for number in 0..domains {
            field.registry.register(&name(number), time("2009-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
            if number % LAPSED == 0 {
                field.registry.put(&name(number), Phase::Redemption);
            }
        }
        std::fs::write(field.folder.path().join("dns.json"), field.registry.bootstrap_file()).unwrap();
        let url = &field.schema.url;
        let config = format!(
            "[directory]\nurl = \"{url}\"\n[state]\nurl = \"{url}\"\n[domains]\nsources = [\"rdap\"]\n[domains.rdap]\nbootstrap = \"dns.json\"\nallow_insecure = true\n[sweep]\nrate = \"{rate}/s\"\n"
        );
        std::fs::write(field.config(), config).unwrap();
        // The table is made by whoever comes first.
        drop(reset_gatekeeper::account::PostgresDirectory::connect(url).await.unwrap());
        let accounts = format!(
            "INSERT INTO accounts (email, verified, verified_at) SELECT 'a@' || 'name' || number || '.com', TRUE, '2020-01-01' FROM generate_series(0, {}) AS number",
            domains - 1
        );
        field.schema.run(&accounts).await;
        field
    }

    fn config(&self) -> std::path::PathBuf {
        self.folder.path().join("gatekeeper.toml")
    }

    fn sweep(&self) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("sweep.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
        command.arg("sweep").arg("--json").arg("--config").arg(self.config()).env_remove("RUST_LOG");
        command.stdout(Stdio::piped()).stderr(log).spawn().unwrap()
    }

    /// Waits until so many questions were asked.
    async fn asked(&self, questions: usize) {
        while self.registry.all_questions() < questions {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn name(number: usize) -> String {
    format!("name{number}.com")
}

fn lines(file: &Path, event: &str) -> usize {
    std::fs::read_to_string(file).unwrap().lines().filter(|line| line.contains(event)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes over a minute: what the killed ones had leased must run out"]
async fn four_processes_share_a_sweep_and_two_of_them_are_killed() {
    let (domains, rate) = (number("GATEKEEPER_SWEEP_DOMAINS", 1_500), number("GATEKEEPER_SWEEP_RATE", 400));
    let mut field = Field::open(domains, rate).await;
    field.registry.fault_each(50, Fault::Status(500, None));
    let began = Instant::now();
    let mut sweeps: Vec<Child> = (0..4).map(|_| field.sweep()).collect();
    field.asked(domains / 2).await;
    for killed in &mut sweeps[..2] {
        killed.kill().unwrap();
        killed.wait().unwrap();
    }
    let rest = sweeps.split_off(2);
    let outputs: Vec<_> =
        tokio::task::spawn_blocking(|| rest.into_iter().map(|sweep| sweep.wait_with_output().unwrap()).collect()).await.unwrap();
    let took = began.elapsed();
    for output in &outputs {
        let text = String::from_utf8_lossy(&output.stdout);
        let summary: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|_| {
            let log = std::fs::read_to_string(field.folder.path().join("sweep.log")).unwrap();
            panic!("it broke off: {}", log.lines().rev().take(5).collect::<Vec<_>>().join("\n"))
        });
        // Of very many domains, one or another meets a fault each time that it is asked about.
        let failed = summary["failed"].as_u64().unwrap();
        assert!(failed <= domains as u64 / 10_000, "{output:?}");
        assert_eq!(output.status.code(), Some(i32::from(failed > 0)), "{output:?}");
        eprintln!("{text}");
    }
    // Such a one is asked about again by the next sweep, and no other.
    let questions = field.registry.all_questions();
    let last = field.sweep();
    let last = tokio::task::spawn_blocking(move || last.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(last.status.code(), Some(0), "{last:?}");
    let again = field.registry.all_questions() - questions;
    assert!(again <= domains / 1_000, "{again} questions again");
    // Every domain is answered, and none is un-verified that stands.
    let asked = field.registry.all_questions();
    let unasked = (0..field.domains).filter(|number| field.registry.questions(&name(*number)) == 0).count();
    assert_eq!(unasked, 0);
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT email FROM accounts WHERE NOT verified").fetch_all(&mut field.schema.connection).await.unwrap();
    assert_eq!(rows.len(), domains.div_ceil(LAPSED));
    for (email,) in rows {
        let number: usize = email.trim_start_matches("a@name").trim_end_matches(".com").parse().unwrap();
        assert_eq!(number % LAPSED, 0, "{email}");
    }
    // None is asked again but those that failed, and those that the killed ones had leased.
    let (failed, leased) = (asked / 50, 2 * 512);
    assert!(asked <= domains + failed + leased, "{asked} questions about {domains} domains");
    // Each second has the rate's questions, and no more than a lateness of half a second besides.
    let busiest = field.registry.most_within(Duration::from_secs(1));
    assert!(busiest <= rate + rate / 2, "{busiest} questions in a second");
    let audit = field.folder.path().join("audit.jsonl");
    assert!(lines(&audit, "\"email_unverified\"") >= domains.div_ceil(LAPSED));
    let verify = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper")).args(["audit", "verify"]).arg(&audit).status().unwrap();
    assert!(verify.success());
    eprintln!("{domains} domains, {asked} questions, {again} of them in a last sweep, {busiest} in the busiest second, {took:?}");
}
