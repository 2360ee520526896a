//! Settings of a bulkhead, and of the compartments of a service.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

use super::Bulkhead;
use crate::{
    Error,
    resilience::config::{bounded, duration},
};

/// How many calls a [`Bulkhead`] lets in at once, and who may wait. Default: 30 seats, nobody waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BulkheadConfig {
    /// Calls at once. Default 30.
    pub max_concurrent: u32,
    /// How long a call of a [`Policy`](crate::resilience::Policy) waits for a seat before it is rejected. Default 0: it does not
    /// wait. [`Bulkhead::acquire`] waits as long as its caller does.
    #[serde(with = "duration")]
    pub max_wait: Duration,
    /// Calls that may wait at once; one more is rejected at once. Default 100.
    pub max_queued: u32,
}

impl Default for BulkheadConfig {
    fn default() -> Self {
        Self { max_concurrent: 30, max_wait: Duration::ZERO, max_queued: 100 }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl BulkheadConfig {
    /// Sets `max_concurrent`.
    #[must_use]
    pub fn max_concurrent(self, max_concurrent: u32) -> Self {
        Self { max_concurrent, ..self }
    }

    /// Sets `max_wait`.
    #[must_use]
    pub fn max_wait(self, max_wait: Duration) -> Self {
        Self { max_wait, ..self }
    }

    /// Sets `max_queued`.
    #[must_use]
    pub fn max_queued(self, max_queued: u32) -> Self {
        Self { max_queued, ..self }
    }
}

impl BulkheadConfig {
    /// `max_concurrent` seats, and nobody waits.
    #[must_use]
    pub fn new(max_concurrent: u32) -> Self {
        Self { max_concurrent, ..Self::default() }
    }

    /// Whether these settings make sense.
    ///
    /// # Errors
    /// `Invalid` for no seats at all.
    pub fn validate(&self) -> Result<(), Error> {
        if self.max_concurrent == 0 {
            return Err(Error::invalid(
                "bulkhead: `max_concurrent` is at least 1, or no call would ever pass",
            ));
        }
        bounded("max_wait", self.max_wait)
    }
}

/// Named compartments that calls share: what floods one leaves the seats of the others. Default (requirement
/// P15): `critical` 20, `standard` 30, `batch` 10.
///
/// ```
/// use comms_core::resilience::BulkheadRegistry;
/// let compartments = BulkheadRegistry::default();
/// let seat = compartments.get("batch").unwrap().try_acquire()?;
/// assert_eq!(compartments.get("batch").unwrap().in_use(), 1);
/// assert_eq!(compartments.get("critical").unwrap().in_use(), 0);
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BulkheadRegistry(BTreeMap<String, Bulkhead>);

impl Default for BulkheadRegistry {
    fn default() -> Self {
        let sizes = [("critical", 20), ("standard", 30), ("batch", 10)];
        let bulkhead =
            |(name, limit)| (String::from(name), Bulkhead::unchecked(name, &BulkheadConfig::new(limit)));
        Self(sizes.into_iter().map(bulkhead).collect())
    }
}

impl BulkheadRegistry {
    /// One bulkhead for each entry.
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense, naming the compartment.
    pub fn new(configs: &BTreeMap<String, BulkheadConfig>) -> Result<Self, Error> {
        let bulkhead = |(name, config): (&String, &BulkheadConfig)| {
            let bulkhead =
                Bulkhead::new(name, config).map_err(|e| e.context(format_args!("compartment {name}")))?;
            Ok((name.clone(), bulkhead))
        };
        configs.iter().map(bulkhead).collect::<Result<_, Error>>().map(Self)
    }

    /// The compartment of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Bulkhead> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Bulkhead> {
        self.0.values()
    }
}
