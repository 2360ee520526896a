//! The permit of one call through a breaker.

use std::time::Instant;

use super::{AdmittedCall, Breaker, CallOutcome};
use crate::Error;

/// The permission of a [`Breaker`] for one call, to be completed with the call's result.
///
/// A permit that is dropped without a result counts as a cancelled call: neither a success nor a failure. A half-open
/// probe slot becomes free again.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once records no result"]
pub struct BreakerPermit<'a> {
    pub(super) breaker: &'a Breaker,
    pub(super) call: Option<AdmittedCall>,
    pub(super) started: Option<Instant>,
}

impl BreakerPermit<'_> {
    /// Records a success.
    #[inline]
    pub fn success(self) {
        self.record(CallOutcome::Success);
    }

    /// Records a failure of the peer.
    pub fn failure(self) {
        self.record(CallOutcome::Failure);
    }

    /// Records the result of the call, classified by [`ErrorKind::is_peer_failure`](crate::ErrorKind::is_peer_failure).
    /// An error of another kind counts as neither a success nor a failure.
    #[inline]
    pub fn result<T>(self, result: &Result<T, Error>) {
        match result {
            Ok(_) => self.success(),
            Err(error) if error.kind.is_peer_failure() => self.failure(),
            Err(_) => drop(self),
        }
    }

    fn record(mut self, outcome: CallOutcome) {
        let Some(call) = self.call.take() else { return };
        let now = self.started.map(|_| self.breaker.0.clock.now());
        let elapsed = || now.zip(self.started).map(|(end, start)| end - start).unwrap_or_default();
        let slow = self.breaker.is_slow(elapsed);
        self.breaker.record(call, outcome, slow, now);
    }
}

impl Drop for BreakerPermit<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.breaker.record(call, CallOutcome::Ignored, false, None);
        }
    }
}
