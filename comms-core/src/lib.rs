//! The shared vocabulary of services that communicate, and the decisions that depend on no transport and no database.
//!
//! Services that talk over Kafka, gRPC, HTTP and sockets need the same things from each library: messages with an identity,
//! a context that carries trace and deadline, errors that decide about a retry, and transactions that hold a state change
//! together with its messages. This crate defines them once. It opens no sockets and runs no SQL; `comms-outbox`,
//! `comms-kafka`, `comms-grpc` and `comms-ws` build on it, and none of them depends on another.
//!
//! - Messages: [`Message`], [`Delivery`], typed events with versions and schemas ([`event`]), `cloudevents`.
//! - Context: [`context::Context`] (trace, deadline, correlation, priority, idempotency key), read and written through
//!   [`Extract`] and [`Inject`] in the headers of HTTP, gRPC and messages.
//! - Errors: [`Error`] with its [`ErrorKind`]. One table derives retry, breaker, a consumer's disposition and the statuses
//!   of gRPC and HTTP from the kind.
//! - Calls to other services: [`resilience::Policy`] combines deadline, rate limit, retry with a budget, circuit breaker and
//!   bulkhead.
//! - Transactions: [`Inbox`] and [`Outbox`] over a [`UnitOfWork`]; [`idempotency`] for requests that may be repeated.
//! - Consumers: [`transport::Processor`] attempts a delivery until there is a verdict.
//! - Processes: [`health::Health`], [`shutdown::Shutdown`], and [`clock::Clock`], the only source of time and randomness.
//!
//! An application implements [`Handler`], mostly through [`transactional`]:
//!
//! ```
//! use comms_core::{Outbox, Scoped, clock::Clock, event::{Event, EventSource}, testing::{MemoryTx, MemoryUnit}, transactional};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Paid { order: String }
//! impl Event for Paid {
//!     const TYPE: &'static str = "paid";
//!     const VERSION: u32 = 1;
//!     fn key(&self) -> String { self.order.clone() }
//! }
//!
//! let clock = Clock::system();
//! let (unit, events) = (MemoryUnit::new(), EventSource::new("shipping", clock));
//! // Applies each `Paid` once, and writes the next message in the same transaction.
//! let handler = transactional(unit.clone(), move |paid: Paid, mut tx: Scoped<MemoryTx>| {
//!     let (unit, events) = (unit.clone(), events.clone());
//!     async move { unit.enqueue(&mut tx, &[events.message(&paid)?.to("shipments")]).await }
//! });
//! # fn check(_: impl comms_core::Handler) {}
//! # check(handler);
//! ```
//!
//! A backend implements [`Publisher`] (a broker), [`UnitOfWork`] with [`Inbox`], [`Outbox`] and [`idempotency::Replies`] (a
//! database), or [`idempotency::IdempotencyStore`]. `testing` has a conformance suite for each of these traits, and
//! implementations in memory.
//!
//! No feature is on by default. Features: `cloudevents`, `fingerprint` (idempotency keys that hash the request), `jwt`,
//! `rate-limit`, `testing`, `webhooks`.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod clock;
#[cfg(feature = "cloudevents")]
pub mod cloudevents;
pub mod context;
mod error;
pub mod event;
mod handler;
mod headers;
pub mod health;
pub mod idempotency;
#[cfg(feature = "jwt")]
pub mod jwt;
mod message;
mod panic;
mod publisher;
pub mod resilience;
pub mod shutdown;
mod sync;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod transaction;
pub mod transport;
#[cfg(feature = "webhooks")]
pub mod webhooks;
pub mod wire;

pub use async_trait::async_trait;
pub use bytes;
pub use error::{BoxError, Error, ErrorKind};
pub use handler::{Handler, HandlerFn, Outcome, handler_fn, named};
pub use headers::{Extract, Headers, Inject};
pub use http;
pub use message::{Delivery, Message};
pub use publisher::Publisher;
pub use transaction::{
    Claim, Claimed, Inbox, Outbox, Scoped, UnitOfWork, in_transaction, once, transactional,
    transactional_versions,
};
