//! The order of the shutdown.
//!
//! The process stops stage by stage: edge, consumers, calls, relays, sockets, admin, databases. A stage stops
//! accepting work and drains before the next stage is signalled. Callers stop before the parts that they call.

use std::time::Duration;

use comms_core::{
    Error,
    clock::Clock,
    shutdown::{Ended, Shutdown, Stage},
};

/// Every long-running task of the process, by stage. If one task fails, the whole process shuts down.
#[derive(Clone)]
pub struct Stages {
    shutdown: Shutdown,
    /// HTTP listeners for clients.
    pub edge: Stage,
    /// Consumers, relays that deliver within the process, and background loops of services.
    pub consumers: Stage,
    /// gRPC servers.
    pub calls: Stage,
    /// Relays to a broker.
    pub relays: Stage,
    /// WebSocket listeners and their sessions.
    pub sockets: Stage,
    /// The admin listener. It stops after the work, so that probes can observe the draining.
    pub admin: Stage,
    /// Database pools.
    pub databases: Stage,
}

impl Stages {
    /// Creates the stages, without tasks.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let shutdown = Shutdown::new(clock);
        Self {
            edge: shutdown.stage("edge"),
            consumers: shutdown.stage("consumers"),
            calls: shutdown.stage("calls"),
            relays: shutdown.stage("relays"),
            sockets: shutdown.stage("sockets"),
            admin: shutdown.stage("admin"),
            databases: shutdown.stage("databases"),
            shutdown,
        }
    }

    /// Resolves when a task fails.
    pub async fn failed(&self) {
        self.shutdown.failed().await;
    }

    /// Ends every stage in order, within `limit` altogether. Ends all stages at once when `now` resolves.
    ///
    /// # Errors
    /// Returns the first failure of a task, and `Fatal` if `now` cut the shutdown short.
    pub async fn shut_down(&self, limit: Duration, now: impl Future<Output = ()>) -> Result<(), Error> {
        match self.shutdown.end(limit, now).await {
            Ended { failure: Some(error), .. } => Err(error),
            Ended { interrupted: true, .. } => {
                Err(Error::fatal("the shutdown was cut short; no acknowledged message is lost"))
            }
            _ => Ok(()),
        }
    }
}
