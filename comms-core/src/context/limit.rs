//! The deadline that a policy sets for what runs inside it. A task-local scope would wrap every attempt in
//! another future; this is one cell, set while the attempt is polled.

use std::{cell::Cell, time::Instant};

use super::Deadline;

thread_local! {
    static LIMIT: Cell<Option<Instant>> = const { Cell::new(None) };
}

pub(super) fn limit() -> Option<Deadline> {
    LIMIT.get().map(Deadline::at)
}

/// Runs `poll` so that the current deadline is `limit` where that is the earlier one.
pub(crate) fn within<T>(limit: Option<Instant>, poll: impl FnOnce() -> T) -> T {
    let Some(limit) = limit else { return poll() };
    let before = LIMIT.get();
    let _restore = Restore(before);
    LIMIT.set(Some(before.map_or(limit, |before| before.min(limit))));
    poll()
}

/// Also when `poll` panics.
struct Restore(Option<Instant>);

impl Drop for Restore {
    fn drop(&mut self) {
        LIMIT.set(self.0);
    }
}
