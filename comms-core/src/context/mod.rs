//! The context in which a request or an event is handled: trace, deadline, correlation id, causation id, idempotency
//! key and priority.
//!
//! An HTTP or gRPC layer, or a consumer, reads the context from the request or message, and runs the handler in the
//! context with [`Context::scope`]. A client or an event source that the handler calls gets the context with
//! [`Context::current`] and writes it into the headers for the next hop. A spawned task does not inherit the context,
//! so pass the context on:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tokio::task::JoinError> {
//! use comms_core::{clock::Clock, context::Context};
//! let context = Context::root(&Clock::system());
//! let seen = context.clone().scope(async {
//!     let current = Context::current();
//!     tokio::spawn(current.scope(async { Context::current() })).await
//! });
//! assert_eq!(seen.await?, context);
//! # Ok(()) }
//! ```
//!
//! A context is a plain value, so code can also pass a context as an argument, without a scope.
//!
//! Requests and events carry different parts:
//!
//! | | on requests | on events |
//! |---|---|---|
//! | trace, correlation id, causation id | yes | yes |
//! | deadline, idempotency key, priority | yes | no |
//!
//! A deadline **ends at the outbox**: [`Context::of_message`] never has one. Otherwise an order that was acknowledged
//! could fail because its request's deadline passed while the event was on its way. An idempotency key names one call,
//! and a priority applies to the load at one moment, so both end at the outbox as well.

mod deadline;
pub(crate) mod key;
mod limit;
mod priority;
mod protocol;
mod request;
mod scope;
mod state;
mod text;
mod timeout;
mod trace;

pub use deadline::Deadline;
pub(crate) use limit::within;
pub use priority::Priority;
pub use protocol::Protocol;
pub(crate) use scope::Source;
pub use state::TraceState;
pub use text::ID_LIMIT;
pub use timeout::{format_grpc_timeout, format_request_timeout, parse_grpc_timeout, parse_request_timeout};
pub use trace::TraceContext;

use std::{future::Future, sync::Arc};

use bytes::Bytes;

use crate::{Error, Headers, Message, clock::Clock, wire};
use key::{KEY_LIMIT, is_key};
use text::{is_id, parse_id};

/// The context in which a request or an event is handled. Clones are cheap.
///
/// [`of_request`](Self::of_request) reads the context of a request and [`of_message`](Self::of_message) that of an
/// event; [`root`](Self::root) starts a new context. [`scope`](Self::scope) makes a context the current one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// The W3C `traceparent` of this hop.
    pub trace: Option<TraceContext>,
    /// The W3C `tracestate`: vendor-specific data of the trace. It is written only together with `trace`.
    pub tracestate: Option<TraceState>,
    /// The point in time after which the caller no longer waits.
    pub deadline: Option<Deadline>,
    /// The correlation id: the id of the whole conversation, at most [`ID_LIMIT`] bytes.
    pub correlation_id: Option<Arc<str>>,
    /// The causation id: `source/id` of the event that is being handled, or that the caller of this request was
    /// handling.
    pub causation_id: Option<Arc<str>>,
    /// The idempotency key of the request **that is being handled**. An outgoing request starts from
    /// [`child`](Context::child), which has no key, and gets another one with
    /// [`with_idempotency_key`](Context::with_idempotency_key).
    pub idempotency_key: Option<Arc<str>>,
    /// The priority of the request under overload.
    pub priority: Priority,
}

impl Context {
    /// Returns the context of the current [`Context::scope`], or an empty context outside of any scope.
    ///
    /// The deadline is the earlier of the deadline of the scope and the deadlines of the policies
    /// ([`Policy`](crate::resilience::Policy)) that run the caller.
    #[must_use]
    pub fn current() -> Self {
        let current = scope::current().unwrap_or_default();
        match limit::current_limit() {
            Some(limit) => current.with_deadline(limit),
            None => current,
        }
    }

    /// Creates a context with a new trace and nothing else.
    #[must_use]
    pub fn root(clock: &Clock) -> Self {
        Self { trace: Some(TraceContext::root(clock)), ..Self::default() }
    }

    /// Creates the context for handling the event in `message`: it continues the event's trace and conversation, and
    /// has no deadline, no idempotency key and the standard priority.
    ///
    /// The causation id is the event's identity, `source/id`. The correlation id is that of the event, or else the
    /// event's identity. An id over [`ID_LIMIT`] bytes, or with control characters, is left out.
    #[must_use]
    pub fn of_message(message: &Message, clock: &Clock) -> Self {
        let identity = identity(message);
        let correlation = message.headers().get(wire::CE_CORRELATION_ID).and_then(parse_id);
        Self {
            correlation_id: correlation.or_else(|| identity.clone()),
            causation_id: identity,
            ..Self::of_trace(&message.headers(), clock)
        }
    }

    /// Returns the context of an outgoing request: the same context with a new span, and without an idempotency key,
    /// because a key names one call. Starts a new trace if this context has none.
    #[must_use]
    pub fn child(&self, clock: &Clock) -> Self {
        let trace = self.trace.map_or_else(|| TraceContext::root(clock), |trace| trace.child(clock));
        Self { trace: Some(trace), idempotency_key: None, ..self.clone() }
    }

    /// Returns the same context with `deadline`, unless the context has an earlier deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |current| current.earlier(deadline)));
        self
    }

    /// Returns the same context with `priority`.
    #[must_use]
    pub fn with_priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// Returns the same context with `key` as the idempotency key of the next request.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `key` is not valid by
    /// [`is_key`].
    pub fn with_idempotency_key(self, key: &str) -> Result<Self, Error> {
        if !is_key(key) {
            return Err(Error::invalid(format!(
                "the idempotency key must be 1 to {KEY_LIMIT} printable ASCII characters, not all spaces"
            )));
        }
        Ok(Self { idempotency_key: Some(key.into()), ..self })
    }

    /// Runs `work` with this context as the current one.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        scope::Scoped::new(self, work).await
    }

    /// Writes the headers that an event carries: trace, correlation id and causation id.
    pub(crate) fn write_event_headers(&self, headers: &mut Headers) {
        if let Some(trace) = &self.trace {
            headers.append(wire::TRACEPARENT, Bytes::copy_from_slice(&trace.to_bytes()));
        }
        if let (Some(_), Some(state)) = (&self.trace, &self.tracestate) {
            headers.append(wire::TRACESTATE, Bytes::copy_from_slice(state.as_str().as_bytes()));
        }
        let ids =
            [(wire::CE_CORRELATION_ID, &self.correlation_id), (wire::CE_CAUSATION_ID, &self.causation_id)];
        for (name, id) in ids {
            if let Some(id) = id.as_ref().filter(|id| is_id(id.as_bytes())) {
                headers.append(name, Bytes::copy_from_slice(id.as_bytes()));
            }
        }
    }
}

/// Returns the current deadline without cloning or making the context.
pub(crate) fn deadline() -> Option<Deadline> {
    scope::current_deadline().into_iter().chain(limit::current_limit()).min()
}

/// Returns `source/id` of the message, or `None` if it is not a valid id.
fn identity(message: &Message) -> Option<Arc<str>> {
    let mut text = String::with_capacity(message.source().len() + 1 + message.id().len());
    text.push_str(message.source());
    text.push('/');
    text.push_str(message.id());
    is_id(text.as_bytes()).then(|| text.into())
}

#[cfg(test)]
mod tests;
