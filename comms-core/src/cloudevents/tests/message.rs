//! Messages in binary and in structured mode.

use super::*;
use crate::{
    context::Context,
    event::{self, Event, EventSource},
};

#[derive(serde::Serialize, serde::Deserialize)]
struct Placed {
    order_id: String,
}

impl Event for Placed {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

#[tokio::test]
async fn an_event_keeps_key_trace_correlation_and_cause_of_its_message() {
    let clock = Clock::manual(std::time::Duration::from_secs(1_700_000_000));
    let make = || EventSource::new("shop", clock.clone()).message(&Placed { order_id: "7".into() }).unwrap();
    let first = make();
    let caused = Context::of_message(&first, &clock).scope(async { make() }).await;
    let event = CloudEvent::from_message(&caused, &Limits::default()).unwrap();
    let identity = format!("shop/{}", first.id());
    assert_eq!(event.text(CORRELATION_ID), Some(&*identity));
    assert_eq!(event.text(CAUSATION_ID), Some(&*identity));
    assert_eq!(event.text(PARTITION_KEY), Some("7"));
    assert_eq!(event.text("traceparent"), caused.headers().text(wire::TRACEPARENT));
    assert_eq!(event.text("time"), Some("2023-11-14T22:13:20.000Z"));
    let body = json::encode(&event).unwrap();
    let back = json::decode(&body, &Limits::default()).unwrap().into_message("order.placed");
    assert_eq!(sorted(&back), sorted(&caused));
    assert_eq!(event::decode::<Placed>(&back).unwrap().order_id, "7");
}

#[test]
fn a_structured_message_becomes_its_event_with_the_message_key() {
    let inner = CloudEvent::with_id("1", "/a", "t").unwrap().with_data("text/plain", "x").unwrap();
    let envelope = json::encode(&inner).unwrap();
    let message = |media| {
        let headers = Headers::from_iter([(wire::CONTENT_TYPE, media)]);
        let (key, payload, topic) = (Some(&b"k"[..]), Some(&envelope[..]), "topic");
        Message::new(MessageParts {
            source: "/a",
            id: "topic-0-7",
            topic,
            key,
            headers: headers.view(),
            payload,
        })
    };
    let opened = CloudEvent::from_message(&message(json::CONTENT_TYPE), &Limits::default()).unwrap();
    assert_eq!(opened, inner.with(PARTITION_KEY, "k").unwrap());
    let batch = message(json::BATCH_CONTENT_TYPE);
    assert_refused(CloudEvent::from_message(&batch, &Limits::default()), "is a batch of CloudEvents");
}

#[test]
fn an_invalid_message_is_refused_and_undecodable_data_is_kept() {
    let message = CloudEvent::with_id("1", "/a", "t").unwrap().into_message("topic");
    let read = |message: &Message| CloudEvent::from_message(message, &Limits::default());
    let broken = |name: &'static str, value: &'static [u8]| {
        message.with_headers(|headers| headers.insert(name, value))
    };
    assert_refused(read(&broken("ce_x", b"\xff")), "\"x\" is not UTF-8");
    assert_refused(read(&broken("ce_My", b"a")), "\"My\" has an invalid name");
    assert_refused(read(&broken("ce_specversion", b"2.0")), "\"specversion\" is not 1.0");
    let with = |key: Option<&[u8]>, payload: Option<&[u8]>| {
        Message::new(MessageParts { key, payload, ..message.parts() })
    };
    assert_refused(read(&with(Some(b"\xff"), None)), "\"partitionkey\"");
    let without_id = Message::new(MessageParts { id: "", ..message.parts() });
    assert_refused(read(&without_id), "\"id\" is empty");
    let limits = Limits { bytes: 3, ..Limits::default() };
    let large = with(None, Some(b"1234"));
    assert_refused(CloudEvent::from_message(&large, &limits), "4 bytes, but the limit is 3");
    let limits = Limits { attributes: 5, attribute_bytes: 3, ..Limits::default() };
    assert!(CloudEvent::from_message(&broken("ce_x", b"a"), &limits).is_ok());
    let two = Message::new(MessageParts { key: Some(b"k"), ..broken("ce_x", b"a").parts() });
    assert_refused(CloudEvent::from_message(&two, &limits), "6 attributes, but the limit is 5");
    assert_refused(CloudEvent::from_message(&broken("ce_x", b"abcd"), &limits), "\"x\" has 4 bytes");
    let keyed = with(Some(b"abcd"), None);
    assert_refused(CloudEvent::from_message(&keyed, &limits), "\"partitionkey\" has 4 bytes");

    let typed = broken(wire::CONTENT_TYPE, b"application/json")
        .with_headers(|headers| headers.insert(wire::CE_TYPE, "order.placed.v1"));
    let garbage = Message::new(MessageParts { payload: Some(b"\x00\xff{"), ..typed.parts() });
    let carried = read(&garbage).unwrap().into_message("topic");
    assert_eq!(carried.payload(), garbage.payload());
    assert_eq!(event::decode::<Placed>(&carried).map(drop).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn a_trace_header_takes_precedence_over_its_prefixed_form() {
    let message = CloudEvent::with_id("1", "/a", "t").unwrap().into_message("topic");
    let message = message.with_headers(|headers| headers.append("ce_traceparent", "foreign"));
    let read = |message: &Message| CloudEvent::from_message(message, &Limits::default()).unwrap();
    assert_eq!(read(&message).text("traceparent"), Some("foreign"));
    let mut both = Headers::from_iter([(wire::TRACEPARENT, "hop")]);
    message.headers().iter().for_each(|(name, value)| both.append(name, value));
    let both = Message::new(MessageParts { headers: both.view(), ..message.parts() });
    assert_eq!(read(&both).text("traceparent"), Some("hop"));
}
