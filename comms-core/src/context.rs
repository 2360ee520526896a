//! What a unit of work carries with it: trace, deadline, correlation and cause.
//!
//! The context of the running task is found with [`Context::current`]; whoever begins a unit of work
//! (an HTTP or gRPC layer, a consumer) sets it with [`Context::scope`]. A deadline rides on requests and
//! **ends at the outbox**: [`Context::of_message`] never has one, or an acknowledged order would die
//! two seconds after the click.

mod deadline;
mod limit;
mod trace;

pub use deadline::{Deadline, parse_grpc_timeout};
pub(crate) use limit::within;
pub use trace::TraceContext;

use std::{future::Future, sync::Arc};

use crate::{Clock, Error, Extract, Headers, Inject, Message, wire};

/// The longest `tracestate` that is carried on; a longer one is dropped, as W3C allows.
const TRACESTATE_LIMIT: usize = 512;
/// The longest correlation id that is carried on.
const CORRELATION_LIMIT: usize = 256;

tokio::task_local! {
    static CURRENT: Context;
}

/// Trace, deadline, correlation and cause of the running unit of work. Cheap to clone.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Context {
    /// The W3C trace of this hop.
    pub trace: Option<TraceContext>,
    /// Vendor state, carried along untouched.
    pub tracestate: Option<Arc<str>>,
    /// When the asker stops waiting.
    pub deadline: Option<Deadline>,
    /// What began the conversation.
    pub correlation_id: Option<Arc<str>>,
    /// `source/id` of the event being handled.
    pub causation_id: Option<Arc<str>>,
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

    pub(crate) fn is_keyed(&self) -> bool {
        false
    }

    /// A context that begins a new trace.
    #[must_use]
    pub fn root(clock: &Clock) -> Self {
        Self { trace: Some(TraceContext::root(clock)), ..Self::default() }
    }

    /// Continues the trace a request carries (a new span under it), or begins one where it carries none
    /// or a malformed one. No deadline is read here: its header differs by protocol.
    #[must_use]
    pub fn of_request(carrier: &impl Extract, clock: &Clock) -> Self {
        let parent = carrier.extract(wire::TRACEPARENT).and_then(TraceContext::parse);
        let Some(parent) = parent else { return Self::root(clock) };
        // tracestate means nothing without its traceparent, so it is read only here.
        Self {
            trace: Some(parent.child(clock)),
            tracestate: limited(carrier, wire::TRACESTATE, TRACESTATE_LIMIT),
            ..Self::default()
        }
    }

    /// Continues the trace and the conversation of an event. Never has a deadline.
    #[must_use]
    pub fn of_message(message: &Message, clock: &Clock) -> Self {
        let identity: Arc<str> = format!("{}/{}", message.source, message.id).into();
        let correlation = limited(&message.headers, wire::CE_CORRELATION_ID, CORRELATION_LIMIT);
        Self {
            correlation_id: Some(correlation.unwrap_or_else(|| identity.clone())),
            causation_id: Some(identity),
            ..Self::of_request(&message.headers, clock)
        }
    }

    /// The same with this deadline, or the earlier one it already has.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |own| own.min(deadline)));
        self
    }

    /// Runs `work` in this context.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// Writes `traceparent` and `tracestate` for the next hop.
    ///
    /// # Errors
    /// `Invalid` where the carrier refuses the bytes; ours never do.
    pub fn inject_trace(&self, carrier: &mut impl Inject) -> Result<(), Error> {
        let Some(trace) = self.trace else { return Ok(()) };
        carrier.inject(wire::TRACEPARENT, trace.to_string().as_bytes())?;
        match &self.tracestate {
            Some(state) => carrier.inject(wire::TRACESTATE, state.as_bytes()),
            None => Ok(()),
        }
    }

    /// Writes what an event carries: the trace, the correlation, the cause; not the deadline.
    pub(crate) fn write_event_headers(&self, headers: &mut Headers) {
        let trace = self.trace.map(|t| t.to_string().into());
        let entries = [
            (wire::TRACEPARENT, trace),
            (wire::TRACESTATE, self.tracestate.clone()),
            (wire::CE_CORRELATION_ID, self.correlation_id.clone()),
            (wire::CE_CAUSATION_ID, self.causation_id.clone()),
        ];
        for (name, value) in entries {
            if let Some(value) = value {
                headers.append(name, value.as_bytes().to_vec());
            }
        }
    }
}

/// The current deadline, without a clone of all the rest.
pub(crate) fn deadline() -> Option<Deadline> {
    let scoped = CURRENT.try_with(|context| context.deadline).ok().flatten();
    scoped.into_iter().chain(limit::limit()).min()
}

fn limited(carrier: &impl Extract, name: &str, limit: usize) -> Option<Arc<str>> {
    let bytes = carrier.extract(name).filter(|b| !b.is_empty() && b.len() <= limit)?;
    std::str::from_utf8(bytes).ok().map(Arc::from)
}

#[cfg(test)]
mod tests;
