//! Tests through the public surface: a module per promise.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets what it does not expect must fail"
)]

mod admin;
mod audit;
mod audit_faults;
mod audit_files;
mod audit_kept;
mod audit_signed;
mod audit_verify;
mod cli;
mod config;
mod console;
mod directory;
mod dns;
mod exempt;
mod extractor;
mod faults;
mod formats;
mod function;
mod gate;
mod generate;
mod given_up;
mod guide;
mod http_directory;
mod knowing;
mod layer;
mod one_file;
mod partition;
mod postgres;
mod proxy;
mod queries;
mod rdap;
mod reading;
mod reload;
mod remembered;
mod replay;
mod replicas;
mod reply;
mod schema;
mod serve;
mod sources;
mod stage;
mod state;
mod status;
mod sweep;
mod sweep_cli;
mod sweeping;
mod webhook;
mod whois;
