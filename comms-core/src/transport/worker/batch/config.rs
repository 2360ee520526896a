//! The limits of a batch.

/// The limits of the batches that a [`Worker`](crate::transport::Worker) passes to a batch handler.
///
/// A worker does not wait for a batch to fill up: a batch consists of the deliveries that are there when the handler is
/// free.
///
/// ```
/// use comms_core::transport::{BatchConfig, WorkerConfig};
/// let config = WorkerConfig::default().batch(BatchConfig::default().max_records(100));
/// assert_eq!((config.batch.max_records, config.batch.max_bytes), (100, 1024 * 1024));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchConfig {
    /// The number of deliveries in a batch. 0 counts as 1. Default: 500.
    pub max_records: usize,
    /// The size of the messages in a batch, in bytes. A message that is larger is a batch of its own. Default: 1 MiB.
    pub max_bytes: u64,
    /// The number of batches of one source (a partition, a topic of an outbox) that run at the same time. They have no key
    /// in common, and a further batch begins only if it is full. 0 counts as 1. Default: `None`, which is 1 in a
    /// [`Worker`](crate::transport::Worker); a consumer may choose more.
    pub concurrency: Option<usize>,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { max_records: 500, max_bytes: 1024 * 1024, concurrency: None }
    }
}

/// Setters: each takes the configuration and returns it with one field changed.
impl BatchConfig {
    /// Sets the number of deliveries in a batch. Default: 500.
    #[must_use]
    pub const fn max_records(self, max_records: usize) -> Self {
        Self { max_records, ..self }
    }

    /// Sets the size of the messages in a batch, in bytes. Default: 1 MiB.
    #[must_use]
    pub const fn max_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sets the number of batches of one source that run at the same time, with different keys. Default: the consumer's
    /// choice.
    #[must_use]
    pub const fn concurrency(self, batches: usize) -> Self {
        Self { concurrency: Some(batches), ..self }
    }
}
