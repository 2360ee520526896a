//! The relay's instruments, made once.

use comms_core::telemetry;

pub(super) struct Metrics {
    pub(super) relayed: metrics::Counter,
    pub(super) lag: metrics::Gauge,
    pub(super) parked_keys: metrics::Gauge,
    pub(super) dead_letters: metrics::Counter,
}

impl Metrics {
    pub(super) fn new(relay: &str) -> Self {
        let label = relay.to_owned();
        Self {
            relayed: metrics::counter!(telemetry::OUTBOX_RELAYED, "relay" => label.clone()),
            lag: metrics::gauge!(telemetry::OUTBOX_LAG_SECONDS, "relay" => label.clone()),
            parked_keys: metrics::gauge!(telemetry::OUTBOX_PARKED, "relay" => label.clone()),
            dead_letters: metrics::counter!(telemetry::DEAD_LETTERS, "relay" => label),
        }
    }
}
