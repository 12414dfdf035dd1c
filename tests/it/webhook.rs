//! Records pushed to a receiver.

mod command;
mod delivery;
mod files;
mod refusals;
mod scene;
mod tokens;
