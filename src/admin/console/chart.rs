//! Verdicts by day, drawn.

use std::time::{Duration, SystemTime};

use crate::audit::{Event, Record};
use crate::clock::rfc3339;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many days are drawn, with the present one.
const DAYS: usize = 14;

/// The height of the tallest bar, in the drawing's units.
const HEIGHT: u64 = 100;

/// From one bar to the next.
const STEP: usize = 24;

/// So many records in a row that are of earlier days show that no others come before them. Fewer may be those of a clock that was wrong.
const STRAYS: usize = 10_000;

/// What happened on one day, in UTC.
pub(super) struct Day {
    pub(super) date: String,
    pub(super) allowed: u64,
    pub(super) blocked: u64,
    pub(super) bar: Bar,
}

/// Where a day is drawn: blocked resets stand on top of those that were let through.
#[derive(Default)]
pub(super) struct Bar {
    pub(super) x: usize,
    pub(super) allowed_y: u64,
    pub(super) allowed_height: u64,
    pub(super) blocked_y: u64,
    pub(super) blocked_height: u64,
}

/// The days that are drawn, and what happened on them.
pub(super) struct Chart {
    /// The first first.
    days: Vec<Day>,
    /// How many records in a row were of earlier days.
    earlier: usize,
}

impl Chart {
    /// Up to `now`, without anything on any day.
    pub(super) fn until(now: SystemTime) -> Self {
        let ago = |days: usize| now.checked_sub(DAY * u32::try_from(days).unwrap_or_default()).unwrap_or(SystemTime::UNIX_EPOCH);
        let days = (0..DAYS).rev().map(|days| Day { date: date(ago(days)), allowed: 0, blocked: 0, bar: Bar::default() }).collect();
        Self { days, earlier: 0 }
    }

    /// Counts `record`, before which the later ones were counted, where it is a verdict about a reset. Says whether there may be more of these days before it.
    pub(super) fn count(&mut self, record: &Record) -> bool {
        let date = date(record.time);
        let is_earlier = self.days.first().is_some_and(|first| date < first.date);
        self.earlier = if is_earlier { self.earlier + 1 } else { 0 };
        if let Some(day) = self.days.iter_mut().find(|day| day.date == date) {
            match record.event {
                Event::ResetBlocked => day.blocked += 1,
                Event::ResetAllowed => day.allowed += 1,
                Event::EmailUnverified | Event::DomainChanged | Event::SourceFailed => {}
            }
        }
        self.earlier < STRAYS
    }

    /// The days, each with its bar.
    pub(super) fn drawn(mut self) -> Vec<Day> {
        let most = self.days.iter().map(|day| day.allowed + day.blocked).max().unwrap_or_default().max(1);
        // What happened at all is seen.
        let height = |number: u64| if number == 0 { 0 } else { (number * HEIGHT / most).max(2) };
        for (at, day) in self.days.iter_mut().enumerate() {
            let (allowed_height, blocked_height) = (height(day.allowed), height(day.blocked));
            let allowed_y = HEIGHT + 4 - allowed_height;
            day.bar = Bar { x: at * STEP, allowed_y, allowed_height, blocked_y: allowed_y.saturating_sub(blocked_height), blocked_height };
        }
        self.days
    }
}

fn date(time: SystemTime) -> String {
    rfc3339(time).chars().take_while(|c| *c != 'T').collect()
}
