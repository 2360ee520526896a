//! One host: its counts, which a call updates without a lock, and the handle through which a call does so.

use std::fmt;

use super::{HostSnapshot, OutlierDetector};
use crate::sync::{Arc, AtomicBool, AtomicU32, AtomicU64, Ordering};

/// One success in the word of counts. The failures are in the low half.
const SUCCESS: u64 = 1 << 32;

/// The counts of a host. The machine and the handle share them.
#[derive(Debug, Default)]
pub(super) struct HostState {
    /// Successes and failures since the last sweep.
    counts: AtomicU64,
    consecutive_failures: AtomicU32,
    /// Grows with each ejection and each return: odd while the host is ejected.
    generation: AtomicU32,
    /// Whether the host has returned from an ejection and no call has succeeded since.
    on_trial: AtomicBool,
}

/// The calls of a host in one interval.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Calls {
    pub(super) successes: u32,
    pub(super) failures: u32,
}

impl Calls {
    pub(super) const fn total(self) -> u64 {
        self.successes as u64 + self.failures as u64
    }

    pub(super) fn success_rate(self) -> f64 {
        f64::from(self.successes) / self.total() as f64
    }
}

impl HostState {
    /// Returns the calls since the last one, and starts counting anew.
    pub(super) fn take_calls(&self) -> Calls {
        let word = self.counts.swap(0, Ordering::Relaxed);
        Calls { successes: (word >> 32) as u32, failures: word as u32 }
    }

    /// Ejects the host if it is in rotation, or else returns it to rotation, on trial. The machine calls this under its
    /// lock.
    pub(super) fn change_rotation(&self) {
        self.consecutive_failures.store(0, Ordering::Relaxed);
        let returns = self.is_ejected();
        self.on_trial.store(returns, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn restart_consecutive(&self) {
        self.consecutive_failures.store(0, Ordering::Relaxed);
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.generation.load(Ordering::Relaxed) % 2 == 1
    }

    pub(super) fn is_on_trial(&self) -> bool {
        self.on_trial.load(Ordering::Relaxed)
    }

    fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    fn count_success(&self) {
        self.counts.fetch_add(SUCCESS, Ordering::Relaxed);
        // Read first: while a host succeeds, the line is not written twice for each call.
        if self.consecutive_failures.load(Ordering::Relaxed) != 0 {
            self.consecutive_failures.store(0, Ordering::Relaxed);
        }
        if self.is_on_trial() {
            self.on_trial.store(false, Ordering::Relaxed);
        }
    }

    /// Counts a failure and returns the failures in a row.
    fn count_failure(&self) -> u32 {
        self.counts.fetch_add(1, Ordering::Relaxed);
        self.consecutive_failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }
}

/// A host of an [`OutlierDetector`], created by [`OutlierDetector::add`].
///
/// Keep the handle beside the connection to the host, in an `Arc` if several tasks use it. Dropping the handle removes
/// the host: a host that is added again starts without a history.
pub struct OutlierHost {
    pub(super) detector: OutlierDetector,
    pub(super) id: u64,
    pub(super) name: std::sync::Arc<str>,
    pub(super) state: Arc<HostState>,
}

impl OutlierHost {
    /// Records the result of a call to this host: whether the host answered as a healthy one does.
    ///
    /// Costs one or two atomic operations. With the rule of consecutive failures, the call that makes the host an
    /// outlier ejects it, and so does the first failure on trial. Do not record calls that were cancelled, that a guard
    /// of this process refused, or that began in another [`generation`](Self::generation).
    pub fn record(&self, success: bool) {
        if success {
            return self.state.count_success();
        }
        let failures = self.state.count_failure();
        if self.detector.ejects_after(failures, self.is_on_trial()) && !self.is_ejected() {
            self.detector.change(|machine, now, _| {
                machine.eject_for_consecutive_failures(self.id, now).into_iter().collect()
            });
        }
    }

    /// Returns whether the host is ejected: send no call to it, unless every other host is unusable. One atomic read.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.state.is_ejected()
    }

    /// Returns whether the host has returned from an ejection and no call has succeeded since: send one call at a time,
    /// so that a host that still fails costs one call and not one for each caller. One atomic read.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.state.is_on_trial()
    }

    /// Returns a number that changes with each ejection and each return. The result of a call that began with another
    /// number is no evidence about the host now. One atomic read.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.state.generation()
    }

    /// Returns the state of this host.
    #[must_use]
    pub fn snapshot(&self) -> HostSnapshot {
        self.detector.snapshot_of(self)
    }

    /// Returns the name that was given to [`OutlierDetector::add`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for OutlierHost {
    fn drop(&mut self) {
        self.detector.change(|machine, _, _| machine.remove(self.id).into_iter().collect());
    }
}

impl fmt::Debug for OutlierHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ejected = self.is_ejected();
        f.debug_struct("OutlierHost").field("name", &self.name).field("ejected", &ejected).finish()
    }
}
