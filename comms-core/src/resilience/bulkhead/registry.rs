//! Named bulkheads.

use std::collections::BTreeMap;

use super::{Bulkhead, BulkheadConfig};
use crate::Error;

/// Named bulkheads that policies share, so that a flood of one kind of call leaves the permits of the other kinds free.
///
/// Default: `critical` with 20 permits, `standard` with 30, `batch` with 10.
///
/// ```
/// use comms_core::resilience::BulkheadRegistry;
/// let bulkheads = BulkheadRegistry::default();
/// let permit = bulkheads.get("batch").unwrap().try_acquire()?;
/// assert_eq!(bulkheads.get("batch").unwrap().in_use(), 1);
/// assert_eq!(bulkheads.get("critical").unwrap().in_use(), 0);
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BulkheadRegistry(BTreeMap<String, Bulkhead>);

impl Default for BulkheadRegistry {
    fn default() -> Self {
        let sizes = [("critical", 20), ("standard", 30), ("batch", 10)];
        let bulkhead = |(name, max_concurrent)| {
            (String::from(name), Bulkhead::unchecked(name, &BulkheadConfig::new(max_concurrent)))
        };
        Self(sizes.into_iter().map(bulkhead).collect())
    }
}

impl BulkheadRegistry {
    /// Creates one bulkhead for each entry.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the bulkhead, if [`BulkheadConfig::validate`]
    /// fails for an entry.
    pub fn new(configs: &BTreeMap<String, BulkheadConfig>) -> Result<Self, Error> {
        let bulkhead = |(name, config): (&String, &BulkheadConfig)| {
            let bulkhead =
                Bulkhead::new(name, config).map_err(|e| e.context(format_args!("bulkhead {name}")))?;
            Ok((name.clone(), bulkhead))
        };
        configs.iter().map(bulkhead).collect::<Result<_, Error>>().map(Self)
    }

    /// Returns the bulkhead named `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Bulkhead> {
        self.0.get(name)
    }

    /// Iterates over the bulkheads in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Bulkhead> {
        self.0.values()
    }
}
