//! The table that every benchmark ends with: what ours takes beside a peer, measured in the same run.

use std::fmt;

/// A ratio that is aimed at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// What costs.
    #[allow(dead_code, reason = "not every benchmark has both")]
    AtMost(f64),
    /// What is got done.
    #[allow(dead_code, reason = "not every benchmark has both")]
    AtLeast(f64),
}

impl Goal {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(most) => ratio <= most,
            Self::AtLeast(least) => ratio >= least,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

/// One line of it.
pub(crate) struct Row {
    pub(crate) case: String,
    /// What is counted, such as `ns`.
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    pub(crate) peer: f64,
    pub(crate) goal: Option<Goal>,
}

/// Prints it. Each line begins with a bar, by which `benches/run` finds it.
pub(crate) fn print(rows: &[Row]) {
    println!("| {:64} | {:9} | {:>12} | {:>12} | {:>8} | {:>16} |", "case", "unit", "ours", "peer", "ratio", "goal");
    for Row { case, unit, ours, peer, goal } in rows {
        let ratio = ours / peer;
        let verdict = goal.map_or_else(String::new, |goal| format!("{goal}{}", if goal.is_met(ratio) { "" } else { ", missed" }));
        println!("| {case:64} | {unit:9} | {ours:12.2} | {peer:12.2} | {ratio:8.3} | {verdict:>16} |");
    }
}
