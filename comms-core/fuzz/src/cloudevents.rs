//! Targets for the parsers of `CloudEvents`: JSON envelopes and batches, and the HTTP binding.

use comms_core::{
    bytes::Bytes,
    cloudevents::{CloudEvent, Limits, http as binding, json},
    http::{HeaderMap, HeaderName, HeaderValue},
};

/// Checks that `event` round-trips through every form.
fn check(event: &CloudEvent, limits: &Limits) {
    let text = json::encode(event).expect("an event that was decoded can be encoded");
    assert_eq!(json::decode(&text, limits).as_ref().ok(), Some(event), "as JSON");
    if let Ok((headers, body)) = binding::encode(event) {
        // Headers have no types: a number becomes text.
        let read = binding::decode(&headers, body, limits).expect("an encoded event can be decoded");
        let [read] = read.as_slice() else { panic!("one event was sent, {} were read", read.len()) };
        assert_eq!(
            (read.id(), read.source(), read.data()),
            (event.id(), event.source(), event.data()),
            "as HTTP"
        );
        // A tombstone has no content type over HTTP.
        let count =
            |event: &CloudEvent| event.attributes().filter(|(name, _)| *name != "datacontenttype").count();
        assert_eq!(count(read), count(event), "as HTTP");
    }
    let message = event.clone().into_message("topic");
    assert_eq!((message.id(), message.source()), (event.id(), event.source()));
    let back = CloudEvent::from_message(&message, limits).expect("an encoded event can be decoded");
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

/// The input is lines of headers, `name: value`, then an empty line, then the body.
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
