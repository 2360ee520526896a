//! The ejection of an endpoint that fails more than the others (gRFC A50).

use std::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Relaxed, Release},
};

use comms_core::resilience::{HostSnapshot, OutlierHost};

/// The host that stands for an endpoint in the detector of the channel.
#[derive(Debug)]
pub(super) struct Ejection {
    host: OutlierHost,
    /// Whether a call is in flight that decides about the trial after an ejection.
    trial_runs: AtomicBool,
}

impl Ejection {
    pub(super) fn new(host: OutlierHost) -> Self {
        Self { host, trial_runs: AtomicBool::new(false) }
    }

    /// Admits an attempt, or returns why the endpoint is to be avoided. The last resort is always admitted.
    pub(super) fn admit(&self, last_resort: bool) -> Result<Observed<'_>, &'static str> {
        let generation = self.host.generation();
        let mut observed = Observed { ejection: self, generation, is_trial: false };
        if last_resort {
            return Ok(observed);
        }
        if self.host.is_ejected() {
            return Err("ejected, because it fails more than the other endpoints");
        }
        if self.host.is_on_trial() {
            observed.is_trial = !self.trial_runs.swap(true, AcqRel);
            return if observed.is_trial { Ok(observed) } else { Err("on trial after an ejection") };
        }
        Ok(observed)
    }

    /// Returns whether [`admit`](Self::admit) refuses calls now.
    pub(super) fn is_avoided(&self) -> bool {
        self.host.is_ejected() || self.host.is_on_trial() && self.trial_runs.load(Relaxed)
    }

    pub(super) fn snapshot(&self) -> HostSnapshot {
        self.host.snapshot()
    }
}

/// An attempt whose result the detector counts. Dropping it without a result is neutral.
pub(super) struct Observed<'a> {
    ejection: &'a Ejection,
    /// The generation of the host in which the attempt began.
    generation: u32,
    is_trial: bool,
}

impl Observed<'_> {
    /// Returns whether the attempt decides about the trial after an ejection.
    pub(super) const fn is_trial(&self) -> bool {
        self.is_trial
    }

    /// Records the result, unless the endpoint was ejected or has returned since the attempt began.
    pub(super) fn record(self, success: bool) {
        if self.ejection.host.generation() == self.generation {
            self.ejection.host.record(success);
        }
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        if self.is_trial {
            self.ejection.trial_runs.store(false, Release);
        }
    }
}
