//! The durable half: messages, inbox rows and stored replies that commit with the application's own writes.
//!
//! The problem: a service that commits its state and then sends a message loses the message when it dies in
//! between; one that sends first announces what may never happen. So the message is a row, written in the
//! same transaction ([`comms_core::Outbox`]), and a [`Relay`] carries committed rows to a
//! [`Publisher`](comms_core::Publisher): Kafka, or, without any broker, a [`Subscriber`] in this process.
//!
//! The promise: a committed message is delivered at least once, a message that was rolled back never;
//! messages of one key keep their order where their writers follow one another. A redelivery has the same
//! identity, and the inbox ([`comms_core::Inbox`]) makes it harmless. What breaks it: a database that loses
//! commits (`synchronous_commit = off` is refused), rows that are deleted before every relay has them, and
//! effects outside the transaction.
//!
//! Two backends mirror each other file by file: `postgres` and `sqlite`, each a feature. Calls that write take
//! the caller's connection; only the units of work and the relay's store hold a pool.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Without a backend there is nothing to relay from; the parts for one are then unused.
#![cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code, unused_imports))]

mod branch;
mod codec;
mod error;
mod limits;
mod migrate;
mod parked;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub mod postgres;
mod relay;
mod replies;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub mod sqlite;
mod subscriber;
mod wake;

pub use branch::Branch;
pub use error::{commit_error, sql_error};
pub use limits::{BATCH_LIMIT, MESSAGE_LIMIT};
pub use parked::{Parked, ParkedState};
pub use relay::{Relay, RelayBuilder, Start};
pub use sqlx;
pub use subscriber::{Subscriber, SubscriberBuilder};
pub use wake::Wake;
