//! The context of a request in the headers of every protocol.
//!
//! There are two kinds of values. Informative values (trace, correlation id, causation id, priority) are ignored if
//! they are malformed, repeated or too long: no request fails because of them. Values on which the caller relies
//! (deadline, idempotency key) fail the request if they cannot be read, so that they never count as absent.

use std::sync::Arc;

use super::{
    Context, Deadline, Priority, TraceContext, TraceState,
    key::{KEY_LIMIT, is_key},
    protocol::{Protocol, Values},
    text::{is_id, parse_id},
};
use crate::{
    Error, Extract, Inject,
    clock::Clock,
    error::{Guard, Rejection},
    wire,
};

impl Context {
    /// Reads the context of a request from another service of the same system: trace, deadline, correlation id,
    /// causation id, idempotency key and priority. [`Context::write_request`] writes it.
    ///
    /// The trace gets a new span. A request without a trace gets a new one. `traceparent`, `tracestate`, correlation id
    /// and causation id are ignored if they are malformed, repeated (except for lines of `tracestate`) or too long; ids
    /// have 1 to 256 bytes without control characters. An unknown or repeated priority is `Standard`.
    ///
    /// A public edge must not trust the ids and the priority of a client: use [`Context::of_trace`] and
    /// [`Deadline::of_request`] there.
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
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the deadline or the idempotency key is malformed or
    /// occurs more than once.
    pub fn of_request(carrier: &impl Extract, protocol: Protocol, clock: &Clock) -> Result<Self, Error> {
        let names = [
            protocol.timeout_header(),
            wire::IDEMPOTENCY_KEY,
            wire::CORRELATION_ID,
            wire::CAUSATION_ID,
            wire::REQUEST_PRIORITY,
            wire::TRACEPARENT,
            wire::TRACESTATE,
        ];
        let mut found = [Values::default(); 6];
        let mut states = Vec::new();
        carrier.extract_many(&names, &mut |index, value| match found.get_mut(index) {
            Some(values) => values.add(value),
            // The last name is the only one with several values.
            None => states.push(value),
        });
        let [timeout, key, correlation, causation, priority, parent] = found;
        let timeout = timeout.single(names[0])?;
        Ok(Self {
            deadline: timeout.map(|text| Deadline::parse(text, protocol, clock)).transpose()?,
            idempotency_key: key.single(wire::IDEMPOTENCY_KEY)?.map(parse_key).transpose()?,
            correlation_id: correlation.only().and_then(parse_id),
            causation_id: causation.only().and_then(parse_id),
            priority: priority.only().map(Priority::of_header).unwrap_or_default(),
            ..Self::of_trace_headers(parent.only(), states, clock)
        })
    }

    /// Reads only the trace of a request, and adds a new span to it. Starts a new trace if the request has no
    /// `traceparent`, more than one, or a malformed one.
    #[must_use]
    pub fn of_trace(carrier: &impl Extract, clock: &Clock) -> Self {
        let (mut parent, mut states) = (Values::default(), Vec::new());
        carrier.extract_many(&[wire::TRACEPARENT, wire::TRACESTATE], &mut |index, value| match index {
            0 => parent.add(value),
            _ => states.push(value),
        });
        Self::of_trace_headers(parent.only(), states, clock)
    }

    /// Returns a context with the trace of `traceparent` and the lines of `tracestate`, or with a new trace.
    fn of_trace_headers(parent: Option<&[u8]>, states: Vec<&[u8]>, clock: &Clock) -> Self {
        let Some(parent) = parent.and_then(TraceContext::parse) else { return Self::root(clock) };
        // A tracestate is valid only together with its traceparent.
        let tracestate = TraceState::of_lines(states);
        Self { trace: Some(parent.child(clock)), tracestate, ..Self::default() }
    }

    /// Writes the context into the headers of an outgoing request. Start with [`Context::child`].
    ///
    /// A value that is not set, and the standard priority, leave the headers unchanged. The correlation id and the
    /// causation id are written only if they are 1 to 256 ASCII characters without control characters, which every peer
    /// accepts.
    ///
    /// # Errors
    /// Returns
    /// - [`ErrorKind::Rejected`](crate::ErrorKind::Rejected) with a [`Guard::Deadline`] rejection (DEADLINE_EXCEEDED,
    ///   504) if the deadline has passed: do not send the request;
    /// - [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the idempotency key is not valid by
    ///   [`is_key`];
    /// - the error of `carrier` if it refuses a header.
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
        if let Some(key) = &self.idempotency_key {
            carrier.inject(wire::IDEMPOTENCY_KEY, parse_key(key.as_bytes())?.as_bytes())?;
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

fn parse_key(bytes: &[u8]) -> Result<Arc<str>, Error> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| is_key(text));
    text.map(Arc::from).ok_or_else(|| {
        Error::invalid(format!(
            "the idempotency-key must be 1 to {KEY_LIMIT} printable ASCII characters, not all spaces"
        ))
    })
}
