//! Duplicates, reordering, crashes and restarts.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test]
async fn a_duplicate_is_applied_once_by_a_transactional_handler() {
    let unit = MemoryUnit::new();
    let consumer = start(billing(&unit)).await;
    let states = consumer.deliver_twice(message("a", 1)).await.unwrap();
    assert_eq!(states, [DeliveryState::Done, DeliveryState::Duplicate]);
    assert_eq!(unit.rows().len(), 1);
}

#[tokio::test]
async fn reversed_messages_arrive_in_reverse() {
    let unit = MemoryUnit::new();
    let consumer = start(billing(&unit)).await;
    let messages = [message("a", 1), message("a", 2), message("a", 3)];
    let states = consumer.deliver_reversed(&messages).await.unwrap();
    assert_eq!(states, [DeliveryState::Done; 3]);
    consumer.calls(TOPIC).assert_events(&[placed("a", 3), placed("a", 2), placed("a", 1)]);
    assert_eq!(unit.row("invoices/a").as_deref(), Some(&b"1"[..]), "this handler does not check the order");
}

#[tokio::test]
async fn after_a_lost_acknowledgement_the_message_is_a_duplicate() {
    let unit = MemoryUnit::new();
    let consumer = start(billing(&unit)).await;
    consumer.deliver(message("b", 1)).await.unwrap();
    let crashed = message("a", 1);
    assert_eq!(consumer.crash_before_ack(crashed.clone()).await.unwrap(), DeliveryState::Duplicate);
    consumer.assert_states_of(&crashed, &[DeliveryState::Abandoned, DeliveryState::Duplicate]);
    consumer.calls(TOPIC).assert_results(&[Ok(Outcome::Done), Ok(Outcome::Done), Ok(Outcome::Duplicate)]);
    let positions =
        consumer.calls(TOPIC).list().iter().map(|c| c.delivery.position.offset).collect::<Vec<_>>();
    assert_eq!(positions, [Some(0), Some(1), Some(1)], "the other message is acknowledged");
}

#[tokio::test]
async fn after_a_lost_commit_the_message_is_applied() {
    let (unit, mails) = (MemoryUnit::new(), Arc::new(Mutex::new(0)));
    let (apply, sent) = (crate::transport::BoxHandler::new(billing(&unit)), mails.clone());
    let handler = handler_fn(move |delivery: Delivery| {
        *sent.lock().unwrap() += 1;
        let apply = apply.clone();
        async move { apply.handle(delivery).await }
    });
    let consumer = start(handler).await;
    let state = consumer.crash_before_commit(message("a", 1), &unit).await.unwrap();
    assert_eq!(state, DeliveryState::Done);
    assert_eq!(unit.rows().len(), 1);
    assert_eq!(*mails.lock().unwrap(), 2, "an effect outside of the transaction is repeated");
    consumer.calls(TOPIC).assert_results(&[Err(ErrorKind::Indeterminate), Ok(Outcome::Done)]);
}

#[tokio::test]
async fn a_lost_answer_of_the_commit_is_retried_and_found_committed() {
    let database = MemoryUnit::new();
    let unit = FaultyUnit::new(database.clone());
    let handler = transactional(unit.clone(), |placed: Placed, mut tx: Scoped<MemoryTx>| async move {
        tx.write(&placed.order, "billed").await
    });
    let consumer = start(handler).await;
    unit.lose_next_answer(Error::indeterminate("the connection was closed"));
    let state = consumer.deliver(message("a", 1)).await.unwrap();
    assert_eq!(state, DeliveryState::Retrying(ErrorKind::Indeterminate));
    consumer.advance(SECOND).await.unwrap();
    consumer.assert_states(&[DeliveryState::Duplicate]);
    let crashed = consumer.crash_before_commit(message("b", 1), &unit).await.unwrap();
    assert_eq!(crashed, DeliveryState::Done);
    consumer.calls(TOPIC).assert_called(4);
    assert_eq!(database.rows().len(), 2);
    assert_eq!(unit.forget_commit_faults(), 0);
}

#[tokio::test]
async fn a_crash_that_did_not_happen_is_an_error() {
    let (unit, other) = (MemoryUnit::new(), MemoryUnit::new());
    let consumer = start(billing(&unit)).await;
    let error = consumer.crash_before_commit(message("a", 1), &other).await.unwrap_err();
    assert!(error.to_string().contains("did not commit"), "{error}");
    let error = consumer.crash_before_ack(message("a", 1).to("other")).await.unwrap_err();
    assert!(error.to_string().contains("no handler for topic other"), "{error}");
    // The plan is forgotten.
    assert_eq!(consumer.deliver(message("a", 2)).await.unwrap(), DeliveryState::Done);
}

#[tokio::test]
async fn a_restart_delivers_unsettled_messages_again_in_order() {
    let results = [Ok(Outcome::Done), Err(Error::indeterminate("no answer"))];
    let consumer = start(scripted(results)).await;
    let (first, second) = (message("a", 2), message("a", 3));
    consumer.deliver(message("a", 1)).await.unwrap();
    consumer.deliver(first.clone()).await.unwrap();
    consumer.deliver(second.clone()).await.unwrap();
    consumer.restart().await.unwrap();
    consumer.assert_states_of(&first, &[DeliveryState::Abandoned, DeliveryState::Done]);
    consumer.assert_states_of(&second, &[DeliveryState::Done]);
    consumer.calls(TOPIC).assert_called(4);
}

#[tokio::test]
async fn a_restart_from_the_beginning_repeats_every_message() {
    let unit = MemoryUnit::new();
    let consumer = start(billing(&unit)).await;
    consumer.deliver(message("a", 1)).await.unwrap();
    consumer.deliver_twice(message("a", 2)).await.unwrap();
    consumer.restart_from_the_beginning().await.unwrap();
    consumer.restart_from_the_beginning().await.unwrap();
    let [done, again] = [DeliveryState::Done, DeliveryState::Duplicate];
    consumer.assert_states(&[done, done, again, again, again, again, again, again, again]);
    assert_eq!(unit.rows().len(), 1);
}

#[tokio::test]
async fn a_restart_drops_running_attempts() {
    let (unit, calls) = (MemoryUnit::new(), Arc::new(AtomicUsize::new(0)));
    let hanging = transactional(unit.clone(), move |_: Placed, mut tx: Scoped<MemoryTx>| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        async move {
            tx.write(&format!("call/{call}"), "").await?;
            if call == 0 { std::future::pending().await } else { Ok(()) }
        }
    });
    let consumer = start(hanging).await;
    let dropped = message("a", 1);
    consumer.publish(dropped.clone()).await.unwrap();
    consumer.until_called(TOPIC, 1).await.unwrap();
    consumer.restart().await.unwrap();
    consumer.assert_states_of(&dropped, &[DeliveryState::Abandoned, DeliveryState::Done]);
    assert_eq!(consumer.calls(TOPIC).list()[0].result, CallResult::Dropped);
    let rows: Vec<_> = unit.rows().into_iter().map(|(name, _)| name).collect();
    assert_eq!(rows, ["call/1"], "the first transaction rolled back");
}

#[tokio::test]
async fn a_delivery_that_ends_beside_a_fatal_one_is_acknowledged() {
    // The first message is polled some times before it ends, and the second one stops the consumer meanwhile.
    for polls in 1..8 {
        let fatal = Arc::new(AtomicUsize::new(1));
        let handler = handler_fn(move |delivery: Delivery| {
            let (fatal, mut left) = (fatal.clone(), polls);
            async move {
                if delivery.message.id() == "b-1" && fatal.swap(0, Ordering::Relaxed) == 1 {
                    return Err(Error::fatal("stop"));
                }
                std::future::poll_fn(|cx| {
                    left -= 1;
                    cx.waker().wake_by_ref();
                    if left == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
                })
                .await;
                Ok(Outcome::Done)
            }
        });
        let broker = TestBroker::memory();
        let (first, second) = (message("a", 1), message("b", 1));
        broker.publish(first.clone()).await.unwrap();
        broker.publish(second).await.unwrap();
        let consumer = TestConsumer::builder("billing").on(TOPIC, handler).start_on(&broker).await.unwrap();
        consumer.settle().await.unwrap();
        let ended = consumer.states_of(&first) == [DeliveryState::Done];
        consumer.restart().await.unwrap();
        consumer.calls(TOPIC).assert_called(if ended { 3 } else { 4 });
    }
}
