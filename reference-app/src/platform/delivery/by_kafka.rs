//! Relays and consumers over Kafka, and the topics that they need.

use std::{sync::Arc, time::Duration};

use comms_core::{Error, ErrorKind, Publisher};
use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher, TooFewBrokers, TopicSpec, provision};
use tokio::sync::watch;

use super::{Delivery, Handled, Needs, Source};
use crate::platform::{
    config,
    prefix::Prefixed,
    service::{Subscription, Topic},
};

/// How long the broker may take to have the topics before the reason is shown. Then it is asked again.
const PROVISION_ROUND: Duration = Duration::from_secs(5);
/// The wait before the broker is asked again.
const PAUSE: Duration = Duration::from_secs(1);

impl Delivery<'_> {
    pub(super) fn by_kafka(
        &self,
        kafka: &config::Kafka,
        sources: Vec<Source>,
        subscriptions: Vec<Handled>,
    ) -> Result<(), Error> {
        let settings = settings(kafka);
        let topics = topics(kafka, &self.config.topics(), &sources, &subscriptions);
        if topics.is_empty() {
            tracing::info!("no topics and no subscriptions here: Kafka is not used");
            return Ok(());
        }
        // First: settings that the client refuses end the start.
        let publisher = KafkaPublisher::new(&settings, self.clock.clone());
        let publisher: Arc<dyn Publisher> =
            Arc::new(publisher.map_err(|e| e.context("configuration: kafka (COMMS_KAFKA__...)"))?);
        let ready = self.provision(settings.clone(), topics);
        for source in sources.into_iter().filter(|source| !source.topics.is_empty()) {
            let needs = Needs { databases: vec![source.db.clone()], topics: Some(ready.clone()) };
            let prefixed = Prefixed { prefix: kafka.prefix.clone(), inner: publisher.clone() };
            let relay = self.relay(&source, "kafka", Arc::new(prefixed), None)?;
            self.stages.relays.spawn(source.name, move |told| async move {
                if !needs.met(told.clone()).await {
                    return Ok(());
                }
                relay.run(told.wait()).await
            });
        }
        let limits = &self.config.health;
        for Handled { subscription: Subscription { group, topic }, db, handler } in subscriptions {
            let needs = Needs { databases: vec![db], topics: Some(ready.clone()) };
            let consumer = Consumer::builder(&settings, named(kafka, group))
                .on(named(kafka, topic), handler)
                .attempts(self.attempts()?)
                .dead_letter(publisher.clone())
                .clock(self.clock.clone())
                .holds(self.holds())
                .health(self.health.component(group))
                .heartbeat(self.heartbeat(group))
                .build()?;
            self.watch(format!("{group}, lag in messages"), limits.consumer_lag_messages, consumer.lag());
            self.stages.consumers.spawn(group, move |told| async move {
                if !needs.met(told.clone()).await {
                    return Ok(());
                }
                consumer.run(told.wait()).await
            });
        }
        Ok(())
    }

    /// Makes the topics in the background, and asks again until they are there or the process shuts down.
    fn provision(&self, settings: KafkaConfig, topics: Vec<TopicSpec>) -> watch::Receiver<bool> {
        let (done, ready) = watch::channel(false);
        let component = self.health.component("topics");
        self.stages.relays.spawn("topics", move |told| async move {
            let provisioned = async {
                while let Err(error) = provision(&settings, &topics, PROVISION_ROUND).await {
                    if error.kind == ErrorKind::Invalid {
                        return Err(error);
                    }
                    let error = with_way_out(error);
                    tracing::warn!(error = %error.chain(), "the topics are not there");
                    component.unready(error.chain().to_string());
                    tokio::time::sleep(PAUSE).await;
                }
                component.ready();
                done.send_replace(true);
                std::future::pending().await
            };
            tokio::select! {
                result = provisioned => result,
                () = told.wait() => Ok(()),
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

/// The name of a topic or a group on the cluster.
fn named(kafka: &config::Kafka, name: &str) -> String {
    format!("{}{name}", kafka.prefix)
}

/// Those of `all` that this process owns or consumes, and the dead letters of those that it consumes.
pub(super) fn topics(
    kafka: &config::Kafka,
    all: &[Topic],
    sources: &[Source],
    subscriptions: &[Handled],
) -> Vec<TopicSpec> {
    let owned = |topic: &Topic| sources.iter().any(|source| source.topics.contains(topic));
    let consumed = |topic: &Topic| subscriptions.iter().any(|one| one.subscription.topic == topic.name);
    let mut specs = Vec::new();
    for topic in all {
        let spec = TopicSpec::new(named(kafka, topic.name), topic.partitions, kafka.replication_factor);
        if consumed(topic) {
            specs.push(spec.dead_letters());
        }
        if owned(topic) || consumed(topic) {
            specs.push(spec);
        }
    }
    specs
}

/// Names the setting that mends `error`.
fn with_way_out(error: Error) -> Error {
    if !error.cause().is::<TooFewBrokers>() {
        return error;
    }
    error.context("start more brokers, or lower kafka.replication_factor (COMMS_KAFKA__REPLICATION_FACTOR)")
}
