//! The registry.

use super::*;

#[test]
fn decode_distinguishes_registered_unknown_and_undecodable_messages() {
    let registry = Registry::new().register(versions()).unwrap();
    let registry = registry.register(Versions::of(Digits).build().unwrap()).unwrap();
    let old = message("order.placed.v2", r#"{"order_id":"7","cents":3}"#);
    let Decoded::Event(event) = registry.decode(&old) else { panic!("the event must be decoded") };
    assert!(event.is::<Placed>() && !event.is::<Tenth>());
    let event = event.downcast::<Tenth>().map(drop).unwrap_err();
    assert_eq!(event.downcast::<Placed>().unwrap().currency, "EUR");
    for unknown in ["order.paid.v1", "order.placed.void", ""] {
        assert!(matches!(registry.decode(&message(unknown, "{}")), Decoded::Unknown), "{unknown}");
    }
    for (type_name, payload, kind) in [
        ("order.placed.v4", "{}", ErrorKind::Misconfigured),
        ("order.placed.v3", "\u{7f}", ErrorKind::Invalid),
    ] {
        let message = message(type_name, payload);
        let Decoded::Undecodable(error) = registry.decode(&message) else { panic!("{type_name}") };
        assert_eq!(error.kind, kind);
    }
}

#[test]
fn a_duplicate_event_is_refused_and_events_are_listed() {
    let registry = Registry::new().register(versions()).unwrap();
    let duplicate = registry.clone().register(Versions::<Placed>::json().build().unwrap()).unwrap_err();
    assert_eq!(duplicate, SetupError::DuplicateEvent { event: "order.placed" });
    assert!(registry.versions::<Placed>().is_some() && registry.versions::<Tenth>().is_none());
    let listed = serde_json::to_value(registry.describe().collect::<Vec<_>>()).unwrap();
    let schema = json!({
        "type": "object",
        "properties": { "order_id": {"type": "string"}, "cents": {"type": "integer"}, "currency": {"type": "string"} },
        "required": ["cents", "currency", "order_id"],
    });
    let wanted = json!([{
        "name": "order.placed", "version": 3, "oldest": 1, "content_type": "application/json", "schema": schema,
    }]);
    assert_eq!(listed, wanted);
}
