//! Delivers the events in one service's outbox to the handlers of other services.
//!
//! - `local`: without a broker, consumers read the outbox of the service that owns their topic.
//! - `kafka`: relays publish to Kafka, and consumers read from it. `topics` creates their topics.
//! - `wiring`: what both need, and [`projections`](super::service::Host::projection) as well.

mod kafka;
mod local;
mod topics;
mod wiring;

pub use wiring::{heartbeat, lease_owner, watch_lag_seconds};

use comms_core::{Error, clock::Clock, health::Health, transport::BoxHandler};

use crate::platform::{
    config::Config,
    db::Db,
    holds::HoldRegistry,
    service::{Subscription, Topic},
    shutdown::Stages,
};

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
    /// Starts the relays and consumers of this process.
    ///
    /// An unreachable database or broker is not an error, nor is a broker that refuses a topic: the process is unready
    /// with the reason, and relays and consumers start when their databases are open and the topics exist.
    ///
    /// # Errors
    /// Returns `Invalid` or `Misconfigured` if the configuration can never work.
    pub fn start(&self, sources: Vec<Source>, handlers: Vec<GroupHandler>) -> Result<(), Error> {
        match &self.config.kafka {
            Some(kafka) => self.start_kafka(kafka, sources, handlers),
            None => self.start_local(&sources, handlers),
        }
    }
}

#[cfg(test)]
mod tests;
