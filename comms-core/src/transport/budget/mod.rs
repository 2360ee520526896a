//! The limits of one consumer, which its workers share.

mod room;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;
pub(super) use room::Share;
use room::{Room, Usage};

/// The limits of a [`Budget`].
///
/// ```
/// use comms_core::transport::{Budget, BudgetConfig};
/// let budget = Budget::new(BudgetConfig::default().concurrency(100).records(10_000))?;
/// assert_eq!((budget.running(), budget.records(), budget.bytes()), (0, 0, 0));
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetConfig {
    /// The number of handlers that run at the same time. Default: 4,096.
    pub concurrency: usize,
    /// The number of records in all workers together. Default: 32,768.
    pub records: u64,
    /// The size of the messages in all workers together, in bytes. Default: 64 MiB.
    pub bytes: u64,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { concurrency: 4_096, records: 32_768, bytes: 64 * 1024 * 1024 }
    }
}

/// Setters: each takes the configuration and returns it with one field changed.
impl BudgetConfig {
    /// Sets the number of handlers that run at the same time. Default: 4,096.
    #[must_use]
    pub const fn concurrency(self, concurrency: usize) -> Self {
        Self { concurrency, ..self }
    }

    /// Sets the number of records in all workers together. Default: 32,768.
    #[must_use]
    pub const fn records(self, records: u64) -> Self {
        Self { records, ..self }
    }

    /// Sets the size of the messages in all workers together, in bytes. Default: 64 MiB.
    #[must_use]
    pub const fn bytes(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }
}

/// The limits of one consumer: running handlers, and the records and bytes in its workers. Clones share the limits.
///
/// A worker may hold at most twice the room that is free, in records and in bytes. So one busy worker gets two thirds of
/// the room, and several busy workers get equal parts. An empty worker may always take one record, also a record that is
/// larger than all of the room.
#[derive(Clone)]
pub struct Budget {
    config: BudgetConfig,
    permits: Arc<Semaphore>,
    room: Arc<Room>,
}

impl Budget {
    /// Creates a budget.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a limit is 0, or if the concurrency is above
    /// [`Semaphore::MAX_PERMITS`].
    pub fn new(config: BudgetConfig) -> Result<Self, Error> {
        let BudgetConfig { concurrency, records, bytes } = config;
        if records == 0 || bytes == 0 || !(1..=Semaphore::MAX_PERMITS).contains(&concurrency) {
            return Err(Error::invalid(format!(
                "a budget's records and bytes must be at least 1, and its concurrency 1 to {}",
                Semaphore::MAX_PERMITS
            )));
        }
        Ok(Self::within(config))
    }

    fn within(config: BudgetConfig) -> Self {
        let BudgetConfig { concurrency, records, bytes } = config;
        Self {
            config,
            permits: Arc::new(Semaphore::new(concurrency)),
            room: Room::new(Usage { records, bytes }),
        }
    }

    /// Returns the number of permits for handlers that are in use. A worker that is being fed may keep one more permit
    /// than it has running handlers.
    #[must_use]
    pub fn running(&self) -> usize {
        self.config.concurrency.saturating_sub(self.permits.available_permits())
    }

    /// Returns the number of records in all workers.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.room.used().records
    }

    /// Returns the size of the messages in all workers, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.room.used().bytes
    }

    pub(super) fn share(&self) -> Share {
        Share::new(self.room.clone())
    }

    /// Returns a permit for a handler, if one is free and no other caller waits for it.
    pub(super) fn try_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    /// Returns whether a permit is free, so that no caller waits for one.
    pub(super) fn has_permit(&self) -> bool {
        self.permits.available_permits() > 0
    }

    /// Waits for a permit. The future owns what it needs. It resolves to `None` never: the semaphore is not closed.
    pub(super) fn permit(&self) -> impl Future<Output = Option<OwnedSemaphorePermit>> + Send + use<> {
        let permit = self.permits.clone().acquire_owned();
        async move { permit.await.ok() }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::within(BudgetConfig::default())
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage { records, bytes } = self.room.used();
        f.debug_struct("Budget")
            .field("config", &self.config)
            .field("running", &self.running())
            .field("records", &records)
            .field("bytes", &bytes)
            .finish()
    }
}
