//! Tests through the public surface: a module per promise.

mod audit;
mod cli;
mod directory;
mod gate;
mod layer;
mod reading;
mod replay;
mod sources;
mod stage;
