//! `DashMap` as Shuttle models it: one lock, and a hasher of its own, so that the one that is named goes unused.

use std::fmt::{self, Debug, Formatter};
use std::hash::{Hash, RandomState};
use std::marker::PhantomData;
use std::ops::Deref;

pub use shuttle_dashmap::Entry;

pub struct DashMap<K, V, S = RandomState> {
    modelled: shuttle_dashmap::DashMap<K, V>,
    hasher: PhantomData<S>,
}

impl<K: Eq + Hash, V> DashMap<K, V> {
    pub fn new() -> Self {
        Self::default()
    }
}

impl<K: Eq + Hash, V, S> Default for DashMap<K, V, S> {
    fn default() -> Self {
        Self { modelled: shuttle_dashmap::DashMap::new(), hasher: PhantomData }
    }
}

impl<K: Debug, V: Debug, S> Debug for DashMap<K, V, S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.modelled.fmt(f)
    }
}

impl<K, V, S> Deref for DashMap<K, V, S> {
    type Target = shuttle_dashmap::DashMap<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.modelled
    }
}
