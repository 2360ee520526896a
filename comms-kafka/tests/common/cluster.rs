//! A fixture with librdkafka's mock cluster, which runs in this process.

use comms_core::{Message, resilience::Backoff, transport::AttemptConfig};
use comms_kafka::{Consumer, ConsumerBuilder, KafkaConfig, KafkaPublisher};
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
        // KIP-848, because the mock's classic groups take 3 s to form and longer to change.
        let config = KafkaConfig::new(mock.bootstrap_servers())
            .librdkafka("group.protocol", "consumer")
            .librdkafka("fetch.wait.max.ms", "10")
            .librdkafka("reconnect.backoff.max.ms", "200");
        Self { mock, config }
    }

    pub(crate) fn publisher(&self) -> Arc<KafkaPublisher> {
        publisher(&self.config)
    }

    pub(crate) fn consumer(&self) -> ConsumerBuilder {
        let attempts = attempts(3, Duration::from_millis(20));
        Consumer::builder(&self.config, "group").attempts(attempts).dead_letter(self.publisher())
    }

    /// Reads `topic` with a new group until `n` messages have arrived, and returns the messages.
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

/// Returns settings for `max_attempts` attempts with a constant `backoff` between them.
pub(crate) fn attempts(max_attempts: u32, backoff: Duration) -> AttemptConfig {
    let mut attempts = AttemptConfig::default();
    attempts.max_attempts = max_attempts;
    attempts.backoff = Backoff::new(backoff, backoff).unwrap();
    attempts
}
