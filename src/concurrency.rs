//! The threads and locks of what is checked in all the orders in which it may run (`models` in the repository): the checker must be the one that has them.

#[cfg(not(shuttle))]
pub(crate) use std::{sync::Mutex, thread};

#[cfg(shuttle)]
pub(crate) use shuttle::{sync::Mutex, thread};
