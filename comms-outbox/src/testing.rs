//! Consumers under test on an outbox in a database: the [`LocalConsumer`] of this crate with the manual clock of the
//! test.
//!
//! ```
//! use comms_core::testing::TestBroker;
//! use comms_outbox::testing::OutboxTransport;
//!
//! # async fn orders_are_billed_once(_: &TestBroker) -> Result<(), comms_core::Error> { Ok(()) }
//! # #[tokio::main] async fn main() -> Result<(), comms_core::Error> {
//! orders_are_billed_once(&TestBroker::memory()).await?;
//! # #[cfg(feature = "sqlite")]
//! orders_are_billed_once(&TestBroker::new(OutboxTransport::sqlite().await?)).await?;
//! # Ok(()) }
//! ```

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use comms_core::{
    Error, Message, Outbox, Publisher, Scoped, async_trait, in_transaction,
    testing::{ConsumerSetup, MemoryPublisher, Transport},
    transport::{Receipt, TopicHandler},
};
use futures::future::BoxFuture;

use crate::{CommitSignal, LocalConsumer, LocalConsumerBuilder, relay::Store};

/// The time limit for the deliveries of a test to settle.
const LIMIT: Duration = Duration::from_secs(30);

/// A [`Transport`] on an outbox. Clones share the database.
///
/// A message is committed to the outbox, and each group reads it with a [`LocalConsumer`]. Messages that are published
/// together are committed in one transaction. A failed message becomes a dead letter of the test
/// ([`LocalConsumerBuilder::dead_letter`]), as on every transport, and is not parked.
///
/// The database belongs to the test: topics and groups have the names of the test, and a group reads from the oldest
/// message.
#[derive(Clone)]
pub struct OutboxTransport {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    enqueue: Box<Enqueue>,
    committed: CommitSignal,
    dead_letters: MemoryPublisher,
    /// How often each group was moved back.
    rewound: Mutex<HashMap<String, u32>>,
    /// Keeps a database in memory open.
    _open: Option<Box<dyn Any + Send + Sync>>,
}

type Enqueue = dyn Fn(Vec<Message>) -> BoxFuture<'static, Result<(), Error>> + Send + Sync;

impl OutboxTransport {
    /// Uses the outbox into which `unit` writes and from which `store` reads. Its tables exist.
    pub fn new(unit: impl Outbox, store: impl Store) -> Self {
        Self::of(unit, store, None)
    }

    fn of(unit: impl Outbox, store: impl Store, open: Option<Box<dyn Any + Send + Sync>>) -> Self {
        let enqueue = move |messages: Vec<Message>| -> BoxFuture<'static, Result<(), Error>> {
            let unit = unit.clone();
            Box::pin(async move {
                let write = async |mut tx: Scoped<_>| unit.enqueue(&mut tx, &messages).await;
                in_transaction(&unit, write).await
            })
        };
        let inner = Inner {
            store: Arc::new(store),
            enqueue: Box::new(enqueue),
            committed: CommitSignal::new(),
            dead_letters: MemoryPublisher::new(),
            rewound: Mutex::default(),
            _open: open,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Creates an SQLite database in memory. It ends with the last clone of the transport.
    ///
    /// # Errors
    /// Returns the error of the database.
    #[cfg(feature = "sqlite")]
    #[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
    pub async fn sqlite() -> Result<Self, Error> {
        use crate::sqlite::{RelayStore, SqliteUnit, Tables};
        use sqlx::{ConnectOptions, sqlite};
        let options: sqlite::SqliteConnectOptions = "sqlite::memory:".parse().map_err(crate::sql_error)?;
        // The pool closes a connection whose transaction was dropped, and the database lives as long as a connection.
        let open = options.connect().await.map_err(crate::sql_error)?;
        let pool = sqlite::SqlitePoolOptions::new().max_connections(1);
        let pool = pool.connect_with(options).await.map_err(crate::sql_error)?;
        Tables::new().migrate(&pool).await?;
        let unit = SqliteUnit::new(pool.clone(), Tables::new());
        Ok(Self::of(unit, RelayStore::new(pool, Tables::new()), Some(Box::new(open))))
    }

    /// Adds `more` to the number of times that `group` was moved back, and returns the sum.
    fn rewound(&self, group: &str, more: u32) -> u32 {
        let mut rewound = self.inner.rewound.lock().unwrap_or_else(PoisonError::into_inner);
        let count = rewound.entry(group.to_owned()).or_default();
        *count += more;
        *count
    }
}

#[async_trait]
impl Transport for OutboxTransport {
    fn settle_limit(&self) -> Duration {
        LIMIT
    }

    /// Returns no positions: an outbox has none.
    async fn publish(&self, messages: Vec<Message>) -> Result<Vec<Receipt>, Error> {
        let receipts = messages.iter().map(|_| Receipt::default()).collect();
        (self.inner.enqueue)(messages).await?;
        self.inner.committed.notify();
        Ok(receipts)
    }

    fn dead_letters(&self) -> Arc<dyn Publisher> {
        Arc::new(self.inner.dead_letters.clone())
    }

    async fn run(&self, consumer: ConsumerSetup, stop: BoxFuture<'static, ()>) -> Result<(), Error> {
        let group = format!("{}-{}", consumer.group, self.rewound(&consumer.group, 0));
        let policy = consumer.failure_policy;
        let builder = LocalConsumer::of(self.inner.store.clone(), group.into())
            // A held message waits in the consumer, so that its attempts follow the backoff of the test.
            .attempts(consumer.attempts.hold_in_place(Duration::MAX))
            .ordering(consumer.ordering)
            .batch(consumer.batch)
            .failure_policy_with(move |error, delivery| policy.decide(error, delivery))
            .concurrency(consumer.budget.concurrency)
            .buffer_records(consumer.budget.records)
            .buffer_bytes(consumer.budget.bytes)
            .holds(consumer.holds)
            .dead_letter(consumer.dead_letter)
            .attempt_clock(consumer.clock)
            .commit_signal(self.inner.committed.clone())
            // An attempt that still runs at the end of the consumer is to be dropped.
            .drain(Duration::ZERO);
        let on = |builder: LocalConsumerBuilder, (topic, handler)| match handler {
            TopicHandler::Batch(handler) => builder.on_batch(topic, handler),
            TopicHandler::Single(handler) => builder.on(topic, handler),
            _ => builder,
        };
        consumer.handlers.into_iter().fold(builder, on).build()?.run(stop).await
    }

    /// The group goes on under another name: a group without a position begins at the oldest message.
    async fn rewind(&self, group: &str, _: &[Arc<str>]) -> Result<(), Error> {
        self.rewound(group, 1);
        Ok(())
    }
}

impl fmt::Debug for OutboxTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxTransport").finish_non_exhaustive()
    }
}
