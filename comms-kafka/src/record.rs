//! Converts between a message and its Kafka record, and refuses a message that is larger than the publisher's limit.
//!
//! The record has the key and the payload of the message. A payload of `None` is a null value (a tombstone). Headers
//! keep their order. The headers `ce_id` and `ce_source` are the first two, and come from the message's fields.
//!
//! A record without `ce_id` or `ce_source` gets its position as identity: the id is `topic-partition-offset-timestamp`,
//! the source is `kafka`. The timestamp is that of the record, in milliseconds, because the offsets of a topic that is
//! deleted and created again begin at 0. A record without a timestamp has the id `topic-partition-offset`. An inbox
//! does not recognize a fact that was produced twice without an identity, because the two records have different
//! positions.
//!
//! The client library loses two things: a header with a null value is read as an empty header, and a header whose name
//! is not UTF-8 is dropped with a warning.

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

use crate::topic_name;
use comms_core::{Error, Headers, Message, bytes::Bytes, wire};

/// The source of a record without an identity.
pub(crate) const POSITION_SOURCE: &str = "kafka";

/// Header names that are not allocated for every record.
const KNOWN_NAMES: [&str; 8] = [
    wire::CE_SPECVERSION,
    wire::CE_TYPE,
    wire::CE_TIME,
    wire::CE_CORRELATION_ID,
    wire::CE_CAUSATION_ID,
    wire::CONTENT_TYPE,
    wire::TRACEPARENT,
    wire::TRACESTATE,
];

/// Returns `Invalid` if no broker accepts `message`, so that it is refused before it is queued. `limit`: the largest
/// size of a message, bytes.
pub(crate) fn check(message: &Message, limit: usize) -> Result<(), Error> {
    topic_name::check(&message.topic)?;
    if message.size() > limit {
        let (topic, size) = (&message.topic, message.size());
        let text = format!("a message of {size} bytes to topic {topic} exceeds message.max.bytes ({limit})");
        return Err(Error::invalid(text));
    }
    if message.headers.iter().any(|(name, _)| name.contains('\0')) {
        let text = format!("a header name of a message to topic {} contains a null byte", message.topic);
        return Err(Error::invalid(text));
    }
    Ok(())
}

/// Returns the headers of the record of `message`.
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

/// Reads the message of `record`. One allocation holds the key, the header values and the payload.
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

/// Returns the id of a record without an identity. No other record may get the same id, because an inbox drops a record
/// whose id it has seen.
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
        // rdkafka panics on a header name that is not UTF-8. One such record must not stop the consumer.
        let Ok(Some(header)) = catch_unwind(AssertUnwindSafe(|| raw.try_get(index))) else {
            let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
            tracing::warn!(topic, partition, offset, "dropped a header whose name is not UTF-8");
            continue;
        };
        let known = KNOWN_NAMES.into_iter().find(|name| *name == header.key);
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
    fn identity_headers_come_from_the_fields_and_headers_keep_their_order() {
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
    fn refuses_messages_that_no_broker_accepts() {
        assert!(check(&example(), 1_000).is_ok());
        assert!(check(&example(), 10).is_err());
        assert!(check(&example().to("a b"), 1_000).is_err());
        let mut message = example();
        message.headers.append("a\0b", "x");
        assert!(check(&message, 1_000).is_err());
    }
}
