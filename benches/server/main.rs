//! What the gate costs a server, in processor time: `cargo bench --bench server -- [ROUNDS] [SECONDS]`. Needs Debian's package wrk.
//!
//! An axum server as it is, and one with the gate, each a process of its own with one thread, are asked by wrk over 32 connections: for a page that no guard concerns, and for a
//! reset that the gate lets through by what it remembers of the domain, to a handler that reads the form and answers. Once more with a record on the disk for each reset that is
//! let through, as is the default: there the disk is measured too.
//!
//! What counts is the processor time of the server's threads for each request that was answered. The servers take turns, and the median of the ratios of neighbours is printed.

#[path = "../common/parts.rs"]
mod parts;
mod serve;
#[path = "../common/table.rs"]
mod table;
mod wrk;

use serve::{Server, Site};
use table::Row;
use wrk::Load;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is measured: the requests, the site beside the one without the gate, and the ratio that is not to be exceeded.
const CASES: [(&str, Load, Site, Option<f64>); 4] = [
    ("GET of a page", Load::Page, Site::Gated, Some(1.02)),
    ("POST that no guard concerns", Load::Login, Site::Gated, Some(1.02)),
    ("POST of a reset, domain remembered", Load::Reset, Site::Gated, Some(1.10)),
    ("the same, each recorded", Load::Reset, Site::Recording, None),
];

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(site) = arguments.iter().find_map(|argument| Site::named(argument)) {
        return serve::run(site);
    }
    // `cargo test --benches` only wants to see that it runs.
    let is_in_earnest = arguments.iter().any(|argument| argument == "--bench");
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse().ok());
    let (rounds, seconds) = (numbers.next().unwrap_or(if is_in_earnest { 15 } else { 1 }), numbers.next().unwrap_or(1));
    let bare = Server::start(Site::Bare)?;
    let mut rows = Vec::new();
    for (case, load, site, goal) in CASES {
        let gated = Server::start(site)?;
        let (mut ours, mut peers) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let ours_first = round % 2 == 0;
            for is_ours in [ours_first, !ours_first] {
                let (server, costs) = if is_ours { (&gated, &mut ours) } else { (&bare, &mut peers) };
                costs.push(server.cost(load, seconds)?);
            }
        }
        let ratio = median(ours.iter().zip(&peers).map(|(ours, peer)| ours / peer).collect());
        let peer = median(peers);
        rows.push(Row { case: case.to_owned(), unit: "us", ours: ratio * peer, peer, goal });
    }
    table::print(&rows);
    Ok(())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}
