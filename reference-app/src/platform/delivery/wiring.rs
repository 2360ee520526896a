//! The parts that the transports share: outboxes, handlers, and how to build their relays and consumers.

use std::sync::Arc;

use comms_core::{
    Error, Publisher,
    clock::Clock,
    health::{Health, Heartbeat, State, Status},
    resilience::Backoff,
    shutdown::ShutdownSignal,
    transport::{AttemptConfig, BoxHandler, Holds},
};
use comms_outbox::Relay;
use tokio::sync::watch;

use crate::platform::{
    config::Config,
    db::Db,
    holds::HoldRegistry,
    service::{Subscription, Topic},
    shutdown::Stages,
};

/// The owner of every lease in a database in the data directory, which one process at a time has locked.
const DATA_DIR_OWNER: &str = "the process that has locked the data directory";

/// The outbox of a service, and the topics that the service owns.
pub struct Source {
    /// The `source` of the service's events.
    pub name: &'static str,
    /// The service's database, which contains the outbox.
    pub db: Db,
    /// The topics that only this service writes.
    pub topics: &'static [Topic],
}

/// The handler of a consumer group.
pub struct GroupHandler {
    /// The group and its topic.
    pub subscription: Subscription,
    /// The handler's database. The group consumes when the database is open.
    pub db: Db,
    /// The handler.
    pub handler: BoxHandler,
}

/// The databases and topics that a relay or a consumer needs before it starts.
#[derive(Clone)]
pub(super) struct Prerequisites {
    pub(super) databases: Vec<Db>,
    pub(super) topics: Option<watch::Receiver<bool>>,
}

impl Prerequisites {
    /// Returns true when the databases are open and the topics exist, and false when the shutdown signal fires first.
    pub(super) async fn wait(self, signal: ShutdownSignal) -> bool {
        let all_met = async {
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
            () = signal.wait() => false,
            is_met = all_met => is_met,
        }
    }
}

/// Starts relays and consumers. Its fields are the parts of the process that they use.
pub struct Delivery<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The shutdown stages in which the loops run.
    pub stages: &'a Stages,
    /// Readiness and liveness.
    pub health: &'a Health,
    /// The registry to which relays and consumers report held and parked messages.
    pub holds: &'a HoldRegistry,
    /// The clock.
    pub clock: &'a Clock,
}

impl Delivery<'_> {
    /// Builds the relay `name` of a service's outbox. `topic` limits the relay to one topic.
    pub(super) fn relay(
        &self,
        source: &Source,
        name: &str,
        publisher: Arc<dyn Publisher>,
        topic: Option<&str>,
    ) -> Result<Relay, Error> {
        let part = format!("relay {} {name}", source.name);
        self.holds.add_relay(source.name, name, source.db.clone());
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
            Some(topic) => builder.topics([topic]),
            None => builder,
        };
        let relay = match self.owner(&source.db) {
            Some(owner) => builder.owner(owner).build()?,
            None => builder.build()?,
        };
        self.watch_lag(
            format!("{part}, lag in seconds"),
            self.config.health.relay_lag.as_secs(),
            relay.lag(),
        );
        Ok(relay)
    }

    /// Returns the owner of the leases in `db`: the configured owner, or for a database in the data directory a fixed
    /// owner. `None`: each start generates a random owner.
    fn owner<'a>(&'a self, db: &Db) -> Option<&'a str> {
        let configured = self.config.relay.owner.as_deref();
        configured.or_else(|| db.is_embedded().then_some(DATA_DIR_OWNER))
    }

    /// Creates the hold list of a new consumer, and registers it so that the admin listener shows it.
    pub(super) fn register_holds(&self) -> Holds {
        let holds = Holds::new(self.clock.clone());
        self.holds.add_consumer(holds.clone());
        holds
    }

    /// Degrades readiness while the lag exceeds `limit`. Lagging messages are safe, and a process that is taken out
    /// of rotation would refuse requests that it can still serve.
    pub(super) fn watch_lag(&self, part: String, limit: u64, lag: impl Fn() -> f64 + Send + Sync + 'static) {
        let limit = limit as f64;
        self.health.check(&part, move || State::over(Status::Degraded, lag(), limit));
    }

    /// Returns the liveness heartbeat of a loop. The time limit applies from the first turn, because a loop may wait
    /// for its database or its topics for longer than the limit.
    pub(super) fn heartbeat(&self, part: &str) -> Heartbeat {
        let heartbeat = self.health.heartbeat(part, self.config.health.silence);
        heartbeat.pause();
        heartbeat
    }

    pub(super) fn attempt_config(&self) -> Result<AttemptConfig, Error> {
        let consumer = &self.config.consumer;
        let mut attempts = AttemptConfig::default();
        attempts.max_attempts = consumer.max_attempts;
        attempts.backoff = Backoff::new(consumer.backoff, consumer.backoff_cap)
            .map_err(|e| e.context("configuration: consumer.backoff, consumer.backoff_cap"))?;
        Ok(attempts)
    }
}
