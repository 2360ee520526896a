//! Several groups on one broker, orderings, and what counts as settled.

use super::*;
use crate::{Outbox, UnitOfWork, event::EventSource, transport::Ordering};

#[tokio::test]
async fn each_group_gets_each_message_and_the_outbox_is_relayed() {
    let (broker, unit) = (TestBroker::memory(), MemoryUnit::new());
    let (outbox, events) = (unit.clone(), EventSource::new("billing", broker.clock().clone()));
    let bill = transactional(unit.clone(), move |placed: Placed, mut tx: Scoped<MemoryTx>| {
        let (outbox, events) = (outbox.clone(), events.clone());
        async move {
            let invoice = events.message(&placed)?;
            outbox.enqueue(&mut tx, &[invoice.to("invoices"), invoice.to("archive")]).await
        }
    });
    let billing = TestConsumer::builder("billing").on(TOPIC, bill).start_on(&broker).await.unwrap();
    let builder = TestConsumer::builder("mailing").on("invoices", scripted([])).on(TOPIC, scripted([]));
    let mailing = builder.start_on(&broker).await.unwrap();

    billing.deliver_event(&placed("a", 1)).await.unwrap();
    mailing.calls(TOPIC).assert_called_once();
    mailing.calls("invoices").assert_not_called();
    unit.published().assert_count(2).to("invoices").assert_events(&[placed("a", 1)]);
    assert_eq!(broker.relay(&unit).await.unwrap(), 2);
    assert_eq!(broker.relay(&unit).await.unwrap(), 0);
    mailing.calls("invoices").assert_called_once().assert_events(&[placed("a", 1)]);
    mailing.assert_states(&[DeliveryState::Done; 2]);
    billing.assert_states(&[DeliveryState::Done]);
}

#[tokio::test]
async fn a_group_that_starts_late_gets_the_earlier_messages() {
    let broker = TestBroker::memory();
    let builder = |group: &str| TestConsumer::builder(group).on(TOPIC, scripted([]));
    let early = builder("early").start_on(&broker).await.unwrap();
    early.deliver(message("a", 1)).await.unwrap();
    let late = builder("late").start_on(&broker).await.unwrap();
    broker.settle().await.unwrap();
    late.assert_states(&[DeliveryState::Done]);
    late.deliver(message("b", 1)).await.unwrap();
    for consumer in [&early, &late] {
        consumer.calls(TOPIC).assert_events(&[placed("a", 1), placed("b", 1)]);
    }
}

#[tokio::test]
async fn a_partition_in_order_waits_behind_its_first_message() {
    let failing = || scripted([Err(Error::not_executed("away"))]);
    let queued = [DeliveryState::Held(ErrorKind::NotExecuted), DeliveryState::Queued, DeliveryState::Queued];
    let free = [queued[0], DeliveryState::Done, DeliveryState::Done];
    for (ordering, states) in [(Ordering::Partition, queued), (Ordering::Key, free), (Ordering::None, free)] {
        let builder = TestConsumer::builder("billing").ordering(ordering).on(TOPIC, failing());
        let consumer = builder.start().await.unwrap();
        for order in ["a", "b", "c"] {
            consumer.deliver(message(order, 1)).await.unwrap();
        }
        consumer.assert_states(&states);
        consumer.advance(SECOND).await.unwrap();
        consumer.assert_states(&[DeliveryState::Done; 3]);
    }
}

#[tokio::test]
async fn without_order_a_key_overtakes_itself() {
    let builder = TestConsumer::builder("billing").ordering(Ordering::None);
    let consumer = builder.on(TOPIC, scripted([Err(Error::conflict("lost"))])).start().await.unwrap();
    consumer.deliver(message("a", 1)).await.unwrap();
    consumer.deliver(message("a", 2)).await.unwrap();
    consumer.assert_states(&[DeliveryState::Retrying(ErrorKind::Conflict), DeliveryState::Done]);
}

#[tokio::test]
async fn a_handler_that_does_io_is_awaited() {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let receiver = Arc::new(tokio::sync::Mutex::new(Some(receiver)));
    let handler = handler_fn(move |_: Delivery| {
        let receiver = receiver.clone();
        async move {
            let answer = receiver.lock().await.take().unwrap();
            answer.await.map(|()| Outcome::Done).map_err(Error::indeterminate)
        }
    });
    let consumer = start(handler).await;
    let answer = async {
        consumer.until_called(TOPIC, 1).await.unwrap();
        sender.send(()).unwrap();
    };
    let (state, ()) = tokio::join!(consumer.deliver(message("a", 1)), answer);
    assert_eq!(state.unwrap(), DeliveryState::Done);
}

#[tokio::test]
async fn a_set_up_that_cannot_run_is_refused() {
    let error = TestConsumer::builder("billing").start().await.unwrap_err();
    assert!(error.to_string().contains("no topic"), "{error}");
    let twice = TestConsumer::builder("billing").on(TOPIC, scripted([])).on(TOPIC, scripted([]));
    let error = twice.start().await.unwrap_err();
    assert!(error.to_string().contains("two handlers"), "{error}");
    let broker = TestBroker::memory();
    let builder = || TestConsumer::builder("billing").on(TOPIC, scripted([]));
    let first = builder().start_on(&broker).await.unwrap();
    let error = builder().start_on(&broker).await.unwrap_err();
    assert!(error.to_string().contains("billing already"), "{error}");
    assert_eq!(first.deliver(message("a", 1)).await.unwrap(), DeliveryState::Done);
}

#[tokio::test]
async fn an_outbox_is_relayed_from_its_first_message_after_another_one_was_dropped() {
    let broker = TestBroker::memory();
    let builder = TestConsumer::builder("billing").on(TOPIC, scripted([]));
    let consumer = builder.start_on(&broker).await.unwrap();
    for n in 0..20 {
        // The allocator gives the memory of the last database to the next one.
        let unit = MemoryUnit::new();
        let mut tx = unit.begin().await.unwrap();
        unit.enqueue(&mut tx, &[message("a", n)]).await.unwrap();
        unit.commit(tx).await.unwrap();
        assert_eq!(broker.relay(&unit).await.unwrap(), 1);
    }
    consumer.calls(TOPIC).assert_called(20);
}

#[tokio::test]
async fn a_message_that_a_handler_publishes_is_settled_too() {
    let broker = TestBroker::memory();
    let cascade = broker.clone();
    let first = handler_fn(move |delivery: Delivery| {
        let cascade = cascade.clone();
        async move { cascade.publish(delivery.message.to("second")).await.map(|()| Outcome::Done) }
    });
    let second = handler_fn(|_: Delivery| async {
        crate::clock::Clock::system().sleep(Duration::from_millis(50)).await;
        Ok(Outcome::Done)
    });
    let builder = TestConsumer::builder("billing").on(TOPIC, first).on("second", second);
    let consumer = builder.start_on(&broker).await.unwrap();
    assert_eq!(consumer.deliver(message("a", 1)).await.unwrap(), DeliveryState::Done);
    consumer.calls("second").assert_results(&[Ok(Outcome::Done)]);
}
