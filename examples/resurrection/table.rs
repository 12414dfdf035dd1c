//! What is printed: the assumptions, and what came of each defence.

use crate::figures::{DAY, FIGURES, TOP_LEVELS};
use crate::replay::Tally;
use crate::world::{Kind, World};

pub(crate) fn print_assumptions(world: &World) {
    println!("| figure | | source |\n|---|---|---|");
    for (what, figure, source) in FIGURES {
        println!("| {what} | {figure} | {source} |");
    }
    let total: f64 = TOP_LEVELS.iter().map(|one| one.names).sum();
    let shares: Vec<_> = TOP_LEVELS.iter().map(|one| format!(".{} {:.1} %", one.name, one.names / total * 100.0)).collect();
    println!("| domains of one's own | {} | registries' sizes, Domain Name Industry Brief |\n", shares.join(", "));
    let taken = |kind| world.domains.iter().filter(|domain| domain.taking.is_some_and(|taking| taking.kind == kind)).count();
    let kinds: Vec<_> = Kind::ALL.into_iter().map(|kind| format!("{} {}", kind.as_str(), taken(kind))).collect();
    println!(
        "Domains: {}, of which come into other hands: {}. Requests: {}.\n",
        world.domains.len(),
        kinds.join(", "),
        world.requests.len()
    );
}

pub(crate) fn print_table(tallies: &[Tally]) {
    let kinds: Vec<_> = Kind::ALL.into_iter().map(Kind::as_str).collect();
    println!("| hijacks that succeed | {} | all | rightful resets blocked | soon to expire | registry | DNS | open |", kinds.join(" | "));
    println!("|---|{}", "---|".repeat(kinds.len() + 6));
    for tally in tallies {
        let kinds: Vec<_> = Kind::ALL.into_iter().map(|kind| share(tally.taken.get(&kind).copied().unwrap_or_default())).collect();
        let of_rightful =
            |count: u64| if tally.rightful == 0 { "–".to_owned() } else { format!("{:.3} %", percent(count, tally.rightful)) };
        let expiring = tally.blocked.get("domain_expiring").copied().unwrap_or_default();
        println!(
            "| {} | {} | {} | {} | {} | {:.2} + {:.2} | {:.2} + {:.2} | {} |",
            tally.name,
            kinds.join(" | "),
            share(tally.all_taken()),
            of_rightful(tally.wrongly_blocked()),
            of_rightful(expiring),
            tally.daily.0,
            tally.at_resets.0,
            tally.daily.1,
            tally.at_resets.1,
            open(&tally.blind),
        );
    }
    println!(
        "\nregistry, DNS: questions for each account and year, daily + at resets. open: days, mean and worst, in which it would let a taker through, from the lapse on."
    );
    for tally in tallies {
        let reasons: Vec<_> = tally.blocked.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let (asked, blocked) = tally.lapsed;
        println!(
            "{}: {} rightful resets, blocked: {}. Asked after the term had ended unpaid: {asked}, blocked {blocked}. Un-verified: {}.",
            tally.name,
            tally.rightful,
            if reasons.is_empty() { "none".to_owned() } else { reasons.join(", ") },
            tally.unverified
        );
    }
}

/// Of those who asked, how many got a reset.
fn share((asked, got): (u64, u64)) -> String {
    if asked == 0 { "–".to_owned() } else { format!("{:.1} % of {asked}", percent(got, asked)) }
}

pub(crate) fn percent(some: u64, all: u64) -> f64 {
    some as f64 * 100.0 / all.max(1) as f64
}

fn open(spans: &[i64]) -> String {
    let days = |seconds: i64| seconds as f64 / DAY as f64;
    let mean = spans.iter().map(|span| days(*span)).sum::<f64>() / spans.len().max(1) as f64;
    format!("{mean:.1} / {:.0}", days(spans.iter().max().copied().unwrap_or_default()))
}
