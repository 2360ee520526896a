//! The permit of one request in flight.

use std::time::Instant;

use super::{Shedder, gradient::Sample};
use crate::{
    Error, ErrorKind,
    context::Priority,
    resilience::{Guard, Rejection},
};

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
    /// Releases the permit of a request that was served. Its duration is a sample of an adaptive limit.
    pub fn success(self) {
        self.complete(false);
    }

    /// Releases the permit of a request that failed because of overload: a time limit passed, or a queue was full. An
    /// adaptive limit shrinks at the end of the window.
    pub fn overloaded(self) {
        self.complete(true);
    }

    /// Releases the permit by the result of the request.
    ///
    /// `Ok` is a [success](Self::success). An error is an [overload](Self::overloaded) if it is the rejection of a
    /// bulkhead, a shedder, a deadline or a time limit, or if its kind is [`ErrorKind::Rejected`] and no guard of this
    /// process is the cause. Another error is no sample: a request that fails early is not a fast one.
    pub fn result<T>(self, result: &Result<T, Error>) {
        match result {
            Ok(_) => self.success(),
            Err(error) if is_overload(error) => self.overloaded(),
            Err(_) => drop(self),
        }
    }

    /// Returns the priority for which the permit was acquired.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.priority
    }

    fn complete(self, overloaded: bool) {
        let Some(started) = self.started else { return };
        let now = self.shedder.clock().now();
        let duration = now.saturating_duration_since(started);
        let in_flight = self.shedder.in_flight().total();
        self.shedder.add_sample(now, Sample { duration, in_flight, overloaded });
    }
}

impl Drop for ShedPermit {
    fn drop(&mut self) {
        self.shedder.release(self.priority);
    }
}

fn is_overload(error: &Error) -> bool {
    match error.rejection() {
        Some(Rejection { guard, .. }) => {
            matches!(guard, Guard::Bulkhead | Guard::Shed | Guard::Deadline | Guard::Timeout)
        }
        None => error.kind == ErrorKind::Rejected,
    }
}
