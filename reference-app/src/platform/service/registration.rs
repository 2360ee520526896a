//! The parts of a registration: protocol, database, topics, subscriptions and calls.

use comms_core::event::Event;
use sqlx::migrate::Migrator;

/// The protocol of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC over HTTP/2, for other services.
    Grpc,
    /// HTTP, for clients.
    Http,
    /// WebSocket, for clients.
    Sockets,
}

/// The database of a service: a schema in PostgreSQL, or a file in the data directory.
pub struct Database {
    /// The name of the schema, and of the SQLite file without `.db`.
    pub schema: &'static str,
    /// The migrations of the service's tables. comms-outbox adds the tables of its own.
    pub migrations: &'static Migrator,
}

/// A topic that a service writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// The name, without the configured prefix (`kafka.prefix`).
    pub name: &'static str,
    /// The number of partitions on a broker.
    pub partitions: i32,
}

impl Topic {
    /// Returns the topic of the event `E`, with 6 partitions.
    #[must_use]
    pub const fn of<E: Event>() -> Self {
        Self { name: E::TYPE, partitions: 6 }
    }
}

/// A consumer group and the topic that it consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// The consumer group. Part of the inbox key, and the name of the relay's cursor in a process without a broker.
    pub group: &'static str,
    /// The topic.
    pub topic: &'static str,
}

/// The calls from one service to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The name of the called service.
    pub service: &'static str,
    /// The policy of these calls: `[policies.<policy>]`, with defaults in the caller's `defaults`. Usually the name of
    /// the called service. A second caller with other requirements uses a name of its own.
    pub policy: &'static str,
}
