//! Each handler of a group applies a message once, whatever its topic and its content mode.

use std::sync::Arc;

use comms_core::{
    Claim, Delivery, Error, ErrorKind, Headers, Inbox, Message, MessageParts, Scoped,
    clock::Clock,
    event::{Event, EventSource},
    in_transaction, named, transactional,
    transport::BoxHandler,
};
use comms_outbox::Subscriber;
use serde::{Deserialize, Serialize};

use super::{Backend, Tx, run, send, until};

#[derive(Serialize, Deserialize)]
struct Placed {
    order: String,
}

impl Event for Placed {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order.clone()
    }
}

fn placed(order: &str) -> Message {
    EventSource::new("shop", Clock::system()).message(&Placed { order: order.to_owned() }).unwrap()
}

fn handler<B: Backend>(backend: &B) -> BoxHandler {
    let shared = backend.clone();
    BoxHandler::new(transactional(backend.unit(), move |event: Placed, mut tx: Scoped<Tx<B>>| {
        let backend = shared.clone();
        async move {
            backend.add_effect(&mut tx, &event.order).await;
            Ok(())
        }
    }))
}

/// Handles each delivery twice, and returns the number of effects.
async fn deliver<B: Backend>(backend: &B, handler: &BoxHandler, deliveries: &[Delivery]) -> usize {
    for delivery in deliveries.iter().chain(deliveries) {
        handler.handle(delivery.clone()).await.unwrap();
    }
    backend.effects().await.len()
}

pub async fn each_handler_of_a_group_applies_a_message_once<B: Backend>() {
    let backend = B::start().await;
    let handler = handler(&backend);
    let on = |topic: &str, group: &str| Delivery::new(placed_as("a").to(topic), group);
    assert_eq!(deliver(&backend, &handler, &[on("orders", "billing")]).await, 1);
    assert_eq!(deliver(&backend, &handler, &[on("orders", "billing"), on("audit", "billing")]).await, 2);
    // A group with a new name has applied no message.
    assert_eq!(deliver(&backend, &handler, &[on("orders", "billing-2")]).await, 3);
    // A message from a retry topic, or replayed from the dead letters, reaches the handler of the first topic.
    let again = ["orders.retry.1m", "orders.dlq"].map(|topic| on(topic, "billing").to_handler("orders"));
    assert_eq!(deliver(&backend, &handler, &again).await, 3);
    // The same handler name on two topics means one handler.
    let named = BoxHandler::new(named("stock", handler));
    assert_eq!(deliver(&backend, &named, &[on("orders", "billing"), on("audit", "billing")]).await, 4);
}

/// Returns the same message each time.
fn placed_as(id: &str) -> Message {
    Message::new(MessageParts { id, ..placed("a").parts() })
}

/// Two relays deliver to two topics of one group, and both handlers run.
pub async fn one_message_on_two_topics_reaches_both_handlers_of_a_group<B: Backend>() {
    let backend = B::start().await;
    let message = placed("a");
    send(&backend, &[message.clone().to("orders"), message.to("audit")]).await;
    let subscriber = Subscriber::builder("readers")
        .on("orders", handler(&backend))
        .on("audit", handler(&backend))
        .build()
        .unwrap();
    let relay = run(backend.relay(Arc::new(subscriber)));
    until("both handlers ran", async || backend.effects().await.len() == 2).await;
    relay.stop().await;
}

/// One event in two content modes is applied once, because its identity is that of the envelope.
pub async fn a_structured_event_is_decoded_and_deduplicated<B: Backend>() {
    let backend = B::start().await;
    let event = placed("a");
    let binary = Message::new(MessageParts { source: "/shop", id: "7", ..event.parts() });
    let headers: Headers = [("content-type", "application/cloudevents+json")].into_iter().collect();
    let envelope =
        r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.placed.v1","data":{"order":"a"}}"#;
    let structured = Message::new(MessageParts {
        source: "outbox",
        id: &super::unique(),
        headers: headers.view(),
        payload: Some(envelope.as_bytes()),
        ..event.parts()
    });
    let last = Message::new(MessageParts { key: structured.key(), ..placed("last").parts() });
    let topics = [structured, binary, last].map(|message| message.to("orders"));
    send(&backend, &topics).await;
    let subscriber = Subscriber::builder("readers").on("orders", handler(&backend)).build().unwrap();
    let relay = run(backend.relay(Arc::new(subscriber)));
    until("the last one came", async || backend.effects().await.iter().any(|e| e == "last")).await;
    assert_eq!(backend.effects().await, ["a", "last"]);
    relay.stop().await;
}

/// An envelope that does not decode, and a batch, are parked with the reason and the original bytes.
pub async fn an_envelope_that_does_not_decode_is_parked<B: Backend>() {
    let backend = B::start().await;
    let closed = |media: &'static str, payload: &'static str| {
        super::message_to("orders", "", payload).with_headers(|headers| headers.insert("content-type", media))
    };
    let json = closed("application/cloudevents+json", "{\"specversion\":\"1.0\"");
    send(&backend, &[json, closed("application/cloudevents-batch+json", "[]")]).await;
    let subscriber = Subscriber::builder("readers").on("orders", handler(&backend)).build().unwrap();
    let relay = run(backend.relay(Arc::new(subscriber)));
    until("both are parked", async || backend.parked().await.len() == 2).await;
    let parked = backend.parked().await;
    let has_error = |text: &str| parked.iter().any(|parked| parked.error.contains(text));
    assert!(
        has_error("open a CloudEvents envelope") && has_error("application/cloudevents-batch+json"),
        "{parked:?}"
    );
    relay.stop().await;
}

/// A handler ignores the failure of its claim and continues. Nothing is kept.
pub async fn a_commit_after_a_failed_claim_is_refused<B: Backend>() {
    let backend = B::start().await;
    backend.drop_tables().await;
    let unit = backend.unit();
    let claim =
        [Claim { subscriber: "s".into(), handler: "h".into(), source: "test".into(), id: "1".into() }];
    let done = in_transaction(&unit, |mut tx: Scoped<Tx<B>>| {
        let (unit, backend) = (unit.clone(), backend.clone());
        async move {
            backend.add_effect(&mut tx, "before").await;
            let error = unit.claim(&mut tx, &claim).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Misconfigured, "a missing table is an operator's: {error}");
            Ok::<_, Error>(())
        }
    });
    assert_eq!(done.await.unwrap_err().kind, ErrorKind::Internal);
    assert!(backend.effects().await.is_empty());
}
