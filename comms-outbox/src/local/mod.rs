//! Consumer groups without a broker: a relay and a subscriber as one consumer.

mod builder;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use comms_core::{Error, clock::Clock, health, transport::Holds};

use crate::{Relay, Subscriber};
pub use builder::LocalConsumerBuilder;

/// The time limit for dropping cancelled attempts, and for their results to reach the relay.
const CANCEL: Duration = Duration::from_secs(1);

/// A member of a consumer group that needs no broker: it reads an outbox, and runs a handler for each message.
///
/// **Problem.** A team that has a database and no broker wants consumer groups: order by key, retries, a place for
/// messages that cannot be handled, one active member per group. It wants to keep its code when it adds a broker.
///
/// **Promise.** The builder has the methods of `comms_kafka::Consumer`, with the same units and defaults. To move to
/// Kafka, an application changes the call of `builder`, and adds a relay that publishes to Kafka:
///
/// ```text
/// LocalConsumer::builder(store, "billing")    // no broker
/// Consumer::builder(&kafka, "billing")        // Kafka
///     .on("orders", handler)
///     .ordering(Ordering::Key)
///     .drain(Duration::from_secs(2))
///     .build()?
/// ```
///
/// - Each committed message of the topics is handled at least once. A message that was rolled back never is. A crash at
///   any moment loses nothing.
/// - Messages of one key are handled one after the other, in the order in which their transactions followed one another.
///   Other keys are handled concurrently.
/// - A message that fails for good is *parked* with the reason, and later messages of its key behind it, until
///   `Tables::release` of the backend. Kafka has no such place, so its consumer writes a dead letter.
/// - A failure whose cause is outside the message *holds* the message: no attempt is counted, [`LocalConsumer::holds`]
///   lists it, and its key continues when the cause is gone. A message that is held for longer than 10 s
///   ([`AttemptConfig::hold_in_place`](comms_core::transport::AttemptConfig::hold_in_place)) is parked as held
///   meanwhile, so that the position of the group moves on.
/// - One member of a group is active at a time. It has a lease in the database. The other members wait, and one of them
///   begins when the lease has expired or was released.
/// - Memory is bounded in messages ([`LocalConsumerBuilder::buffer_records`]) and bytes.
///
/// **How.** A [`Relay`] with the name of the group reads the topics of the handlers and hands the messages to a
/// [`Subscriber`]. If the relay loses its session (another member took the lease, the database was restarted), no further
/// attempt of its messages begins, those that run are cancelled after the drain time, and only then messages of the next
/// session are handled.
///
/// **What breaks it.**
/// - A message may be handled again after a crash, a lost session or a cancelled attempt. With
///   [`transactional`](comms_core::transactional) each message has its effect once.
/// - A process that is stopped for longer than its lease (a debugger, a suspended machine) may run attempts at the same
///   time as its successor.
/// - The group and the relay of another transport must not have the same name: they would share a position.
///
/// # Examples
/// A service writes its state and a message in one transaction, and a group consumes the message:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # #[cfg(feature = "sqlite")] {
/// use comms_core::{Delivery, Message, MessageParts, Outbox, Outcome, UnitOfWork, handler_fn};
/// use comms_outbox::{LocalConsumer, sqlite};
///
/// let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
/// let tables = sqlite::Tables::new();
/// tables.migrate(&pool).await?;
/// let unit = sqlite::SqliteUnit::new(pool.clone(), tables.clone());
/// let mut tx = unit.begin().await?;
/// // ... the state of the service, in the same transaction ...
/// let parts = MessageParts { source: "/orders", id: "1", topic: "orders", key: Some(b"o-1"), ..Default::default() };
/// unit.enqueue(&mut tx, &[Message::new(parts)]).await?;
/// unit.commit(tx).await?;
///
/// let (handled, mut keys) = tokio::sync::mpsc::channel(1);
/// let consumer = LocalConsumer::builder(sqlite::RelayStore::new(pool, tables), "billing")
///     .on("orders", handler_fn(move |delivery: Delivery| {
///         let handled = handled.clone();
///         async move {
///             let _ = handled.send(delivery.message.key_bytes()).await;
///             Ok(Outcome::Done)
///         }
///     }))
///     .commit_signal(unit.commit_signal())
///     .build()?;
/// let shutdown = async move { // in a service: a future that resolves on a signal
///     assert_eq!(keys.recv().await.flatten().as_deref(), Some(&b"o-1"[..]));
/// };
/// consumer.run(shutdown).await?;
/// # }
/// # Ok(())
/// # }
/// ```
pub struct LocalConsumer {
    group: Arc<str>,
    relay: Relay,
    subscriber: Arc<Subscriber>,
    drain: Duration,
    clock: Clock,
    health: Option<health::Component>,
}

impl LocalConsumer {
    /// Returns a function that reads the age of the oldest committed message that the group has not handled, in seconds,
    /// for [`Health::gauge`](comms_core::health::Health::gauge).
    ///
    /// The value is updated at least once in a third of the lease. It is 0 while another member of the group has the
    /// lease, and after the consumer has ended.
    pub fn lag_seconds(&self) -> impl Fn() -> f64 + Send + Sync + use<> {
        self.relay.lag()
    }

    /// Returns the deliveries that are held by a cause outside the message, also those that are parked as held until the
    /// next attempt. A member of the group that is not active holds none.
    #[must_use]
    pub fn holds(&self) -> &Holds {
        self.subscriber.holds()
    }

    /// Consumes until `shutdown` resolves.
    ///
    /// The consumer then reads no more messages, and no further attempt begins. Running attempts may finish within the
    /// drain time ([`LocalConsumerBuilder::drain`]); then they are cancelled. The consumer stores the position of the
    /// group and releases the lease, so that another member begins at once. That takes at most the drain time, 1 s, and
    /// two calls to the database of at most 10 s each; 10 s more if a handler blocks its thread. Dropping the future cancels the attempts without a drain.
    ///
    /// An unreachable database is not an error, nor are missing tables. The consumer waits, and its health component
    /// ([`LocalConsumerBuilder::health`]) is unready with the reason.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Fatal`](comms_core::ErrorKind::Fatal) if a handler returned a fatal error, or if
    /// [`FailurePolicy::Stop`](comms_core::transport::FailurePolicy::Stop) applied to a failure. The message is not
    /// acknowledged, and the next start delivers it again.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Self { group, relay, subscriber, drain, clock, health } = self;
        let stop = subscriber.stop_token();
        let _cancelled_if_dropped = stop.clone().drop_guard();
        let draining = subscriber.clone();
        // The relay polls this future before it processes results, so it receives no result of an abandoned message
        // before it knows of the shutdown.
        let shutdown = async move {
            shutdown.await;
            draining.begin_drain();
        };
        let result = relay.run(shutdown).await;
        // The relay may have ended while another member had the lease, or with an error.
        subscriber.begin_drain();
        let ended = clock.timeout(drain.saturating_add(CANCEL), subscriber.ended()).await;
        subscriber.release_holds();
        if let Some(health) = health {
            health.unready("stopped");
        }
        if ended.is_err() {
            tracing::warn!(%group, "an attempt did not end after its cancellation: its handler blocks a thread");
        }
        result.map_err(|error| error.context(format_args!("group {group}")))
    }
}

impl fmt::Debug for LocalConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalConsumer")
            .field("group", &self.group)
            .field("topics", &self.subscriber.topics())
            .finish_non_exhaustive()
    }
}
