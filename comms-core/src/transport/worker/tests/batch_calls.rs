//! How a worker calls a batch handler.

use std::{
    sync::Mutex,
    task::{Context, Waker},
};

use super::{rig::delivery, *};
use crate::{
    MessageParts, batch_fn,
    clock::Clock,
    context,
    transport::{AttemptConfig, BoxBatchHandler},
};

#[test]
fn a_batch_runs_in_no_context_and_an_attempt_alone_in_that_of_its_message() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let handler = batch_fn(move |batch: Vec<Delivery>| {
        log.lock().unwrap().push(context::Context::current().causation_id);
        let result = |delivery: &Delivery| match delivery.attempt {
            1 if delivery.message.id() == "1" => Err(Error::conflict("again")),
            _ => Ok(Outcome::Done),
        };
        std::future::ready(Ok(batch.iter().map(result).collect()))
    });
    let clock = Clock::manual(Duration::ZERO);
    let handler = BoxBatchHandler::new(handler);
    let processor = Processor::new(handler, AttemptConfig::default(), clock.clone(), "test");
    let mut worker = Worker::new(processor, WorkerConfig::default());
    let mut cx = Context::from_waker(Waker::noop());
    for tag in 0..2 {
        assert!(worker.push(delivery(tag, Some("a"), MessageParts::default()), tag, &mut cx).is_none());
    }
    let settled = |polled: Poll<Option<Settled>>| matches!(polled, Poll::Ready(Some(_)));
    assert!(settled(worker.poll_settled(&mut cx)) && worker.poll_settled(&mut cx).is_pending());
    clock.advance(Duration::from_secs(1));
    assert!(settled(worker.poll_settled(&mut cx)));
    let contexts: Vec<_> =
        seen.lock().unwrap().iter().map(|id| id.as_ref().map(ToString::to_string)).collect();
    assert_eq!(contexts, [None, Some("s/1".to_owned())]);
}

#[test]
fn a_handler_that_returns_too_few_results_fails_the_batch() {
    let handler = batch_fn(|mut batch: Vec<Delivery>| async move {
        batch.pop();
        Ok(batch.iter().map(|_| Ok(Outcome::Done)).collect())
    });
    let attempts = AttemptConfig::default().max_attempts(1);
    let (handler, clock) = (BoxBatchHandler::new(handler), Clock::manual(Duration::ZERO));
    let mut worker = Worker::new(Processor::new(handler, attempts, clock, "test"), WorkerConfig::default());
    let mut cx = Context::from_waker(Waker::noop());
    for tag in 0..2 {
        assert!(worker.push(delivery(tag, Some("a"), MessageParts::default()), tag, &mut cx).is_none());
    }
    let mut results = Vec::new();
    while let Poll::Ready(Some(settled)) = worker.poll_settled(&mut cx) {
        results.push(text(&settled.result));
    }
    assert_eq!(results, ["refused internal 1", "behind"]);
}

#[test]
fn deliveries_that_wait_for_a_held_batch_keep_no_memory_of_others_alive() {
    let address = |delivery: &Delivery| delivery.message.payload().unwrap().as_ptr().addr();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let handler = batch_fn(move |batch: Vec<Delivery>| {
        let mut log = log.lock().unwrap();
        log.push(batch.iter().map(address).collect::<Vec<_>>());
        std::future::ready(match log.len() {
            1 => Err(Error::not_executed("down")),
            _ => Ok(batch.iter().map(|_| Ok(Outcome::Done)).collect()),
        })
    });
    let clock = Clock::manual(Duration::ZERO);
    let processor =
        Processor::new(BoxBatchHandler::new(handler), AttemptConfig::default(), clock.clone(), "test");
    let mut worker = Worker::new(processor, WorkerConfig::default());
    let mut cx = Context::from_waker(Waker::noop());
    let mut slab = bytes::BytesMut::with_capacity(1_000);
    let mut in_slab = || {
        let parts = MessageParts { source: "s", id: "1", payload: Some(b"x"), ..MessageParts::default() };
        Delivery::new(Message::in_buffer(parts, &mut slab), "g")
    };
    let all = [in_slab(), in_slab(), in_slab(), in_slab()];
    let before: Vec<_> = all.iter().map(address).collect();
    let mut all = all.into_iter();
    let mut push = |worker: &mut Worker, cx: &mut Context<'_>| {
        assert!(worker.push(all.next().unwrap(), 0, cx).is_none());
    };
    push(&mut worker, &mut cx);
    push(&mut worker, &mut cx);
    assert!(worker.poll_settled(&mut cx).is_pending());
    push(&mut worker, &mut cx);
    clock.advance(Duration::from_secs(1));
    while worker.poll_settled(&mut cx).map(|settled| settled.is_some()) == Poll::Ready(true) {}
    push(&mut worker, &mut cx);
    while worker.poll_settled(&mut cx).map(|settled| settled.is_some()) == Poll::Ready(true) {}
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1, 1]);
    assert_eq!(seen[0], before[..2]);
    let again = [&seen[1][..], &seen[2][..]].concat();
    assert!(again.iter().all(|address| !before.contains(address)), "moved into buffers of their own");
    assert_eq!(seen[3], before[3..], "the wait of the last one is short");
}
