//! The message of a dead letter: the complete record, or a reference to the record.

use comms_core::{Delivery, Error, Headers, Message, clock::Clock, wire};

use crate::{record, topic_name::dlq_topic};

/// The longest error text in a header, bytes.
const ERROR_LIMIT: usize = 1024;
/// The largest key, identity and single header that a reference copies from the record, bytes.
const PART_LIMIT: usize = 1024;
/// The largest total of the headers that a reference copies from the record, bytes.
const HEADERS_LIMIT: usize = 8 * 1024;

/// The position of a record in its topic.
#[derive(Debug, Clone, Copy)]
pub(in crate::consumer) struct Place {
    pub(in crate::consumer) partition: i32,
    pub(in crate::consumer) offset: i64,
    /// Milliseconds since 1970, if the record has a timestamp.
    pub(in crate::consumer) timestamp: Option<i64>,
}

/// How much of the record a dead letter contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::consumer) enum Form {
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
    pub(in crate::consumer) const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::WithoutPayload => "without_payload",
            Self::Reference => "reference",
        }
    }

    /// Returns `whole` in this form, or `None` if that is the same as the form before.
    pub(super) fn of(self, whole: &Message, place: Place) -> Option<Message> {
        match self {
            Self::Whole => Some(whole.clone()),
            Self::WithoutPayload => whole.payload.is_some().then(|| without_payload(whole.clone())),
            Self::Reference => Some(reference(without_payload(whole.clone()), place)),
        }
    }
}

/// Returns the complete dead letter of `delivery`: key, payload and headers of the record, and the reason in further
/// headers.
pub(super) fn whole(
    delivery: &Delivery,
    place: Place,
    error: &Error,
    attempts: u32,
    clock: &Clock,
) -> Message {
    let mut message = delivery.message.clone();
    let reason = error.chain().to_string();
    let reason = &reason[..reason.floor_char_boundary(ERROR_LIMIT)];
    let details = [
        (wire::DLQ_TOPIC, Some(message.topic.to_string())),
        (wire::DLQ_PARTITION, Some(place.partition.to_string())),
        (wire::DLQ_OFFSET, Some(place.offset.to_string())),
        (wire::DLQ_TIMESTAMP, place.timestamp.map(|millis| millis.to_string())),
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
    for (name, value) in details {
        message.headers.remove(name);
        if let Some(value) = value {
            message.headers.append(name, value);
        }
    }
    message.topic = dlq_topic(&message.topic).into();
    message
}

fn without_payload(mut message: Message) -> Message {
    if let Some(payload) = message.payload.take() {
        message.headers.insert(wire::DLQ_PAYLOAD_OMITTED, payload.len().to_string());
    }
    message
}

fn reference(mut message: Message, place: Place) -> Message {
    let (mut headers, mut size, mut omitted) = (Headers::new(), 0, 0_usize);
    for (name, value) in message.headers.iter() {
        let bytes = name.len() + value.len();
        let small = bytes <= PART_LIMIT && size + bytes <= HEADERS_LIMIT;
        if !small && !name.starts_with("dlq_") {
            omitted += 1;
            continue;
        }
        size += if name.starts_with("dlq_") { 0 } else { bytes };
        headers.append(name.to_owned(), value.clone());
    }
    if omitted > 0 {
        headers.insert(wire::DLQ_HEADERS_OMITTED, omitted.to_string());
    }
    if let Some(key) = message.key.take_if(|key| key.len() > PART_LIMIT) {
        headers.insert(wire::DLQ_KEY_OMITTED, key.len().to_string());
    }
    if message.source.len() + message.id.len() > PART_LIMIT {
        // The same identity as that of a record without `ce_id` and `ce_source`.
        let topic = headers.text(wire::DLQ_TOPIC).unwrap_or_default();
        message.id = record::position_id(topic, place.partition, place.offset, place.timestamp);
        message.source = record::POSITION_SOURCE.into();
    }
    Message { headers, ..message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PLACE: Place = Place { partition: 3, offset: 512, timestamp: None };

    fn delivery(message: Message) -> Delivery {
        Delivery::new(message, "billing", "orders/3@512")
    }

    fn message() -> Message {
        Message {
            source: "shop".into(),
            id: "1".into(),
            topic: "orders".into(),
            key: Some("k".into()),
            headers: [("x", "y"), (wire::DLQ_TIMESTAMP, "of an earlier dead letter")].into_iter().collect(),
            payload: None,
        }
    }

    fn dead(message: Message) -> Message {
        let error = Error::invalid("ä".repeat(2_000));
        whole(&delivery(message), PLACE, &error, 4, &Clock::manual(Duration::ZERO))
    }

    #[test]
    fn a_dead_letter_has_the_whole_record_and_the_reason() {
        let dead = dead(message());
        assert_eq!((&*dead.topic, dead.key.as_deref()), ("orders.dlq", Some(&b"k"[..])));
        assert_eq!(dead.payload, None);
        let text = |name| dead.headers.text(name).unwrap();
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
        assert_eq!(dead.headers.get(wire::DLQ_TIMESTAMP), None);
    }

    #[test]
    fn a_reference_to_a_huge_record_is_small_and_has_its_position() {
        let large = || "x".repeat(1_020_000);
        let mut record = Message {
            source: large().into(),
            key: Some(large().into()),
            payload: Some(large().into()),
            ..message()
        };
        record.headers.append("large", large());
        (0..2_000).for_each(|n| record.headers.append("many", n.to_string()));
        let dead = Form::Reference.of(&dead(record), PLACE).unwrap();
        assert!(dead.size() < 16 * 1024, "{}", dead.size());
        assert_eq!((&*dead.source, &*dead.id, dead.key, dead.payload), ("kafka", "orders-3-512", None, None));
        let number = |name| dead.headers.text(name).unwrap().parse::<usize>().unwrap();
        assert_eq!(
            (number(wire::DLQ_PAYLOAD_OMITTED), number(wire::DLQ_KEY_OMITTED)),
            (1_020_000, 1_020_000)
        );
        let kept = dead.headers.iter().filter(|(name, _)| *name == "many").count();
        assert_eq!(number(wire::DLQ_HEADERS_OMITTED), 2_000 - kept + 1);
        assert_eq!((number(wire::DLQ_PARTITION), number(wire::DLQ_OFFSET)), (3, 512));
    }

    #[test]
    fn a_reference_keeps_small_keys_and_headers() {
        let record = Message { payload: Some("value".into()), ..message() };
        let dead = Form::Reference.of(&dead(record), PLACE).unwrap();
        assert_eq!(
            (&*dead.id, dead.key.as_deref(), dead.headers.text("x")),
            ("1", Some(&b"k"[..]), Some("y"))
        );
        assert_eq!(dead.headers.get(wire::DLQ_HEADERS_OMITTED), None);
    }
}
