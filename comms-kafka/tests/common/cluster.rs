//! librdkafka's mock cluster.

use comms_core::{Message, resilience::Backoff};
use comms_kafka::{Consumer, ConsumerBuilder, KafkaConfig, KafkaPublisher, consumer::AttemptConfig};
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use std::{sync::Arc, time::Duration};

use super::{Running, Seen, publisher, unique};

pub(crate) struct Cluster {
    pub(crate) mock: MockCluster<'static, DefaultProducerContext>,
    pub(crate) config: KafkaConfig,
}

impl Cluster {
    pub(crate) fn new(topics: &[(&str, i32)]) -> Self {
        let mock = MockCluster::new(1).unwrap();
        topics.iter().for_each(|(topic, partitions)| mock.create_topic(topic, *partitions, 1).unwrap());
        let mut config = KafkaConfig::new(mock.bootstrap_servers());
        // KIP-848: the mock's classic groups take 3 s to form and longer to change.
        config.librdkafka.insert("group.protocol".into(), "consumer".into());
        config.librdkafka.insert("fetch.wait.max.ms".into(), "10".into());
        config.librdkafka.insert("reconnect.backoff.max.ms".into(), "200".into());
        Self { mock, config }
    }

    pub(crate) fn publisher(&self) -> Arc<KafkaPublisher> {
        publisher(&self.config)
    }

    pub(crate) fn consumer(&self) -> ConsumerBuilder {
        let attempts = attempts(3, Duration::from_millis(20));
        Consumer::builder(&self.config, "group").attempts(attempts).dead_letter(self.publisher())
    }

    /// Everything in `topic`, as a new group reads it, when there are `n`.
    pub(crate) async fn read(&self, topic: &str, n: usize) -> Vec<Message> {
        let seen = Seen::default();
        let reader = Consumer::builder(&self.config, unique("reader")).on(topic, seen.handler());
        let reader = Running::start(reader.dead_letter(self.publisher()).build().unwrap());
        seen.len(n).await;
        reader.stop().await;
        let seen = seen.lock();
        seen.iter().map(|delivery| delivery.message.clone()).collect()
    }
}

pub(crate) fn attempts(limit: u32, wait: Duration) -> AttemptConfig {
    let mut attempts = AttemptConfig::default();
    attempts.max_attempts = limit;
    attempts.backoff = Backoff::new(wait, wait).unwrap();
    attempts
}
