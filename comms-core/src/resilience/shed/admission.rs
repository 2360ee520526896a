//! The admission of a request up to the share of its priority.

use std::time::Duration;

use super::{ShedPermit, Shedder, counts};
use crate::{
    context::Priority,
    resilience::{Guard, Rejection},
    sync::Ordering,
    telemetry,
};

impl Shedder {
    /// Acquires a permit for a request of `priority`, without waiting.
    ///
    /// # Errors
    /// Returns a [`Rejection`] of [`Guard::Shed`] if the requests in flight have reached the share of `priority`.
    /// `retry_after` is [`ShedConfig::retry_after`](super::ShedConfig::retry_after) with a jitter of +-50 %.
    #[inline]
    pub fn try_acquire(&self, priority: Priority) -> Result<ShedPermit, Rejection> {
        let shared = &*self.0;
        let bounds = shared.bounds.load(Ordering::Relaxed);
        let bound = counts::of(bounds, priority);
        let admit = |word| (counts::total(word) < bound).then(|| word + counts::one(priority));
        if shared.in_flight.fetch_update(Ordering::Acquire, Ordering::Relaxed, admit).is_err() {
            return Err(self.shed(priority));
        }
        let started = counts::is_measured(bounds).then(|| shared.clock.now());
        Ok(ShedPermit { shedder: self.clone(), priority, started })
    }

    /// Checks that a permit for a request of `priority` is free, and acquires none.
    ///
    /// For a request that acquires its permit later, when it has arrived as a whole: while there is no permit, the
    /// request is refused before it is read.
    ///
    /// # Errors
    /// Returns the [`Rejection`] of [`try_acquire`](Self::try_acquire), which counts as a shed request.
    pub fn check(&self, priority: Priority) -> Result<(), Rejection> {
        let bound = counts::of(self.0.bounds.load(Ordering::Relaxed), priority);
        match counts::total(self.0.in_flight.load(Ordering::Relaxed)) < bound {
            true => Ok(()),
            false => Err(self.shed(priority)),
        }
    }

    pub(super) fn release(&self, priority: Priority) {
        self.0.in_flight.fetch_sub(counts::one(priority), Ordering::Release);
    }

    /// Returns whether the requests in flight use at least half of the permits of `priority`.
    pub(super) fn is_half_used(&self, priority: Priority) -> bool {
        let bound = counts::of(self.0.bounds.load(Ordering::Relaxed), priority);
        self.in_flight().total() >= bound.div_ceil(2)
    }

    #[cold]
    fn shed(&self, priority: Priority) -> Rejection {
        let shared = &*self.0;
        shared.shed[priority as usize].fetch_add(1, Ordering::Relaxed);
        let handle = || {
            let label = priority.as_str();
            metrics::counter!(telemetry::SHED_REQUESTS, "name" => shared.name, "priority" => label)
        };
        shared.meter.shed[priority as usize].get_or_init(handle).increment(1);
        let nanos = shared.retry_after_nanos.load(Ordering::Relaxed);
        let wait = Duration::from_nanos((nanos as f64 * (0.5 + shared.clock.random_unit())) as u64);
        Rejection::new(shared.name, Guard::Shed, Some(wait))
    }
}
