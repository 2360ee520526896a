//! How events get from one service's outbox to the handlers of others: by Kafka, or, without a broker, by
//! the relay of the service that owns the topic, straight to the same handlers.

use std::{sync::Arc, time::Duration};

use comms_core::{
    Attempts, Backoff, BoxHandler, Clock, Error, ErrorKind, Health, Publisher,
    health::{State, Status},
    shutdown::Told,
};
use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher, TopicSpec, provision};
use comms_outbox::{Relay, Subscriber};
use tokio::sync::watch;

use super::{
    config::{self, Config},
    db::Db,
    prefix::Prefixed,
    stages::Stages,
};
use crate::contracts;

/// How long the broker may take to have the topics before the reason is shown. Then it is asked again.
const PROVISION_ROUND: Duration = Duration::from_secs(5);
/// The wait before the broker is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long deliveries that run at a shut-down may go on.
const GRACE: Duration = Duration::from_secs(2);

/// A service's outbox, and the topics it owns.
pub struct Source {
    /// The service.
    pub name: &'static str,
    /// Its database.
    pub db: Db,
    /// Topics that it alone writes.
    pub topics: &'static [&'static str],
}

/// A handler that wants the events of a topic.
pub struct Subscription {
    /// The consumer group: half of the inbox key, and the name of its cursor.
    pub group: &'static str,
    /// What it wants.
    pub topic: &'static str,
    /// Who handles it.
    pub handler: BoxHandler,
}

/// Starts the relays and consumers of this process.
///
/// # Errors
/// Returns `Invalid` for a configuration that cannot work. A broker that is away, or that refuses a topic, is no error:
/// the process is unready with the reason, and relays and consumers begin when the topics are there.
pub async fn start(
    config: &Config,
    sources: Vec<Source>,
    subscriptions: Vec<Subscription>,
    stages: &Stages,
    health: &Health,
    clock: &Clock,
) -> Result<(), Error> {
    let delivery = Delivery { config, stages, health, clock };
    match &config.kafka {
        Some(kafka) => delivery.by_kafka(kafka, sources, subscriptions).await,
        None => delivery.in_process(&sources, subscriptions),
    }
}

/// Resolves when the topics are there (true) or the stage ends (false).
async fn begins(mut ready: watch::Receiver<bool>, told: Told) -> bool {
    tokio::select! {
        biased;
        () = told.wait() => false,
        ready = ready.wait_for(|ready| *ready) => ready.is_ok(),
    }
}

struct Delivery<'a> {
    config: &'a Config,
    stages: &'a Stages,
    health: &'a Health,
    clock: &'a Clock,
}

impl Delivery<'_> {
    async fn by_kafka(
        &self,
        kafka: &config::Kafka,
        sources: Vec<Source>,
        subscriptions: Vec<Subscription>,
    ) -> Result<(), Error> {
        let mut settings = KafkaConfig::new(&kafka.brokers);
        settings.client_id = "comms-reference-app".to_owned();
        settings.rack = kafka.rack.clone();
        settings.librdkafka = kafka.librdkafka.clone();
        let named = |name: &str| format!("{}{name}", kafka.prefix);
        let topics: Vec<TopicSpec> = contracts::TOPICS
            .iter()
            .map(|&(name, partitions)| TopicSpec::new(named(name), partitions, kafka.replication_factor))
            .flat_map(|topic| [topic.dead_letters(), topic])
            .collect();
        let ready = self.provision(settings.clone(), topics);
        let publisher: Arc<dyn Publisher> = Arc::new(KafkaPublisher::new(&settings, self.clock.clone())?);
        for source in sources {
            let prefixed = Prefixed { prefix: kafka.prefix.clone(), inner: publisher.clone() };
            let relay = self.relay(&source, "kafka", Arc::new(prefixed), None)?;
            let ready = ready.clone();
            self.stages.relays.spawn(source.name, move |told| async move {
                if !begins(ready, told.clone()).await {
                    return Ok(());
                }
                relay.run(told.wait()).await
            });
        }
        let limits = &self.config.health;
        for Subscription { group, topic, handler } in subscriptions {
            let consumer = Consumer::builder(&settings, named(group))
                .on(named(topic), handler)
                .attempts(self.attempts()?)
                .dead_letter(publisher.clone())
                .clock(self.clock.clone())
                .health(self.health.component(group))
                .heartbeat(self.health.heartbeat(group, self.silence()))
                .build()?;
            self.watch(format!("{group}, lag in messages"), limits.consumer_lag_messages, consumer.lag());
            let ready = ready.clone();
            self.stages.consumers.spawn(group, move |told| async move {
                if !begins(ready, told.clone()).await {
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

    fn in_process(&self, sources: &[Source], subscriptions: Vec<Subscription>) -> Result<(), Error> {
        for Subscription { group, topic, handler } in subscriptions {
            let owner = sources.iter().find(|source| source.topics.contains(&topic));
            let owner =
                owner.ok_or_else(|| Error::invalid(format!("no service here owns the topic {topic}")))?;
            let subscriber = Subscriber::builder(group)
                .on(topic, handler)
                .attempts(self.attempts()?)
                .clock(self.clock.clone())
                .build()?;
            let stop = subscriber.stopper();
            let relay = self.relay(owner, group, Arc::new(subscriber), Some(topic))?;
            self.stages.consumers.spawn(group, move |told| {
                relay.run(async move {
                    told.wait().await;
                    // The relay takes nothing more, and waits; what runs may finish, what waits to be
                    // tried again is let go.
                    tokio::spawn(async move {
                        tokio::time::sleep(GRACE).await;
                        stop.cancel();
                    });
                })
            });
        }
        Ok(())
    }

    fn relay(
        &self,
        source: &Source,
        name: &str,
        publisher: Arc<dyn Publisher>,
        topic: Option<&str>,
    ) -> Result<Relay, Error> {
        let part = format!("relay {} {name}", source.name);
        let builder = source
            .db
            .relay(publisher)
            .name(name)
            .lease(Duration::from_millis(self.config.relay.lease_ms))
            .clock(self.clock.clone())
            .health(self.health.component(&part))
            .heartbeat(self.health.heartbeat(&part, self.silence()));
        let relay = match topic {
            Some(topic) => builder.destinations([topic]).build()?,
            None => builder.build()?,
        };
        self.watch(format!("{part}, lag in seconds"), self.config.health.relay_lag_seconds, relay.lag());
        Ok(relay)
    }

    /// Lag degrades readiness: what waits is safe, and a process that is taken out of rotation for it would
    /// refuse the requests that it can still take.
    fn watch(&self, part: String, limit: u64, lag: impl Fn() -> f64 + Send + Sync + 'static) {
        let limit = limit as f64;
        self.health.check(&part, move || State::over(Status::Degraded, lag(), limit));
    }

    fn silence(&self) -> Duration {
        Duration::from_secs(self.config.health.silence_seconds)
    }

    fn attempts(&self) -> Result<Attempts, Error> {
        let consumer = &self.config.consumer;
        let mut attempts = Attempts::default();
        attempts.limit = consumer.attempts;
        attempts.backoff = Backoff::new(
            Duration::from_millis(consumer.backoff_ms),
            Duration::from_millis(consumer.backoff_cap_ms),
        )
        .map_err(|e| e.context("configuration: consumer.backoff_ms, consumer.backoff_cap_ms"))?;
        Ok(attempts)
    }
}
