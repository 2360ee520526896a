//! Delivers the events in one service's outbox to the handlers of other services.
//!
//! - `kafka`: relays publish to Kafka, and consumers read from it.
//! - `in_process`: without a broker, the relay of the service that owns the topic calls the handlers directly.
//! - `wiring`: what both share.

mod in_process;
mod kafka;
mod wiring;

use comms_core::Error;

pub use wiring::{Delivery, GroupHandler, Source};

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
            None => self.start_in_process(&sources, handlers),
        }
    }
}

#[cfg(test)]
mod tests;
