//! Tests through the public surface: a module per promise.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets what it does not expect must fail"
)]

mod audit;
mod cli;
mod config;
mod directory;
mod dns;
mod faults;
mod gate;
mod http_directory;
mod knowing;
mod layer;
mod postgres;
mod proxy;
mod queries;
mod rdap;
mod reading;
mod remembered;
mod replay;
mod replicas;
mod reply;
mod serve;
mod sources;
mod stage;
mod state;
mod status;
mod sweep;
mod sweep_cli;
mod sweeping;
mod whois;
