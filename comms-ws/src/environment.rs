//! What all parts of a hub share and none of them changes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use comms_core::clock::Clock;

use crate::{config::HubConfig, cursor::CursorKey, meters::Meters};

/// The longest wait before a client of a hub that shuts down reconnects.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The configuration, the clock, the keys and the metrics of a hub.
pub(crate) struct Environment {
    pub(crate) config: HubConfig,
    pub(crate) clock: Clock,
    pub(crate) cursor_keys: Vec<CursorKey>,
    pub(crate) meters: Arc<Meters>,
    started: Instant,
}

impl Environment {
    pub(crate) fn new(config: HubConfig, clock: Clock, cursor_keys: Vec<CursorKey>) -> Self {
        Self { started: clock.now(), meters: Arc::new(Meters::new()), config, clock, cursor_keys }
    }

    /// Returns the milliseconds since the hub was created.
    pub(crate) fn now(&self) -> u64 {
        let elapsed = self.clock.now().saturating_duration_since(self.started);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the wait before a client of a hub that shuts down reconnects, at random, so that not all come at once.
    pub(crate) fn retry_after(&self) -> Duration {
        RETRY_AFTER.mul_f64(0.1 + 0.9 * self.clock.random_unit())
    }
}
