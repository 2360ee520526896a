//! Fixtures for the tests against the mock cluster and against a real broker.

pub(crate) mod cluster;
pub(crate) mod gauges;

use comms_core::{
    Delivery, Error, Handler, Message, MessageParts, Outcome, Publisher, async_trait, clock::Clock,
    handler_fn,
};
use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher, TopicDifference, TopicSpec};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

/// The time limit of every wait. Only a hang takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Returns the settings for the broker of the tests.
pub(crate) fn config() -> KafkaConfig {
    const BROKERS: &str = "COMMS_TEST_KAFKA_BROKERS";
    let brokers = std::env::var(BROKERS);
    KafkaConfig::new(brokers.unwrap_or_else(|_| panic!("{BROKERS} is not set: run scripts/test")))
}

/// Returns a name that no other test run uses.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", Clock::system().uuid_v7())
}

pub(crate) fn publisher(config: &KafkaConfig) -> Arc<KafkaPublisher> {
    Arc::new(KafkaPublisher::new(config, Clock::system()).unwrap())
}

/// Calls [`comms_kafka::provision`] on the system clock.
pub(crate) async fn provision(
    config: &KafkaConfig,
    topics: &[TopicSpec],
    timeout: Duration,
) -> Result<Vec<TopicDifference>, Error> {
    comms_kafka::provision(config, topics, timeout, &Clock::system()).await
}

pub(crate) fn message(topic: &str, key: &str, n: usize) -> Message {
    Message::new(MessageParts {
        source: "test",
        id: &format!("{key}-{n}"),
        topic,
        key: Some(key.as_bytes()),
        payload: Some(n.to_string().as_bytes()),
        ..MessageParts::default()
    })
}

/// Publishes all of `messages` and waits for their acknowledgements.
pub(crate) async fn publish(publisher: &dyn Publisher, messages: impl IntoIterator<Item = Message>) {
    let mut batch: VecDeque<_> = messages.into_iter().collect();
    while !batch.is_empty() {
        timeout(LIMIT, publisher.ready()).await.unwrap().unwrap();
        let acks = publisher.enqueue(&mut batch);
        assert!(timeout(LIMIT, acks).await.unwrap().iter().all(Result::is_ok));
    }
}

/// Waits until `reached` returns true.
pub(crate) async fn until(what: &str, reached: impl Fn() -> bool) {
    let reached = timeout(LIMIT, async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(reached.await.is_ok(), "{what}");
}

/// The deliveries that handlers have handled, in the order in which the handlers finished.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<Delivery>>>);

impl Seen {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Delivery>> {
        self.0.lock().unwrap()
    }

    pub(crate) fn push(&self, delivery: Delivery) {
        self.lock().push(delivery);
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.lock().iter().map(|delivery| delivery.message.id().to_owned()).collect()
    }

    /// Returns the numbers in the payloads by key, in the order in which they were handled.
    pub(crate) fn by_key(&self) -> BTreeMap<String, Vec<usize>> {
        let mut keys = BTreeMap::<_, Vec<_>>::new();
        for delivery in self.lock().iter() {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let key = text(delivery.message.key().unwrap());
            let n = text(delivery.message.payload().unwrap()).parse().unwrap();
            keys.entry(key).or_default().push(n);
        }
        keys
    }

    /// Waits until `enough` returns true for the deliveries.
    pub(crate) async fn until(&self, what: &str, enough: impl Fn(&[Delivery]) -> bool) {
        let reached = timeout(LIMIT, async {
            while !enough(&self.lock()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(reached.await.is_ok(), "{what}: saw {} deliveries", self.lock().len());
    }

    /// Waits for `n` deliveries.
    pub(crate) async fn len(&self, n: usize) {
        self.until(&format!("{n} deliveries"), |seen| seen.len() >= n).await;
    }

    /// Returns a handler that records each delivery and succeeds.
    pub(crate) fn handler(&self) -> impl Handler + use<> {
        self.handler_with(|_| async { Ok(()) })
    }

    /// Returns a handler that runs `work`, and records the delivery if `work` succeeds.
    pub(crate) fn handler_with<F, Fut>(&self, work: F) -> impl Handler + use<F, Fut>
    where
        F: Fn(Delivery) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let seen = self.clone();
        handler_fn(move |delivery: Delivery| {
            let (seen, work) = (seen.clone(), work.clone());
            async move {
                work(delivery.clone()).await?;
                seen.push(delivery);
                Ok(Outcome::Done)
            }
        })
    }
}

/// A consumer that runs in a task.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub(crate) fn start(consumer: Consumer) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(consumer.run(async { drop(stopped.await) }));
        Self { stop, task }
    }

    /// Signals shutdown and waits for the consumer to end without an error.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(LIMIT, self.task).await.expect("the consumer ends").unwrap().unwrap();
    }

    /// Waits until the consumer ends without a shutdown signal.
    pub(crate) async fn ended(self) -> Result<(), Error> {
        timeout(LIMIT, self.task).await.expect("the consumer ends").unwrap()
    }
}

/// A publisher that refuses every message, with the number of messages.
#[derive(Default)]
pub(crate) struct RefusingPublisher(pub(crate) Mutex<usize>);

#[async_trait]
impl Publisher for RefusingPublisher {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> comms_core::transport::Acks {
        let taken = batch.drain(..).count();
        *self.0.lock().unwrap() += taken;
        Box::pin(async move { (0..taken).map(|_| Err(Error::not_executed("away"))).collect() })
    }
    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }
    async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Asserts that the messages of each key were handled in order. Messages that were handled again are ignored.
pub(crate) fn assert_order(keys: &BTreeMap<String, Vec<usize>>) {
    for (key, numbers) in keys {
        let mut firsts = HashMap::new();
        let firsts: Vec<_> = numbers.iter().filter(|n| firsts.insert(**n, ()).is_none()).collect();
        assert!(firsts.is_sorted(), "key {key}: {numbers:?}");
    }
}
