//! What relays and consumers of every transport need: their settings, health, and the order of their start and stop.

use std::sync::Arc;

use comms_core::{
    Error, Publisher,
    health::{Health, Heartbeat, State, Status},
    resilience::Backoff,
    shutdown::{ShutdownSignal, Stage},
    transport::{AttemptConfig, Holds},
};
use comms_outbox::Relay;
use tokio::sync::watch;

use super::{Delivery, Source};
use crate::platform::{config::Config, db::Db};

/// The owner of every lease in a database in the data directory, which one process at a time has locked.
const DATA_DIR_OWNER: &str = "the process that has locked the data directory";

impl Delivery<'_> {
    /// Runs a relay or a consumer in `stage`, from the moment at which the databases are open and the topics exist.
    pub(super) fn run<F, Fut>(
        &self,
        stage: &Stage,
        name: &str,
        databases: Vec<Db>,
        topics: Option<watch::Receiver<bool>>,
        work: F,
    ) where
        F: FnOnce(ShutdownSignal) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Error>> + Send,
    {
        stage.spawn(name, move |signal| async move {
            match opened(databases, topics, signal.clone()).await {
                true => work(signal).await,
                false => Ok(()),
            }
        });
    }

    /// Builds the relay `name` of a service's outbox.
    pub(super) fn relay(
        &self,
        source: &Source,
        name: &str,
        publisher: Arc<dyn Publisher>,
    ) -> Result<Relay, Error> {
        let part = format!("relay {} {name}", source.name);
        self.holds.add_relay(source.name, name, source.db.clone());
        let relay = source
            .db
            .relay(publisher)
            .name(name)
            .lease(self.config.relay.lease)
            .parked_limit(self.config.health.parked_keys)
            .clock(self.clock.clone())
            .health(self.health.component(&part))
            .heartbeat(heartbeat(self.config, self.health, &part));
        let relay = match lease_owner(self.config, &source.db) {
            Some(owner) => relay.owner(owner).build()?,
            None => relay.build()?,
        };
        watch_lag_seconds(self.config, self.health, &part, relay.lag());
        Ok(relay)
    }

    /// Creates the hold list of a new consumer, and registers it so that the admin listener shows it.
    pub(super) fn register_holds(&self) -> Holds {
        let holds = Holds::new(self.clock.clone());
        self.holds.add_consumer(holds.clone());
        holds
    }

    pub(super) fn attempts(&self) -> Result<AttemptConfig, Error> {
        let consumer = &self.config.consumer;
        let backoff = Backoff::new(consumer.backoff, consumer.backoff_cap)
            .map_err(|e| e.context("configuration: consumer.backoff, consumer.backoff_cap"))?;
        Ok(AttemptConfig::default().max_attempts(consumer.max_attempts).backoff(backoff))
    }
}

/// Returns the owner of the leases in `db`: the configured owner, or for a database in the data directory a fixed owner.
/// `None`: each start generates a random owner.
pub fn lease_owner<'a>(config: &'a Config, db: &Db) -> Option<&'a str> {
    let configured = config.relay.owner.as_deref();
    configured.or_else(|| db.is_embedded().then_some(DATA_DIR_OWNER))
}

/// Degrades readiness while the lag of `part` exceeds its limit. Lagging messages are safe, and a process that is taken
/// out of rotation would refuse requests that it can still serve.
pub fn watch_lag_seconds(
    config: &Config,
    health: &Health,
    part: &str,
    lag: impl Fn() -> f64 + Send + Sync + 'static,
) {
    let limit = config.health.relay_lag.as_secs() as f64;
    let name = format!("{part}, lag in seconds");
    health.check(&name, move || State::over(Status::Degraded, lag(), limit));
}

/// Returns the liveness heartbeat of a loop. The time limit applies from the first turn, because a loop may wait for its
/// database or its topics for longer than the limit.
pub fn heartbeat(config: &Config, health: &Health, part: &str) -> Heartbeat {
    let heartbeat = health.heartbeat(part, config.health.silence);
    heartbeat.pause();
    heartbeat
}

/// Returns true when the databases are open and the topics exist, and false when the shutdown signal fires first.
async fn opened(databases: Vec<Db>, topics: Option<watch::Receiver<bool>>, signal: ShutdownSignal) -> bool {
    let all = async {
        for db in &databases {
            db.opened().await;
        }
        match topics {
            Some(mut topics) => topics.wait_for(|ready| *ready).await.is_ok(),
            None => true,
        }
    };
    tokio::select! {
        biased;
        () = signal.wait() => false,
        opened = all => opened,
    }
}
