//! What was done and found, as a page in Markdown.

use std::fmt::Write;
use std::process::Output;
use std::time::Duration;

use crate::ledger::Ledger;
use crate::world::World;

/// By how much of it a sidecar's memory may be larger, in the mean, in the last quarter of the soak than in the second. In the first it fills its caches.
const GROWTH: f64 = 0.10;
/// Below this length nothing is said about growth: the second quarter is still the beginning.
const LONG: Duration = Duration::from_secs(600);

/// How large each sidecar was, over time.
#[derive(Default)]
pub(crate) struct Sizes(Vec<Vec<(u64, u64)>>);

impl Sizes {
    pub(crate) fn sample(&mut self, world: &World) {
        self.0.resize_with(world.replicas.len(), Vec::new);
        for (sizes, replica) in self.0.iter_mut().zip(&world.replicas) {
            sizes.extend(replica.size());
        }
    }

    /// The means of each quarter, of a sidecar's memory in KiB, and of its descriptors.
    fn quarters(&self, replica: usize) -> [(f64, f64); 4] {
        let sizes = &self.0[replica];
        std::array::from_fn(|quarter| {
            let part = &sizes[sizes.len() * quarter / 4..sizes.len() * (quarter + 1) / 4];
            let mean = |of: fn(&(u64, u64)) -> u64| part.iter().map(of).sum::<u64>() as f64 / part.len().max(1) as f64;
            (mean(|size| size.0), mean(|size| size.1))
        })
    }

    fn growth(&self, replica: usize) -> f64 {
        let [_, (second, _), _, (last, _)] = self.quarters(replica);
        last / second - 1.0
    }

    /// The sidecars that grow.
    pub(crate) fn growing(&self, length: Duration) -> Vec<String> {
        let grows = |replica: &usize| length >= LONG && self.growth(*replica) > GROWTH;
        (0..self.0.len()).filter(grows).map(|replica| format!("replica {replica} grew by {:.1} %", self.growth(replica) * 100.0)).collect()
    }
}

/// What was found in the end.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) seed: u64,
    pub(crate) length: Duration,
    pub(crate) records: usize,
    /// What `audit verify` says of each log.
    pub(crate) proofs: Vec<String>,
    pub(crate) lost: Vec<String>,
    pub(crate) wrong: Vec<String>,
    /// What the sidecars said to be errors, such as a registry that fails at the worst moment.
    pub(crate) errors: Vec<String>,
}

impl Findings {
    /// Takes what `audit verify` says.
    pub(crate) fn prove(&mut self, output: Output) {
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
        if !output.status.success() {
            self.lost.push(said.clone());
        }
        self.proofs.push(said);
    }
}

pub(crate) fn report(ledger: &Ledger, sizes: &Sizes, findings: &Findings) -> String {
    let mut page = String::new();
    let mut line = |text: String| writeln!(page, "{text}").unwrap();
    line(format!("# Soak: {} s, seed {}\n", findings.length.as_secs(), findings.seed));
    line(format!("- wrong verdicts and answers: {}", findings.wrong.len()));
    line(format!("- lost records: {}", findings.lost.len()));
    line(format!("- records of verdicts: {}", findings.records));
    line(format!("- errors in the sidecars' logs: {}", findings.errors.len()));
    for proof in &findings.proofs {
        line(format!("- `audit verify`: {proof}"));
    }
    line("\n| what | outcome | times |\n|---|---|---:|".to_owned());
    for ((kind, outcome), count) in ledger.counts() {
        line(format!("| {kind} | {outcome} | {count} |"));
    }
    line(
        "\n| memory in MiB, descriptors | 1st quarter | 2nd | 3rd | 4th | growth from 2nd to 4th |\n|---|---:|---:|---:|---:|---:|"
            .to_owned(),
    );
    for replica in 0..sizes.0.len() {
        let quarters: Vec<String> =
            sizes.quarters(replica).iter().map(|(memory, descriptors)| format!("{:.1}, {descriptors:.0}", memory / 1024.0)).collect();
        line(format!("| replica {replica} | {} | {:+.1} % |", quarters.join(" | "), sizes.growth(replica) * 100.0));
    }
    for found in findings.wrong.iter().chain(&findings.lost).take(100).chain(findings.errors.iter().take(20)) {
        line(format!("\n    {found}"));
    }
    page
}
