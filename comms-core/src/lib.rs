//! The vocabulary and the decisions of services that talk: no sockets, no SQL.
//!
//! - *Said*: [`Message`], typed [`Event`]s with their versions and schemas ([`event`]), `cloudevents`.
//! - *Carried*: [`Context`] (trace, deadline, conversation, key, priority), read and written through [`Extract`] and
//!   [`Inject`] in the headers of HTTP, gRPC and messages.
//! - *Survived*: [`Error`] with its one [`ErrorKind`], whose table decides about retries and statuses; a [`Policy`] with its
//!   guards ([`resilience`]).
//! - *Remembered*: [`Inbox`], [`Outbox`] and [`Replies`] over a [`UnitOfWork`]; [`IdempotencyStore`] outside of one.
//! - *Run*: [`Processor`], [`Holds`] and [`Lanes`] for consumers, [`Health`], [`Shutdown`], one [`Clock`] for all time and chance.
//!
//! The seams that a backend implements: [`Publisher`] (a carrier), [`UnitOfWork`] with [`Inbox`], [`Outbox`] and
//! [`Replies`] (a database), [`IdempotencyStore`]. `testing` has a conformance suite for each, and memory backends. The
//! seam that an application implements: [`Handler`], mostly through [`transactional`].
//!
//! Nothing is on by default beyond this. Features: `cloudevents`, `fingerprint` (idempotency keys that hash the request),
//! `jwt`, `rate-limit`, `testing`, `webhooks`.
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
