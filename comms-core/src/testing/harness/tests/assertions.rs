//! The texts of assertions that fail.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// Returns the text with which `assertion` fails.
fn text_of(assertion: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(assertion)).expect_err("the assertion must fail");
    *panic.downcast::<String>().unwrap()
}

async fn consumer() -> TestConsumer {
    let consumer = start(scripted([Ok(Outcome::Done), Err(Error::invalid("price is negative"))])).await;
    consumer.deliver(message("a", 1)).await.unwrap();
    consumer.deliver(message("b", 2)).await.unwrap();
    consumer
}

#[tokio::test]
async fn a_wrong_count_lists_the_calls() {
    let consumer = consumer().await;
    let text = text_of(|| _ = consumer.calls(TOPIC).assert_called_once());
    assert_eq!(
        text,
        "the handler of order.placed in group billing: expected one call\n\
         the calls:\n  \
         1. order.placed/0@0, attempt 1, key a: returned done\n  \
         2. order.placed/0@1, attempt 1, key b: failed with invalid: price is negative"
    );
    let text = text_of(|| _ = consumer.calls("other").assert_called(3));
    assert!(text.ends_with("expected 3 calls\nthe calls:\n  none"), "{text}");
    let text = text_of(|| _ = consumer.calls(TOPIC).assert_not_called());
    assert!(text.contains("expected no call"), "{text}");
}

#[tokio::test]
async fn wrong_events_and_results_show_both_sides() {
    let consumer = consumer().await;
    let calls = consumer.calls(TOPIC);
    let text = text_of(|| _ = calls.assert_events(&[placed("a", 1), placed("b", 3)]));
    assert!(text.contains("cents: 3") && text.contains("2. Placed { order: \"b\", cents: 2 }"), "{text}");
    let text = text_of(|| _ = calls.assert_results(&[Ok(Outcome::Done)]));
    assert!(text.contains("expected the results\n  1. returned done\nthe calls:\n  1."), "{text}");
}

#[tokio::test]
async fn wrong_states_list_the_deliveries_with_their_calls() {
    let consumer = consumer().await;
    let text = text_of(|| consumer.assert_states(&[DeliveryState::Done, DeliveryState::Done]));
    assert_eq!(
        text,
        "group billing: expected the states\n  1. done\n  2. done\n\
         the deliveries:\n  \
         1. order.placed a-1: done\n       order.placed/0@0, attempt 1, key a: returned done\n  \
         2. order.placed b-2: dead-lettered (invalid): invalid: price is negative\n       \
         order.placed/0@1, attempt 1, key b: failed with invalid: price is negative"
    );
    let text = text_of(|| consumer.assert_states_of(&message("b", 2), &[DeliveryState::Skipped]));
    assert!(text.contains("message order.placed b-2: expected the states\n  1. skipped"), "{text}");
    assert!(!text.contains("a-1"), "{text}");
}

#[tokio::test]
async fn a_wrong_dead_letter_shows_the_error() {
    let consumer = consumer().await;
    let bad = message("b", 2);
    consumer.assert_dead_lettered(&bad, ErrorKind::Invalid, "negative");
    let text = text_of(|| consumer.assert_dead_lettered(&bad, ErrorKind::Invalid, "no currency"));
    assert!(text.contains("\"no currency\"") && text.contains("price is negative"), "{text}");
    text_of(|| consumer.assert_dead_lettered(&bad, ErrorKind::Conflict, "negative"));
    text_of(|| consumer.assert_dead_lettered(&message("a", 1), ErrorKind::Invalid, ""));
}

#[tokio::test]
async fn wrong_published_messages_are_listed() {
    let consumer = consumer().await;
    let letters = consumer.dead_letters();
    let text = text_of(|| _ = letters.assert_count(2));
    assert_eq!(
        text,
        "the dead letters of group billing: expected 2 messages\nthe messages:\n  \
         1. order.placed.dlq b-2 (order.placed.v1): {\"order\":\"b\",\"cents\":2}"
    );
    let text = text_of(|| _ = letters.to("x").assert_events(&[placed("b", 2)]));
    assert!(text.contains("topic x: expected the events") && text.ends_with("  none"), "{text}");
}

#[tokio::test]
async fn a_call_that_never_settles_is_named() {
    let handler = handler_fn(|_: Delivery| std::future::pending::<Result<Outcome, Error>>());
    let broker = TestBroker::memory().settle_limit(Duration::from_millis(20));
    let builder = TestConsumer::builder("billing").on(TOPIC, handler);
    let consumer = builder.start_on(&broker).await.unwrap();
    let error = consumer.deliver(message("a", 1)).await.unwrap_err().to_string();
    assert!(error.contains("not settled within 20ms"), "{error}");
    assert!(error.contains("order.placed a-1 of group billing: order.placed/0@0, attempt 1"), "{error}");
}
