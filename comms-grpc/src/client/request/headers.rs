//! The names and values of the headers that the channel writes.

use comms_core::{
    Error, Inject,
    clock::Clock,
    context::{Context, Protocol},
    wire,
};
use http::{HeaderMap, HeaderName, HeaderValue, header::USER_AGENT};

pub(super) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static(wire::GRPC_TIMEOUT);
pub(in crate::client) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(wire::IDEMPOTENCY_KEY);
/// The number of earlier attempts of a call (gRFC A6).
pub(super) const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
const AGENT: &str = concat!("comms-grpc/", env!("CARGO_PKG_VERSION"));

const TRACEPARENT: HeaderName = HeaderName::from_static(wire::TRACEPARENT);

/// Writes the trace, the ids and the priority of `context`. Each attempt writes its own deadline.
pub(in crate::client) fn write_context(
    mut context: Context,
    headers: &mut HeaderMap,
    clock: &Clock,
) -> Result<(), Error> {
    context.deadline = None;
    context.write_request(&mut RequestHeaders(headers), Protocol::Grpc, clock)?;
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    if let Some(key) = headers.get_mut(IDEMPOTENCY_KEY) {
        key.set_sensitive(true);
    }
    Ok(())
}

/// Writes values that differ in each call without an entry in the header compression table of the connection, where
/// they would replace useful entries.
struct RequestHeaders<'a>(&'a mut HeaderMap);

impl Inject for RequestHeaders<'_> {
    fn inject(&mut self, name: &'static str, value: &[u8]) -> Result<(), Error> {
        let mut value = HeaderValue::from_bytes(value).map_err(Error::invalid)?;
        let name = if name == wire::TRACEPARENT { TRACEPARENT } else { HeaderName::from_static(name) };
        // Only the priority has few values.
        value.set_sensitive(name != wire::REQUEST_PRIORITY);
        self.0.insert(name, value);
        Ok(())
    }
}
