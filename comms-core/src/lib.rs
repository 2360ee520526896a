//! The types and traits that services share when they communicate over Kafka, gRPC, HTTP and WebSockets.
//!
//! Every transport needs messages with an identity, a context that carries trace and deadline, errors whose kind
//! determines whether a retry is safe, and transactions that commit a state change together with its messages. This
//! crate defines them once. It opens no sockets and runs no SQL. The crates `comms-outbox`, `comms-kafka`, `comms-grpc`
//! and `comms-ws` build on this crate, and none of them depends on another.
//!
//! - Messages: [`Message`], [`Delivery`], typed events with versions and schemas ([`event`]), `cloudevents`.
//! - Context: [`context::Context`] (trace, deadline, correlation, priority, idempotency key), read and written through
//!   [`Extract`] and [`Inject`] in the headers of HTTP, gRPC and messages.
//! - Errors: [`Error`] with its [`ErrorKind`]. The table of [`ErrorKind`] maps each kind to the retry of the caller,
//!   the effect on a circuit breaker, the reaction of a consumer, and the statuses of gRPC and HTTP.
//! - Calls to other services: [`resilience::Policy`] combines deadline, rate limit, retry with a budget, circuit
//!   breaker and bulkhead.
//! - Commands: [`command`] has layers that authorize, validate and retry, around a handler with a transaction.
//! - Event sourcing: [`event_sourcing`] has aggregates, the event store and the repository.
//! - Transactions: [`Inbox`] and [`Outbox`] over a [`UnitOfWork`]; [`idempotency`] for requests that may be repeated.
//! - Sagas: [`saga::Definition`] coordinates steps in several services, and compensates them on a failure.
//! - Consumers: [`transport::Processor`] calls a handler with a delivery, and retries or holds the delivery on an
//!   error.
//! - Processes: [`health::Health`], [`shutdown::Shutdown`], and [`clock::Clock`], the source of time and randomness.
//! - Security: `jwt` verifies tokens, `webhooks` signs and verifies webhooks.
//!
//! # Terms
//!
//! | term | meaning |
//! |---|---|
//! | peer | the service or server at the other end of a call |
//! | guard | a limit on calls: circuit breaker, bulkhead, rate limit, deadline, time limit of an attempt |
//! | consumer | the part of a process that receives deliveries, calls a handler with each, and acknowledges them |
//! | attempt | one call of a handler with a delivery, or one call of a peer |
//! | hold | to attempt a delivery again, without counting attempts, until a cause outside the message is gone |
//! | dead letter | a message that a consumer gave up, published with the error to a topic for dead letters |
//! | inbox | a table of the messages that a handler has applied; it detects redeliveries |
//! | outbox | a table of messages that are committed with a state change and not published yet |
//! | relay | the part of a process that publishes the messages of an outbox |
//! | park | to set aside a message that was refused, and the later messages of its key, until an operator releases them |
//!
//! # A handler
//!
//! An application implements [`Handler`], usually through [`transactional`]:
//!
//! ```
//! # #[cfg(not(feature = "testing"))] fn main() {}
//! # #[cfg(feature = "testing")] fn main() {
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
//! // Applies each `Paid` once. The message to the topic `shipments` is written in the same transaction.
//! let handler = transactional(unit.clone(), move |paid: Paid, mut tx: Scoped<MemoryTx>| {
//!     let (unit, events) = (unit.clone(), events.clone());
//!     async move { unit.enqueue(&mut tx, &[events.message(&paid)?.to("shipments")]).await }
//! });
//! # fn check(_: impl comms_core::Handler) {}
//! # check(handler);
//! # }
//! ```
//!
//! A backend implements [`Publisher`] (a broker), [`UnitOfWork`] with [`Inbox`], [`Outbox`],
//! [`idempotency::Replies`] and [`event_sourcing::EventStore`] (a database), or [`idempotency::IdempotencyStore`]. The module `testing` has a conformance
//! suite for each of these traits, and implementations in memory.
//!
//! # Features
//! No feature is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `cloudevents` | CloudEvents 1.0: JSON envelopes, batches and the HTTP binding |
//! | `fingerprint` | `CallKey::new`, which fingerprints a request with SHA-256 |
//! | `jwt` | verification of JWTs with pinned algorithms; the application enables a crypto backend of jsonwebtoken |
//! | `rate-limit` | rate limits (GCRA), for all calls of a policy or per key |
//! | `testing` | consumers under test, backends in memory, and conformance suites; the example above needs it |
//! | `webhooks` | signing and verification of webhooks as in Standard Webhooks v1 |
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod clock;
#[cfg(feature = "cloudevents")]
pub mod cloudevents;
pub mod command;
pub mod context;
mod error;
pub mod event;
pub mod event_sourcing;
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
pub mod saga;
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
pub use handler::{
    BatchFn, BatchHandler, BatchResults, Handler, HandlerFn, Outcome, batch_fn, handler_fn, named,
    named_batch,
};
pub use headers::{Extract, Headers, HeadersRef, Inject};
pub use http;
pub use message::{Delivery, Message, MessageParts, Position};
pub use publisher::Publisher;
pub use transaction::{
    Claim, Claimed, Inbox, Outbox, Scoped, UnitOfWork, in_transaction, lend, once, transactional,
    transactional_batch, transactional_versions,
};
