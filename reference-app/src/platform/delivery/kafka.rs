//! Relays and consumers over Kafka.

use std::sync::Arc;

use comms_core::{Error, Publisher, health::State, health::Status};
use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher};

use super::{Delivery, GroupHandler, Source, wiring::heartbeat};
use crate::platform::{config, service::Subscription, topic_prefix::PrefixedPublisher};

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
        let topics = super::topics::topics(kafka, &self.config.topics(), &sources, &handlers);
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
            let prefixed = PrefixedPublisher { prefix: kafka.prefix.clone(), inner: publisher.clone() };
            let relay = self.relay(&source, "kafka", Arc::new(prefixed))?;
            let topics = Some(ready.clone());
            self.run(&self.stages.relays, source.name, vec![source.db], topics, |signal| {
                relay.run(signal.wait())
            });
        }
        let limit = self.config.health.consumer_lag_messages as f64;
        for GroupHandler { subscription: Subscription { group, topic }, db, handler } in handlers {
            let consumer = Consumer::builder(&settings, prefixed(kafka, group))
                .on(prefixed(kafka, topic), handler)
                .attempts(self.attempts()?)
                .dead_letter(publisher.clone())
                .holds(self.register_holds())
                .clock(self.clock.clone())
                .health(self.health.component(group))
                .heartbeat(heartbeat(self.config, self.health, group))
                .build()?;
            let lag = consumer.lag();
            let part = format!("{group}, lag in messages");
            self.health.check(&part, move || State::over(Status::Degraded, lag(), limit));
            let topics = Some(ready.clone());
            self.run(&self.stages.consumers, group, vec![db], topics, |signal| consumer.run(signal.wait()));
        }
        Ok(())
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
pub(super) fn prefixed(kafka: &config::Kafka, name: &str) -> String {
    format!("{}{name}", kafka.prefix)
}
