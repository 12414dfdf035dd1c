//! Tests through the public surface: a module per promise.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect must fail"
)]

mod audit;
mod cli;
mod config;
mod directory;
mod gate;
mod layer;
mod proxy;
mod reading;
mod replay;
mod reply;
mod serve;
mod sources;
mod stage;
