//! The synchronization primitives of the lock-free parts. `tests/loom/main.rs` compiles those parts with loom's
//! primitives in place of this module.

pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
};
