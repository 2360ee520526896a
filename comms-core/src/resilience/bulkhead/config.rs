//! The settings of a bulkhead.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::{
    Error,
    resilience::config::{bounded, duration},
};

/// The settings of a [`Bulkhead`](super::Bulkhead). Default: 30 concurrent calls, and no waiting for a permit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BulkheadConfig {
    /// Calls that may be in flight at once. At least 1, default 30.
    pub max_concurrent: u32,
    /// How long a call of a [`Policy`](crate::resilience::Policy) waits for a permit before it is rejected. At most
    /// 99,999,999 s. Default 0 s: a call does not wait.
    ///
    /// [`Bulkhead::acquire`](super::Bulkhead::acquire) ignores this setting and waits until its future is dropped.
    #[serde(with = "duration")]
    pub max_wait: Duration,
    /// Calls that may wait for a permit at once. A further call is rejected without waiting. Default 100.
    pub max_queued: u32,
}

impl Default for BulkheadConfig {
    fn default() -> Self {
        Self { max_concurrent: 30, max_wait: Duration::ZERO, max_queued: 100 }
    }
}

impl BulkheadConfig {
    /// Returns settings with `max_concurrent` permits, and no waiting for a permit.
    #[must_use]
    pub fn new(max_concurrent: u32) -> Self {
        Self { max_concurrent, ..Self::default() }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the setting, if `max_concurrent` is 0 or
    /// `max_wait` is above 99,999,999 s.
    pub fn validate(&self) -> Result<(), Error> {
        if self.max_concurrent == 0 {
            return Err(Error::invalid(
                "bulkhead: `max_concurrent` must be at least 1, or every call is rejected",
            ));
        }
        bounded("max_wait", self.max_wait)
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl BulkheadConfig {
    /// Sets the number of calls in flight at once. Default 30.
    #[must_use]
    pub fn max_concurrent(self, max_concurrent: u32) -> Self {
        Self { max_concurrent, ..self }
    }

    /// Sets how long a call of a policy waits for a permit. Default 0 s: a call does not wait.
    #[must_use]
    pub fn max_wait(self, max_wait: Duration) -> Self {
        Self { max_wait, ..self }
    }

    /// Sets the number of calls that may wait for a permit at once. Default 100.
    #[must_use]
    pub fn max_queued(self, max_queued: u32) -> Self {
        Self { max_queued, ..self }
    }
}
