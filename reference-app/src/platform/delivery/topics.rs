//! The topics of this process, and their creation.

use std::time::Duration;

use comms_core::{Error, ErrorKind};
use comms_kafka::{KafkaConfig, TooFewBrokers, TopicSpec, provision};
use tokio::sync::watch;

use super::{Delivery, GroupHandler, Source, kafka::prefixed};
use crate::platform::{config, service::Topic};

/// The time limit of one attempt to create the topics. After it, readiness shows the reason and another attempt
/// follows.
const PROVISION_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait between two attempts to create the topics.
const PROVISION_INTERVAL: Duration = Duration::from_secs(1);

impl Delivery<'_> {
    /// Creates the topics in the background, and retries until they exist or the process shuts down.
    pub(super) fn provision(&self, settings: KafkaConfig, topics: Vec<TopicSpec>) -> watch::Receiver<bool> {
        let (done, ready) = watch::channel(false);
        let (component, clock) = (self.health.component("topics"), self.clock.clone());
        self.stages.relays.spawn("topics", move |signal| async move {
            let provisioned = async {
                while let Err(error) = provision(&settings, &topics, PROVISION_TIMEOUT, &clock).await {
                    if error.kind == ErrorKind::Invalid {
                        return Err(error);
                    }
                    let error = with_remedy(error);
                    tracing::warn!(error = %error.chain(), "cannot create the topics; retrying");
                    component.unready(error.chain().to_string());
                    clock.sleep(PROVISION_INTERVAL).await;
                }
                component.ready();
                done.send_replace(true);
                std::future::pending().await
            };
            tokio::select! {
                result = provisioned => result,
                () = signal.wait() => Ok(()),
            }
        });
        ready
    }
}

/// Returns the topics in `all` that this process owns or consumes, and a dead-letter topic for each consumed topic.
pub(super) fn topics(
    kafka: &config::Kafka,
    all: &[Topic],
    sources: &[Source],
    handlers: &[GroupHandler],
) -> Vec<TopicSpec> {
    let owned = |topic: &Topic| sources.iter().any(|source| source.topics.contains(topic));
    let consumed = |topic: &Topic| handlers.iter().any(|handler| handler.subscription.topic == topic.name);
    let mut specs = Vec::new();
    for topic in all {
        let spec = TopicSpec::new(prefixed(kafka, topic.name), topic.partitions, kafka.replication_factor);
        if consumed(topic) {
            specs.push(spec.dead_letters());
        }
        if owned(topic) || consumed(topic) {
            specs.push(spec);
        }
    }
    specs
}

/// Adds the setting to change to an error about too few brokers.
fn with_remedy(error: Error) -> Error {
    if !error.cause().is::<TooFewBrokers>() {
        return error;
    }
    error.context("start more brokers, or lower kafka.replication_factor (COMMS_KAFKA__REPLICATION_FACTOR)")
}
