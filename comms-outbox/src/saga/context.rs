//! The context of a run, stored as the headers of an event, so that a trace goes through timers and retries.

use comms_core::{
    Headers, HeadersRef,
    clock::Clock,
    context::{Context, TraceContext},
    wire,
};

use super::RunId;

/// Returns `context` with a trace and a correlation id, so that all commands of the run have them.
pub(super) fn complete(context: Context, run: &RunId, clock: &Clock) -> Context {
    let trace = context.trace.unwrap_or_else(|| TraceContext::root(clock));
    let correlation =
        context.correlation_id.clone().unwrap_or_else(|| format!("{}/{}", run.saga, run.id).into());
    let mut complete = context;
    (complete.trace, complete.correlation_id) = (Some(trace), Some(correlation));
    complete
}

/// Returns the stored form.
pub(crate) fn encode(context: &Context) -> Vec<u8> {
    let mut headers = Headers::new();
    if let Some(trace) = &context.trace {
        headers.append(wire::TRACEPARENT, trace.to_bytes());
    }
    if let Some(state) = &context.tracestate {
        headers.append(wire::TRACESTATE, state.as_str());
    }
    let ids =
        [(wire::CE_CORRELATION_ID, &context.correlation_id), (wire::CE_CAUSATION_ID, &context.causation_id)];
    for (name, id) in ids {
        if let Some(id) = id {
            headers.append(name, id.as_bytes());
        }
    }
    headers.view().encoded().to_vec()
}

/// Reads the stored form. The context continues the trace with a new span. Bytes that do not decode begin a new trace:
/// a trace must not stop a run.
pub(super) fn decode(stored: &[u8], clock: &Clock) -> Context {
    let Ok(headers) = HeadersRef::decode(stored) else { return Context::root(clock) };
    let mut context = Context::of_trace(&headers, clock);
    context.correlation_id = headers.text(wire::CE_CORRELATION_ID).map(Into::into);
    context.causation_id = headers.text(wire::CE_CAUSATION_ID).map(Into::into);
    context
}

/// Returns the trace id of the stored form.
pub(crate) fn trace_id(stored: &[u8]) -> Option<String> {
    let headers = HeadersRef::decode(stored).ok()?;
    Some(TraceContext::parse(headers.get(wire::TRACEPARENT)?)?.trace_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_context_continues_the_trace_and_the_conversation() {
        let clock = Clock::system();
        let context = complete(Context::default(), &RunId::new("order", "7"), &clock);
        assert_eq!(context.correlation_id.as_deref(), Some("order/7"));
        let stored = encode(&context);
        let read = decode(&stored, &clock);
        assert_eq!(read.correlation_id, context.correlation_id);
        assert_eq!(read.trace.map(|trace| trace.trace_id()), trace_id(&stored));
        assert_eq!(read.trace.map(|trace| trace.trace_id()), context.trace.map(|trace| trace.trace_id()));
        assert!(decode(b"\xff damaged", &clock).trace.is_some());
    }
}
