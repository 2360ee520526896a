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
    let mut message = inner.clone().into_message("topic");
    message.headers() = Headers::from_iter([(wire::CONTENT_TYPE, json::CONTENT_TYPE)]);
    message.payload() = Some(json::encode(&inner).unwrap());
    message.key() = Some("k".into());
    message.id() = "topic-0-7".into();
    let opened = CloudEvent::from_message(&message, &Limits::default()).unwrap();
    assert_eq!(opened, inner.with(PARTITION_KEY, "k").unwrap());
    message.headers().insert(wire::CONTENT_TYPE, json::BATCH_CONTENT_TYPE);
    assert_refused(CloudEvent::from_message(&message, &Limits::default()), "is a batch of CloudEvents");
}

#[test]
fn an_invalid_message_is_refused_and_undecodable_data_is_kept() {
    let message = CloudEvent::with_id("1", "/a", "t").unwrap().into_message("topic");
    let read = |message: &Message| CloudEvent::from_message(message, &Limits::default());
    let broken = |name: &'static str, value: &'static [u8]| {
        let mut message = message.clone();
        message.headers().insert(name, Bytes::from_static(value));
        message
    };
    assert_refused(read(&broken("ce_x", b"\xff")), "\"x\" is not UTF-8");
    assert_refused(read(&broken("ce_My", b"a")), "\"My\" has an invalid name");
    assert_refused(read(&broken("ce_specversion", b"2.0")), "\"specversion\" is not 1.0");
    assert_refused(
        read(&Message { key: Some(Bytes::from_static(b"\xff")), ..message.clone() }),
        "\"partitionkey\"",
    );
    assert_refused(read(&Message { id: "".into(), ..message.clone() }), "\"id\" is empty");
    let limits = Limits { bytes: 3, ..Limits::default() };
    let large = Message { payload: Some("1234".into()), ..message.clone() };
    assert_refused(CloudEvent::from_message(&large, &limits), "4 bytes, but the limit is 3");
    let limits = Limits { attributes: 5, attribute_bytes: 3, ..Limits::default() };
    assert!(CloudEvent::from_message(&broken("ce_x", b"a"), &limits).is_ok());
    let two = Message { key: Some("k".into()), ..broken("ce_x", b"a") };
    assert_refused(CloudEvent::from_message(&two, &limits), "6 attributes, but the limit is 5");
    assert_refused(CloudEvent::from_message(&broken("ce_x", b"abcd"), &limits), "\"x\" has 4 bytes");
    let keyed = Message { key: Some("abcd".into()), ..message.clone() };
    assert_refused(CloudEvent::from_message(&keyed, &limits), "\"partitionkey\" has 4 bytes");

    let mut garbage = broken(wire::CONTENT_TYPE, b"application/json");
    garbage.headers().insert(wire::CE_TYPE, "order.placed.v1");
    garbage.payload() = Some(Bytes::from_static(b"\x00\xff{"));
    let carried = read(&garbage).unwrap().into_message("topic");
    assert_eq!(carried.payload(), garbage.payload());
    assert_eq!(event::decode::<Placed>(&carried).map(drop).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn a_trace_header_takes_precedence_over_its_prefixed_form() {
    let mut message = CloudEvent::with_id("1", "/a", "t").unwrap().into_message("topic");
    message.headers().append("ce_traceparent", "foreign");
    let read = |message: &Message| CloudEvent::from_message(message, &Limits::default()).unwrap();
    assert_eq!(read(&message).text("traceparent"), Some("foreign"));
    let mut both = Headers::from_iter([(wire::TRACEPARENT, "hop")]);
    message.headers().iter().for_each(|(name, value)| both.append(name.to_owned(), value.clone()));
    message.headers() = both;
    assert_eq!(read(&message).text("traceparent"), Some("hop"));
}
