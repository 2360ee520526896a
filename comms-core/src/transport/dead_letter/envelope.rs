//! The message of a dead letter: the complete record, or a reference to the record.

use crate::{
    Delivery, Error, Headers, Message, MessageParts, Position, clock::Clock, transport::PositionId, wire,
};

/// The longest error text in a header, bytes.
const ERROR_LIMIT: usize = 1024;
/// The largest key, identity and single header that a reference copies from the record, bytes.
const PART_LIMIT: usize = 1024;
/// The largest total of the headers that a reference copies from the record, bytes.
const HEADERS_LIMIT: usize = 8 * 1024;

/// How much of the record a dead letter contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Key, payload and every header.
    Whole,
    /// Key and every header, without the payload.
    WithoutPayload,
    /// The headers with the record's position, and those parts of the record that are small.
    Reference,
}

impl Form {
    /// All forms, the most complete one first.
    pub(super) const ALL: [Self; 3] = [Self::Whole, Self::WithoutPayload, Self::Reference];

    /// Returns the value of the metric label `form`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::WithoutPayload => "without_payload",
            Self::Reference => "reference",
        }
    }

    /// Returns `whole` in this form, or `None` if that is the same as the form before. `source` is the source of a
    /// reference to a record whose own identity is too long.
    pub(super) fn of(
        self,
        whole: &Message,
        position: Position,
        source: &str,
        clock: &Clock,
    ) -> Option<Message> {
        match self {
            Self::Whole => Some(whole.clone()),
            Self::WithoutPayload => whole.payload().map(|_| without_payload(whole)),
            Self::Reference => Some(reference(&without_payload(whole), position, source, clock)),
        }
    }
}

/// Returns the complete dead letter of `delivery` for `topic`: key, payload and headers of the record, and behind them the
/// reason in further headers, of which [`wire::DLQ_TOPIC`] is the first.
pub(super) fn whole(
    delivery: &Delivery,
    topic: &str,
    error: &Error,
    attempts: u32,
    clock: &Clock,
) -> Message {
    let (message, position) = (&delivery.message, delivery.position);
    let reason = error.chain().to_string();
    let reason = &reason[..reason.floor_char_boundary(ERROR_LIMIT)];
    let details = [
        (wire::DLQ_TOPIC, Some(message.topic().to_owned())),
        (wire::DLQ_PARTITION, position.partition.map(|partition| partition.to_string())),
        (wire::DLQ_OFFSET, position.offset.map(|offset| offset.to_string())),
        (wire::DLQ_TIMESTAMP, position.timestamp.map(|millis| millis.to_string())),
        (wire::DLQ_GROUP, Some(delivery.group.to_string())),
        (wire::DLQ_ATTEMPTS, Some(attempts.to_string())),
        (wire::DLQ_ERROR_KIND, Some(error.kind.to_string())),
        (wire::DLQ_ERROR, Some(reason.to_owned())),
        (wire::DLQ_FAILED_AT, Some(clock.rfc3339())),
        // Removes the headers of an earlier dead letter.
        (wire::DLQ_PAYLOAD_OMITTED, None),
        (wire::DLQ_KEY_OMITTED, None),
        (wire::DLQ_HEADERS_OMITTED, None),
    ];
    let mut headers = Headers::from(message.headers());
    for (name, value) in details {
        headers.remove(name);
        if let Some(value) = value {
            headers.append(name, value);
        }
    }
    Message::new(MessageParts { topic, headers: headers.view(), ..message.parts() })
}

fn without_payload(message: &Message) -> Message {
    let Some(payload) = message.payload() else { return message.clone() };
    let mut headers = Headers::from(message.headers());
    headers.insert(wire::DLQ_PAYLOAD_OMITTED, payload.len().to_string());
    Message::new(MessageParts { headers: headers.view(), payload: None, ..message.parts() })
}

fn reference(message: &Message, position: Position, source: &str, clock: &Clock) -> Message {
    let (mut headers, mut size, mut omitted) = (Headers::new(), 0, 0_usize);
    let mut is_reason = false;
    for (name, value) in message.headers().iter() {
        is_reason |= name == wire::DLQ_TOPIC;
        let bytes = if is_reason { 0 } else { name.len() + value.len() };
        if bytes <= PART_LIMIT && size + bytes <= HEADERS_LIMIT {
            size += bytes;
            headers.append(name, value);
        } else {
            omitted += 1;
        }
    }
    if omitted > 0 {
        headers.insert(wire::DLQ_HEADERS_OMITTED, omitted.to_string());
    }
    let mut parts = message.parts();
    if let Some(key) = parts.key.take_if(|key| key.len() > PART_LIMIT) {
        headers.insert(wire::DLQ_KEY_OMITTED, key.len().to_string());
    }
    let id;
    if parts.source.len() + parts.id.len() > PART_LIMIT {
        id = position_id(headers.text(wire::DLQ_TOPIC).unwrap_or_default(), position, clock);
        (parts.source, parts.id) = (source, &id);
    }
    Message::new(MessageParts { headers: headers.view(), ..parts })
}

/// Returns an id for the record at `position`: the same one for each dead letter of the record, if it has a position.
fn position_id(topic: &str, position: Position, clock: &Clock) -> String {
    match position {
        Position { partition: Some(partition), offset: Some(offset), timestamp } => {
            PositionId::default().write(topic, partition, offset, timestamp).to_owned()
        }
        _ => clock.uuid_v7().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PLACE: Position = Position::at(3, 512);

    fn record() -> MessageParts<'static> {
        MessageParts { source: "shop", id: "1", topic: "orders", key: Some(b"k"), ..MessageParts::default() }
    }

    fn headers() -> Headers {
        [("x", "y"), (wire::DLQ_TIMESTAMP, "of an earlier dead letter")].into_iter().collect()
    }

    fn dead(parts: MessageParts<'_>) -> Message {
        let error = Error::invalid("ä".repeat(2_000));
        let delivery = Delivery::new(Message::new(parts), "billing").at(PLACE);
        whole(&delivery, "orders.dlq", &error, 4, &Clock::manual(Duration::ZERO))
    }

    fn reference(whole: &Message) -> Message {
        Form::Reference.of(whole, PLACE, "kafka", &Clock::manual(Duration::ZERO)).unwrap()
    }

    #[test]
    fn a_dead_letter_has_the_whole_record_and_the_reason() {
        let dead = dead(MessageParts { headers: headers().view(), ..record() });
        assert_eq!((dead.topic(), dead.key()), ("orders.dlq", Some(&b"k"[..])));
        assert_eq!(dead.payload(), None);
        let text = |name| dead.headers().text(name).unwrap();
        assert_eq!(text("x"), "y");
        assert_eq!(
            (text(wire::DLQ_TOPIC), text(wire::DLQ_PARTITION), text(wire::DLQ_OFFSET)),
            ("orders", "3", "512")
        );
        assert_eq!((text(wire::DLQ_GROUP), text(wire::DLQ_ATTEMPTS)), ("billing", "4"));
        assert_eq!(
            (text(wire::DLQ_ERROR_KIND), text(wire::DLQ_FAILED_AT)),
            ("invalid", "1970-01-01T00:00:00.000Z")
        );
        assert!((ERROR_LIMIT - 1..=ERROR_LIMIT).contains(&text(wire::DLQ_ERROR).len()));
        assert_eq!(dead.headers().get(wire::DLQ_TIMESTAMP), None);
    }

    #[test]
    fn a_dead_letter_of_a_transport_without_partitions_has_no_position() {
        let delivery = Delivery::new(Message::new(record()), "billing");
        let clock = Clock::manual(Duration::ZERO);
        let dead = whole(&delivery, "orders.dlq", &Error::invalid("no"), 1, &clock);
        for name in [wire::DLQ_PARTITION, wire::DLQ_OFFSET, wire::DLQ_TIMESTAMP] {
            assert_eq!(dead.headers().get(name), None, "{name}");
        }
        assert_eq!(dead.headers().text(wire::DLQ_TOPIC), Some("orders"));
    }

    #[test]
    fn a_reference_to_a_huge_record_is_small_and_has_its_position() {
        let large = "x".repeat(1_020_000);
        let mut headers = headers();
        headers.append("large", &large);
        (0..2_000).for_each(|n| headers.append("many", n.to_string()));
        let (key, payload) = (Some(large.as_bytes()), Some(large.as_bytes()));
        let huge = MessageParts { source: &large, key, payload, headers: headers.view(), ..record() };
        let dead = reference(&dead(huge));
        assert!(dead.size() < 16 * 1024, "{}", dead.size());
        assert_eq!(
            (dead.source(), dead.id(), dead.key(), dead.payload()),
            ("kafka", "orders-3-512", None, None)
        );
        let number = |name| dead.headers().text(name).unwrap().parse::<usize>().unwrap();
        assert_eq!(
            (number(wire::DLQ_PAYLOAD_OMITTED), number(wire::DLQ_KEY_OMITTED)),
            (1_020_000, 1_020_000)
        );
        let kept = dead.headers().iter().filter(|(name, _)| *name == "many").count();
        assert_eq!(number(wire::DLQ_HEADERS_OMITTED), 2_000 - kept + 1);
        assert_eq!((number(wire::DLQ_PARTITION), number(wire::DLQ_OFFSET)), (3, 512));
    }

    #[test]
    fn a_reference_is_small_whatever_the_record_calls_its_headers() {
        let large = "x".repeat(1_020_000);
        let headers: Headers = [("dlq_large", &large), ("dlq_other", &large)].into_iter().collect();
        let dead = reference(&dead(MessageParts { headers: headers.view(), ..record() }));
        assert!(dead.size() < 16 * 1024, "{}", dead.size());
        let text = |name| dead.headers().text(name).unwrap();
        assert_eq!((text(wire::DLQ_HEADERS_OMITTED), text(wire::DLQ_OFFSET)), ("2", "512"));
    }

    #[test]
    fn a_reference_keeps_small_keys_and_headers() {
        let headers = headers();
        let dead = dead(MessageParts { payload: Some(b"value"), headers: headers.view(), ..record() });
        let dead = reference(&dead);
        assert_eq!((dead.id(), dead.key(), dead.headers().text("x")), ("1", Some(&b"k"[..]), Some("y")));
        assert_eq!(dead.headers().get(wire::DLQ_HEADERS_OMITTED), None);
    }
}
