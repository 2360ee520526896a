//! The deadline that a policy sets for the work inside it.
//!
//! The deadline is in a thread-local cell that is set while the attempt is polled. A task-local scope would wrap every
//! attempt in another future.

use std::{cell::Cell, time::Instant};

use super::Deadline;

thread_local! {
    static LIMIT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Returns the deadline of the policies around the code that is being polled.
pub(super) fn current_limit() -> Option<Deadline> {
    LIMIT.get().map(Deadline::at)
}

/// Runs `poll` with `limit` as the current deadline, unless an earlier deadline is set already.
pub(crate) fn within<T>(limit: Option<Instant>, poll: impl FnOnce() -> T) -> T {
    let Some(limit) = limit else { return poll() };
    let previous = LIMIT.get();
    let _restore = Restore(previous);
    LIMIT.set(Some(previous.map_or(limit, |previous| previous.min(limit))));
    poll()
}

/// Restores the previous deadline when dropped, also if `poll` panics.
struct Restore(Option<Instant>);

impl Drop for Restore {
    fn drop(&mut self) {
        LIMIT.set(self.0);
    }
}
