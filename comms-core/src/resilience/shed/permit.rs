//! The permit of one request in flight.

use std::time::{Duration, Instant};

use super::{
    Shedder,
    gradient::{Outcome, Sample},
};
use crate::{Error, context::Priority, resilience::Guard};

/// A permit of a [`Shedder`] for one request, to be completed with the result of the request.
///
/// A permit that is dropped without a result releases its place and is no sample of an adaptive limit. The permit owns
/// a reference to its shedder, so that a response body can hold the permit.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once bounds nothing"]
pub struct ShedPermit {
    pub(super) shedder: Shedder,
    pub(super) priority: Priority,
    /// Present if the limit is adaptive.
    pub(super) started: Option<Instant>,
}

impl ShedPermit {
    /// Releases the permit of a request that was served. The time since the permit was acquired is a sample of an adaptive
    /// limit.
    pub fn success(self) {
        self.complete(None, Outcome::Served);
    }

    /// Releases the permit of a request that was served in `duration`, which is a sample of an adaptive limit.
    ///
    /// For a `duration` without the time in which the peer sent its request or read its response: a slow peer must not
    /// shrink the limit of all others.
    pub fn success_in(self, duration: Duration) {
        self.complete(Some(duration), Outcome::Served);
    }

    /// Releases the permit of a request that a deadline or a time limit ended after `duration`.
    ///
    /// `duration` is a sample of an adaptive limit if it is above the long-term average, because the request would have
    /// taken at least that long. A shorter one is no sample: a caller must not shrink the limit by short deadlines. Before
    /// the first success, [`AdaptiveLimitConfig::window`](super::AdaptiveLimitConfig::window) stands for the average.
    pub fn timed_out_in(self, duration: Duration) {
        self.complete(Some(duration), Outcome::TimedOut);
    }

    /// Releases the permit of a request that this process refused because of overload, such as by a full queue. An
    /// adaptive limit shrinks at the end of a window in which a tenth of the requests end so.
    ///
    /// Not for a refusal that the caller alone can cause, such as an exceeded quota.
    pub fn overloaded(self) {
        self.complete(None, Outcome::Overloaded);
    }

    /// Releases the permit by the result of the request.
    ///
    /// `Ok` is a [success](Self::success). An error is an [overload](Self::overloaded) if it is the rejection of a
    /// bulkhead or a shedder of this process, and [timed out](Self::timed_out_in) if it is the rejection of a deadline
    /// or a time limit. Another error is no sample: a request that fails early is not a fast one.
    pub fn result<T>(self, result: &Result<T, Error>) {
        let guard = match result {
            Ok(_) => return self.success(),
            Err(error) => error.rejection().map(|rejection| rejection.guard),
        };
        match guard {
            Some(Guard::Bulkhead | Guard::Shed) => self.overloaded(),
            Some(Guard::Deadline | Guard::Timeout) => self.complete(None, Outcome::TimedOut),
            _ => drop(self),
        }
    }

    /// Returns the priority for which the permit was acquired.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.priority
    }

    /// Adds a sample of `duration`, or of the time since the permit was acquired.
    fn complete(self, duration: Option<Duration>, outcome: Outcome) {
        let Some(started) = self.started else { return };
        let now = self.shedder.clock().now();
        let duration = duration.unwrap_or_else(|| now.saturating_duration_since(started));
        let saturated = self.shedder.is_half_used(self.priority);
        self.shedder.add_sample(now, Sample { duration, saturated, outcome });
    }
}

impl Drop for ShedPermit {
    fn drop(&mut self) {
        self.shedder.release(self.priority);
    }
}
