//! The client of a consumer, and the events that it reports to the member.

use std::sync::Arc;

use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, ConsumerContext},
    error::KafkaError,
    types::RDKafkaRespErr,
};

use crate::client;

/// The client of one member of a consumer group.
pub(super) type Client = BaseConsumer<Context>;

/// The context of a client. It passes the events of the client on, so that the parts of a consumer can name the client
/// without the member.
pub(super) struct Context(Arc<dyn Events>);

/// The events of a client. The poll thread reports them.
pub(super) trait Events: Send + Sync {
    /// Reports an error of the whole client.
    fn failed(&self, error: &KafkaError);

    /// Reports the statistics, every `statistics.interval.ms`.
    fn measured(&self, statistics: &Statistics);

    /// Assigns or revokes `partitions`.
    fn rebalanced(&self, client: &Client, event: RDKafkaRespErr, partitions: &mut TopicPartitionList);
}

impl Context {
    pub(super) fn new(events: Arc<dyn Events>) -> Self {
        Self(events)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::error(&error, reason);
        self.0.failed(&error);
    }

    fn stats(&self, statistics: Statistics) {
        self.0.measured(&statistics);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, client: &Client, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        self.0.rebalanced(client, event, partitions);
    }
}
