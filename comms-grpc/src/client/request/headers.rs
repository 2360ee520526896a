//! The names and values of the headers that the channel writes.

use comms_core::{
    Error, Inject,
    clock::Clock,
    context::{Context, Protocol},
    wire,
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, USER_AGENT},
};

pub(super) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static(wire::GRPC_TIMEOUT);
pub(in crate::client) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(wire::IDEMPOTENCY_KEY);
/// The number of earlier attempts of a call (gRFC A6).
pub(super) const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
const AGENT: &str = concat!("comms-grpc/", env!("CARGO_PKG_VERSION"));

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static(wire::TRACEPARENT);

/// The headers that concern one connection of HTTP/1. A request of HTTP/2 with one of them is malformed (RFC 9113, section
/// 8.2.2).
pub(super) const OF_CONNECTION: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Removes the headers that HTTP/2 does not permit, and writes the trace, the ids and the priority of `context`. Each attempt writes its own deadline.
pub(in crate::client) fn write_context(
    mut context: Context,
    headers: &mut HeaderMap,
    clock: &Clock,
) -> Result<(), Error> {
    // Compares the name of each header, which takes less time than five look-ups.
    if headers.keys().any(|name| OF_CONNECTION.contains(name)) {
        OF_CONNECTION.iter().for_each(|name| _ = headers.remove(name));
    }
    // HTTP/2 permits no other value, and gRPC requires it.
    headers.insert(TE, HeaderValue::from_static("trailers"));
    context.deadline = None;
    context.write_request(&mut RequestHeaders(headers), Protocol::Grpc, clock)?;
    // Each attempt replaces the value. The entry is made here, so that the headers of an attempt need not grow.
    headers.insert(GRPC_TIMEOUT, HeaderValue::from_static(""));
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    if let Some(key) = headers.get_mut(IDEMPOTENCY_KEY) {
        key.set_sensitive(true);
    }
    Ok(())
}

/// Marks values that differ in each call as sensitive, which keeps them out of the header compression table of the
/// connection ([`CallRequest::http`](super::CallRequest::http)).
struct RequestHeaders<'a>(&'a mut HeaderMap);

impl Inject for RequestHeaders<'_> {
    fn inject(&mut self, name: &'static str, value: &[u8]) -> Result<(), Error> {
        let mut value = HeaderValue::from_bytes(value).map_err(Error::invalid)?;
        // Only the priority has few values.
        value.set_sensitive(name != wire::REQUEST_PRIORITY);
        let name = if name == wire::TRACEPARENT { TRACEPARENT } else { HeaderName::from_static(name) };
        self.0.insert(name, value);
        Ok(())
    }
}
