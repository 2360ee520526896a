//! Consumers under test on Kafka: librdkafka's mock cluster, or a real cluster.
//!
//! A test that takes its [`TestBroker`](comms_core::testing::TestBroker) runs on each of these transports, and on the
//! broker in memory. The transports run the [`Consumer`] and the [`KafkaPublisher`] of this crate with the manual clock
//! of the test.
//!
//! ```no_run
//! use comms_core::testing::TestBroker;
//! use comms_kafka::{KafkaConfig, testing::KafkaTransport};
//!
//! # async fn orders_are_billed_once(_: &TestBroker) -> Result<(), comms_core::Error> { Ok(()) }
//! # #[tokio::main] async fn main() -> Result<(), comms_core::Error> {
//! orders_are_billed_once(&TestBroker::memory()).await?;
//! orders_are_billed_once(&TestBroker::new(KafkaTransport::mock()?)).await?;
//! let kafka = KafkaTransport::new(KafkaConfig::new("localhost:9092"))?;
//! orders_are_billed_once(&TestBroker::new(kafka)).await?;
//! # Ok(()) }
//! ```

mod mock;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use comms_core::{
    Error, Message, Publisher, async_trait,
    clock::Clock,
    testing::{ConsumerSetup, Transport},
    transport::{Receipt, TopicHandler},
};
use futures::future::BoxFuture;

use crate::{Consumer, ConsumerBuilder, KafkaConfig, KafkaPublisher, TopicSpec, provision};
use mock::Mock;

/// The time limit for the creation of topics, and for the deliveries of a test to settle.
const LIMIT: Duration = Duration::from_secs(60);
/// The partitions of each topic, unless the test sets another number.
const PARTITIONS: i32 = 3;

/// A [`Transport`] on Kafka. Clones share the cluster.
///
/// Topics and groups have the names of the test behind a prefix that is unique to the transport, so tests may share a
/// cluster. Topics are created when a consumer starts, with their dead-letter topics.
///
/// Messages of different keys may be in different partitions, which are read in no particular order: assert on them with
/// `assert_states_of` rather than on the order of all deliveries.
#[derive(Clone)]
pub struct KafkaTransport {
    inner: Arc<Inner>,
    partitions: i32,
}

struct Inner {
    config: KafkaConfig,
    publisher: Arc<KafkaPublisher>,
    prefix: String,
    /// How often each group was moved back.
    rewound: Mutex<HashMap<String, u32>>,
    mock: Option<Mock>,
}

impl KafkaTransport {
    /// Starts librdkafka's mock cluster in this process. It ends with the last clone of the transport.
    ///
    /// # Errors
    /// Returns the client's error if the cluster does not start.
    pub fn mock() -> Result<Self, Error> {
        let mock = Mock::start()?;
        // KIP-848, because the mock's classic groups take 3 s to form.
        let config = KafkaConfig::new(&mock.brokers)
            .librdkafka("group.protocol", "consumer")
            .librdkafka("fetch.wait.max.ms", "10");
        Self::on(config, Some(mock))
    }

    /// Uses the cluster of `config`. The topics of the test stay in the cluster until they are deleted: their names
    /// begin with `comms-test-`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the client refuses a setting.
    pub fn new(config: KafkaConfig) -> Result<Self, Error> {
        Self::on(config, None)
    }

    fn on(config: KafkaConfig, mock: Option<Mock>) -> Result<Self, Error> {
        let clock = Clock::system();
        let prefix = format!("comms-test-{}.", clock.uuid_v7());
        let publisher = Arc::new(KafkaPublisher::new(&config, clock)?);
        let rewound = Mutex::default();
        let inner = Arc::new(Inner { config, publisher, prefix, rewound, mock });
        Ok(Self { inner, partitions: PARTITIONS })
    }

    /// Sets the number of partitions of each topic. Default 3.
    #[must_use]
    pub fn partitions(self, partitions: i32) -> Self {
        Self { partitions, ..self }
    }
}

#[async_trait]
impl Transport for KafkaTransport {
    fn qualify(&self, name: &str) -> String {
        format!("{}{name}", self.inner.prefix)
    }

    fn settle_limit(&self) -> Duration {
        LIMIT
    }

    async fn prepare(&self, topics: &[Arc<str>]) -> Result<(), Error> {
        let Inner { config, mock, .. } = &*self.inner;
        let specs = topics.iter().flat_map(|topic| {
            let spec = TopicSpec::new(&**topic, self.partitions, 1);
            [spec.dead_letters(), spec]
        });
        let specs: Vec<_> = specs.collect();
        if let Some(mock) = mock {
            return mock.create(specs).await;
        }
        match provision(config, &specs, LIMIT, &Clock::system()).await?.first() {
            None => Ok(()),
            Some(difference) => Err(Error::invalid(difference.to_string())),
        }
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<Vec<Receipt>, Error> {
        let (mut batch, mut receipts) = (VecDeque::from(messages), Vec::new());
        while !batch.is_empty() {
            self.inner.publisher.ready().await?;
            for result in self.inner.publisher.enqueue(&mut batch).await {
                receipts.push(result?);
            }
        }
        Ok(receipts)
    }

    fn dead_letters(&self) -> Arc<dyn Publisher> {
        self.inner.publisher.clone()
    }

    async fn run(&self, consumer: ConsumerSetup, stop: BoxFuture<'static, ()>) -> Result<(), Error> {
        let rewound = self.rewound(&consumer.group, 0);
        let policy = consumer.failure_policy;
        let builder = Consumer::builder(&self.inner.config, format!("{}-{rewound}", consumer.group))
            .attempts(consumer.attempts)
            .ordering(consumer.ordering)
            .batch(consumer.batch)
            .failure_policy_with(move |error, delivery| policy.decide(error, delivery))
            .concurrency(consumer.budget.concurrency)
            .buffer_records(consumer.budget.records)
            .buffer_bytes(consumer.budget.bytes)
            .holds(consumer.holds)
            .dead_letter(consumer.dead_letter)
            .clock(consumer.clock)
            // An attempt that still runs at the end of the consumer is to be dropped.
            .drain(Duration::ZERO);
        let on = |builder: ConsumerBuilder, (topic, handler)| match handler {
            TopicHandler::Batch(handler) => builder.on_batch(topic, handler),
            TopicHandler::Single(handler) => builder.on(topic, handler),
            _ => builder,
        };
        let builder = consumer.handlers.into_iter().fold(builder, on);
        builder.build()?.run(stop).await
    }

    /// The group goes on under another name: a group without positions begins at the first record.
    async fn rewind(&self, group: &str, _: &[Arc<str>]) -> Result<(), Error> {
        self.rewound(group, 1);
        Ok(())
    }
}

impl KafkaTransport {
    /// Adds `more` to the number of times that `group` was moved back, and returns the sum.
    fn rewound(&self, group: &str, more: u32) -> u32 {
        let mut rewound = self.inner.rewound.lock().unwrap_or_else(PoisonError::into_inner);
        let count = rewound.entry(group.to_owned()).or_default();
        *count += more;
        *count
    }
}

impl fmt::Debug for KafkaTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { config, prefix, mock, .. } = &*self.inner;
        f.debug_struct("KafkaTransport")
            .field("brokers", &config.brokers)
            .field("prefix", prefix)
            .field("mock", &mock.is_some())
            .finish_non_exhaustive()
    }
}
