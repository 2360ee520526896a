//! What a request carries, read and written in one place for every protocol.
//!
//! Two kinds of values. What only informs (trace, correlation, cause, priority) is left out where it is
//! malformed, repeated or too long: a request must not fail for it. What carries a promise (the deadline, the
//! idempotency key) fails closed: unreadable, it must not become "none".

use std::sync::Arc;

use super::{
    Context, Deadline, Priority, TraceContext, TraceState, id, is_id,
    key::{KEY_LIMIT, is_key},
};
use crate::{
    Error, Extract, Inject,
    clock::Clock,
    error::{Guard, Rejection},
    wire,
};

/// What a request travels in. It decides which header has the deadline; the others are the same in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP headers: `request-timeout`.
    Http,
    /// gRPC metadata: `grpc-timeout`.
    Grpc,
}

impl Protocol {
    pub(super) const fn timeout_header(self) -> &'static str {
        match self {
            Self::Http => wire::REQUEST_TIMEOUT,
            Self::Grpc => wire::GRPC_TIMEOUT,
        }
    }
}

impl Context {
    /// Continues a request of another service of the same system: its trace (a new span under it, or a new trace
    /// where it has none), deadline, correlation, cause, idempotency key and priority. The other half is
    /// [`Context::write_request`].
    ///
    /// Left out, where malformed, repeated, or over the limit: `traceparent` and `tracestate` (as W3C says),
    /// correlation and cause (1 to 256 bytes, no control characters). An unknown priority is `Standard`.
    /// A public edge, which does not believe a stranger's cause and priority, takes
    /// [`Context::of_trace`] and [`Deadline::of_request`] instead.
    ///
    /// ```
    /// use comms_core::{clock::Clock, context::{Context, Deadline, Protocol}, http};
    /// use std::time::Duration;
    /// let clock = Clock::system();
    /// let caller = Context::root(&clock).with_deadline(Deadline::after(Duration::from_secs(2), &clock));
    /// let mut headers = http::HeaderMap::new();
    /// caller.child(&clock).write_request(&mut headers, Protocol::Grpc, &clock)?;
    /// let callee = Context::of_request(&headers, Protocol::Grpc, &clock)?;
    /// assert_eq!(callee.trace.map(|t| t.trace_id()), caller.trace.map(|t| t.trace_id()));
    /// assert!(callee.deadline.is_some());
    /// # Ok::<(), comms_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` where the deadline or the idempotency key is malformed or comes twice.
    pub fn of_request(carrier: &impl Extract, protocol: Protocol, clock: &Clock) -> Result<Self, Error> {
        let told = |name| only(carrier, name).ok().flatten();
        Ok(Self {
            deadline: Deadline::of_request(carrier, protocol, clock)?,
            idempotency_key: only(carrier, wire::IDEMPOTENCY_KEY)?.map(key).transpose()?,
            correlation_id: told(wire::CORRELATION_ID).and_then(id),
            causation_id: told(wire::CAUSATION_ID).and_then(id),
            priority: told(wire::REQUEST_PRIORITY).map(Priority::of_header).unwrap_or_default(),
            ..Self::of_trace(carrier, clock)
        })
    }

    /// Continues only the trace a request carries (a new span under it), or begins one where it carries none,
    /// more than one, or a malformed one.
    #[must_use]
    pub fn of_trace(carrier: &impl Extract, clock: &Clock) -> Self {
        let parent = only(carrier, wire::TRACEPARENT).ok().flatten().and_then(TraceContext::parse);
        let Some(parent) = parent else { return Self::root(clock) };
        // tracestate means nothing without its traceparent, so it is read only here.
        Self { trace: Some(parent.child(clock)), tracestate: state(carrier), ..Self::default() }
    }

    /// Writes all that a request carries, for the next hop; begin with [`Context::child`]. What is not set is
    /// not written, and leaves alone what the caller put there. Correlation and cause are written where they
    /// are 1 to 256 printable ASCII characters: that much every peer takes.
    ///
    /// # Errors
    /// `Rejected` by [`Guard::Deadline`] (DEADLINE_EXCEEDED, 504) where the deadline has passed: nothing is to be sent.
    /// `Invalid` for a key outside the rule of [`is_key`].
    pub fn write_request(
        &self,
        carrier: &mut impl Inject,
        protocol: Protocol,
        clock: &Clock,
    ) -> Result<(), Error> {
        if let Some(deadline) = &self.deadline {
            let left = deadline.timeout(protocol, clock);
            let left = left.ok_or_else(|| Rejection::new("request", Guard::Deadline, None))?;
            carrier.inject(protocol.timeout_header(), left.as_bytes())?;
        }
        if let Some(trace) = &self.trace {
            carrier.inject(wire::TRACEPARENT, &trace.to_bytes())?;
        }
        if let (Some(_), Some(state)) = (&self.trace, &self.tracestate) {
            carrier.inject(wire::TRACESTATE, state.as_str().as_bytes())?;
        }
        if let Some(own) = &self.idempotency_key {
            carrier.inject(wire::IDEMPOTENCY_KEY, key(own.as_bytes())?.as_bytes())?;
        }
        if self.priority != Priority::Standard {
            carrier.inject(wire::REQUEST_PRIORITY, self.priority.as_str().as_bytes())?;
        }
        let ids = [(wire::CORRELATION_ID, &self.correlation_id), (wire::CAUSATION_ID, &self.causation_id)];
        for (name, id) in ids {
            if let Some(id) = id.as_ref().filter(|id| id.is_ascii() && is_id(id.as_bytes())) {
                carrier.inject(name, id.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// The one value of `name`.
///
/// # Errors
/// `Invalid` where there are several: which one was meant is not for us to guess.
pub(super) fn only<'a>(carrier: &'a impl Extract, name: &str) -> Result<Option<&'a [u8]>, Error> {
    let (mut first, mut count) = (None, 0);
    carrier.extract_each(name, &mut |value| {
        first.get_or_insert(value);
        count += 1;
    });
    if count > 1 { Err(Error::invalid(format!("{name} comes {count} times"))) } else { Ok(first) }
}

fn state(carrier: &impl Extract) -> Option<TraceState> {
    let mut lines = Vec::new();
    carrier.extract_each(wire::TRACESTATE, &mut |line| lines.push(line));
    TraceState::of_lines(lines)
}

fn key(bytes: &[u8]) -> Result<Arc<str>, Error> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| is_key(text));
    text.map(Arc::from).ok_or_else(|| {
        Error::invalid(format!("idempotency-key: 1 to {KEY_LIMIT} printable ASCII characters"))
    })
}
