//! The broker of a test: a transport, the ledger, and the manual clock.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    ledger::{Ledger, Publication},
    memory::MemoryTransport,
    transport::Transport,
};
use crate::{Error, Message, clock::Clock, event::EventSource, testing::MemoryUnit};

/// The begin of the manual clock, since 1970: in November 2023.
const BEGIN: Duration = Duration::from_secs(1_700_000_000);

/// The broker of a test, on which one or more [`TestConsumer`](super::TestConsumer)s run. Clones share the broker.
///
/// A broker belongs to one test. Its clock is manual: waits between attempts, holds and time limits pass only in
/// [`advance`](Self::advance). Pass [`clock`](Self::clock) to the code under test.
///
/// ```
/// use comms_core::{Delivery, Outbox, Outcome, Scoped, handler_fn, transactional};
/// use comms_core::testing::{DeliveryState, MemoryTx, MemoryUnit, TestBroker, TestConsumer};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Placed { order: String }
/// # impl comms_core::event::Event for Placed {
/// #     const TYPE: &'static str = "order.placed";
/// #     const VERSION: u32 = 1;
/// #     fn key(&self) -> String { self.order.clone() }
/// # }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), comms_core::Error> {
/// // Billing answers an order with an invoice, which mailing sends.
/// let (broker, unit) = (TestBroker::memory(), MemoryUnit::new());
/// let (outbox, events) = (unit.clone(), broker.events("billing"));
/// let bill = transactional(unit.clone(), move |placed: Placed, mut tx: Scoped<MemoryTx>| {
///     let (outbox, events) = (outbox.clone(), events.clone());
///     async move { outbox.enqueue(&mut tx, &[events.message(&placed)?.to("invoices")]).await }
/// });
/// let send = handler_fn(|_: Delivery| async { Ok(Outcome::Done) });
/// let billing = TestConsumer::builder("billing").on("order.placed", bill).start_on(&broker).await?;
/// let mailing = TestConsumer::builder("mailing").on("invoices", send).start_on(&broker).await?;
///
/// let state = billing.deliver_event(&Placed { order: "7".into() }).await?;
/// assert_eq!(state, DeliveryState::Done);
/// broker.relay(&unit).await?;
/// mailing.calls("invoices").assert_called_once();
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct TestBroker {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) limit: Duration,
    /// For each outbox the number of messages that [`TestBroker::relay`] has taken. The entry keeps the outbox alive, so
    /// that no later one has its address.
    relayed: Arc<Mutex<BTreeMap<usize, (MemoryUnit, usize)>>>,
}

impl TestBroker {
    /// Creates a broker in memory.
    #[must_use]
    pub fn memory() -> Self {
        Self::new(MemoryTransport::new())
    }

    /// Creates a broker on `transport`.
    #[must_use]
    pub fn new(transport: impl Transport) -> Self {
        let ledger = Arc::new(Ledger::new(Clock::manual(BEGIN)));
        let limit = transport.settle_limit();
        Self { transport: Arc::new(transport), ledger, limit, relayed: Arc::default() }
    }

    /// Sets how long a call may wait for the deliveries to settle, in time of the system. Default: that of the
    /// transport, 10 s in memory.
    #[must_use]
    pub fn settle_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Returns the manual clock of the test.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.ledger.clock
    }

    /// Returns a source of events with the clock of the test.
    #[must_use]
    pub fn events(&self, source: &str) -> EventSource {
        EventSource::new(source, self.clock().clone())
    }

    /// Publishes `message`, and does not wait for its deliveries.
    ///
    /// # Errors
    /// Returns the error of the transport, of any kind.
    pub async fn publish(&self, message: Message) -> Result<(), Error> {
        self.publish_all(vec![message]).await.map(drop)
    }

    /// Publishes `messages` together. Returns the expected deliveries of each.
    pub(super) async fn publish_all(&self, messages: Vec<Message>) -> Result<Vec<Publication>, Error> {
        let publications: Vec<_> = messages.iter().map(|message| self.ledger.published(message)).collect();
        let qualified = |message: Message| {
            let theirs = self.transport.qualify(message.topic());
            if theirs == message.topic() { message } else { message.to(theirs) }
        };
        let receipts = self.transport.publish(messages.into_iter().map(qualified).collect()).await?;
        for (publication, receipt) in publications.iter().zip(receipts) {
            self.ledger.stored(publication, receipt.partition.zip(receipt.offset));
        }
        Ok(publications)
    }

    /// Waits until each delivery has ended, or waits for the clock: for its next attempt, or behind such a delivery.
    ///
    /// # Errors
    /// Returns [`Indeterminate`](crate::ErrorKind::Indeterminate) with the open deliveries after the
    /// [`settle_limit`](Self::settle_limit). A handler that waits for the manual clock never settles by itself: call
    /// `clock().advance(..)`, and then `settle`.
    pub async fn settle(&self) -> Result<(), Error> {
        self.ledger.settled(self.limit).await
    }

    /// Advances the clock by `by`. Each attempt that falls due on the way is made at its time, as it would be if the
    /// time passed, and the deliveries settle after it.
    ///
    /// The waits between attempts have no jitter in a test. After the first failure the wait is exactly the first one
    /// of [`AttemptConfig::backoff`](crate::transport::AttemptConfig::backoff).
    ///
    /// While a handler runs, the clock moves in one step, because the handler may wait for it. Attempts that fall due on
    /// the way are then made at the end.
    ///
    /// # Errors
    /// Returns the errors of [`settle`](Self::settle).
    pub async fn advance(&self, by: Duration) -> Result<(), Error> {
        let (clock, ledger) = (self.clock(), &self.ledger);
        let end = clock.now() + by;
        if ledger.is_any_running() {
            // The handler may wait for this step of the clock.
            clock.advance(by);
            return self.settle().await;
        }
        loop {
            self.settle().await?;
            let left = end.saturating_duration_since(clock.now());
            let step = ledger.next_attempt().map_or(left, |next| next.min(left));
            clock.advance(step);
            if step == left {
                return self.settle().await;
            }
        }
    }

    /// Publishes the committed messages of the outbox of `unit` in the order of their commits, as a relay does, and
    /// waits until their deliveries are settled. Goes on with the messages that the handlers have written meanwhile.
    /// Returns the number of messages.
    ///
    /// A message to a topic without a handler is skipped. A message is published once: a further call continues after
    /// the last message.
    ///
    /// # Errors
    /// Returns the error of the transport, and the errors of [`settle`](Self::settle).
    pub async fn relay(&self, unit: &MemoryUnit) -> Result<usize, Error> {
        let mut count = 0;
        loop {
            let messages = unit.messages();
            let next = messages.get(self.relayed(unit, messages.len())..).unwrap_or_default();
            if next.is_empty() {
                return Ok(count);
            }
            let handled = next.iter().filter(|message| self.ledger.has_topic(message.topic()));
            self.publish_all(handled.cloned().collect()).await?;
            count += next.len();
            self.settle().await?;
        }
    }

    /// Returns how many messages of `unit` are relayed, and sets the number to `total`.
    fn relayed(&self, unit: &MemoryUnit, total: usize) -> usize {
        let mut relayed = self.relayed.lock().unwrap_or_else(PoisonError::into_inner);
        relayed.insert(unit.address(), (unit.clone(), total)).map_or(0, |(_, before)| before)
    }
}

impl fmt::Debug for TestBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestBroker").field("clock", self.clock()).finish_non_exhaustive()
    }
}
