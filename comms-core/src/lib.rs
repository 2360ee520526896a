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

mod announce;
pub mod clock;
#[cfg(feature = "cloudevents")]
pub mod cloudevents;
pub mod context;
mod error;
pub mod event;
mod handler;
mod headers;
pub mod health;
pub mod hold;
pub mod idempotency;
#[cfg(feature = "jwt")]
pub mod jwt;
mod lanes;
mod message;
mod panic;
mod process;
mod publisher;
pub mod resilience;
pub mod shutdown;
mod sync;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod unit;
#[cfg(feature = "webhooks")]
pub mod webhook;
pub mod wire;

pub use async_trait::async_trait;
pub use bytes;
pub use clock::Clock;
pub use context::{Context, Deadline, Priority, TraceContext, TraceState};
pub use error::{BoxError, Disposition, Error, ErrorKind, Retry};
pub use event::{Codec, Event};
pub use handler::{BoxHandler, Handler, HandlerFn, Outcome, handler_fn, named};
pub use headers::{Extract, Headers, Inject};
pub use health::Health;
pub use hold::Holds;
pub use http;
pub use idempotency::{
    Admission, Admit, CallKey, IdempotencyStore, Replied, Replies, StoredReply, Token, reply_once, run_once,
};
pub use lanes::Lanes;
pub use message::{Delivery, Message};
pub use process::{Attempts, Processor, Verdict};
pub use publisher::{Acks, Publisher, Receipt};
pub use resilience::{Backoff, Policy, PolicyConfig};
pub use shutdown::Shutdown;
pub use unit::{
    Claim, Claimed, Inbox, Outbox, Scoped, UnitOfWork, in_transaction, once, transactional,
    transactional_versions,
};

/// The code of the guides compiles, and runs where it has a `main`.
#[cfg(all(doctest, feature = "rate-limit"))]
#[doc = include_str!("../docs/resilience.md")]
mod guides {}
