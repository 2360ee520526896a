//! A fixture with librdkafka's mock cluster, which runs in this process.

use comms_core::{Message, resilience::Backoff, transport::AttemptConfig};
use comms_kafka::{Consumer, ConsumerBuilder, KafkaConfig, KafkaPublisher};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    mocking::MockCluster,
    producer::DefaultProducerContext,
};
use std::{sync::Arc, time::Duration};

use super::{LIMIT, Running, Seen, publisher, unique};

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

    /// Returns a client of the group `group`, which is no member of it.
    pub(crate) fn group_client(&self) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.config.brokers).set("group.id", "group");
        config.create().unwrap()
    }

    /// Returns the offset that `group` has committed for partition 0 of `t`, or 0, and the metadata of the commit.
    pub(crate) fn committed(&self) -> (i64, String) {
        let mut list = TopicPartitionList::new();
        list.add_partition("t", 0);
        let read = || self.group_client().committed_offsets(list, LIMIT).unwrap();
        let committed = tokio::task::block_in_place(read);
        let element = &committed.elements()[0];
        let offset = match element.offset() {
            Offset::Offset(offset) => offset,
            _ => 0,
        };
        (offset, element.metadata().to_owned())
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
