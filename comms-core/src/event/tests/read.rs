//! Type names, and reading an event from a message.

use super::*;
use crate::event::definition::is_valid_type;

#[test]
fn split_type_accepts_only_canonical_versions() {
    assert_eq!(split_type("order.placed.v2"), Some(("order.placed", 2)));
    assert_eq!(split_type("a.v1.v20"), Some(("a.v1", 20)));
    for wrong in ["order.placed", ".v1", "a.v", "a.v+1", "a.v01", "a.v0", "a.v1x", "a.v99999999999", ""] {
        assert_eq!(split_type(wrong), None, "{wrong}");
    }
}

#[test]
fn a_type_is_valid_if_it_is_visible_ascii_with_a_version_from_1() {
    assert!(is_valid_type("order.placed", 1) && is_valid_type("a", u32::MAX));
    for (name, version) in
        [("", 1), ("order placed", 1), ("order\n", 1), ("bestellung.ge\u{e4}ndert", 1), ("a", 0)]
    {
        assert!(!is_valid_type(name, version), "{name:?} {version}");
    }
}

/// Each type name with the expected error kind of `read` and of a registry; `None` means that the message is skipped.
#[test]
fn only_messages_of_other_events_are_skipped() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct PlacedV1 {}
    impl Event for PlacedV1 {
        const TYPE: &'static str = "order.placed";
        const VERSION: u32 = 1;
        fn key(&self) -> String {
            String::new()
        }
    }
    let (held, invalid) = (Some(ErrorKind::Misconfigured), Some(ErrorKind::Invalid));
    for (type_name, wanted) in [
        ("order.placed.v2", held),
        ("order.placed.v99999999999", held),
        ("order.placed", invalid),
        ("order.placed.v", invalid),
        ("order.placed.v0", invalid),
        ("order.placed.v01", invalid),
        ("order.placed.v+1", invalid),
        ("order.placed.v1x", invalid),
        ("order.placed.vX", invalid),
        ("order.placed.v1.2", invalid),
        ("order.placed.void", None),
        ("order.placed.void.v1", None),
        ("order.placed.by.v1", None),
        ("order.placedness.v1", None),
        ("order.v1", None),
        ("", None),
    ] {
        let message = message(type_name, "{}");
        match read::<PlacedV1>(&message) {
            Ok(read) => assert!(read.is_none() && wanted.is_none(), "{type_name}"),
            Err(error) => assert_eq!(Some(error.kind), wanted, "{type_name}: {error}"),
        }
        let registry = Registry::new().register(Versions::<PlacedV1>::json().build().unwrap()).unwrap();
        match registry.decode(&message) {
            Decoded::Unknown => assert_eq!(wanted, None, "{type_name}"),
            Decoded::Undecodable(error) => assert_eq!(Some(error.kind), wanted, "{type_name}"),
            Decoded::Event(event) => panic!("{type_name}: {event:?}"),
        }
    }
    let not_utf8 =
        message("order.placed.v1", "{}").with_headers(|headers| headers.insert(wire::CE_TYPE, [0xFF]));
    assert_eq!(read::<PlacedV1>(&not_utf8).map(drop).unwrap_err().kind, ErrorKind::Invalid);
    let plain = message("", "{}").with_headers(|headers| headers.remove(wire::CE_TYPE));
    assert!(read::<PlacedV1>(&plain).unwrap().is_none(), "a message without ce_type announces no event");
    for envelope in [
        "application/cloudevents-batch+json",
        "Application/CloudEvents+avro",
        " application/cloudevents+avro",
    ] {
        let plain = plain.with_headers(|headers| headers.insert(wire::CONTENT_TYPE, envelope));
        let error = read::<PlacedV1>(&plain).map(drop).unwrap_err();
        assert!(error.kind == ErrorKind::Invalid && error.to_string().contains(envelope), "{error}");
    }
}

#[test]
fn a_newer_version_is_held_or_dead_lettered_as_configured() {
    let newer = message("order.placed.v4", "{}");
    assert_eq!(versions().read(&newer).map(drop).unwrap_err().kind, ErrorKind::Misconfigured);
    let two = Versions::<Placed>::json().newer_version(NewerVersion::DeadLetter).build().unwrap();
    let error = two.read(&newer).map(drop).unwrap_err();
    assert!(error.kind == ErrorKind::Invalid && error.to_string().contains("then replay"), "{error}");
    assert!(two.read(&message("order.paid.v4", "{}")).unwrap().is_none());
}

#[test]
fn an_unsupported_version_is_refused_with_the_reason() {
    let two = Versions::<Placed>::json().upcast(2, v2_to_v3).build().unwrap();
    let v3 = r#"{"order_id":"7","cents":1,"currency":"EUR"}"#;
    for (versions, type_name, wanted) in [
        (versions(), "order.placed.v4", "order.placed.v4 is newer than v3"),
        (two.clone(), "order.placed.v1", "order.placed.v1 is older than v2"),
        (two.clone(), "order.paid.v3", "announces \"order.paid.v3\", not order.placed"),
        (two, "order.placed.v03", "\"order.placed.v03\" has no valid version"),
    ] {
        // The payload is valid, so only the version can be the reason.
        let error = versions.decode(&message(type_name, v3)).unwrap_err();
        let newer = type_name == "order.placed.v4";
        assert_eq!(error.kind, if newer { ErrorKind::Misconfigured } else { ErrorKind::Invalid });
        assert!(error.chain().to_string().contains(wanted), "{error}");
    }
}

#[test]
fn an_upcaster_error_names_the_event_and_the_step() {
    let error = versions().decode(&message("order.placed.v1", r#"{"id":"7","price":"much"}"#)).unwrap_err();
    assert_eq!(
        error.chain().to_string(),
        "invalid: decode order.placed (application/json): upcast v1 to v2: price is not a number"
    );
    let tombstone = message("order.placed.v1", "");
    let tombstone = Message::new(MessageParts { payload: None, ..tombstone.parts() });
    assert_eq!(versions().decode(&tombstone).unwrap_err().kind, ErrorKind::Invalid);
}
