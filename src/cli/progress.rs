//! How a sweep goes, on standard error: bars where that is a terminal, else a line now and then.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use reset_gatekeeper::SweepEvent;
use tokio::time::Instant;

/// How often a line is written where there is no bar, beside those for a new stage.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How often a bar shows that there is life in it.
const TICK: Duration = Duration::from_millis(200);

const ACCOUNTS: &str = "{spinner} {human_pos} accounts gone through {msg}";
const DOMAINS: &str = "{spinner} {wide_bar} {human_pos} of {human_len} domains looked at, {rate}, {eta} left{msg}";

/// Standard error. What is written to it stands above the bars, once there are some.
#[derive(Clone)]
pub(crate) struct Terminal(MultiProgress);

impl Terminal {
    pub(crate) fn new() -> Self {
        Self(MultiProgress::with_draw_target(ProgressDrawTarget::hidden()))
    }

    /// Does `print`, to wherever, while the bars are out of its way.
    pub(super) fn above<R>(&self, print: impl FnOnce() -> R) -> R {
        self.0.suspend(print)
    }

    /// Says `text` as the command does.
    pub(super) fn say(&self, text: impl Display) {
        self.above(|| eprintln!("reset-gatekeeper: {text}"));
    }
}

impl Write for Terminal {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.above(|| io::stderr().write(text))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Shows how a sweep goes.
pub(super) struct Progress {
    terminal: Terminal,
    bars: Option<Bars>,
    /// What becomes of the accounts that it finds.
    done: &'static str,
    tally: Mutex<Tally>,
}

struct Bars {
    accounts: ProgressBar,
    domains: ProgressBar,
}

struct Tally {
    found: u64,
    unverified: u64,
    start: Instant,
    told_at: Instant,
}

impl Progress {
    pub(super) fn new(terminal: Terminal, dry_run: bool) -> Self {
        terminal.0.set_draw_target(ProgressDrawTarget::stderr());
        let bars = (!terminal.0.is_hidden()).then(|| Bars::new(&terminal.0));
        if bars.is_none() {
            terminal.say("going through all accounts");
        }
        let start = Instant::now();
        let done = if dry_run { "would be un-verified" } else { "were un-verified" };
        Self { terminal, bars, done, tally: Mutex::new(Tally { found: 0, unverified: 0, start, told_at: start }) }
    }

    /// Shows `event`. What the brake does is told elsewhere.
    pub(super) fn tell(&self, event: &SweepEvent) {
        match event {
            SweepEvent::Discovering { accounts } => match &self.bars {
                Some(bars) => bars.accounts.set_position(*accounts),
                None => self.line(|_| format!("{} accounts gone through", HumanCount(*accounts))),
            },
            SweepEvent::Discovered { accounts, domains } => {
                if let Some(bars) = &self.bars {
                    bars.accounts.set_position(*accounts);
                    bars.accounts.finish_with_message(format!("on {} domains", HumanCount(*domains)));
                } else {
                    self.terminal.say(format!("{} accounts, on {} domains", HumanCount(*accounts), HumanCount(*domains)));
                }
            }
            SweepEvent::Looking { looked, left } => match &self.bars {
                Some(bars) => {
                    bars.domains.set_length(looked + left);
                    bars.domains.set_position(*looked);
                    bars.domains.set_message(self.findings());
                }
                None => self.line(|tally| {
                    let rate = *looked as f64 / tally.start.elapsed().as_secs_f64();
                    format!(
                        "{} domains looked at ({rate:.1}/s), {} left{}",
                        HumanCount(*looked),
                        HumanCount(*left),
                        tally.findings(self.done)
                    )
                }),
            },
            SweepEvent::Found { domain, reason } => {
                self.tally().found += 1;
                if self.bars.is_some() {
                    self.terminal.say(format!("{}: {}", domain.as_str(), reason.as_str()));
                }
            }
            SweepEvent::Unverified { .. } => {
                self.tally().unverified += 1;
                match &self.bars {
                    Some(bars) => bars.domains.set_message(self.findings()),
                    None => self.line(|tally| format!("accounts that {}: {}", self.done, HumanCount(tally.unverified))),
                }
            }
            _ => {}
        }
    }

    /// Takes the bars away.
    pub(super) fn end(&self) {
        if let Some(bars) = &self.bars {
            bars.accounts.finish_and_clear();
            bars.domains.finish_and_clear();
        }
    }

    /// Writes a line, unless the last was just before.
    fn line(&self, text: impl FnOnce(&Tally) -> String) {
        let mut tally = self.tally();
        if tally.told_at.elapsed() >= LINE_EVERY {
            tally.told_at = Instant::now();
            self.terminal.say(text(&tally));
        }
    }

    fn findings(&self) -> String {
        self.tally().findings(self.done)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn findings(&self, done: &str) -> String {
        match (self.found, self.unverified) {
            (0, 0) => String::new(),
            (found, 0) => format!("; found: {}", HumanCount(found)),
            (found, unverified) => format!("; found: {}, {done}: {}", HumanCount(found), HumanCount(unverified)),
        }
    }
}

impl Bars {
    fn new(all: &MultiProgress) -> Self {
        let bar = |bar: ProgressBar, template: &str| {
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
                let _ = write!(text, "{:.1}/s", state.per_sec());
            };
            let bar = all.add(bar.with_style(style.with_key("rate", rate)));
            bar.enable_steady_tick(TICK);
            bar
        };
        Self { accounts: bar(ProgressBar::no_length(), ACCOUNTS), domains: bar(ProgressBar::new(0), DOMAINS) }
    }
}
