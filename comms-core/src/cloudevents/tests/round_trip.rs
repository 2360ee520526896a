//! Properties: every form of an event restores the same event.

use proptest::{collection::vec, prelude::*};

use super::*;

/// Text of all Unicode characters that are valid in an attribute.
fn text() -> impl Strategy<Value = String> {
    let allowed = |c: char| if check_attribute("x", &c.to_string().into()).is_ok() { c } else { '\u{2028}' };
    vec(any::<char>().prop_map(allowed), 1..12).prop_map(|chars| chars.into_iter().collect())
}

fn payloads() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(Bytes::from),
        any::<String>().prop_map(Bytes::from),
        (any::<i64>(), any::<String>())
            .prop_map(|(n, s)| json!({"n": n, "s": s, "l": [null, 1.5]}).to_string().into()),
        Just(Bytes::from_static(b" { \"b\" : 1e2,\n\"a\":0.10 }")),
        Just(Bytes::from_static(b"{\"b\":1e2, \"a\" :0.10,\"a\":2}")),
        Just(Bytes::from_static(b"null")),
    ]
}

fn content_types() -> impl Strategy<Value = Option<&'static str>> {
    prop::sample::select(vec![
        None,
        Some("application/json"),
        Some("application/vnd.a+json; v=1"),
        Some("text/plain; charset=utf-8"),
        Some("application/octet-stream"),
    ])
}

prop_compose! {
    fn messages()(
        id in text(), event_type in text(), source in "[a-z0-9:/?#@!$&'()*+,;=._~-]{1,20}",
        subject in prop::option::of(text()), key in prop::option::of(text()),
        extensions in prop::collection::btree_map("[a-z][a-z0-9]{0,19}x", text(), 0..5),
        trace in prop::option::of("[0-9a-f-]{1,55}"),
        content_type in content_types(), payload in prop::option::of(payloads()),
    ) -> Message {
        let mut headers = Headers::from_iter([(wire::CE_SPECVERSION, "1.0".to_owned()), (wire::CE_TYPE, event_type)]);
        headers.append(wire::CE_TIME, "2026-11-21T07:00:00.123+01:00");
        let optional = [
            (wire::CONTENT_TYPE, content_type.map(str::to_owned)), ("ce_subject", subject), (wire::TRACEPARENT, trace),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                headers.append(name, value);
            }
        }
        for (name, value) in extensions {
            headers.append(format!("ce_{name}"), value);
        }
        Message::new(MessageParts {
            source: &source,
            id: &id,
            topic: "topic",
            key: key.as_deref().map(AsRef::as_ref),
            headers: headers.view(),
            payload: payload.as_deref(),
        })
    }
}

#[test]
fn every_reader_applies_the_limits_alike() {
    let limits = Limits::default();
    let value = "\u{e9}\"\\%"
        .repeat(limits.attribute_bytes)
        .chars()
        .take(limits.attribute_bytes / 2)
        .collect::<String>();
    let value = format!("{value}{}", "x".repeat(limits.attribute_bytes - value.len()));
    let message = CloudEvent::with_id("1", "/a", "t").unwrap().into_message("topic");
    let message = message.with_headers(|headers| {
        (4..limits.attributes).for_each(|n| headers.append(format!("ce_x{n}"), &value));
    });
    let event = CloudEvent::from_message(&message, &limits).unwrap();
    assert_eq!(json::decode(&json::encode(&event).unwrap(), &limits).unwrap(), event);
    let (headers, body) = http::encode(&event).unwrap();
    assert_eq!(http::decode(&headers, body, &limits).unwrap(), [event]);
    let message = message.with_headers(|headers| headers.append("ce_more", "x"));
    assert_refused(CloudEvent::from_message(&message, &limits), "65 attributes, but the limit is 64");
}

proptest! {
    #[test]
    fn a_message_round_trips_through_a_json_envelope(message in messages()) {
        let event = CloudEvent::from_message(&message, &Limits::default()).unwrap();
        let read = json::decode(&json::encode(&event).unwrap(), &Limits::default()).unwrap();
        prop_assert_eq!(&read, &event);
        prop_assert_eq!(sorted(&read.into_message("topic")), sorted(&message));
    }

    #[test]
    fn a_message_round_trips_through_http_headers(message in messages()) {
        let event = CloudEvent::from_message(&message, &Limits::default()).unwrap();
        let content_type = message.headers().get(wire::CONTENT_TYPE);
        if message.payload().is_some_and(<[u8]>::is_empty) && content_type.is_none() {
            prop_assert!(http::encode(&event).is_err());
            return Ok(());
        }
        let (headers, body) = http::encode(&event).unwrap();
        prop_assert!(headers.values().all(|v| v.to_str().is_ok()), "header values are visible ASCII");
        let read = http::decode(&headers, body, &Limits::default()).unwrap().remove(0);
        let mut wanted = message.clone();
        if wanted.payload().is_none() {
            wanted = wanted.with_headers(|headers| headers.remove(wire::CONTENT_TYPE));
        }
        prop_assert_eq!(sorted(&read.into_message("topic")), sorted(&wanted));
    }

    #[test]
    fn arbitrary_input_gives_an_error_or_an_event_that_round_trips(
        bytes in vec(any::<u8>(), 0..200),
        name in ".{0,8}",
        value in any::<String>(),
    ) {
        let _ = json::decode(&bytes, &Limits::default());
        let _ = json::decode_batch(&bytes, &Limits::default());
        if let Ok(event) = with(&name, json!(value)) {
            let again = json::decode(&json::encode(&event).unwrap(), &Limits::default()).unwrap();
            prop_assert_eq!(again, event);
        }
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let mut headers = headers(&[]);
            headers.insert("ce-x", value);
            if let Ok(events) = http::decode(&headers, Bytes::new(), &Limits::default()) {
                let (headers, body) = http::encode(&events[0]).unwrap();
                prop_assert_eq!(http::decode(&headers, body, &Limits::default()).unwrap(), events);
            }
        }
    }
}
