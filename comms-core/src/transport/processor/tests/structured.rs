//! CloudEvents in structured mode, as a consumer hands them to a handler.

use std::sync::Mutex;

use super::*;
use crate::{Claim, Headers, context::Context, wire};

const ENVELOPE: &str = r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.placed.v1",
    "traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","partitionkey":"k","tenant":"acme",
    "data": {"order_id": "7",  "cents": 1}}"#;

/// A record in structured mode whose identity is its position, as a consumer makes it.
fn record(media: &str, payload: &str) -> Delivery {
    let delivery = delivery();
    let headers: Headers =
        [(wire::CONTENT_TYPE, media), ("ce_id", "copy"), ("retries", "1")].into_iter().collect();
    let (key, headers, payload) = (Some(&b"k"[..]), headers.view(), Some(payload.as_bytes()));
    let message = Message::new(MessageParts { key, headers, payload, ..delivery.message.parts() });
    Delivery { message, ..delivery }
}

/// What the handler was given, in which trace, and the verdict.
async fn processed(delivery: Delivery) -> (Option<(Delivery, Option<String>)>, Verdict) {
    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    let handler = handler_fn(move |delivery: Delivery| {
        let trace = Context::current().trace.map(|trace| trace.to_string());
        *keep.lock().unwrap() = Some((delivery, trace));
        async { Ok(Outcome::Done) }
    });
    let processor =
        Processor::new(BoxHandler::new(handler), AttemptConfig::default(), Clock::system(), "test");
    let verdict = processor.process(delivery, pending(), pending()).await;
    (seen.lock().unwrap().take(), verdict)
}

#[tokio::test]
async fn an_envelope_is_opened_and_its_identity_is_the_inbox_key() {
    for media in [
        "application/cloudevents+json",
        " application/cloudevents+json",
        "Application/CloudEvents+JSON; charset=utf-8",
    ] {
        let (seen, verdict) = processed(record(media, ENVELOPE)).await;
        let (seen, trace) = seen.unwrap();
        assert!(trace.unwrap().contains("0af7651916cd43dd8448eb211c80319c"));
        assert!(matches!(verdict, Verdict::Done(Outcome::Done)));
        let claim = Claim::of(&seen);
        assert_eq!((&*claim.source, &*claim.id), ("/shop", "7"));
        let message = seen.message;
        assert_eq!(message.event_type(), Some("order.placed.v1"));
        assert_eq!(message.payload(), Some(&br#"{"order_id": "7",  "cents": 1}"#[..]));
        assert_eq!(message.key(), Some(&b"k"[..]));
        let text = |name| message.headers().text(name);
        assert_eq!(text(wire::CONTENT_TYPE), Some("application/json"));
        assert_eq!((text("ce_tenant"), text("retries")), (Some("acme"), Some("1")));
        assert!(
            text("ce_id").is_none() && text("ce_partitionkey").is_none() && text(wire::TRACEPARENT).is_some()
        );
        assert_eq!(message.topic(), "t");
    }
}

#[tokio::test]
async fn an_envelope_that_cannot_be_opened_is_a_dead_letter() {
    for payload in [
        "",
        "{",
        "[]",
        r#"{"specversion":"1.0","id":"7","source":"/shop"}"#,
        r#"{"specversion":"0.3","id":"7","source":"/shop","type":"order.placed.v1"}"#,
        r#"{"specversion":"1.0","id":"","source":"/shop","type":"order.placed.v1"}"#,
        r#"{"specversion":"1.0","id":"7","source":"/shop","type":"a.v1","data_base64":"?"}"#,
    ] {
        let (seen, verdict) = processed(record("application/cloudevents+json", payload)).await;
        let Verdict::DeadLetter { error, attempts: 1 } = verdict else { panic!("{payload}: {verdict:?}") };
        assert!(seen.is_none() && error.kind == ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("open a CloudEvents envelope"), "{error}");
        let mut letter = record("application/cloudevents+json", payload);
        letter.message = letter.message.with_headers(|headers| headers.insert(wire::DLQ_TOPIC, "t"));
        let (seen, _) = processed(letter.clone()).await;
        assert_eq!(seen.unwrap().0.message, letter.message, "a reader of dead letters gets it as it is");
    }
}

/// A handler may decode batches and other formats itself; a handler of events refuses them
/// (`only_another_event_is_skipped`).
#[tokio::test]
async fn a_batch_reaches_the_handler_as_it_is() {
    for (media, payload) in [("application/cloudevents-batch+json", "[]"), ("application/json", ENVELOPE)] {
        let delivery = record(media, payload);
        let (seen, _) = processed(delivery.clone()).await;
        assert_eq!(seen.unwrap().0.message, delivery.message);
    }
}
