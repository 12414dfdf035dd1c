//! The threads and locks of what is checked in all the orders in which it may run (`tests/models` in the repository): the checker must be the one that has them.

#[cfg(not(reset_gatekeeper_models))]
pub(crate) use std::{sync::Mutex, thread};

#[cfg(reset_gatekeeper_models)]
pub(crate) use shuttle::{sync::Mutex, thread};
