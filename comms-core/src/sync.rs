//! What the lock-free parts are made of: one door, so that a model checker can stand in for it
//! (`tests/loom/main.rs` includes those parts with its own).

pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, AtomicU64, Ordering},
};
