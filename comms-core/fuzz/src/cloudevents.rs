//! The parsers of `CloudEvents` from outside: JSON envelopes and batches, and the HTTP binding.

use comms_core::{
    bytes::Bytes,
    cloudevents::{CloudEvent, Limits, http as binding, json},
    http::{HeaderMap, HeaderName, HeaderValue},
};

/// What was read is written and read the same, in every form it has.
fn check(event: &CloudEvent, limits: &Limits) {
    let text = json::encode(event).expect("what was read can be written");
    assert_eq!(json::decode(&text, limits).as_ref().ok(), Some(event), "as JSON");
    if let Ok((headers, body)) = binding::encode(event) {
        // A header has no type: a number comes back as its text, and then stays it.
        let read = binding::decode(&headers, body, limits).expect("our own is read");
        let [read] = read.as_slice() else { panic!("one event was sent, {} were read", read.len()) };
        assert_eq!(
            (read.id(), read.source(), read.data()),
            (event.id(), event.source(), event.data()),
            "as HTTP"
        );
        // Without data there is nothing for a content type to be of: a tombstone leaves it out.
        let kept =
            |event: &CloudEvent| event.attributes().filter(|(name, _)| *name != "datacontenttype").count();
        assert_eq!(kept(read), kept(event), "as HTTP");
    }
    let message = event.clone().into_message("topic");
    assert_eq!((&*message.id, &*message.source), (event.id(), event.source()));
    let back = CloudEvent::from_message(&message, limits).expect("our own is read");
    assert_eq!((back.data(), back.event_type()), (event.data(), event.event_type()), "as a message");
}

pub(super) fn cloudevents_json(data: &[u8]) {
    let limits = Limits::default();
    if let Ok(event) = json::decode(data, &limits) {
        check(&event, &limits);
    }
    for event in json::decode_batch(data, &limits).unwrap_or_default() {
        check(&event, &limits);
    }
}

/// Header lines, `name: value`; after an empty line the body.
pub(super) fn cloudevents_headers(data: &[u8]) {
    let (mut headers, mut rest) = (HeaderMap::new(), data);
    while let Some(end) = rest.iter().position(|&b| b == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        let mut parts = line.splitn(2, |&b| b == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii()))
        {
            headers.append(name, value);
        }
    }
    let limits = Limits::default();
    for event in binding::decode(&headers, Bytes::copy_from_slice(rest), &limits).unwrap_or_default() {
        check(&event, &limits);
    }
}
