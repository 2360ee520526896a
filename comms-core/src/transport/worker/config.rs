//! The settings of a worker.

use std::{fmt, sync::Arc};

use super::batch::BatchConfig;
use crate::{
    Delivery, Error,
    transport::{Budget, DeadLetters},
};

/// The order in which a worker runs its deliveries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ordering {
    /// Deliveries of one topic and key run one after the other. A delivery without a key runs at once.
    #[default]
    Key,
    /// All deliveries run one after the other.
    Partition,
    /// No delivery waits for another one.
    None,
}

/// What becomes of a delivery that failed for good: the error has the disposition
/// [`DeadLetter`](crate::transport::Disposition::DeadLetter), the attempts are used up, or the hold has reached its
/// limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailurePolicy {
    /// The delivery is written as a dead letter. Without a writer of dead letters it is
    /// [`Refused`](super::Settlement::Refused).
    #[default]
    DeadLetter,
    /// The delivery is held: it is attempted again with growing waits until it succeeds, and its key waits. Like any
    /// held delivery it is [returned](super::Settlement::Held) after
    /// [`AttemptConfig::hold_in_place`](crate::transport::AttemptConfig::hold_in_place).
    Hold,
    /// The worker stops with the error.
    Stop,
}

type Decide = dyn Fn(&Error, &Delivery) -> FailurePolicy + Send + Sync;

/// The settings of a [`Worker`](super::Worker).
///
/// ```
/// use comms_core::{ErrorKind, transport::{FailurePolicy, Ordering, WorkerConfig}};
/// // Dead-letters unreadable messages, and stops at all other failures.
/// let config = WorkerConfig::default().ordering(Ordering::Partition).on_failure_with(|error, _| match error.kind {
///     ErrorKind::Invalid => FailurePolicy::DeadLetter,
///     _ => FailurePolicy::Stop,
/// });
/// # drop(config);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct WorkerConfig {
    /// The order of the deliveries. Default: [`Ordering::Key`].
    pub ordering: Ordering,
    /// The limits that all workers of a consumer share. Default: a budget of its own, with the defaults of
    /// [`BudgetConfig`](crate::transport::BudgetConfig).
    pub budget: Budget,
    /// The writer of dead letters. Default: `None`.
    pub dead_letters: Option<DeadLetters>,
    /// The limits of a batch, for a processor with a batch handler. Default: 500 records, 1 MiB.
    pub batch: BatchConfig,
    pub(super) on_failure: Arc<Decide>,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            ordering: Ordering::Key,
            budget: Budget::default(),
            dead_letters: None,
            batch: BatchConfig::default(),
            on_failure: Arc::new(|_, _| FailurePolicy::DeadLetter),
        }
    }
}

/// Setters: each takes the configuration and returns it with one field changed.
impl WorkerConfig {
    /// Sets the order of the deliveries. Default: [`Ordering::Key`].
    #[must_use]
    pub fn ordering(self, ordering: Ordering) -> Self {
        Self { ordering, ..self }
    }

    /// Sets the limits that all workers of a consumer share. Default: a budget of its own.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Sets the writer of dead letters. Default: none.
    #[must_use]
    pub fn dead_letters(self, dead_letters: impl Into<Option<DeadLetters>>) -> Self {
        Self { dead_letters: dead_letters.into(), ..self }
    }

    /// Sets the limits of a batch, for a processor with a batch handler. Default: 500 records, 1 MiB.
    #[must_use]
    pub fn batch(self, batch: BatchConfig) -> Self {
        Self { batch, ..self }
    }

    /// Sets what becomes of every delivery that failed for good. Default: [`FailurePolicy::DeadLetter`].
    #[must_use]
    pub fn on_failure(self, policy: FailurePolicy) -> Self {
        self.on_failure_with(move |_, _| policy)
    }

    /// Sets a function that decides what becomes of a delivery that failed for good. A panic of the function holds the
    /// delivery.
    #[must_use]
    pub fn on_failure_with(
        self,
        decide: impl Fn(&Error, &Delivery) -> FailurePolicy + Send + Sync + 'static,
    ) -> Self {
        Self { on_failure: Arc::new(decide), ..self }
    }
}

impl fmt::Debug for WorkerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerConfig")
            .field("ordering", &self.ordering)
            .field("budget", &self.budget)
            .field("dead_letters", &self.dead_letters)
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}
