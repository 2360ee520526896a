//! The metrics of a relay, registered once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use comms_core::telemetry;

pub(super) struct Metrics {
    pub(super) relayed: metrics::Counter,
    pub(super) lag: Lag,
    pub(super) parked_keys: metrics::Gauge,
    pub(super) held_topics: metrics::Gauge,
    pub(super) dead_letters: metrics::Counter,
}

impl Metrics {
    pub(super) fn new(relay: &str) -> Self {
        let label = relay.to_owned();
        Self {
            relayed: metrics::counter!(telemetry::OUTBOX_RELAYED, "relay" => label.clone()),
            lag: Lag {
                gauge: metrics::gauge!(telemetry::OUTBOX_LAG_SECONDS, "relay" => label.clone()),
                seconds: Arc::default(),
            },
            parked_keys: metrics::gauge!(telemetry::OUTBOX_PARKED, "relay" => label.clone()),
            held_topics: metrics::gauge!(telemetry::OUTBOX_HELD, "relay" => label.clone()),
            dead_letters: metrics::counter!(telemetry::DEAD_LETTERS, "relay" => label),
        }
    }
}

/// The lag gauge. Its value can be read back, because readiness reports it too.
pub(super) struct Lag {
    gauge: metrics::Gauge,
    /// The bits of an `f64`.
    seconds: Arc<AtomicU64>,
}

impl Lag {
    pub(super) fn set(&self, seconds: f64) {
        self.gauge.set(seconds);
        self.seconds.store(seconds.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn reader(&self) -> impl Fn() -> f64 + Send + Sync + use<> {
        let seconds = self.seconds.clone();
        move || f64::from_bits(seconds.load(Ordering::Relaxed))
    }
}
