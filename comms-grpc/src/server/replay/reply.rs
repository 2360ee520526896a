//! The stored form of a response.

use bytes::Bytes;
use comms_core::{
    idempotency::StoredReply,
    wire::{GRPC_RETRY_PUSHBACK_MS, IDEMPOTENT_REPLAYED},
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use tonic::{Code, Status, body::Body};

use super::body::Stored;

/// The prefix of the names of trailers in a stored reply. No HTTP header name has a colon.
const TRAILER: &str = "trailer:";

/// Headers that belong to one response and are not stored.
const UNSTORED: [&str; 2] = ["date", GRPC_RETRY_PUSHBACK_MS];

/// Returns the stored form of a response that succeeded.
pub(super) fn store(headers: &HeaderMap, body: Bytes, trailers: Option<&HeaderMap>) -> StoredReply {
    let mut reply = StoredReply::new(Code::Ok.into(), body);
    for (name, value) in stored(headers) {
        reply = reply.header(name, value);
    }
    for (name, value) in trailers.into_iter().flat_map(stored) {
        reply = reply.header(format!("{TRAILER}{name}"), value);
    }
    reply
}

fn stored(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    pairs.filter(|(name, _)| !UNSTORED.contains(name))
}

/// Returns the stored form of a response that cannot be stored itself. A repetition gets ALREADY_EXISTS: the call was
/// executed.
pub(super) fn store_without_body() -> StoredReply {
    StoredReply::new(Code::AlreadyExists.into(), Bytes::new())
}

/// Returns the response to a repetition, marked with `idempotent-replayed`.
pub(super) fn restore(reply: StoredReply) -> Response<Body> {
    let mut response = if reply.status == i32::from(Code::Ok) {
        let (mut headers, mut trailers) = (HeaderMap::new(), HeaderMap::new());
        for (name, value) in reply.headers.iter() {
            let (to, name) = match name.strip_prefix(TRAILER) {
                Some(name) => (&mut trailers, name),
                None => (&mut headers, name),
            };
            // Both conversions succeed for what `store` has read from header maps.
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value)) {
                to.append(name, value);
            }
        }
        let trailers = (!trailers.is_empty()).then_some(trailers);
        let mut response = Response::new(Body::new(Stored::new(reply.body, trailers)));
        *response.headers_mut() = headers;
        response
    } else {
        let text = "the call was executed earlier, but its response was too large to be stored";
        Status::new(Code::from_i32(reply.status), text).into_http()
    };
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/grpc"));
    headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    response
}
