//! The table that every benchmark ends with: what ours takes beside a peer, measured in the same run.

/// One line of it.
pub(crate) struct Row {
    pub(crate) case: String,
    /// What is counted, such as `ns`.
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    pub(crate) peer: f64,
    /// The ratio that is not to be exceeded, where there is one.
    pub(crate) goal: Option<f64>,
}

/// Prints it. Each line begins with a bar, by which `benches/run` finds it.
pub(crate) fn print(rows: &[Row]) {
    println!("| {:64} | {:9} | {:>12} | {:>12} | {:>8} | {:>12} |", "case", "unit", "ours", "peer", "ratio", "goal");
    for Row { case, unit, ours, peer, goal } in rows {
        let ratio = ours / peer;
        let goal = goal.map_or_else(String::new, |goal| format!("{goal:.2}{}", if ratio <= goal { "" } else { ", missed" }));
        println!("| {case:64} | {unit:9} | {ours:12.2} | {peer:12.2} | {ratio:8.3} | {goal:>12} |");
    }
}
