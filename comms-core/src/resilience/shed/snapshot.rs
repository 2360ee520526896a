//! The usage of a shedder.

#[cfg(doc)]
use crate::context::Priority;

/// Requests in flight by priority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct InFlight {
    /// Requests of [`Priority::Batch`].
    pub batch: u32,
    /// Requests of [`Priority::Standard`].
    pub standard: u32,
    /// Requests of [`Priority::Critical`].
    pub critical: u32,
}

impl InFlight {
    /// Returns the requests in flight of all priorities.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.batch + self.standard + self.critical
    }
}

/// The usage of a shedder at one moment, for an admin endpoint.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct ShedSnapshot {
    /// The name of the shedder.
    pub name: String,
    /// The limit of requests in flight. `in_flight` is above it for a while after the limit was lowered.
    pub limit: u32,
    /// Requests in flight.
    pub in_flight: InFlight,
    /// Requests of [`Priority::Batch`] that were shed since the creation.
    pub shed_batch: u64,
    /// Requests of [`Priority::Standard`] that were shed since the creation.
    pub shed_standard: u64,
    /// Requests of [`Priority::Critical`] that were shed since the creation.
    pub shed_critical: u64,
    /// The long-term average duration of requests in microseconds, if the limit is adaptive and was measured.
    pub average_micros: Option<u64>,
}
