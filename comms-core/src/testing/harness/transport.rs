//! The seam between a test and the broker on which its consumers run.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_core::future::BoxFuture;

use crate::{
    Error, Message, Publisher,
    clock::Clock,
    transport::{
        AttemptConfig, BatchConfig, BudgetConfig, FailureDecision, Holds, Ordering, Receipt, TopicHandler,
    },
};

/// A broker on which a test runs its consumers.
///
/// [`MemoryTransport`](super::MemoryTransport) is one in memory. `comms_outbox::testing` has one for an outbox in a
/// database, and `comms_kafka::testing` has those for Kafka. A test chooses the transport in its set-up, and is otherwise
/// the same on every transport.
///
/// The harness wraps the handlers and the publisher of dead letters, and derives the state of each delivery from what
/// they see. A transport reports nothing.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Returns the name that the transport uses for the topic or group `name` of the test. Default: `name`.
    ///
    /// A transport on a shared broker adds a prefix, so that tests do not see each other's messages. Handlers get the
    /// names of the test.
    fn qualify(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Returns how long a test may wait for its deliveries to settle. Default: 10 s.
    fn settle_limit(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Creates the topics and their dead-letter topics if the broker needs that. Default: nothing to do.
    ///
    /// # Errors
    /// Returns the error of the broker, of any kind. The test fails with it.
    async fn prepare(&self, _topics: &[Arc<str>]) -> Result<(), Error> {
        Ok(())
    }

    /// Publishes `messages` in their order, together if the broker can, and returns the position of each when the broker
    /// has stored all of them.
    ///
    /// # Errors
    /// Returns the error of the publisher, of any kind. The test fails with it.
    async fn publish(&self, messages: Vec<Message>) -> Result<Vec<Receipt>, Error>;

    /// Returns the publisher of dead letters for consumers that set none.
    fn dead_letters(&self) -> Arc<dyn Publisher>;

    /// Runs a consumer until `stop` resolves. Then it begins no further attempt, drops the running ones, acknowledges
    /// the deliveries that are settled, and returns.
    ///
    /// # Errors
    /// Returns the error that stopped the consumer: the [`Fatal`](crate::ErrorKind::Fatal) error of a handler, or an
    /// error of the broker.
    async fn run(&self, consumer: ConsumerSetup, stop: BoxFuture<'static, ()>) -> Result<(), Error>;

    /// Moves `group` back to the first message of `topics`, so that a consumer that starts gets all messages again. No
    /// consumer of the group runs during the call.
    ///
    /// # Errors
    /// Returns the error of the broker, of any kind. The test fails with it.
    async fn rewind(&self, group: &str, topics: &[Arc<str>]) -> Result<(), Error>;
}

/// The settings of a consumer that a [`Transport`] runs. All names are those of the transport
/// ([`Transport::qualify`]).
#[derive(Clone)]
#[non_exhaustive]
pub struct ConsumerSetup {
    /// The consumer group.
    pub group: Arc<str>,
    /// Each topic with its handler.
    pub handlers: Vec<(Arc<str>, TopicHandler)>,
    /// The limits of a batch, for batch handlers.
    pub batch: BatchConfig,
    /// The limits of attempts. The backoff has no jitter, and `hold_in_place` is `None`.
    pub attempts: AttemptConfig,
    /// The order of the deliveries.
    pub ordering: Ordering,
    /// What becomes of a delivery that failed for good.
    pub failure_policy: FailureDecision,
    /// The limits of the deliveries in the consumer.
    pub budget: BudgetConfig,
    /// The list for held deliveries. It is empty.
    pub holds: Holds,
    /// The publisher of dead letters. The transport waits for its acknowledgement before it acknowledges the message.
    pub dead_letter: Arc<dyn Publisher>,
    /// The clock of the test, for attempts and waits.
    pub clock: Clock,
}

impl fmt::Debug for ConsumerSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics: Vec<_> = self.handlers.iter().map(|(topic, _)| topic).collect();
        f.debug_struct("ConsumerSetup")
            .field("group", &self.group)
            .field("topics", &topics)
            .finish_non_exhaustive()
    }
}
