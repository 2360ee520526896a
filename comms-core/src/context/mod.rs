//! What a unit of work carries with it: trace, deadline, correlation and cause, key and priority.
//!
//! Whoever begins a unit of work (an HTTP or gRPC layer, a consumer) reads the context and runs the work in it
//! with [`Context::scope`]; whoever goes on to the next hop finds it with [`Context::current`]. A task that is
//! spawned begins without one, so it is handed over:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tokio::task::JoinError> {
//! use comms_core::{clock::Clock, context::Context};
//! let context = Context::root(&Clock::system());
//! let seen = context.clone().scope(async {
//!     let here = Context::current();
//!     tokio::spawn(here.scope(async { Context::current() })).await
//! });
//! assert_eq!(seen.await?, context);
//! # Ok(()) }
//! ```
//!
//! Nothing needs the running task's context: it is a plain value, and every function that reads or writes it
//! takes it explicitly.
//!
//! What rides where:
//!
//! | | on requests | on events |
//! |---|---|---|
//! | trace, correlation, cause | yes | yes |
//! | deadline, idempotency key, priority | yes | no |
//!
//! A deadline **ends at the outbox**: [`Context::of_message`] never has one, or an acknowledged order would die
//! two seconds after the click. A key names one call, and a priority one moment of load; both end there too.

mod deadline;
pub(crate) mod key;
mod limit;
mod priority;
mod request;
mod state;
mod timeout;
mod trace;

pub use deadline::Deadline;
pub(crate) use limit::within;
pub use priority::Priority;
pub use request::Protocol;
pub use state::TraceState;
pub use timeout::{grpc_timeout, parse_grpc_timeout, parse_request_timeout, request_timeout};
pub use trace::TraceContext;

use std::{future::Future, sync::Arc};

use bytes::Bytes;

use crate::{Error, Headers, Message, clock::Clock, wire};
use key::{KEY_LIMIT, is_key};

/// The longest correlation or cause that is carried, in bytes. A longer one is left out, never cut.
pub const ID_LIMIT: usize = 256;

tokio::task_local! {
    static CURRENT: Context;
}

/// What the running unit of work carries with it. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// The W3C trace of this hop.
    pub trace: Option<TraceContext>,
    /// What tracing systems keep with the trace; goes nowhere without it.
    pub tracestate: Option<TraceState>,
    /// When the asker stops waiting.
    pub deadline: Option<Deadline>,
    /// What began the conversation; at most [`ID_LIMIT`] bytes.
    pub correlation_id: Option<Arc<str>>,
    /// `source/id` of the event being handled, or of the one that made a caller ask.
    pub causation_id: Option<Arc<str>>,
    /// The key of the request **being handled**, not of those that this work makes: a request begins with
    /// [`child`](Context::child), which has none, and gets a key of its own by
    /// [`with_idempotency_key`](Context::with_idempotency_key).
    pub idempotency_key: Option<Arc<str>>,
    /// How much the request matters when not all can be served.
    pub priority: Priority,
}

impl Context {
    /// The context of the running task; empty outside any [`Context::scope`].
    #[must_use]
    pub fn current() -> Self {
        let current = CURRENT.try_with(Clone::clone).unwrap_or_default();
        match limit::limit() {
            Some(limit) => current.with_deadline(limit),
            None => current,
        }
    }

    /// A context that begins a new trace.
    #[must_use]
    pub fn root(clock: &Clock) -> Self {
        Self { trace: Some(TraceContext::root(clock)), ..Self::default() }
    }

    /// Continues the trace and the conversation of an event. Never has a deadline, a key or a priority.
    ///
    /// An event without a correlation begins one: its identity. An identity, or a correlation, over
    /// [`ID_LIMIT`] bytes or with control characters is left out.
    #[must_use]
    pub fn of_message(message: &Message, clock: &Clock) -> Self {
        let identity = identity(message);
        let correlation = message.headers.get(wire::CE_CORRELATION_ID).and_then(|value| id(value));
        Self {
            correlation_id: correlation.or_else(|| identity.clone()),
            causation_id: identity,
            ..Self::of_trace(&message.headers, clock)
        }
    }

    /// The context of a request that this work makes: a new span (or a trace, where there is none), and no
    /// idempotency key, for a key names one call and this is another.
    #[must_use]
    pub fn child(&self, clock: &Clock) -> Self {
        let trace = self.trace.map_or_else(|| TraceContext::root(clock), |trace| trace.child(clock));
        Self { trace: Some(trace), idempotency_key: None, ..self.clone() }
    }

    /// The same with this deadline, or the earlier one it already has.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |own| own.earlier(deadline)));
        self
    }

    /// The same with this priority.
    #[must_use]
    pub fn with_priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// The same with the key of the request that is about to be made.
    ///
    /// # Errors
    /// `Invalid` for a key outside the rule of [`is_key`].
    pub fn with_idempotency_key(self, key: &str) -> Result<Self, Error> {
        if !is_key(key) {
            return Err(Error::invalid(format!(
                "an idempotency key is 1 to {KEY_LIMIT} printable ASCII characters"
            )));
        }
        Ok(Self { idempotency_key: Some(key.into()), ..self })
    }

    /// Runs `work` in this context.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// Writes what an event carries: the trace, the correlation, the cause; nothing else.
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

/// The current deadline, without a clone of all the rest.
pub(crate) fn deadline() -> Option<Deadline> {
    let scoped = CURRENT.try_with(|context| context.deadline).ok().flatten();
    scoped.into_iter().chain(limit::limit()).min()
}

/// `source/id`, where it is short enough to be carried.
fn identity(message: &Message) -> Option<Arc<str>> {
    let mut text = String::with_capacity(message.source.len() + 1 + message.id.len());
    text.push_str(&message.source);
    text.push('/');
    text.push_str(&message.id);
    is_id(text.as_bytes()).then(|| text.into())
}

/// 1 to [`ID_LIMIT`] bytes without control characters: it stands in logs. Looks at all bytes, also after a bad
/// one: so the compiler takes many at once, and bad ones are rare.
fn is_id(bytes: &[u8]) -> bool {
    let fits = (1..=ID_LIMIT).contains(&bytes.len());
    fits && !bytes.iter().fold(false, |control, byte| control | byte.is_ascii_control())
}

fn id(bytes: &[u8]) -> Option<Arc<str>> {
    let fits = is_id(bytes);
    std::str::from_utf8(bytes).ok().filter(|_| fits).map(Arc::from)
}

/// Without the optional blanks that HTTP allows around a value (RFC 9110, section 5.6.3).
fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests;
