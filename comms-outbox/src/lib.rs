//! Transactional outbox, relay, inbox and stored replies on PostgreSQL and SQLite.
//!
//! # The problem
//! A service that commits its state and then sends a message loses the message if it crashes in between. A service that
//! sends first announces a change that may never be committed.
//!
//! # The promise
//! The message is a row, written in the same transaction as the state ([`comms_core::Outbox`]). A [`Relay`] reads
//! committed rows and hands them to a [`Publisher`](comms_core::Publisher), such as Kafka. A [`LocalConsumer`] reads them
//! without a broker, and calls handlers in the same process.
//! - A committed message is delivered at least once, and a message that was rolled back never.
//! - Messages of one key keep their order if their transactions follow one another.
//! - A redelivered message has the same identity, so that the inbox ([`comms_core::Inbox`]) can skip it.
//!
//! The promise does not hold for
//! - a database that loses commits (`synchronous_commit = off` is refused),
//! - rows that are deleted before every relay has delivered them, and
//! - effects of a handler outside its transaction.
//!
//! # Example
//! A service writes its state and a message in one transaction, and a consumer group handles the message in the same
//! process:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(feature = "sqlite")] {
//! use comms_core::{Delivery, Message, MessageParts, Outbox, Outcome, UnitOfWork, handler_fn};
//! use comms_outbox::{LocalConsumer, sqlite, sqlx};
//!
//! let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
//! let tables = sqlite::Tables::new();
//! tables.migrate(&pool).await?;
//! sqlx::query("CREATE TABLE orders (id TEXT PRIMARY KEY)").execute(&pool).await?;
//!
//! // The writer: state and message in one transaction.
//! let unit = sqlite::SqliteUnit::new(pool.clone(), tables.clone());
//! let mut tx = unit.begin().await?;
//! sqlx::query("INSERT INTO orders (id) VALUES ('o-1')").execute(&mut *tx).await?;
//! let message = Message::new(MessageParts {
//!     source: "/orders",
//!     id: "1",
//!     topic: "order.placed",
//!     key: Some(b"o-1"),
//!     payload: Some(br#"{"order_id":"o-1"}"#),
//!     ..MessageParts::default()
//! });
//! unit.enqueue(&mut tx, &[message]).await?;
//! unit.commit(tx).await?;
//!
//! // The consumer: handles committed messages until shutdown.
//! let (handled, mut keys) = tokio::sync::mpsc::channel(1);
//! let handler = handler_fn(move |delivery: Delivery| {
//!     let handled = handled.clone();
//!     async move {
//!         let _ = handled.send(delivery.message.key_bytes()).await;
//!         Ok(Outcome::Done)
//!     }
//! });
//! let consumer = LocalConsumer::builder(sqlite::RelayStore::new(pool, tables), "billing")
//!     .on("order.placed", handler)
//!     .commit_signal(unit.commit_signal())
//!     .build()?;
//! let shutdown = async move {
//!     let key = keys.recv().await.flatten();
//!     assert_eq!(key.as_deref(), Some(&b"o-1"[..]));
//! };
//! consumer.run(shutdown).await?;
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # Main types
//! - [`Relay`]: publishes the committed messages of an outbox; made by [`RelayBuilder`].
//! - [`LocalConsumer`]: a consumer group without a broker; made by [`LocalConsumerBuilder`].
//! - [`Subscriber`]: a publisher that delivers messages to handlers in this process, the part of a local consumer that
//!   runs the handlers.
//! - `postgres::PgUnit`, `sqlite::SqliteUnit`: units of work, which open transactions with inbox, outbox and stored
//!   replies.
//! - `postgres::Tables`, `sqlite::Tables`: the outbox tables. They write in the caller's transaction, migrate, and list
//!   and release parked messages.
//! - `postgres::RelayStore`, `sqlite::RelayStore`: the source of a relay.
//! - [`CommitSignal`]: notifies a relay of a commit in the same process.
//! - [`Branch`], [`Parked`]: topics and messages that wait, as an operator sees them.
//! - [`sql_error`], [`commit_error`]: classify errors of the database, also for the application's own queries.
//!
//! # Backends
//! The features `postgres` and `sqlite` each enable a backend. The two modules have the same structure. Calls that
//! write take the caller's connection; only units of work and the source of a relay have a pool.
//!
//! Connections to PostgreSQL have no TLS unless the application enables a TLS feature of sqlx 0.9, such as
//! `tls-rustls-aws-lc-rs`.
//!
//! # Event store
//! With the feature `event-store` the units of work implement `comms_core::event_sourcing::EventStore`: events in streams,
//! appended in the caller's transaction, with snapshots. A `Projection` applies the events to a read model.
//!
//! # Sagas
//! With the feature `saga` the module `saga` has the coordinator, which stores and drives the runs of
//! [`comms_core::saga`].
//!
//! With the feature `testing` the module `testing` has `OutboxTransport`: consumers under test on an outbox.
//!
//! # Source layout, in the order of the data
//! - `postgres/outbox.rs`, `sqlite/outbox.rs` write messages, through the units of work in `unit.rs`; `limits` checks
//!   them.
//! - `relay/` reads rows and publishes them.
//! - `subscriber/` is a publisher that calls handlers, which claim messages in `inbox.rs`.
//! - `local/` is a relay and a subscriber as one consumer.
//! - `events.rs`, `event_read.rs` and `snapshots.rs` of a backend are the event store. `projection/` reads its events
//!   through the backend's `feed.rs`; `projections.rs` is for operators and queries.
//! - `saga/` is the coordinator of sagas, whose rows `saga.rs`, `saga_timers.rs` and `saga_read.rs` of a backend write and
//!   read.
//! - `branch`, `parked` describe what waits for an operator.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Without a backend there is no store for a relay, and parts of the crate are unused.
#![cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code, unused_imports))]

mod branch;
mod commit_signal;
mod error;
#[cfg(feature = "event-store")]
mod events;
mod limits;
mod local;
mod migrate;
mod parked;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub mod postgres;
#[cfg(feature = "event-store")]
mod projection;
mod relay;
mod replies;
#[cfg(feature = "saga")]
#[cfg_attr(docsrs, doc(cfg(feature = "saga")))]
pub mod saga;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub mod sqlite;
mod subscriber;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;

pub use branch::Branch;
pub use commit_signal::CommitSignal;
pub use error::{commit_error, sql_error};
pub use limits::{BATCH_LIMIT, MESSAGE_LIMIT};
pub use local::{LocalConsumer, LocalConsumerBuilder};
pub use parked::{Parked, ParkedState};
// A sealed trait, which generic code has to name.
#[cfg(feature = "event-store")]
#[doc(hidden)]
pub use projection::Feed;
#[cfg(feature = "event-store")]
#[cfg_attr(docsrs, doc(cfg(feature = "event-store")))]
pub use projection::{
    ParkedEvent, ParkedEventState, Projection, ProjectionBuilder, ProjectionHandle, ProjectionState,
    ProjectionStatus, Written,
};
pub use relay::{Relay, RelayBuilder, Start};
pub use sqlx;
pub use subscriber::{Subscriber, SubscriberBuilder};
