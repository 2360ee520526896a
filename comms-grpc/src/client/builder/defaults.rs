//! The default backoff, breaker and outlier detection of a channel.

use std::time::Duration;

use comms_core::resilience::{Backoff, BreakerConfig, Jitter, OutlierConfig, WindowConfig};

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

/// Returns the default outlier detection of a channel with several endpoints.
///
/// A channel often has two to four endpoints, too few for the rules of gRFC A50, so failures in a row eject as well. At
/// most half of the endpoints are ejected, because the others get their calls. The first ejection is short, because an
/// endpoint that still fails costs one call at its end.
pub(super) fn outliers() -> OutlierConfig {
    OutlierConfig::default()
        .consecutive_failures(5)
        .max_ejection_percent(50)
        .base_ejection_time(Duration::from_secs(10))
}
