//! A message and its Kafka record: what stands where, both ways.
//!
//! Key and payload are the record's own; a payload of `None` is a null value, the tombstone. Headers keep
//! their order; `ce_id` and `ce_source` stand first and come from the message's fields alone.
//!
//! A record that lacks one of the two gets its position as identity: id `topic-partition-offset-timestamp`, source
//! `kafka`. The timestamp is the record's, in milliseconds, because a topic that is deleted and created anew counts its
//! offsets from 0 again; a record without one has the position alone. What that costs: the same fact produced twice has
//! two positions, so an inbox cannot tell that it is the same. Two losses of the client library: a header with a null
//! value reads as an empty one, and a header whose name is not UTF-8 is dropped with a warning.

use bytes::BytesMut;
use rdkafka::{
    Message as _,
    message::{BorrowedMessage, Header, Headers as _, OwnedHeaders},
};
use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use comms_core::{Error, Headers, Message, bytes::Bytes, wire};

/// The source of records that name none.
pub(crate) const POSITION_SOURCE: &str = "kafka";
/// A topic name may not be longer.
const TOPIC_LIMIT: usize = 249;

/// Names that are not copied for every record.
const KNOWN: [&str; 8] = [
    wire::CE_SPECVERSION,
    wire::CE_TYPE,
    wire::CE_TIME,
    wire::CE_CORRELATION_ID,
    wire::CE_CAUSATION_ID,
    wire::CONTENT_TYPE,
    wire::TRACEPARENT,
    wire::TRACESTATE,
];

/// Refuses what no broker would take, before it has a place in the order.
pub(crate) fn check(message: &Message, limit: usize) -> Result<(), Error> {
    check_topic(&message.topic)?;
    if message.size() > limit {
        let text =
            format!("a message of {} bytes to {}: the limit is {limit}", message.size(), message.topic);
        return Err(Error::invalid(text));
    }
    if message.headers.iter().any(|(name, _)| name.contains('\0')) {
        return Err(Error::invalid("a header name contains a null byte"));
    }
    Ok(())
}

/// Refuses a name that is not a Kafka topic's.
pub(crate) fn check_topic(name: &str) -> Result<(), Error> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > TOPIC_LIMIT || name == "." || name == ".." || !name.bytes().all(legal)
    {
        let rule = "1 to 249 of a-z, A-Z, 0-9, '.', '_', '-'";
        return Err(Error::invalid(format!("\"{name}\" is not a topic name: it needs {rule}")));
    }
    Ok(())
}

/// The headers of `message` as they go on the wire.
pub(crate) fn headers(message: &Message) -> OwnedHeaders {
    let identity = [(wire::CE_ID, &message.id), (wire::CE_SOURCE, &message.source)];
    let identity = identity.into_iter().map(|(name, value)| (name, value.as_bytes()));
    let others = message.headers.iter().filter(|(name, _)| *name != wire::CE_ID && *name != wire::CE_SOURCE);
    let others = others.map(|(name, value)| (name, value.as_ref()));
    let headers = OwnedHeaders::new_with_capacity(message.headers.len() + 2);
    identity
        .chain(others)
        .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}

/// The message that `record` carries. One allocation holds its key, header values and payload.
pub(crate) fn message(record: &BorrowedMessage<'_>, topic: &Arc<str>) -> Message {
    let (key, payload) = (record.key(), record.payload());
    let mut buffer =
        BytesMut::with_capacity(key.map_or(0, <[u8]>::len) + payload.map_or(0, <[u8]>::len) + 512);
    let mut keep = |bytes: &[u8]| -> Bytes {
        buffer.extend_from_slice(bytes);
        buffer.split().freeze()
    };
    let key = key.map(&mut keep);
    let payload = payload.map(&mut keep);
    let mut headers = read_headers(record, &mut keep);
    let identity = identity(&headers);
    if identity.is_some() {
        headers.remove(wire::CE_ID);
        headers.remove(wire::CE_SOURCE);
    }
    let position = || position_id(topic, record.partition(), record.offset(), record.timestamp().to_millis());
    let (source, id) = identity.unwrap_or_else(|| (POSITION_SOURCE.into(), position()));
    Message { source, id, topic: topic.clone(), key, headers, payload }
}

/// The id of a record that names none. An inbox takes a record with a known id for a copy, so the id must not come again
/// with another record.
pub(crate) fn position_id(topic: &str, partition: i32, offset: i64, timestamp: Option<i64>) -> Arc<str> {
    match timestamp {
        Some(millis) => format!("{topic}-{partition}-{offset}-{millis}").into(),
        None => format!("{topic}-{partition}-{offset}").into(),
    }
}

fn identity(headers: &Headers) -> Option<(Arc<str>, Arc<str>)> {
    let text = |name| headers.text(name).filter(|text| !text.is_empty()).map(Arc::from);
    Some((text(wire::CE_SOURCE)?, text(wire::CE_ID)?))
}

fn read_headers(record: &BorrowedMessage<'_>, mut keep: impl FnMut(&[u8]) -> Bytes) -> Headers {
    let Some(raw) = record.headers() else { return Headers::new() };
    let mut headers = Headers::new();
    for index in 0..raw.count() {
        // rdkafka panics on a name that is not UTF-8; one such record must not end the consumer.
        let Ok(Some(header)) = catch_unwind(AssertUnwindSafe(|| raw.try_get(index))) else {
            let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
            tracing::warn!(topic, partition, offset, "dropped a header whose name is not UTF-8");
            continue;
        };
        let known = KNOWN.into_iter().find(|name| *name == header.key);
        let name = known.map_or_else(|| Cow::Owned(header.key.to_owned()), Cow::Borrowed);
        headers.append(name, keep(header.value.unwrap_or_default()));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Message {
        let headers = [("b", "2"), ("a", "1"), ("b", "3"), (wire::CE_ID, "not this one")];
        Message {
            source: "orders".into(),
            id: "7".into(),
            topic: "orders.placed".into(),
            key: Some("k".into()),
            headers: headers.into_iter().collect(),
            payload: None,
        }
    }

    #[test]
    fn identity_comes_from_the_fields_and_order_is_kept() {
        let headers = headers(&example());
        let names: Vec<_> = headers.iter().map(|h| (h.key, h.value)).collect();
        let expected: [(&str, Option<&[u8]>); 5] = [
            ("ce_id", Some(b"7")),
            ("ce_source", Some(b"orders")),
            ("b", Some(b"2")),
            ("a", Some(b"1")),
            ("b", Some(b"3")),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn refuses_what_no_broker_would_take() {
        assert!(check(&example(), 1_000).is_ok());
        assert!(check(&example(), 10).is_err());
        for topic in ["", ".", "..", "a b", "ä", &"x".repeat(250)] {
            assert!(check(&example().to(topic), 1_000).is_err(), "{topic}");
        }
        let mut message = example();
        message.headers.append("a\0b", "x");
        assert!(check(&message, 1_000).is_err());
    }
}
