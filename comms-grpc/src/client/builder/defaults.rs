//! The default backoff and breaker of a channel.

use std::time::Duration;

use comms_core::resilience::{Backoff, BreakerConfig, Jitter, WindowConfig};

/// Returns the connection backoff of gRPC.
pub(super) fn reconnect_backoff() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(120))
        .and_then(|backoff| backoff.with_multiplier(1.6))
        .and_then(|backoff| backoff.with_jitter(Jitter::Ratio(0.2)))
        .unwrap_or_default()
}

/// Returns the default breaker of a channel. Failures in a row do not open it, because the attempts of one call are in a
/// row. It opens for a short time at first, because a peer that restarts is back soon.
pub(super) fn breaker() -> BreakerConfig {
    BreakerConfig::default()
        .failure_threshold(0)
        .window(WindowConfig::time(Duration::from_secs(10)))
        .open_duration(Duration::from_secs(5))
        .max_open_duration(Duration::from_secs(60))
}
