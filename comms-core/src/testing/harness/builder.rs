//! The builder of a consumer under test.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use super::{
    broker::TestBroker,
    consumer::TestConsumer,
    dead_letters::{DeadLetters, RecordedPublisher},
    ledger::Rules,
    recorder::{Recorder, renamed},
    transport::ConsumerSetup,
};
use crate::{
    BatchHandler, Delivery, Error, Handler, Publisher,
    resilience::Jitter,
    transport::{
        AttemptConfig, BatchConfig, BoxBatchHandler, BoxHandler, BudgetConfig, FailureDecision,
        FailurePolicy, Holds, Ordering, TopicHandler,
    },
};

/// The builder of a [`TestConsumer`], created by [`TestConsumer::builder`]. Its methods are those of the builder of
/// `comms_kafka::Consumer`.
///
/// At least one handler ([`on`](Self::on), [`on_batch`](Self::on_batch)) is required. All other settings have defaults.
#[must_use]
pub struct TestConsumerBuilder {
    group: Arc<str>,
    handlers: Vec<(Arc<str>, TopicHandler)>,
    batch: BatchConfig,
    attempts: AttemptConfig,
    ordering: Ordering,
    failure_policy: FailureDecision,
    dead_letter: Option<Arc<dyn Publisher>>,
}

impl TestConsumer {
    /// Creates a builder of a consumer in `group`.
    pub fn builder(group: impl Into<Arc<str>>) -> TestConsumerBuilder {
        TestConsumerBuilder {
            group: group.into(),
            handlers: Vec::new(),
            batch: BatchConfig::default(),
            attempts: AttemptConfig::default(),
            ordering: Ordering::default(),
            failure_policy: FailureDecision::default(),
            dead_letter: None,
        }
    }
}

impl TestConsumerBuilder {
    /// Handles the messages of `topic` with `handler`. A consumer has one handler per topic.
    pub fn on(mut self, topic: impl Into<Arc<str>>, handler: impl Handler) -> Self {
        self.handlers.push((topic.into(), BoxHandler::new(handler).into()));
        self
    }

    /// Handles the messages of `topic` with the batch handler `handler`, several messages at once.
    ///
    /// A batch consists of the messages that have arrived while the handler was busy, up to [`batch`](Self::batch), as
    /// on the consumers. In memory and on an outbox the messages of one
    /// [`deliver_all`](TestConsumer::deliver_all) arrive together. On Kafka a batch has messages of one partition.
    ///
    /// Each delivery of a batch is a [`Call`](super::Call) of its own, with the size of the batch.
    pub fn on_batch(mut self, topic: impl Into<Arc<str>>, handler: impl BatchHandler) -> Self {
        self.handlers.push((topic.into(), BoxBatchHandler::new(handler).into()));
        self
    }

    /// Sets the largest batch of the handlers of [`on_batch`](Self::on_batch). Default [`BatchConfig::default`]: 500
    /// messages, 1 MiB.
    pub fn batch(self, batch: BatchConfig) -> Self {
        Self { batch, ..self }
    }

    /// Sets the number, backoff and time limit of attempts, and the longest hold. Default: [`AttemptConfig::default`].
    ///
    /// The jitter of the backoff is ignored, so that a test can advance the clock to an attempt.
    /// [`AttemptConfig::hold_in_place`] is ignored: a held message waits in the consumer.
    pub fn attempts(self, attempts: AttemptConfig) -> Self {
        Self { attempts, ..self }
    }

    /// Sets the order of the deliveries. Default: [`Ordering::Key`].
    pub fn ordering(self, ordering: Ordering) -> Self {
        Self { ordering, ..self }
    }

    /// Sets what becomes of a message that failed for good. Default: [`FailurePolicy::DeadLetter`].
    pub fn failure_policy(self, policy: FailurePolicy) -> Self {
        Self { failure_policy: policy.into(), ..self }
    }

    /// Sets a function that decides what becomes of a message that failed for good. A panic of the function holds the
    /// message. The harness calls the function once more for its own record, so it must be a pure function.
    pub fn failure_policy_with(
        self,
        decide: impl Fn(&Error, &Delivery) -> FailurePolicy + Send + Sync + 'static,
    ) -> Self {
        Self { failure_policy: FailureDecision::new(decide), ..self }
    }

    /// Sets the publisher of dead letters. Default: that of the transport, which accepts each dead letter.
    ///
    /// A [`MemoryPublisher`](crate::testing::MemoryPublisher) can refuse dead letters.
    pub fn dead_letter(self, publisher: Arc<dyn Publisher>) -> Self {
        Self { dead_letter: Some(publisher), ..self }
    }

    /// Starts the consumer on a broker in memory of its own.
    ///
    /// # Errors
    /// Returns the errors of [`start_on`](Self::start_on).
    pub async fn start(self) -> Result<TestConsumer, Error> {
        self.start_on(&TestBroker::memory()).await
    }

    /// Starts the consumer on `broker`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if the consumer has no handler, or a topic has two, or the broker
    /// has a consumer of this group. Returns the error of the transport if it cannot create the topics.
    pub async fn start_on(mut self, broker: &TestBroker) -> Result<TestConsumer, Error> {
        let topics = self.topics()?;
        self.attempts.backoff = self.attempts.backoff.with_jitter(Jitter::Ratio(0.0))?;
        self.attempts.hold_in_place = None;
        let rules = Rules {
            attempts: self.attempts.clone(),
            ordering: self.ordering,
            failure_policy: self.failure_policy.clone(),
        };
        let (transport, ledger) = (&broker.transport, &broker.ledger);
        ledger.add_group(&self.group, topics.clone(), rules)?;
        let qualified = |name: &Arc<str>| -> Arc<str> { transport.qualify(name).into() };
        let theirs: Vec<_> = topics.iter().map(qualified).collect();
        transport.prepare(&theirs).await?;
        let names: HashMap<_, _> = theirs.iter().cloned().zip(topics).collect();
        let dead_letters = Arc::new(DeadLetters {
            inner: self.dead_letter.unwrap_or_else(|| transport.dead_letters()),
            ledger: ledger.clone(),
            group: self.group.clone(),
            topics: names.clone(),
            written: Mutex::default(),
        });
        let recorded = |(topic, handler): (Arc<str>, TopicHandler)| {
            Recorder { ledger: ledger.clone(), group: self.group.clone(), topic }.wrap(handler)
        };
        let setup = ConsumerSetup {
            group: qualified(&self.group),
            handlers: theirs.into_iter().zip(self.handlers.into_iter().map(recorded)).collect(),
            batch: self.batch,
            attempts: self.attempts,
            ordering: self.ordering,
            failure_policy: with_names(self.failure_policy, self.group.clone(), names.clone()),
            budget: BudgetConfig::default(),
            holds: Holds::new(broker.clock().clone()),
            dead_letter: Arc::new(RecordedPublisher(dead_letters.clone())),
            clock: broker.clock().clone(),
        };
        let consumer = TestConsumer::new(broker.clone(), self.group, setup, dead_letters);
        consumer.start().await;
        Ok(consumer)
    }

    fn topics(&self) -> Result<Vec<Arc<str>>, Error> {
        let topics: Vec<_> = self.handlers.iter().map(|(topic, _)| topic.clone()).collect();
        if topics.is_empty() {
            let text = format!(
                "group {} has no topic: call `on` or `on_batch` with a topic and its handler",
                self.group
            );
            return Err(Error::invalid(text));
        }
        match topics.iter().enumerate().find(|(index, topic)| topics[..*index].contains(topic)) {
            None => Ok(topics),
            Some((_, topic)) => Err(Error::invalid(format!(
                "group {}: topic {topic} has two handlers, call `on` or `on_batch` once per topic",
                self.group
            ))),
        }
    }
}

/// Calls the function of the test with deliveries that have the names of the test.
fn with_names(
    decision: FailureDecision,
    group: Arc<str>,
    topics: HashMap<Arc<str>, Arc<str>>,
) -> FailureDecision {
    FailureDecision::new(move |error, delivery| match topics.get(delivery.message.topic()) {
        Some(topic) => decision.decide(error, &renamed(delivery.clone(), &group, topic)),
        None => decision.decide(error, delivery),
    })
}

impl fmt::Debug for TestConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestConsumerBuilder").field("group", &self.group).finish_non_exhaustive()
    }
}
