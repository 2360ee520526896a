//! The counters of a hedge, for its snapshot and as metrics.

use metrics::Counter;
use std::sync::OnceLock;

use crate::{
    sync::{AtomicU64, Ordering},
    telemetry,
};

/// A handle of a metric is created at its first use.
pub(super) struct Meter {
    name: &'static str,
    hedges: AtomicU64,
    wins: AtomicU64,
    hedges_handle: OnceLock<Counter>,
    wins_handle: OnceLock<Counter>,
    denied: [OnceLock<Counter>; 3],
}

/// Why a hedge that was due is not sent.
#[derive(Clone, Copy)]
pub(super) enum DenialReason {
    Budget,
    Pushback,
    /// A guard of this process refused the attempt.
    Guard,
}

impl Meter {
    pub(super) fn new(name: &'static str) -> Self {
        let (hedges, wins) = (AtomicU64::new(0), AtomicU64::new(0));
        let (hedges_handle, wins_handle) = (OnceLock::new(), OnceLock::new());
        Self { name, hedges, wins, hedges_handle, wins_handle, denied: Default::default() }
    }

    pub(super) fn count_hedge(&self) {
        self.hedges.fetch_add(1, Ordering::Relaxed);
        let handle = || metrics::counter!(telemetry::HEDGES, "name" => self.name);
        self.hedges_handle.get_or_init(handle).increment(1);
    }

    pub(super) fn count_win(&self) {
        self.wins.fetch_add(1, Ordering::Relaxed);
        let handle = || metrics::counter!(telemetry::HEDGE_WINS, "name" => self.name);
        self.wins_handle.get_or_init(handle).increment(1);
    }

    pub(super) fn count_denial(&self, reason: DenialReason) {
        let label = match reason {
            DenialReason::Budget => "budget",
            DenialReason::Pushback => "pushback",
            DenialReason::Guard => "guard",
        };
        let handle = || metrics::counter!(telemetry::HEDGES_DENIED, "name" => self.name, "reason" => label);
        self.denied[reason as usize].get_or_init(handle).increment(1);
    }

    /// Returns the numbers of hedges and of wins.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.hedges.load(Ordering::Relaxed), self.wins.load(Ordering::Relaxed))
    }
}
