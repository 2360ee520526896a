//! Relays and consumers over Kafka, and the creation of their topics.

use std::{sync::Arc, time::Duration};

use comms_core::{Error, ErrorKind, Publisher};
use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher, TooFewBrokers, TopicSpec, provision};
use tokio::sync::watch;

use super::wiring::{Delivery, GroupHandler, Prerequisites, Source};
use crate::platform::{
    config,
    service::{Subscription, Topic},
    topic_prefix::PrefixedPublisher,
};

/// The time limit of one attempt to create the topics. After it, readiness shows the reason and another attempt
/// follows.
const PROVISION_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait between two attempts to create the topics.
const PROVISION_INTERVAL: Duration = Duration::from_secs(1);

impl Delivery<'_> {
    /// Starts a relay for each outbox and a consumer for each group. They begin when their databases are open and the
    /// topics exist.
    ///
    /// # Errors
    /// Returns `Invalid` or `Misconfigured` if the Kafka client refuses a setting, or if the configuration of
    /// attempts is invalid.
    pub(super) fn start_kafka(
        &self,
        kafka: &config::Kafka,
        sources: Vec<Source>,
        handlers: Vec<GroupHandler>,
    ) -> Result<(), Error> {
        let settings = settings(kafka);
        let topics = topics(kafka, &self.config.topics(), &sources, &handlers);
        if topics.is_empty() {
            tracing::info!("this process owns and consumes no topics: not connecting to Kafka");
            return Ok(());
        }
        // Create the client before anything is spawned, because a setting that the client refuses must end the start.
        let publisher = KafkaPublisher::new(&settings, self.clock.clone());
        let publisher: Arc<dyn Publisher> =
            Arc::new(publisher.map_err(|e| e.context("configuration: [kafka] (COMMS_KAFKA__...)"))?);
        let ready = self.provision(settings.clone(), topics);
        for source in sources.into_iter().filter(|source| !source.topics.is_empty()) {
            let prerequisites =
                Prerequisites { databases: vec![source.db.clone()], topics: Some(ready.clone()) };
            let prefixed = PrefixedPublisher { prefix: kafka.prefix.clone(), inner: publisher.clone() };
            let relay = self.relay(&source, "kafka", Arc::new(prefixed), None)?;
            self.stages.relays.spawn(source.name, move |signal| async move {
                if !prerequisites.wait(signal.clone()).await {
                    return Ok(());
                }
                relay.run(signal.wait()).await
            });
        }
        let limits = &self.config.health;
        for GroupHandler { subscription: Subscription { group, topic }, db, handler } in handlers {
            let prerequisites = Prerequisites { databases: vec![db], topics: Some(ready.clone()) };
            let consumer = Consumer::builder(&settings, prefixed_name(kafka, group))
                .on(prefixed_name(kafka, topic), handler)
                .attempts(self.attempt_config()?)
                .dead_letter(publisher.clone())
                .clock(self.clock.clone())
                .holds(self.register_holds())
                .health(self.health.component(group))
                .heartbeat(self.heartbeat(group))
                .build()?;
            self.watch_lag(format!("{group}, lag in messages"), limits.consumer_lag_messages, consumer.lag());
            self.stages.consumers.spawn(group, move |signal| async move {
                if !prerequisites.wait(signal.clone()).await {
                    return Ok(());
                }
                consumer.run(signal.wait()).await
            });
        }
        Ok(())
    }

    /// Creates the topics in the background, and retries until they exist or the process shuts down.
    fn provision(&self, settings: KafkaConfig, topics: Vec<TopicSpec>) -> watch::Receiver<bool> {
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

fn settings(kafka: &config::Kafka) -> KafkaConfig {
    let mut settings = KafkaConfig::new(&kafka.brokers);
    settings.client_id = "comms-reference-app".to_owned();
    settings.rack = kafka.rack.clone();
    settings.librdkafka = kafka.librdkafka.clone();
    settings
}

/// Returns the name of a topic or a group on the cluster.
fn prefixed_name(kafka: &config::Kafka, name: &str) -> String {
    format!("{}{name}", kafka.prefix)
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
        let spec =
            TopicSpec::new(prefixed_name(kafka, topic.name), topic.partitions, kafka.replication_factor);
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
