//! A consumer under test.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Mutex, oneshot},
    task::JoinHandle,
};

use super::{
    broker::TestBroker,
    calls::Calls,
    dead_letters::DeadLetters,
    ledger::{EntryId, Publication},
    published::Published,
    state::DeliveryState,
    transport::ConsumerSetup,
};
use crate::{Error, Message, clock::Clock, event::Event, transport::Hold};

/// A consumer under test: it runs an application's handlers without a broker, and records each delivery.
///
/// The handlers run in the consumer runtime of production, a [`Worker`](crate::transport::Worker): in the order of their
/// keys, with retries, holds and dead letters. The clock is manual. [`deliver`](Self::deliver) publishes a message and
/// waits until it is settled. Then the test looks at the state of the delivery, at the [calls](Self::calls) of the
/// handler, at the effects, and at the published messages.
///
/// With [`TestBroker`] the same test runs on Kafka (`comms_kafka::testing`), and several consumers run on one broker.
/// For each fault that a broker may cause there is one method, such as [`deliver_twice`](Self::deliver_twice) and
/// [`crash_before_ack`](Self::crash_before_ack).
///
/// Dropping the consumer stops it.
///
/// ```
/// use comms_core::{Delivery, Error, ErrorKind, Outcome, handler_fn, transport::AttemptConfig};
/// use comms_core::testing::{DeliveryState, TestConsumer};
/// use std::time::Duration;
/// # #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// # struct Placed { order: String }
/// # impl comms_core::event::Event for Placed {
/// #     const TYPE: &'static str = "order.placed";
/// #     const VERSION: u32 = 1;
/// #     fn key(&self) -> String { self.order.clone() }
/// # }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// let bank = handler_fn(|delivery: Delivery| async move {
///     if delivery.attempt == 1 { Err(Error::indeterminate("no answer")) } else { Ok(Outcome::Done) }
/// });
/// let consumer = TestConsumer::builder("billing").on("order.placed", bank).start().await?;
///
/// let state = consumer.deliver_event(&Placed { order: "7".into() }).await?;
/// assert_eq!(state, DeliveryState::Retrying(ErrorKind::Indeterminate));
/// consumer.advance(Duration::from_millis(100)).await?; // the first wait of the default backoff
/// consumer.assert_states(&[DeliveryState::Done]);
/// consumer.calls("order.placed").assert_results(&[Err(ErrorKind::Indeterminate), Ok(Outcome::Done)]);
/// # Ok(()) }
/// ```
pub struct TestConsumer {
    pub(super) broker: TestBroker,
    pub(super) group: Arc<str>,
    setup: ConsumerSetup,
    dead_letters: Arc<DeadLetters>,
    running: Mutex<Option<Running>>,
}

/// The task of the transport that runs the consumer.
struct Running {
    /// Dropping it stops the consumer.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl TestConsumer {
    pub(super) fn new(
        broker: TestBroker,
        group: Arc<str>,
        setup: ConsumerSetup,
        dead_letters: Arc<DeadLetters>,
    ) -> Self {
        Self { broker, group, setup, dead_letters, running: Mutex::default() }
    }

    pub(super) async fn start(&self) {
        let (stop, stopped) = oneshot::channel::<()>();
        let (transport, setup) = (self.broker.transport.clone(), self.setup.clone());
        let (ledger, group) = (self.broker.ledger.clone(), self.group.clone());
        let task = tokio::spawn(async move {
            let stopped = Box::pin(async move { stopped.await.unwrap_or_default() });
            if let Err(error) = transport.run(setup, stopped).await {
                ledger.failed(&group, &error);
            }
        });
        *self.running.lock().await = Some(Running { stop, task });
    }

    pub(super) async fn stop(&self) -> Result<(), Error> {
        self.broker.ledger.stopping(&self.group);
        let Some(Running { stop, task }) = self.running.lock().await.take() else { return Ok(()) };
        drop(stop);
        match Clock::system().timeout(self.broker.limit, task).await {
            Ok(ended) => ended.map_err(|error| Error::internal(error).context("the consumer under test")),
            Err(_) => Err(Error::indeterminate(format!(
                "the consumer of group {} did not stop within {:?}",
                self.group, self.broker.limit
            ))),
        }
    }

    pub(super) async fn rewind(&self) -> Result<(), Error> {
        let topics: Vec<_> = self.setup.handlers.iter().map(|(topic, _)| topic.clone()).collect();
        self.broker.transport.rewind(&self.setup.group, &topics).await
    }

    /// Publishes `message`, waits until it is settled, and returns the state of its delivery.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if the consumer has no handler for the topic. Returns the errors
    /// of [`TestBroker::publish`] and [`TestBroker::settle`].
    pub async fn deliver(&self, message: Message) -> Result<DeliveryState, Error> {
        let entry = self.publish_one(message).await?;
        self.settle().await?;
        Ok(self.broker.ledger.state_of(entry))
    }

    /// Publishes the message of `event` with the source `test`, as [`deliver`](Self::deliver) does.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if the event cannot be encoded, and the errors of
    /// [`deliver`](Self::deliver).
    pub async fn deliver_event<E>(&self, event: &E) -> Result<DeliveryState, Error>
    where
        E: Event + Serialize + DeserializeOwned + Sync,
    {
        self.deliver(self.broker.events("test").message(event)?).await
    }

    /// Publishes `messages` together, waits until they are settled, and returns the states of their deliveries in their
    /// order. A batch handler gets them as one batch ([`on_batch`](super::TestConsumerBuilder::on_batch)).
    ///
    /// ```
    /// use comms_core::{Delivery, Error, Outcome, batch_fn, testing::{DeliveryState, TestConsumer}};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Viewed { page: String }
    /// # impl comms_core::event::Event for Viewed {
    /// #     const TYPE: &'static str = "viewed";
    /// #     const VERSION: u32 = 1;
    /// #     fn key(&self) -> String { self.page.clone() }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// let count = batch_fn(|batch: Vec<Delivery>| async move {
    ///     Ok(batch.iter().map(|_| Ok(Outcome::Done)).collect())
    /// });
    /// let consumer = TestConsumer::builder("statistics").on_batch("viewed", count).start().await?;
    /// let events = consumer.broker().events("site");
    /// let views = [events.message(&Viewed { page: "a".into() })?, events.message(&Viewed { page: "b".into() })?];
    ///
    /// assert_eq!(consumer.deliver_all(views).await?, [DeliveryState::Done; 2]);
    /// assert_eq!(consumer.calls("viewed").list()[0].batch, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`deliver`](Self::deliver).
    pub async fn deliver_all(
        &self,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<Vec<DeliveryState>, Error> {
        let entries = self.publish_all(messages.into_iter().collect()).await?;
        self.settle().await?;
        Ok(entries.into_iter().map(|entry| self.broker.ledger.state_of(entry)).collect())
    }

    /// Publishes `message`, and does not wait for its delivery. Returns the entry of this group.
    pub(super) async fn publish_one(&self, message: Message) -> Result<EntryId, Error> {
        let entries = self.publish_all(vec![message]).await?;
        entries.into_iter().next().ok_or_else(|| Error::internal("a message without a delivery"))
    }

    /// Publishes `messages` together, and does not wait for their deliveries. Returns the entries of this group.
    async fn publish_all(&self, messages: Vec<Message>) -> Result<Vec<EntryId>, Error> {
        let topics: Vec<_> = messages.iter().map(|message| message.topic().to_owned()).collect();
        let publications = self.broker.publish_all(messages).await?;
        let of_group = |(publication, topic): (&Publication, String)| {
            let entry = self.broker.ledger.of_group(&publication.entries, &self.group);
            entry.ok_or_else(|| {
                Error::invalid(format!("group {} has no handler for topic {topic}", self.group))
            })
        };
        publications.iter().zip(topics).map(of_group).collect()
    }

    /// Publishes `message`, and does not wait for its delivery.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if the consumer has no handler for the topic. Returns the errors
    /// of [`TestBroker::publish`].
    pub async fn publish(&self, message: Message) -> Result<(), Error> {
        self.publish_one(message).await.map(drop)
    }

    /// Waits until the handler of `topic` has been called `times` times. The calls may still run.
    ///
    /// # Errors
    /// Returns [`Indeterminate`](crate::ErrorKind::Indeterminate) after the [`TestBroker::settle_limit`].
    pub async fn until_called(&self, topic: &str, times: usize) -> Result<(), Error> {
        self.broker.ledger.called(&self.group, topic, times, self.broker.limit).await
    }

    /// Waits until the deliveries of the broker are settled ([`TestBroker::settle`]).
    ///
    /// # Errors
    /// Returns the errors of [`TestBroker::settle`].
    pub async fn settle(&self) -> Result<(), Error> {
        self.broker.settle().await
    }

    /// Advances the clock, and makes the attempts that fall due ([`TestBroker::advance`]).
    ///
    /// # Errors
    /// Returns the errors of [`TestBroker::settle`].
    pub async fn advance(&self, by: Duration) -> Result<(), Error> {
        self.broker.advance(by).await
    }

    /// Returns the broker on which the consumer runs.
    #[must_use]
    pub const fn broker(&self) -> &TestBroker {
        &self.broker
    }

    /// Returns the calls of the handler of `topic`.
    #[must_use]
    pub fn calls(&self, topic: &str) -> Calls {
        Calls::new(
            format!("the handler of {topic} in group {}", self.group),
            self.broker.ledger.calls(&self.group, topic),
        )
    }

    /// Returns the acknowledged dead letters, with the reason in their headers ([`wire`](crate::wire)).
    #[must_use]
    pub fn dead_letters(&self) -> Published {
        Published::new(format!("the dead letters of group {}", self.group), self.dead_letters.written())
    }

    /// Returns the held deliveries, as an operator sees them.
    #[must_use]
    pub fn holds(&self) -> Vec<Hold> {
        self.setup.holds.list()
    }
}

impl fmt::Debug for TestConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestConsumer").field("group", &self.group).finish_non_exhaustive()
    }
}
