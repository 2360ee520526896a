//! The settings of a subscriber.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::AtomicU32},
    time::Duration,
};

use comms_core::{
    BatchHandler, Delivery, Error, Handler, Publisher,
    clock::Clock,
    transport::{
        AttemptConfig, BatchConfig, BoxBatchHandler, BoxHandler, Budget, BudgetConfig, DeadLetters,
        FailurePolicy, Holds, Ordering, Processor, TopicHandler, WorkerConfig,
    },
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    Subscriber,
    held::HeldDeliveries,
    shared::{Route, Shared},
};

/// The value of `messaging.system` in metrics and spans.
const SYSTEM: &str = "outbox";

/// Builder of a [`Subscriber`]. It needs at least one handler; every other setting has a default.
#[must_use]
pub struct SubscriberBuilder {
    group: Arc<str>,
    handlers: Vec<(Arc<str>, TopicHandler)>,
    attempts: AttemptConfig,
    worker: WorkerConfig,
    dead_letter: Option<Arc<dyn Publisher>>,
    concurrency: usize,
    in_flight: u32,
    drain: Duration,
    flush_limit: Duration,
    hold_retry: Duration,
    holds: Option<Holds>,
    clock: Clock,
}

/// How long a held message stays with the subscriber before the relay parks it, if [`AttemptConfig::hold_in_place`] is
/// not set.
const HOLD_IN_PLACE: Duration = Duration::from_secs(10);

/// The batches of a topic that run at the same time: one is applied while the other one is committed.
const BATCHES: usize = 2;

impl Subscriber {
    /// Returns a builder of a subscriber of the consumer group `group`. The group is part of the inbox key of each
    /// delivery.
    pub fn builder(group: impl Into<Arc<str>>) -> SubscriberBuilder {
        SubscriberBuilder {
            group: group.into(),
            handlers: Vec::new(),
            attempts: AttemptConfig::default(),
            worker: WorkerConfig::default(),
            dead_letter: None,
            concurrency: 16,
            in_flight: 10_000,
            drain: Duration::from_secs(1),
            flush_limit: Duration::from_secs(30),
            hold_retry: Duration::from_secs(5),
            holds: None,
            clock: Clock::system(),
        }
    }
}

impl SubscriberBuilder {
    /// Delivers messages to `topic` to `handler`. A topic has one handler.
    pub fn on(mut self, topic: impl Into<Arc<str>>, handler: impl Handler) -> Self {
        self.handlers.push((topic.into(), BoxHandler::new(handler).into()));
        self
    }

    /// Delivers messages to `topic` to `handler`, several messages at once. A topic has one handler.
    ///
    /// A batch consists of the messages that have arrived while the handler was busy, up to [`batch`](Self::batch). Full
    /// batches without a key in common run at the same time, each with one permit of
    /// [`concurrency`](Self::concurrency). A message whose result is an error is attempted again alone, and parked or
    /// held as with [`on`](Self::on), see [`BatchHandler`].
    ///
    /// ```
    /// use comms_core::{Delivery, Outcome, batch_fn};
    /// let index = batch_fn(|batch: Vec<Delivery>| async move {
    ///     println!("index {} documents with one call", batch.len());
    ///     Ok(batch.iter().map(|_| Ok(Outcome::Done)).collect())
    /// });
    /// let subscriber = comms_outbox::Subscriber::builder("search").on_batch("documents", index).build()?;
    /// assert_eq!(subscriber.topics(), ["documents"]);
    /// # Ok::<(), comms_core::Error>(())
    /// ```
    pub fn on_batch(mut self, topic: impl Into<Arc<str>>, handler: impl BatchHandler) -> Self {
        self.handlers.push((topic.into(), BoxBatchHandler::new(handler).into()));
        self
    }

    /// Sets the size and number of the batches of the handlers of [`on_batch`](Self::on_batch). Default: at most 500
    /// messages and 1 MiB in a batch, and two batches of a topic at the same time ([`BatchConfig::concurrency`]).
    pub fn batch(mut self, batch: BatchConfig) -> Self {
        self.worker = self.worker.batch(batch);
        self
    }

    /// Sets how often and how long a message is attempted. Default [`AttemptConfig::default`], with 10 s for
    /// [`AttemptConfig::hold_in_place`]: a key that is held for longer is parked, so that the relay's cursor moves on.
    pub fn attempts(mut self, attempts: AttemptConfig) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets which messages of a topic are handled one after the other. Default [`Ordering::Key`]: those with the same
    /// key.
    ///
    /// With [`Ordering::Partition`] all messages of a topic are. A held message then keeps its place, so
    /// [`AttemptConfig::hold_in_place`] is ignored.
    pub fn ordering(mut self, ordering: Ordering) -> Self {
        self.worker = self.worker.ordering(ordering);
        self
    }

    /// Sets what follows the final failure of a message. Default [`FailurePolicy::DeadLetter`]: the relay parks the
    /// message, and the later ones of its key behind it, unless there is a publisher of [dead letters](Self::dead_letter).
    pub fn failure_policy(mut self, policy: FailurePolicy) -> Self {
        self.worker = self.worker.failure_policy(policy);
        self
    }

    /// Sets a function that decides what follows the final failure of a message. A panic of the function holds the
    /// message.
    pub fn failure_policy_with(
        mut self,
        decide: impl Fn(&Error, &Delivery) -> FailurePolicy + Send + Sync + 'static,
    ) -> Self {
        self.worker = self.worker.failure_policy_with(decide);
        self
    }

    /// Sets the publisher of dead letters. Default: none, so that the relay parks a message that failed for good.
    ///
    /// The dead letters of a topic `orders` go to `orders.dlq`. When a dead letter is acknowledged, the later messages of
    /// the key continue. While it cannot be written, the message is held.
    pub fn dead_letter(mut self, publisher: Arc<dyn Publisher>) -> Self {
        self.dead_letter = Some(publisher);
        self
    }

    /// Sets how many handlers may run at the same time, over all keys. Default 16.
    ///
    /// A key that waits for its next attempt takes no permit. With more permits than the database has connections,
    /// handlers wait for a connection instead, and that wait counts towards [`AttemptConfig::timeout`].
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers;
        self
    }

    /// Sets how many messages the subscriber accepts before it has returned their results. Default 10,000.
    pub fn in_flight(mut self, messages: u32) -> Self {
        self.in_flight = messages;
        self
    }

    /// Sets the longest time for running attempts to finish after the relay has lost its session. Default 1 s.
    ///
    /// No further attempt begins in that time. The attempts that still run at its end are cancelled. Then the messages
    /// of the next session are handled.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Sets how long [`flush`](comms_core::Publisher::flush) waits for running deliveries. Default 30 s.
    pub fn flush_limit(mut self, limit: Duration) -> Self {
        self.flush_limit = limit;
        self
    }

    /// Sets the least pause between two attempts of a message that is parked as held. Default 5 s.
    ///
    /// Each held message adds 5 ms. A longer `retry_after` of the failure extends the pause. It is at most 5 min.
    pub fn hold_retry(mut self, wait: Duration) -> Self {
        self.hold_retry = wait;
        self
    }

    /// Sets the list in which held deliveries are registered. Default: a list of this subscriber, see
    /// [`Subscriber::holds`].
    pub fn holds(mut self, holds: Holds) -> Self {
        self.holds = Some(holds);
        self
    }

    /// Sets the clock of backoff, durations and [`flush_limit`](Self::flush_limit). Default: the system clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the subscriber.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if
    /// - the group is empty or longer than 200 bytes,
    /// - there is no handler, or a topic has two,
    /// - `in_flight` is 0, or
    /// - `concurrency` is 0 or greater than [`Semaphore::MAX_PERMITS`].
    pub fn build(self) -> Result<Subscriber, Error> {
        if self.group.is_empty() || self.group.len() > 200 {
            return Err(Error::invalid("the name of a consumer group must have 1 to 200 bytes"));
        }
        if self.handlers.is_empty() {
            return Err(Error::invalid(
                "a subscriber needs at least one handler: call on(topic, handler) or on_batch",
            ));
        }
        if self.in_flight == 0 || !(1..=Semaphore::MAX_PERMITS).contains(&self.concurrency) {
            return Err(Error::invalid(format!(
                "a subscriber's in_flight must be at least 1, and its concurrency 1 to {}",
                Semaphore::MAX_PERMITS
            )));
        }
        let mut attempts = self.attempts;
        match self.worker.ordering {
            // A message that is parked would let the other keys of its topic overtake it.
            Ordering::Partition => attempts.hold_in_place = None,
            _ => drop(attempts.hold_in_place.get_or_insert(HOLD_IN_PLACE)),
        }
        let holds = self.holds.unwrap_or_else(|| Holds::new(self.clock.clone()));
        // The permits of `room` limit the messages in the workers.
        let budget = BudgetConfig::default().concurrency(self.concurrency).records(u64::MAX).bytes(u64::MAX);
        let dead_letters = self.dead_letter.map(|publisher| {
            DeadLetters::new(publisher, attempts.backoff, self.clock.clone(), holds.clone())
        });
        let mut config = self.worker.budget(Budget::new(budget)?).dead_letters(dead_letters);
        config.batch.concurrency.get_or_insert(BATCHES);
        let (mut routes, mut processors) = (HashMap::new(), Vec::new());
        for (topic, handler) in self.handlers {
            let processor = Processor::new(handler, attempts.clone(), self.clock.clone(), SYSTEM);
            if routes.insert(topic.clone(), Route { worker: processors.len() }).is_some() {
                return Err(Error::invalid(format!(
                    "topic {topic} has two handlers: a group has one handler for each topic"
                )));
            }
            processors.push(processor.with_holds(holds.clone()));
        }
        let shared = Arc::new(Shared {
            group: self.group,
            routes,
            processors,
            config,
            holds,
            held: HeldDeliveries::default(),
            hold_retry: self.hold_retry,
            stop: CancellationToken::new(),
            drain: CancellationToken::new(),
            drain_limit: self.drain,
            ended: CancellationToken::new(),
            room: Arc::new(Semaphore::new(self.in_flight as usize)),
            slots: Arc::new(Semaphore::new(self.in_flight as usize)),
            capacity: self.in_flight,
            flush_limit: self.flush_limit,
            clock: self.clock,
        });
        Ok(Subscriber { shared, task: Mutex::default(), batches: AtomicU32::new(0) })
    }
}
