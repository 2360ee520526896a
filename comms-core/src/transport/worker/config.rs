//! The settings of a worker.

use std::fmt;

use super::{batch::BatchConfig, ordering::Ordering};
use crate::{
    Delivery, Error,
    transport::{Budget, DeadLetters, FailureDecision, FailurePolicy},
};

/// The settings of a [`Worker`](super::Worker).
///
/// ```
/// use comms_core::{ErrorKind, transport::{FailurePolicy, Ordering, WorkerConfig}};
/// // Dead-letters unreadable messages, and stops at all other failures.
/// let config = WorkerConfig::default().ordering(Ordering::Partition).failure_policy_with(|error, _| match error.kind {
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
    /// What becomes of a delivery that failed for good. Default: [`FailurePolicy::DeadLetter`].
    pub failure_policy: FailureDecision,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            ordering: Ordering::Key,
            budget: Budget::default(),
            dead_letters: None,
            batch: BatchConfig::default(),
            failure_policy: FailureDecision::default(),
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
    pub fn failure_policy(self, policy: FailurePolicy) -> Self {
        Self { failure_policy: policy.into(), ..self }
    }

    /// Sets a function that decides what becomes of a delivery that failed for good. A panic of the function holds the
    /// delivery.
    #[must_use]
    pub fn failure_policy_with(
        self,
        decide: impl Fn(&Error, &Delivery) -> FailurePolicy + Send + Sync + 'static,
    ) -> Self {
        Self { failure_policy: FailureDecision::new(decide), ..self }
    }
}

impl fmt::Debug for WorkerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerConfig")
            .field("ordering", &self.ordering)
            .field("budget", &self.budget)
            .field("dead_letters", &self.dead_letters)
            .field("batch", &self.batch)
            .field("failure_policy", &self.failure_policy)
            .finish()
    }
}
