//! The guard that removes a hold from the list when it is dropped.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{hold::DeliveryId, list::HoldList};

/// The hold of a delivery that is being attempted, returned by [`Holds::register`](super::Holds::register).
///
/// Dropping the guard removes the delivery from the list.
pub struct HoldGuard {
    list: Arc<HoldList>,
    pub(super) id: DeliveryId,
    /// When the hold began.
    pub(super) started: Instant,
    /// When this processor began or resumed the hold.
    resumed: Instant,
    /// The number of attempts that failed during this hold.
    pub(crate) attempts: u32,
    stays_listed: bool,
}

impl HoldGuard {
    pub(super) const fn new(list: Arc<HoldList>, id: DeliveryId, now: Instant) -> Self {
        Self { list, id, started: now, resumed: now, attempts: 0, stays_listed: false }
    }

    /// Returns the guard of a hold that is on the list already, if it is.
    pub(super) fn resume(list: &Arc<HoldList>, id: DeliveryId, now: Instant) -> Option<Self> {
        let (started, attempts) = {
            let entries = list.lock();
            let entry = entries.get(&id)?;
            (entry.started, entry.hold.attempts)
        };
        Some(Self { list: list.clone(), id, started, resumed: now, attempts, stays_listed: false })
    }

    /// Returns the duration of the whole hold, including the calls that returned the delivery to the runtime.
    pub(crate) fn lasted(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// Returns how long this processor has held the delivery since it began or resumed the hold.
    pub(crate) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.resumed)
    }

    /// Keeps the delivery on the list, because the runtime presents it again.
    pub(crate) fn stay(mut self) {
        self.stays_listed = true;
    }
}

impl fmt::Debug for HoldGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldGuard").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

impl Drop for HoldGuard {
    fn drop(&mut self) {
        if !self.stays_listed {
            self.list.remove(&self.id);
        }
    }
}
