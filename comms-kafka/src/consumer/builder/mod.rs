//! The builder of a consumer.

mod check;
mod limits;

use std::{fmt, sync::Arc};

use super::{Consumer, faults::ClientFault, start::Start};
use crate::KafkaConfig;
use comms_core::{
    Handler, Publisher,
    clock::Clock,
    health::{Component, Heartbeat},
    transport::{AttemptConfig, BoxHandler, BudgetConfig, FailurePolicy, Holds, Ordering},
};
pub(super) use limits::Limits;

/// The builder of a [`Consumer`], created by [`Consumer::builder`].
///
/// At least one handler ([`ConsumerBuilder::on`]) is required. All other settings have defaults.
#[must_use]
pub struct ConsumerBuilder {
    config: KafkaConfig,
    group: Arc<str>,
    handlers: Vec<(Arc<str>, BoxHandler)>,
    attempts: AttemptConfig,
    ordering: Ordering,
    failure_policy: FailurePolicy,
    dead_letter: Option<Arc<dyn Publisher>>,
    holds: Option<Holds>,
    budget: BudgetConfig,
    limits: Limits,
    start: Start,
    fatal: Vec<ClientFault>,
    clock: Clock,
    health: Option<Component>,
    heartbeat: Option<Heartbeat>,
}

impl Consumer {
    /// Creates a builder for a consumer of the cluster of `config` in `group`. The members of a group share the
    /// partitions of its topics.
    pub fn builder(config: &KafkaConfig, group: impl Into<Arc<str>>) -> ConsumerBuilder {
        ConsumerBuilder::new(config.clone(), group.into())
    }
}

impl ConsumerBuilder {
    fn new(config: KafkaConfig, group: Arc<str>) -> Self {
        Self {
            config,
            group,
            handlers: Vec::new(),
            attempts: AttemptConfig::default(),
            ordering: Ordering::default(),
            failure_policy: FailurePolicy::default(),
            dead_letter: None,
            holds: None,
            budget: BudgetConfig::default(),
            limits: Limits::default(),
            start: Start::default(),
            fatal: Vec::new(),
            clock: Clock::system(),
            health: None,
            heartbeat: None,
        }
    }

    /// Handles the records of `topic` with `handler`. A consumer has at least one topic, and one handler per topic.
    ///
    /// If `handler` cannot decode a record, it returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid), and the
    /// record becomes a dead letter as it was received.
    pub fn on(mut self, topic: impl Into<Arc<str>>, handler: impl Handler) -> Self {
        self.handlers.push((topic.into(), BoxHandler::new(handler)));
        self
    }

    /// Sets the number, backoff and time limit of attempts, and the longest hold. Default [`AttemptConfig::default`].
    ///
    /// A held record keeps its place before the later records of its key, so [`AttemptConfig::hold_in_place`] is
    /// ignored.
    pub fn attempts(self, attempts: AttemptConfig) -> Self {
        Self { attempts, ..self }
    }

    /// Sets which records of a partition are handled one after the other. Default [`Ordering::Key`]: those with the
    /// same key.
    pub fn ordering(self, ordering: Ordering) -> Self {
        Self { ordering, ..self }
    }

    /// Sets what follows the final failure of a record. Default [`FailurePolicy::default`].
    pub fn failure_policy(self, failure_policy: FailurePolicy) -> Self {
        Self { failure_policy, ..self }
    }

    /// Sets the publisher of dead letters. Default: none.
    ///
    /// The dead letters of a topic go to its [`dlq_topic`](crate::dlq_topic). While a dead letter cannot be written, its
    /// record is held. If a dead letter is too large, it is written without the payload, or as a reference to the
    /// record.
    ///
    /// Without a publisher, a record whose failure is final is held: its key waits, and its offset is not committed,
    /// until the process ends or the partition is revoked.
    pub fn dead_letter(self, publisher: Arc<dyn Publisher>) -> Self {
        Self { dead_letter: Some(publisher), ..self }
    }

    /// Sets where the group starts to read a partition for which it has no committed offset. Default
    /// [`Start::Earliest`].
    pub fn start_at(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// Sets the faults of the client that end [`Consumer::run`] with
    /// [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured). Default: none, the consumer is unready and
    /// waits for a repair.
    pub fn fatal_on(self, faults: impl IntoIterator<Item = ClientFault>) -> Self {
        Self { fatal: faults.into_iter().collect(), ..self }
    }

    /// Sets the source of time and randomness. Default [`Clock::system`]. With a manual clock the time limits of
    /// the shutdown pass only when the clock is advanced.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Sets the list of held deliveries, which several consumers may share. Default: a list for this consumer only,
    /// which [`Consumer::holds`] returns.
    pub fn holds(self, holds: Holds) -> Self {
        Self { holds: Some(holds), ..self }
    }

    /// Sets the health component that shows the state of the consumer. The state is updated once a second. Default:
    /// none.
    ///
    /// - Unready: the consumer is not a member of its group, or a [`ClientFault`] stops it or a partition. The state has
    ///   the reason.
    /// - Degraded: [`Holds::state`] is degraded.
    /// - Ready: otherwise.
    pub fn health(self, component: Component) -> Self {
        Self { health: Some(component), ..self }
    }

    /// Sets the heartbeat of the poll thread, for a watchdog. Default: none.
    ///
    /// The thread beats at least every 1 s, also while the broker is away and while partitions drain. If it stops, the
    /// group evicts this member after `max.poll.interval.ms`, and this member does not notice: a liveness probe must
    /// restart the process. The commit at a revocation is one iteration, and librdkafka waits up to a minute for it if
    /// the broker hangs: use a heartbeat with a limit of several minutes.
    pub fn heartbeat(self, heartbeat: Heartbeat) -> Self {
        Self { heartbeat: Some(heartbeat), ..self }
    }
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("group", &self.group)
            .field("budget", &self.budget)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
