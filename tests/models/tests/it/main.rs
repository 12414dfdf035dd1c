//! What runs at once in the crate, in very many of the orders in which it may run, as Shuttle chooses them: its locks, channels, tasks and threads are Shuttle's.
//!
//! Each model is run `MODELS_SCHEDULES` times (2000 by default), half of them at random and half by probabilistic concurrency testing, which finds what takes few
//! changes of turn, at moments seldom hit. From one start, or from `SHUTTLE_RANDOM_SEED`. A model that fails prints the schedule, which `shuttle::replay` repeats.

mod cache;
mod log;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

/// How many changes of turn the second half makes.
const DEPTH: usize = 3;

/// Runs `model` in many orders. It fails where one panics, or leaves somebody waiting for ever.
fn check(model: fn()) {
    let schedules = std::env::var("MODELS_SCHEDULES").map_or(2_000, |number| number.parse().unwrap());
    let mut config = Config::new();
    config.stack_size = 512 << 10;
    config.silence_warnings = true;
    Runner::new(RandomScheduler::new_from_seed(1, schedules / 2), config.clone()).run(model);
    Runner::new(PctScheduler::new_from_seed(1, DEPTH, schedules / 2), config).run(model);
}
