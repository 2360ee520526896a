use proptest::prelude::*;

use super::*;
use crate::Headers;

proptest! {
    #[test]
    fn a_message_returns_the_parts_it_was_made_of(
        texts in prop::array::uniform3(".{0,12}"),
        stored_key in prop::option::of(prop::collection::vec(any::<u8>(), 0..12)),
        stored_payload in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        list in prop::collection::vec((".{0,6}", ".{0,6}"), 0..4),
    ) {
        let list: Headers = list.into_iter().collect();
        let [source, id, topic] = &texts;
        let (key, payload, headers) = (stored_key.as_deref(), stored_payload.as_deref(), list.view());
        let parts = MessageParts { source, id, topic, key, headers, payload };
        let mut shared = BytesMut::new();
        let first = Message::in_buffer(parts, &mut shared);
        let second = Message::in_buffer(parts, &mut shared);
        for message in [&first, &second, &Message::new(parts), &second.compact(), &first.clone()] {
            prop_assert_eq!(message.parts(), parts);
        }
        prop_assert!(first.key_bytes().as_deref() == key);
        prop_assert!(first.payload_bytes().as_deref() == payload);
        let lengths = [key, payload].map(|part| part.map_or(0, <[u8]>::len));
        let expected = source.len() + id.len() + topic.len() + headers.size() + lengths[0] + lengths[1];
        prop_assert_eq!(first.size(), expected);
        let moved = MessageParts { topic: "other", ..parts };
        prop_assert_eq!(first.to("other"), Message::new(moved));
    }
}

#[test]
fn a_clone_and_its_parts_share_the_buffer() {
    let message =
        Message::new(MessageParts { key: Some(b"k"), payload: Some(b"value"), ..Default::default() });
    let address = <[u8]>::as_ptr;
    assert_eq!(address(message.payload().unwrap()), address(message.clone().payload().unwrap()));
    assert_eq!(address(message.payload().unwrap()), address(&message.payload_bytes().unwrap()));
}

#[test]
fn the_origin_names_the_position_or_else_the_id() {
    let message = Message::new(MessageParts { id: "7", topic: "orders", ..Default::default() });
    let delivery = Delivery::new(message, "billing");
    assert_eq!(delivery.origin().to_string(), "orders#7");
    assert_eq!(delivery.at(Position::at(3, 512)).origin().to_string(), "orders/3@512");
}

#[test]
fn a_buffer_with_content_keeps_it() {
    let parts = MessageParts {
        source: "s",
        id: "1",
        topic: "t",
        key: Some(b"k"),
        payload: Some(b"v"),
        ..Default::default()
    };
    let mut buffer = BytesMut::with_capacity(1_000);
    buffer.extend_from_slice(b"before");
    let message = Message::in_buffer(parts, &mut buffer);
    assert_eq!(message.parts(), parts);
    assert_eq!(&buffer[..], b"before");
}

#[test]
fn an_empty_key_is_a_key_and_an_empty_payload_is_no_tombstone() {
    let empty = Message::new(MessageParts { key: Some(b""), payload: Some(b""), ..Default::default() });
    let none = Message::new(MessageParts::default());
    assert_eq!(
        (empty.key(), empty.payload(), none.key(), none.payload()),
        (Some(&b""[..]), Some(&b""[..]), None, None)
    );
    assert_ne!(empty, none);
    assert_eq!((empty.compact(), empty.to("")), (empty.clone(), empty));
}
