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
//! is not UTF-8 is dropped with a warning. For the latter rdkafka panics, the only access to a header without `unsafe`
//! code is that one, and the panic is caught: twice for a record with one such header. The panic hook of the process
//! prints each of them.

mod read;

use rdkafka::message::{Header, OwnedHeaders};

use crate::topic_name;
use comms_core::{Error, Message, wire};
pub(crate) use read::{Incoming, Reader};

/// The source of a record without an identity.
pub(crate) const POSITION_SOURCE: &str = "kafka";

/// Returns `Invalid` if no broker accepts `message`, so that it is refused before it is queued. `limit`: the largest
/// size of a message, bytes.
pub(crate) fn check(message: &Message, limit: usize) -> Result<(), Error> {
    topic_name::check(message.topic())?;
    if message.size() > limit {
        let (topic, size) = (message.topic(), message.size());
        let text = format!("a message of {size} bytes to topic {topic} exceeds message.max.bytes ({limit})");
        return Err(Error::invalid(text));
    }
    if message.headers().iter().any(|(name, _)| name.contains('\0')) {
        let text = format!("a header name of a message to topic {} contains a null byte", message.topic());
        return Err(Error::invalid(text));
    }
    Ok(())
}

/// Returns the headers of the record of `message`.
pub(crate) fn headers(message: &Message) -> OwnedHeaders {
    let identity = [(wire::CE_ID, message.id()), (wire::CE_SOURCE, message.source())];
    let identity = identity.into_iter().map(|(name, value)| (name, value.as_bytes()));
    let others =
        message.headers().iter().filter(|(name, _)| *name != wire::CE_ID && *name != wire::CE_SOURCE);
    let headers = OwnedHeaders::new_with_capacity(message.headers().len() + 2);
    identity
        .chain(others)
        .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::{Headers, MessageParts};
    use rdkafka::message::Headers as _;

    fn example() -> Message {
        let headers = [("b", "2"), ("a", "1"), ("b", "3"), (wire::CE_ID, "not this one")];
        let headers: Headers = headers.into_iter().collect();
        Message::new(MessageParts {
            source: "orders",
            id: "7",
            topic: "orders.placed",
            key: Some(b"k"),
            headers: headers.view(),
            payload: None,
        })
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
        let null = example().with_headers(|headers| headers.append("a\0b", "x"));
        assert!(check(&null, 1_000).is_err());
    }
}
