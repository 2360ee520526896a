//! The builder of a consumer.

mod check;
mod limits;

use std::{fmt, sync::Arc};

use super::{Consumer, health::ClientFault, position::Start};
use crate::KafkaConfig;
use comms_core::{
    BatchHandler, Delivery, Error, Handler, Publisher,
    clock::Clock,
    health::{Component, Heartbeat},
    transport::{
        AttemptConfig, BatchConfig, BoxBatchHandler, BoxHandler, BudgetConfig, FailurePolicy, Holds,
        Ordering, TopicHandler, WorkerConfig,
    },
};
pub(super) use limits::Limits;

/// The builder of a [`Consumer`], created by [`Consumer::builder`].
///
/// At least one handler ([`ConsumerBuilder::on`], [`ConsumerBuilder::on_batch`]) is required. All other settings have defaults.
#[must_use]
pub struct ConsumerBuilder {
    config: KafkaConfig,
    group: Arc<str>,
    handlers: Vec<(Arc<str>, TopicHandler)>,
    attempts: AttemptConfig,
    worker: WorkerConfig,
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
            worker: WorkerConfig::default(),
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
        self.handlers.push((topic.into(), BoxHandler::new(handler).into()));
        self
    }

    /// Handles the records of `topic` with `handler`, several records at once. It takes the place of [`on`](Self::on)
    /// for this topic.
    ///
    /// A batch consists of the records of one partition that have arrived while the handler was busy, up to
    /// [`batch`](Self::batch): the consumer does not wait for more. It has records of different keys, those of a key in
    /// order. One batch of a partition runs at a time, with one permit of [`concurrency`](Self::concurrency), unless
    /// [`BatchConfig::concurrency`] allows more.
    ///
    /// A record whose result is an error is attempted again alone, and retried, held or dead-lettered as with
    /// [`on`](Self::on). If the handler itself fails, the whole batch is held (a cause outside the records), or each of
    /// its records is attempted alone (any other error), see [`BatchHandler`].
    ///
    /// ```
    /// use comms_core::{Delivery, Error, Outcome, batch_fn, transport::BatchConfig};
    /// use comms_kafka::{Consumer, KafkaConfig};
    /// # fn consumer() -> Result<Consumer, Error> {
    /// let index = batch_fn(|batch: Vec<Delivery>| async move {
    ///     println!("index {} documents with one call", batch.len());
    ///     Ok(batch.iter().map(|_| Ok(Outcome::Done)).collect())
    /// });
    /// let kafka = KafkaConfig::new("localhost:9092");
    /// Consumer::builder(&kafka, "search")
    ///     .on_batch("documents", index)
    ///     .batch(BatchConfig::default().max_records(100))
    ///     .build()
    /// # }
    /// ```
    pub fn on_batch(mut self, topic: impl Into<Arc<str>>, handler: impl BatchHandler) -> Self {
        self.handlers.push((topic.into(), BoxBatchHandler::new(handler).into()));
        self
    }

    /// Sets the largest batch of the handlers of [`on_batch`](Self::on_batch). Default [`BatchConfig::default`]: 500
    /// records, 1 MiB.
    pub fn batch(self, batch: BatchConfig) -> Self {
        Self { worker: self.worker.batch(batch), ..self }
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
        Self { worker: self.worker.ordering(ordering), ..self }
    }

    /// Sets what follows the final failure of a record. Default [`FailurePolicy::DeadLetter`].
    pub fn failure_policy(self, policy: FailurePolicy) -> Self {
        Self { worker: self.worker.failure_policy(policy), ..self }
    }

    /// Sets a function that decides what follows the final failure of a record. A panic of the function holds the
    /// record.
    ///
    /// ```
    /// use comms_core::{ErrorKind, transport::FailurePolicy};
    /// # fn set(builder: comms_kafka::ConsumerBuilder) -> comms_kafka::ConsumerBuilder {
    /// // Dead-letters unreadable records, and stops at all other final failures.
    /// builder.failure_policy_with(|error, _| match error.kind {
    ///     ErrorKind::Invalid => FailurePolicy::DeadLetter,
    ///     _ => FailurePolicy::Stop,
    /// })
    /// # }
    /// ```
    pub fn failure_policy_with(
        self,
        decide: impl Fn(&Error, &Delivery) -> FailurePolicy + Send + Sync + 'static,
    ) -> Self {
        Self { worker: self.worker.failure_policy_with(decide), ..self }
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
            .field("worker", &self.worker)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
