//! How a delivery ends, and what the consumer reports of it.

use super::*;

#[tokio::test]
async fn an_outcome_is_the_state_of_the_delivery() {
    let outcomes = [Outcome::Done, Outcome::Duplicate, Outcome::Skipped];
    let consumer = start(scripted(outcomes.map(Ok))).await;
    assert_eq!(consumer.deliver(message("a", 1)).await.unwrap(), DeliveryState::Done);
    assert_eq!(consumer.deliver(message("b", 1)).await.unwrap(), DeliveryState::Duplicate);
    assert_eq!(consumer.deliver_event(&placed("c", 3)).await.unwrap(), DeliveryState::Skipped);
    consumer.assert_states(&[DeliveryState::Done, DeliveryState::Duplicate, DeliveryState::Skipped]);
    let calls = consumer.calls(TOPIC);
    calls.assert_called(3).assert_events(&[placed("a", 1), placed("b", 1), placed("c", 3)]);
    calls.assert_results(&outcomes.map(Ok));
    let delivery = &calls.list()[1].delivery;
    assert_eq!((&*delivery.group, &*delivery.handler, delivery.attempt), ("billing", TOPIC, 1));
    assert_eq!(delivery.origin().to_string(), "order.placed/0@1");
    assert!(consumer.failure().is_none() && consumer.holds().is_empty());
}

#[tokio::test]
async fn a_failure_that_lies_in_the_message_is_a_dead_letter() {
    let consumer = start(scripted([Err(Error::invalid("price is negative"))])).await;
    let bad = message("a", 1);
    let state = consumer.deliver(bad.clone()).await.unwrap();
    assert_eq!(state, DeliveryState::DeadLettered(ErrorKind::Invalid));
    consumer.assert_dead_lettered(&bad, ErrorKind::Invalid, "price is negative");
    consumer.dead_letters().assert_count(1).to("order.placed.dlq").assert_events(&[placed("a", 1)]);
    consumer.calls(TOPIC).assert_results(&[Err(ErrorKind::Invalid)]);
}

#[tokio::test]
async fn a_failure_outside_the_message_is_held_and_its_key_waits() {
    let consumer = start(scripted([Err(Error::not_executed("the database is away"))])).await;
    let state = consumer.deliver(message("a", 1)).await.unwrap();
    assert_eq!(state, DeliveryState::Held(ErrorKind::NotExecuted));
    assert_eq!(consumer.deliver(message("a", 2)).await.unwrap(), DeliveryState::Queued);
    assert_eq!(consumer.deliver(message("b", 1)).await.unwrap(), DeliveryState::Done);
    assert!(consumer.holds()[0].reason.contains("the database is away"));
    consumer.advance(Duration::from_millis(100)).await.unwrap();
    consumer.assert_states(&[DeliveryState::Done; 3]);
    consumer.calls(TOPIC).assert_called(4);
    assert!(consumer.holds().is_empty());
}

#[tokio::test]
async fn an_error_that_stops_the_consumer_is_reported() {
    let consumer = start(scripted([Err(Error::fatal("the lease is lost"))])).await;
    let state = consumer.deliver(message("a", 1)).await.unwrap();
    assert_eq!(state, DeliveryState::Stopped(ErrorKind::Fatal));
    let failure = consumer.failure().unwrap();
    assert!(failure.text.contains("the lease is lost"), "{failure:?}");
    consumer.restart().await.unwrap();
    assert!(consumer.failure().is_none());
    consumer.assert_states(&[DeliveryState::Stopped(ErrorKind::Fatal), DeliveryState::Done]);
}

#[tokio::test]
async fn deliveries_of_a_stopped_consumer_are_abandoned_until_its_restart() {
    let results = [Err(Error::indeterminate("no answer")), Err(Error::fatal("the lease is lost"))];
    let consumer = start(scripted(results)).await;
    let (waiting, later) = (message("a", 1), message("c", 1));
    consumer.deliver(waiting.clone()).await.unwrap();
    consumer.deliver(message("b", 1)).await.unwrap();
    assert_eq!(consumer.deliver(later.clone()).await.unwrap(), DeliveryState::Abandoned);
    consumer.advance(SECOND).await.unwrap();
    consumer.assert_states_of(&waiting, &[DeliveryState::Abandoned]);
    consumer.calls(TOPIC).assert_called(2);
    consumer.restart().await.unwrap();
    consumer.assert_states_of(&waiting, &[DeliveryState::Abandoned, DeliveryState::Done]);
    consumer.assert_states_of(&later, &[DeliveryState::Done]);
}

#[tokio::test]
async fn a_panic_is_an_internal_error() {
    let handler = handler_fn(|delivery: Delivery| async move {
        assert!(delivery.attempt > 1, "the first attempt panics");
        Ok(Outcome::Done)
    });
    let consumer = start(handler).await;
    let state = consumer.deliver(message("a", 1)).await.unwrap();
    assert_eq!(state, DeliveryState::Retrying(ErrorKind::Internal));
    let calls = consumer.calls(TOPIC);
    assert!(calls.list()[0].failure().unwrap().text.contains("the first attempt panics"));
    consumer.advance(SECOND).await.unwrap();
    consumer.assert_states(&[DeliveryState::Done]);
}

#[tokio::test]
async fn the_failure_policy_decides_on_messages_that_failed_for_good() {
    let with = |policy| TestConsumer::builder("billing").failure_policy(policy);
    let invalid = || scripted([Err(Error::invalid("bad"))]);
    let holding = with(FailurePolicy::Hold).on(TOPIC, invalid()).start().await.unwrap();
    let state = holding.deliver(message("a", 1)).await.unwrap();
    assert_eq!(state, DeliveryState::Held(ErrorKind::Invalid));
    holding.advance(SECOND).await.unwrap();
    holding.assert_states(&[DeliveryState::Done]);

    let stopping = with(FailurePolicy::Stop).on(TOPIC, invalid()).start().await.unwrap();
    let state = stopping.deliver(message("a", 1)).await.unwrap();
    assert_eq!(state, DeliveryState::Stopped(ErrorKind::Invalid));
    assert!(stopping.failure().is_some());
}

#[tokio::test]
async fn a_function_decides_on_each_message_that_failed_for_good() {
    let decide = |error: &Error, delivery: &Delivery| match delivery.message.key() {
        Some(b"a") if error.kind == ErrorKind::Invalid => FailurePolicy::DeadLetter,
        Some(b"panics") => panic!("expected panic"),
        _ => FailurePolicy::Hold,
    };
    let handler = scripted([(); 3].map(|()| Err(Error::invalid("bad"))));
    let builder = TestConsumer::builder("billing").failure_policy_with(decide);
    let consumer = builder.on(TOPIC, handler).start().await.unwrap();
    let dead = consumer.deliver(message("a", 1)).await.unwrap();
    assert_eq!(dead, DeliveryState::DeadLettered(ErrorKind::Invalid));
    for key in ["b", "panics"] {
        let held = consumer.deliver(message(key, 1)).await.unwrap();
        assert_eq!(held, DeliveryState::Held(ErrorKind::Invalid), "{key}");
    }
    consumer.advance(SECOND).await.unwrap();
    consumer.assert_states_of(&message("b", 1), &[DeliveryState::Done]);
    consumer.dead_letters().assert_count(1);
}

#[tokio::test]
async fn a_dead_letter_that_is_refused_holds_its_message() {
    let publisher = MemoryPublisher::new();
    publisher.judge(|_| Err(Error::misconfigured("no such topic")));
    let builder = TestConsumer::builder("billing").dead_letter(Arc::new(publisher.clone()));
    let handler = scripted([Err(Error::invalid("bad"))]);
    let consumer = builder.on(TOPIC, handler).start().await.unwrap();
    let state = consumer.deliver(message("a", 1)).await.unwrap();
    assert_eq!(state, DeliveryState::Held(ErrorKind::Misconfigured));
    consumer.advance(SECOND).await.unwrap();
    consumer.assert_states(&[DeliveryState::Held(ErrorKind::Misconfigured)]);
    // Every form is too large: the writer tries each of them at the same time.
    publisher.judge(|_| Err(Error::invalid("too large")));
    consumer.advance(60 * SECOND).await.unwrap();
    consumer.assert_states(&[DeliveryState::Held(ErrorKind::Misconfigured)]);
    publisher.judge(|_| Ok(()));
    consumer.advance(60 * SECOND).await.unwrap();
    consumer.assert_states(&[DeliveryState::DeadLettered(ErrorKind::Invalid)]);
    consumer.dead_letters().assert_count(1);
    publisher.published().assert_count(1);
}

#[cfg(feature = "cloudevents")]
#[tokio::test]
async fn a_structured_envelope_is_the_delivery_of_its_event() {
    let consumer = start(scripted([])).await;
    use crate::cloudevents::{CloudEvent, Limits, json};
    let event = CloudEvent::from_message(&message("a", 1), &Limits::default()).unwrap();
    let event = json::encode(&event).unwrap();
    let envelope = |payload: &[u8]| {
        let headers: crate::Headers =
            [(crate::wire::CONTENT_TYPE, "application/cloudevents+json")].into_iter().collect();
        let parts = MessageParts { topic: TOPIC, source: "kafka", id: "position", ..MessageParts::default() };
        Message::new(MessageParts { headers: headers.view(), payload: Some(payload), ..parts })
    };
    assert_eq!(consumer.deliver(envelope(&event)).await.unwrap(), DeliveryState::Done);
    consumer.calls(TOPIC).assert_called_once().assert_events(&[placed("a", 1)]);
    assert_eq!(consumer.calls(TOPIC).list()[0].delivery.message.id(), "a-1");
    // An envelope that cannot be opened becomes a dead letter without a call.
    let broken = consumer.deliver(envelope(b"{")).await.unwrap();
    assert_eq!(broken, DeliveryState::DeadLettered(ErrorKind::Invalid));
    consumer.calls(TOPIC).assert_called_once();
}
