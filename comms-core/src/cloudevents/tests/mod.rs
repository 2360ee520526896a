//! The fixtures of the `CloudEvents` tests.

mod http_binding;
mod json_format;
mod message;
mod round_trip;

use std::fmt;

use ::http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::*;
use crate::{ErrorKind, Headers, Message, MessageParts, wire};

fn minimal() -> Value {
    json!({"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.placed.v1"})
}

/// Decodes a minimal envelope in which the member `name` is set.
fn with(name: &str, value: Value) -> Result<CloudEvent, Error> {
    let mut envelope = minimal();
    envelope[name] = value;
    json::decode(envelope.to_string().as_bytes(), &Limits::default())
}

fn assert_refused(result: Result<impl fmt::Debug, Error>, wanted: &str) {
    let error = result.expect_err(wanted);
    assert_eq!(error.kind, ErrorKind::Invalid);
    let error = error.chain().to_string();
    assert!(error.contains(wanted), "{error}\ndoes not contain {wanted:?}");
}

fn headers(entries: &[(&'static str, &str)]) -> HeaderMap {
    let required = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/a"), ("ce-type", "t")];
    let mut headers = HeaderMap::new();
    for (name, value) in required.iter().chain(entries) {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

/// Returns the message without headers, and the headers sorted: the attributes of an event have no order.
fn sorted(message: &Message) -> (Message, Vec<(String, Vec<u8>)>) {
    let mut headers: Vec<_> = message.headers().iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
    headers.sort();
    (message.with_headers(Headers::clear), headers)
}
