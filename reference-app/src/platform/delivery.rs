//! How events get from one service's outbox to the handlers of others: by Kafka, or, without a broker, by
//! the relay of the service that owns the topic, straight to the same handlers.

use std::{sync::Arc, time::Duration};

use comms_core::{
    Attempts, Backoff, BoxHandler, Clock, Error, ErrorKind, Health, Holds, Publisher,
    health::{State, Status},
    shutdown::Told,
};
use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher, TopicSpec, provision};
use comms_outbox::{Relay, Subscriber};
use tokio::sync::watch;

use super::{
    config::{self, Config},
    db::Db,
    deliveries::Deliveries,
    prefix::Prefixed,
    service::{Subscription, Topic},
    stages::Stages,
};

/// How long the broker may take to have the topics before the reason is shown. Then it is asked again.
const PROVISION_ROUND: Duration = Duration::from_secs(5);
/// The wait before the broker is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long deliveries that run at a shut-down may go on.
const GRACE: Duration = Duration::from_secs(2);
/// The owner of every lease in a database that lies in the data directory: one process at a time has locked it.
const DATA_DIR_OWNER: &str = "the process that has locked the data directory";

/// A service's outbox, and the topics it owns.
pub struct Source {
    /// The `source` of its events.
    pub name: &'static str,
    /// Its database.
    pub db: Db,
    /// Topics that it alone writes.
    pub topics: &'static [Topic],
}

/// A group that reads a topic, with its handler.
pub struct Handled {
    /// The group and its topic.
    pub subscription: Subscription,
    /// The handler.
    pub handler: BoxHandler,
}

/// Resolves when the topics are there (true) or the stage ends (false).
async fn begins(mut ready: watch::Receiver<bool>, told: Told) -> bool {
    tokio::select! {
        biased;
        () = told.wait() => false,
        ready = ready.wait_for(|ready| *ready) => ready.is_ok(),
    }
}

/// The parts of the process that relays and consumers are started with.
pub struct Delivery<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The stages that the loops run in.
    pub stages: &'a Stages,
    /// Readiness and liveness.
    pub health: &'a Health,
    /// The list of what waits.
    pub deliveries: &'a Deliveries,
    /// The clock.
    pub clock: &'a Clock,
}

impl Delivery<'_> {
    /// Starts the relays and consumers of this process.
    ///
    /// # Errors
    /// Returns `Invalid` for a configuration that cannot work. A broker that is away, or that refuses a topic, is no
    /// error: the process is unready with the reason, and relays and consumers begin when the topics are there.
    pub fn start(&self, sources: Vec<Source>, subscriptions: Vec<Handled>) -> Result<(), Error> {
        match &self.config.kafka {
            _ if sources.is_empty() && subscriptions.is_empty() => Ok(()),
            Some(kafka) => self.by_kafka(kafka, sources, subscriptions),
            None => self.in_process(&sources, subscriptions),
        }
    }

    fn by_kafka(
        &self,
        kafka: &config::Kafka,
        sources: Vec<Source>,
        subscriptions: Vec<Handled>,
    ) -> Result<(), Error> {
        let mut settings = KafkaConfig::new(&kafka.brokers);
        settings.client_id = "comms-reference-app".to_owned();
        settings.rack = kafka.rack.clone();
        settings.librdkafka = kafka.librdkafka.clone();
        let named = |name: &str| format!("{}{name}", kafka.prefix);
        let topics: Vec<TopicSpec> = self
            .topics(&sources, &subscriptions)
            .into_iter()
            .map(|topic| TopicSpec::new(named(topic.name), topic.partitions, kafka.replication_factor))
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
        for Handled { subscription: Subscription { group, topic }, handler } in subscriptions {
            let consumer = Consumer::builder(&settings, named(group))
                .on(named(topic), handler)
                .attempts(self.attempts()?)
                .dead_letter(publisher.clone())
                .clock(self.clock.clone())
                .holds(self.holds())
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

    /// The topics that this process writes or reads.
    fn topics(&self, sources: &[Source], subscriptions: &[Handled]) -> Vec<Topic> {
        let used = |topic: &Topic| {
            let read = subscriptions.iter().any(|one| one.subscription.topic == topic.name);
            read || sources.iter().any(|source| source.topics.contains(topic))
        };
        let all = self.config.services().iter().flat_map(|service| service.topics);
        all.copied().filter(used).collect()
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

    fn in_process(&self, sources: &[Source], subscriptions: Vec<Handled>) -> Result<(), Error> {
        for Handled { subscription: Subscription { group, topic }, handler } in subscriptions {
            let owner = sources.iter().find(|source| source.topics.iter().any(|owned| owned.name == topic));
            let owner =
                owner.ok_or_else(|| Error::invalid(format!("no service here owns the topic {topic}")))?;
            let holds = self.holds();
            let subscriber = Subscriber::builder(group)
                .on(topic, handler)
                .attempts(self.attempts()?)
                .holds(holds.clone())
                .clock(self.clock.clone())
                .build()?;
            self.health.check(&format!("{group}, held deliveries"), move || holds.state());
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
        self.deliveries.add_relay(source.name, name, source.db.clone());
        let builder = source
            .db
            .relay(publisher)
            .name(name)
            .lease(self.config.relay.lease)
            .parked_limit(self.config.health.parked_keys)
            .clock(self.clock.clone())
            .health(self.health.component(&part))
            .heartbeat(self.health.heartbeat(&part, self.silence()));
        let builder = match topic {
            Some(topic) => builder.destinations([topic]),
            None => builder,
        };
        let relay = match self.owner(&source.db) {
            Some(owner) => builder.owner(owner).build()?,
            None => builder.build()?,
        };
        self.watch(format!("{part}, lag in seconds"), self.config.health.relay_lag.as_secs(), relay.lag());
        Ok(relay)
    }

    /// The owner of the leases in `db`, where one is known to be unique. Without one each start draws its own.
    fn owner<'a>(&'a self, db: &Db) -> Option<&'a str> {
        let configured = self.config.relay.owner.as_deref();
        configured.or_else(|| db.is_embedded().then_some(DATA_DIR_OWNER))
    }

    /// The list of a new consumer's held deliveries, which the admin listener shows.
    fn holds(&self) -> Holds {
        let holds = Holds::new(self.clock.clone());
        self.deliveries.add_consumer(holds.clone());
        holds
    }

    /// Lag degrades readiness: what waits is safe, and a process that is taken out of rotation for it would
    /// refuse the requests that it can still take.
    fn watch(&self, part: String, limit: u64, lag: impl Fn() -> f64 + Send + Sync + 'static) {
        let limit = limit as f64;
        self.health.check(&part, move || State::over(Status::Degraded, lag(), limit));
    }

    fn silence(&self) -> Duration {
        self.config.health.silence
    }

    fn attempts(&self) -> Result<Attempts, Error> {
        let consumer = &self.config.consumer;
        let mut attempts = Attempts::default();
        attempts.limit = consumer.attempts;
        attempts.backoff = Backoff::new(consumer.backoff, consumer.backoff_cap)
            .map_err(|e| e.context("configuration: consumer.backoff, consumer.backoff_cap"))?;
        Ok(attempts)
    }
}
