//! The stages of the shut-down, in order: who asks goes before who answers.

use std::time::Duration;

use comms_core::{
    Error,
    clock::Clock,
    shutdown::{Ended, Shutdown, Stage},
};

/// Every long-running task of the process, by stage. The first that fails ends all.
#[derive(Clone)]
pub struct Stages {
    shutdown: Shutdown,
    /// HTTP: no new requests.
    pub edge: Stage,
    /// Consumers, and relays that deliver in the process.
    pub consumers: Stage,
    /// gRPC servers.
    pub calls: Stage,
    /// Relays to a broker.
    pub relays: Stage,
    /// Sockets: told to come back.
    pub sockets: Stage,
    /// The admin listener, after all that work, so that a probe sees the draining.
    pub admin: Stage,
    /// Databases.
    pub databases: Stage,
}

impl Stages {
    /// Nothing runs yet.
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

    /// Resolves when a task has failed.
    pub async fn failed(&self) {
        self.shutdown.failed().await;
    }

    /// Ends every stage in order, all within `limit`, or at once when `now` resolves.
    ///
    /// # Errors
    /// The first failure of a task; `Fatal` where it was cut short.
    pub async fn shut_down(&self, limit: Duration, now: impl Future<Output = ()>) -> Result<(), Error> {
        match self.shutdown.end(limit, now).await {
            Ended { failure: Some(error), .. } => Err(error),
            Ended { interrupted: true, .. } => Err(Error::fatal("stopped at once: nothing acknowledged is lost")),
            _ => Ok(()),
        }
    }
}
