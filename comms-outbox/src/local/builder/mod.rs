//! The builder of a local consumer.

mod own;

use std::{fmt, sync::Arc, time::Duration};

use comms_core::{
    BatchHandler, Delivery, Error, Handler, Publisher,
    clock::Clock,
    health::{Component, Heartbeat},
    transport::{AttemptConfig, BatchConfig, FailurePolicy, Holds, Ordering},
};

use super::{CANCEL, LocalConsumer};
use crate::{CommitSignal, Relay, Start, Subscriber, SubscriberBuilder, relay::Store};

/// How long the relay waits for results after a failed session, at least.
const RELAY_DRAIN: Duration = Duration::from_secs(10);

/// The builder of a [`LocalConsumer`], created by [`LocalConsumer::builder`].
///
/// At least one handler ([`LocalConsumerBuilder::on`], [`LocalConsumerBuilder::on_batch`]) is required. All other settings have defaults.
///
/// Some settings exist for a local consumer only: [`owner`](Self::owner), [`lease`](Self::lease),
/// [`commit_signal`](Self::commit_signal), [`poll_interval`](Self::poll_interval), [`hold_retry`](Self::hold_retry) and
/// [`parked_limit`](Self::parked_limit). Some settings of `comms_kafka::ConsumerBuilder` have no counterpart:
/// `commit_interval`, `commit_records` (the position is stored 100 ms after a message was handled), `prefetch_bytes`,
/// `max_gap` and `fatal_on`.
#[must_use]
pub struct LocalConsumerBuilder {
    store: Arc<dyn Store>,
    group: Arc<str>,
    subscriber: SubscriberBuilder,
    buffer_records: u64,
    buffer_bytes: u64,
    drain: Duration,
    start: Start,
    owner: Option<String>,
    lease: Duration,
    commit_signal: CommitSignal,
    poll_interval: Duration,
    parked_limit: usize,
    clock: Clock,
    health: Option<Component>,
    heartbeat: Option<Heartbeat>,
}

impl LocalConsumer {
    /// Creates a builder for a consumer of the outbox of `store` (`postgres::RelayStore` or `sqlite::RelayStore`) in
    /// `group`. One member of a group is active at a time.
    ///
    /// The group is the name of the relay, for `Tables::parked` and `Tables::release`, and part of the inbox key of each
    /// delivery.
    pub fn builder(store: impl Store, group: impl Into<Arc<str>>) -> LocalConsumerBuilder {
        Self::of(Arc::new(store), group.into())
    }

    /// Creates a builder for a consumer of the outbox of `store` in `group`.
    pub(crate) fn of(store: Arc<dyn Store>, group: Arc<str>) -> LocalConsumerBuilder {
        LocalConsumerBuilder {
            store,
            subscriber: Subscriber::builder(group.clone()),
            group,
            buffer_records: 32_768,
            buffer_bytes: 64 * 1024 * 1024,
            drain: Duration::from_secs(1),
            start: Start::default(),
            owner: None,
            lease: Duration::from_secs(5),
            commit_signal: CommitSignal::new(),
            poll_interval: Duration::from_millis(50),
            parked_limit: 0,
            clock: Clock::system(),
            health: None,
            heartbeat: None,
        }
    }
}

/// Settings with the names, units and defaults of the Kafka consumer.
impl LocalConsumerBuilder {
    /// Handles the messages of `topic` with `handler`. A consumer has at least one topic, and one handler per topic.
    ///
    /// If `handler` cannot decode a message, it returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid), and the
    /// message is parked as it was written.
    pub fn on(self, topic: impl Into<Arc<str>>, handler: impl Handler) -> Self {
        self.subscriber(|subscriber| subscriber.on(topic, handler))
    }

    /// Handles the messages of `topic` with `handler`, several messages at once. It takes the place of [`on`](Self::on)
    /// for this topic.
    ///
    /// A batch consists of the messages that have arrived while the handler was busy, up to [`batch`](Self::batch): the
    /// consumer does not wait for more. It has messages of different keys, those of a key in order. Full batches without a
    /// key in common run at the same time, each with one permit of [`concurrency`](Self::concurrency). If their
    /// transactions lock the same rows in different orders, one of them fails with a deadlock and is applied one by one:
    /// write shared rows in one order, or set [`BatchConfig::concurrency`] to 1.
    ///
    /// A message whose result is an error is attempted again alone, and retried, held or parked as with [`on`](Self::on).
    /// If the handler itself fails, the whole batch is held (a cause outside the messages), or each of its messages is
    /// attempted alone (any other error), see [`BatchHandler`].
    ///
    /// ```
    /// use comms_core::{Delivery, Error, Outcome, batch_fn, transport::BatchConfig};
    /// use comms_outbox::{LocalConsumer, LocalConsumerBuilder};
    /// fn search(builder: LocalConsumerBuilder) -> Result<LocalConsumer, Error> {
    ///     let index = batch_fn(|batch: Vec<Delivery>| async move {
    ///         println!("index {} documents with one call", batch.len());
    ///         Ok(batch.iter().map(|_| Ok(Outcome::Done)).collect())
    ///     });
    ///     builder.on_batch("documents", index).batch(BatchConfig::default().max_records(100)).build()
    /// }
    /// ```
    pub fn on_batch(self, topic: impl Into<Arc<str>>, handler: impl BatchHandler) -> Self {
        self.subscriber(|subscriber| subscriber.on_batch(topic, handler))
    }

    /// Sets the size and number of the batches of the handlers of [`on_batch`](Self::on_batch). Default: at most 500
    /// messages and 1 MiB in a batch, and two batches of a topic at the same time ([`BatchConfig::concurrency`]).
    pub fn batch(self, batch: BatchConfig) -> Self {
        self.subscriber(|subscriber| subscriber.batch(batch))
    }

    /// Sets the number, backoff and time limit of attempts, and the longest hold. Default [`AttemptConfig::default`],
    /// with 10 s for [`AttemptConfig::hold_in_place`]: a message that is held for longer is parked as held and attempted
    /// again from time to time, so that the position of the group moves on.
    pub fn attempts(self, attempts: AttemptConfig) -> Self {
        self.subscriber(|subscriber| subscriber.attempts(attempts))
    }

    /// Sets which messages of a topic are handled one after the other. Default [`Ordering::Key`]: those with the same
    /// key.
    ///
    /// A topic in an outbox is one partition, so [`Ordering::Partition`] means all messages of a topic. A held message
    /// then keeps its place, and [`AttemptConfig::hold_in_place`] is ignored.
    pub fn ordering(self, ordering: Ordering) -> Self {
        self.subscriber(|subscriber| subscriber.ordering(ordering))
    }

    /// Sets what follows the final failure of a message. Default [`FailurePolicy::DeadLetter`]: the message is parked, and
    /// the later ones of its key behind it, unless there is a publisher of [dead letters](Self::dead_letter).
    pub fn failure_policy(self, policy: FailurePolicy) -> Self {
        self.subscriber(|subscriber| subscriber.failure_policy(policy))
    }

    /// Sets a function that decides what follows the final failure of a message. A panic of the function holds the
    /// message.
    pub fn failure_policy_with(
        self,
        decide: impl Fn(&Error, &Delivery) -> FailurePolicy + Send + Sync + 'static,
    ) -> Self {
        self.subscriber(|subscriber| subscriber.failure_policy_with(decide))
    }

    /// Sets the publisher of dead letters. Default: none, so that a message that failed for good is parked.
    ///
    /// The dead letters of a topic `orders` go to `orders.dlq`. When a dead letter is acknowledged, the later messages of
    /// the key continue. While it cannot be written, the message is held.
    pub fn dead_letter(self, publisher: Arc<dyn Publisher>) -> Self {
        self.subscriber(|subscriber| subscriber.dead_letter(publisher))
    }

    /// Sets the largest number of handlers that run at the same time. Default 16.
    ///
    /// The default of the Kafka consumer is 4,096. Here the handlers share the database with the consumer, and usually
    /// its pool: with more handlers than connections, the consumer waits behind them to renew its lease.
    pub fn concurrency(self, handlers: usize) -> Self {
        self.subscriber(|subscriber| subscriber.concurrency(handlers))
    }

    /// Sets the largest number of messages that are read and not finished: those that run, and those that wait for an
    /// earlier message of their key. Default 32,768. The last page may exceed the bound.
    pub fn buffer_records(self, records: u64) -> Self {
        Self { buffer_records: records, ..self }
    }

    /// Sets the largest number of bytes of the messages that are read and not finished. Default 64 MiB. The last page
    /// may exceed the bound, by at most 8 MiB and one message.
    pub fn buffer_bytes(self, bytes: u64) -> Self {
        Self { buffer_bytes: bytes, ..self }
    }

    /// Sets the longest time for running attempts to finish, at shutdown and after the consumer has lost its session.
    /// Default 1 s. Then they are cancelled, and their transactions roll back.
    pub fn drain(self, drain: Duration) -> Self {
        Self { drain, ..self }
    }

    /// Sets where the group starts to read a topic for which it has no position. Default [`Start::Oldest`].
    pub fn start_at(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// Sets the source of time and randomness. Default [`Clock::system`]. With a manual clock the time limits of the
    /// shutdown pass only when the clock is advanced.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock: clock.clone(), ..self.attempt_clock(clock) }
    }

    /// Sets the clock of attempts and holds alone.
    pub(crate) fn attempt_clock(self, clock: Clock) -> Self {
        self.subscriber(|subscriber| subscriber.clock(clock))
    }

    /// Sets the list of held deliveries, which several consumers may share. Default: a list for this consumer only,
    /// which [`LocalConsumer::holds`] returns.
    pub fn holds(self, holds: Holds) -> Self {
        self.subscriber(|subscriber| subscriber.holds(holds))
    }

    /// Sets the health component that shows the state of the consumer. Default: none.
    ///
    /// - Unready: the database does not answer, or the consumer has stopped. The state has the reason.
    /// - Degraded: [`Holds::state`] is degraded, more than [`parked_limit`](Self::parked_limit) keys are parked, or the
    ///   active member of the group has no handler for a topic that the group has read before.
    /// - Ready: otherwise, also while another member of the group is active.
    pub fn health(self, component: Component) -> Self {
        Self { health: Some(component), ..self }
    }

    /// Sets the heartbeat of the loop that reads and stores, for a watchdog. It beats at each iteration, also while the
    /// database is away. Default: none.
    ///
    /// One iteration may contain a wait for the lease, the drain, and several calls to the database of up to 10 s each:
    /// use a heartbeat with a limit of several minutes.
    pub fn heartbeat(self, heartbeat: Heartbeat) -> Self {
        Self { heartbeat: Some(heartbeat), ..self }
    }
}

impl LocalConsumerBuilder {
    /// Checks the settings and creates the consumer. The database is first used in [`LocalConsumer::run`].
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid)
    /// - if the group or the owner is empty or longer than 200 bytes,
    /// - if no handler is set, or a topic has two handlers,
    /// - if a bound or the poll interval is 0, or `buffer_records` is above 2^32 - 1, or
    /// - if the lease is not between 300 ms and 1 h.
    pub fn build(self) -> Result<LocalConsumer, Error> {
        let in_flight = u32::try_from(self.buffer_records)
            .map_err(|_| Error::invalid("a consumer's buffer_records must be at most 2^32 - 1"))?;
        let subscriber = self.subscriber.in_flight(in_flight).drain(self.drain);
        let subscriber = Arc::new(subscriber.build()?);
        let standby = subscriber.clone();
        let mut relay = Relay::of(self.store, subscriber.clone())
            .on_standby(move || standby.release_holds())
            .name(&*self.group)
            .topics(subscriber.topics())
            .start(self.start)
            .lease(self.lease)
            .in_flight(in_flight as usize)
            .in_flight_bytes(usize::try_from(self.buffer_bytes).unwrap_or(usize::MAX))
            .poll_interval(self.poll_interval)
            // At shutdown the subscriber ends the attempts before.
            .drain(self.drain.saturating_add(CANCEL).max(RELAY_DRAIN))
            .parked_limit(self.parked_limit)
            .commit_signal(self.commit_signal)
            .holds(subscriber.holds().clone())
            .clock(self.clock.clone());
        if let Some(owner) = self.owner {
            relay = relay.owner(owner);
        }
        if let Some(health) = self.health.clone() {
            relay = relay.health(health);
        }
        if let Some(heartbeat) = self.heartbeat {
            relay = relay.heartbeat(heartbeat);
        }
        let (drain, clock, health) = (self.drain, self.clock, self.health);
        Ok(LocalConsumer { group: self.group, relay: relay.build()?, subscriber, drain, clock, health })
    }

    fn subscriber(self, set: impl FnOnce(SubscriberBuilder) -> SubscriberBuilder) -> Self {
        Self { subscriber: set(self.subscriber), ..self }
    }
}

impl fmt::Debug for LocalConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalConsumerBuilder").field("group", &self.group).finish_non_exhaustive()
    }
}
