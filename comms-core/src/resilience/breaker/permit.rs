//! A call on its way through a breaker.

use std::time::Instant;

use super::{Breaker, Pass, Weight};
use crate::Error;

/// A call that a [`Breaker`] let through. Dropped without a result it counts as cancelled: neither success nor
/// failure, and a probe is given back.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once guards nothing"]
pub struct BreakerPermit<'a> {
    pub(super) breaker: &'a Breaker,
    pub(super) pass: Option<Pass>,
    pub(super) started: Option<Instant>,
}

impl BreakerPermit<'_> {
    /// The call worked.
    #[inline]
    pub fn success(self) {
        self.record(Weight::Success);
    }

    /// The call failed in a way that blames the peer.
    pub fn failure(self) {
        self.record(Weight::Failure);
    }

    /// The call's result in the terms of the one classification: see [`ErrorKind::is_peer_failure`](crate::ErrorKind::is_peer_failure).
    #[inline]
    pub fn result<T>(self, result: &Result<T, Error>) {
        match result {
            Ok(_) => self.success(),
            Err(error) if error.kind.is_peer_failure() => self.failure(),
            Err(_) => drop(self),
        }
    }

    fn record(mut self, weight: Weight) {
        let Some(pass) = self.pass.take() else { return };
        let now = self.started.map(|_| self.breaker.now());
        let took = || now.zip(self.started).map(|(end, start)| end - start).unwrap_or_default();
        let slow = self.breaker.is_slow(took);
        self.breaker.record(pass, weight, slow, now);
    }
}

impl Drop for BreakerPermit<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass {
            self.breaker.record(pass, Weight::Neutral, false, None);
        }
    }
}
