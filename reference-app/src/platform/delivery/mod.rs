//! How events get from one service's outbox to the handlers of others: by Kafka, or, without a broker, by
//! the relay of the service that owns the topic, straight to the same handlers.

mod by_kafka;

use std::{sync::Arc, time::Duration};

use comms_core::{
    Error, Publisher,
    clock::Clock,
    health::{Health, Heartbeat, State, Status},
    resilience::Backoff,
    shutdown::ShutdownSignal,
    transport::{AttemptConfig, BoxHandler, Holds},
};
use comms_outbox::{Relay, Subscriber};
use tokio::sync::watch;

use super::{
    config::Config,
    db::Db,
    deliveries::Deliveries,
    service::{Subscription, Topic},
    stages::Stages,
};

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
    /// The database of the handler: the group consumes when the database is open.
    pub db: Db,
    /// The handler.
    pub handler: BoxHandler,
}

/// What a relay or a consumer waits for before it begins.
#[derive(Clone)]
struct Needs {
    databases: Vec<Db>,
    topics: Option<watch::Receiver<bool>>,
}

impl Needs {
    /// Resolves when the databases are open and the topics are there (true), or when the stage ends (false).
    async fn met(self, told: ShutdownSignal) -> bool {
        let all = async {
            for db in &self.databases {
                db.opened().await;
            }
            match self.topics {
                Some(mut topics) => topics.wait_for(|ready| *ready).await.is_ok(),
                None => true,
            }
        };
        tokio::select! {
            biased;
            () = told.wait() => false,
            met = all => met,
        }
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
    /// Returns `Invalid` or `Misconfigured` for a configuration that cannot work. A database or a broker that is away, and
    /// a broker that refuses a topic, are no errors: the process is unready with the reason, and relays and consumers
    /// begin when the databases are open and the topics are there.
    pub fn start(&self, sources: Vec<Source>, subscriptions: Vec<Handled>) -> Result<(), Error> {
        match &self.config.kafka {
            Some(kafka) => self.by_kafka(kafka, sources, subscriptions),
            None => self.in_process(&sources, subscriptions),
        }
    }

    fn in_process(&self, sources: &[Source], subscriptions: Vec<Handled>) -> Result<(), Error> {
        for Handled { subscription: Subscription { group, topic }, db, handler } in subscriptions {
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
            let needs = Needs { databases: vec![owner.db.clone(), db], topics: None };
            let relay = self.relay(owner, group, Arc::new(subscriber), Some(topic))?;
            self.stages.consumers.spawn(group, move |told| async move {
                if !needs.met(told.clone()).await {
                    return Ok(());
                }
                let ends = async move {
                    told.wait().await;
                    // The relay takes no more messages, and waits for those in their handlers. After the grace, those
                    // that wait for another attempt are given up.
                    tokio::spawn(async move {
                        tokio::time::sleep(GRACE).await;
                        stop.cancel();
                    });
                };
                relay.run(ends).await
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
            .heartbeat(self.heartbeat(&part));
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

    /// The liveness of a loop, which counts from its first turn: a loop may wait for its database or its topics for
    /// longer than the limit.
    fn heartbeat(&self, part: &str) -> Heartbeat {
        let heartbeat = self.health.heartbeat(part, self.config.health.silence);
        heartbeat.pause();
        heartbeat
    }

    fn attempts(&self) -> Result<AttemptConfig, Error> {
        let consumer = &self.config.consumer;
        let mut attempts = AttemptConfig::default();
        attempts.max_attempts = consumer.attempts;
        attempts.backoff = Backoff::new(consumer.backoff, consumer.backoff_cap)
            .map_err(|e| e.context("configuration: consumer.backoff, consumer.backoff_cap"))?;
        Ok(attempts)
    }
}

#[cfg(test)]
mod tests;
