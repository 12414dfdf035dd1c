//! Tests through the public surface: a module per promise.
