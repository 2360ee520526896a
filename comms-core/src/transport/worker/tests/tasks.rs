//! A worker in a runtime: handlers that block their thread, and dead letters.
#![allow(clippy::disallowed_methods, reason = "the tests wait for tokio's paused time")]

use std::{
    collections::VecDeque,
    future::{pending, poll_fn},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use super::*;
use crate::{
    MessageParts, Position, Publisher,
    clock::Clock,
    handler_fn,
    resilience::Backoff,
    transport::{Acks, AttemptConfig, BoxHandler, DeadLetters, Holds, Receipt},
};

fn delivery(key: &str, offset: i64) -> Delivery {
    let parts =
        MessageParts { source: "s", id: "1", topic: "t", key: Some(key.as_bytes()), ..Default::default() };
    Delivery::new(Message::new(parts), "g").at(Position::at(0, offset))
}

fn worker(handler: impl crate::Handler, config: WorkerConfig) -> Worker {
    let attempts = AttemptConfig::default().max_attempts(1);
    Worker::new(Processor::new(BoxHandler::new(handler), attempts, Clock::system(), "test"), config)
}

async fn push(worker: &mut Worker, key: &str, tag: u64) -> Option<Settled> {
    poll_fn(|cx| Poll::Ready(worker.push(delivery(key, tag as i64), tag, cx))).await
}

async fn next(worker: &mut Worker) -> Option<String> {
    let settled = poll_fn(|cx| worker.poll_settled(cx)).await?;
    Some(format!("{} {}", settled.tag, text(&settled.result)))
}

/// Lets the attempts of the next hour run in tasks.
fn hand_off(worker: &mut Worker) {
    let hour = Duration::from_secs(3_600);
    worker.handoff.start(Clock::system().now() + hour);
}

#[tokio::test]
async fn a_long_poll_hands_the_next_attempts_to_tasks() {
    let clock = Clock::manual(Duration::ZERO);
    let (moving, in_task) = (clock.clone(), Arc::new(Mutex::new(Vec::new())));
    let log = in_task.clone();
    let handler = handler_fn(move |delivery: Delivery| {
        log.lock().unwrap().push(tokio::task::try_id().is_some());
        if delivery.position.offset == Some(1) {
            moving.advance(Duration::from_millis(30));
        }
        std::future::ready(Ok(Outcome::Done))
    });
    let processor = Processor::new(BoxHandler::new(handler), AttemptConfig::default(), clock.clone(), "test");
    let mut worker = Worker::new(processor, WorkerConfig::default());
    for (tag, at_once) in [(0, true), (1, true), (2, false)] {
        assert_eq!(push(&mut worker, "a", tag).await.is_some(), at_once, "{tag}");
    }
    assert_eq!(next(&mut worker).await.unwrap(), "2 done");
    clock.advance(Duration::from_secs(2));
    assert!(push(&mut worker, "a", 3).await.is_some(), "the period is over");
    assert_eq!(*in_task.lock().unwrap(), [false, false, true, false]);
}

/// The blocking handlers meet at a barrier: they end only if they run at the same time, on two threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn handlers_that_block_their_thread_run_beside_each_other() {
    let barrier = Arc::new(std::sync::Barrier::new(2));
    let handler = handler_fn(move |_: Delivery| {
        let barrier = barrier.clone();
        async move {
            barrier.wait();
            Ok(Outcome::Done)
        }
    });
    let mut worker = worker(handler, WorkerConfig::default());
    hand_off(&mut worker);
    assert!(push(&mut worker, "a", 1).await.is_none());
    assert!(push(&mut worker, "b", 2).await.is_none());
    assert!(push(&mut worker, "a", 3).await.is_none(), "behind 1");
    // 3 needs a partner, which is pushed when 1 and 2 have met.
    let mut settled = vec![next(&mut worker).await.unwrap(), next(&mut worker).await.unwrap()];
    settled.sort();
    assert_eq!(settled, ["1 done", "2 done"]);
    assert!(push(&mut worker, "b", 4).await.is_none());
    let mut settled = vec![next(&mut worker).await.unwrap(), next(&mut worker).await.unwrap()];
    settled.sort();
    assert_eq!(settled, ["3 done", "4 done"]);
    assert_eq!(next(&mut worker).await, None);
    assert_eq!(worker.shared.config.budget.running(), 0);
}

#[tokio::test]
async fn a_retry_of_a_handler_that_blocks_its_thread_runs_in_a_task_too() {
    let in_task = Arc::new(Mutex::new(Vec::new()));
    let log = in_task.clone();
    let handler = handler_fn(move |delivery: Delivery| {
        log.lock().unwrap().push(tokio::task::try_id().is_some());
        std::future::ready(if delivery.attempt > 1 {
            Ok(Outcome::Done)
        } else {
            Err(Error::conflict("again"))
        })
    });
    let processor =
        Processor::new(BoxHandler::new(handler), AttemptConfig::default(), Clock::system(), "test");
    let mut worker = Worker::new(processor, WorkerConfig::default());
    hand_off(&mut worker);
    assert!(push(&mut worker, "a", 1).await.is_none());
    assert_eq!(next(&mut worker).await.unwrap(), "1 done");
    assert_eq!(*in_task.lock().unwrap(), [true, true]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_in_a_task_has_its_time_limit_and_ends_with_the_worker() {
    let dropped = Arc::new(AtomicU32::new(0));
    struct Count(Arc<AtomicU32>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let count = dropped.clone();
    let handler = handler_fn(move |_: Delivery| {
        let count = Count(count.clone());
        async move {
            let _count = count;
            pending().await
        }
    });
    let mut worker = worker(handler, WorkerConfig::default());
    hand_off(&mut worker);
    assert!(push(&mut worker, "a", 1).await.is_none());
    assert_eq!(next(&mut worker).await.unwrap(), "1 refused indeterminate 1");
    assert_eq!(dropped.load(SeqCst), 1);
    hand_off(&mut worker);
    let budget = worker.shared.config.budget.clone();
    assert!(push(&mut worker, "b", 2).await.is_none());
    tokio::task::yield_now().await;
    assert_eq!(budget.running(), 1);
    drop(worker);
    tokio::task::yield_now().await;
    assert_eq!((dropped.load(SeqCst), budget.running(), budget.records()), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_a_handler_that_blocks_its_thread_runs_in_a_task() {
    let in_task = Arc::new(Mutex::new(Vec::new()));
    let log = in_task.clone();
    let handler = crate::batch_fn(move |batch: Vec<Delivery>| {
        log.lock().unwrap().push((batch.len(), tokio::task::try_id().is_some()));
        let is_stuck = batch.iter().any(|delivery| delivery.position.offset == Some(4));
        async move {
            if is_stuck {
                pending::<()>().await;
            }
            Ok(batch.iter().map(|_| Ok(Outcome::Done)).collect())
        }
    });
    let attempts = AttemptConfig::default().max_attempts(1);
    let handler = crate::transport::BoxBatchHandler::new(handler);
    let processor = Processor::new(handler, attempts, Clock::system(), "test");
    let mut worker = Worker::new(processor, WorkerConfig::default());
    hand_off(&mut worker);
    let budget = worker.shared.config.budget.clone();
    for (tag, key) in [(1, "a"), (2, "b")] {
        assert!(push(&mut worker, key, tag).await.is_none());
    }
    assert_eq!(next(&mut worker).await.unwrap(), "1 done");
    assert_eq!(next(&mut worker).await.unwrap(), "2 done");
    for (tag, key) in [(3, "a"), (4, "b")] {
        assert!(push(&mut worker, key, tag).await.is_none());
    }
    assert_eq!(next(&mut worker).await.unwrap(), "3 done", "alone, after the time limit of the batch");
    assert_eq!(next(&mut worker).await.unwrap(), "4 refused indeterminate 1");
    assert_eq!(*in_task.lock().unwrap(), [(2, true), (2, true), (1, true), (1, true)]);
    assert_eq!((budget.running(), budget.records()), (0, 0));
}

/// Refuses the first messages, and panics at some.
struct Topic {
    results: Mutex<VecDeque<Result<(), &'static str>>>,
    sent: Mutex<Vec<Message>>,
}

#[crate::async_trait]
impl Publisher for Topic {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        let accept = |message| match self.results.lock().unwrap().pop_front().unwrap_or(Ok(())) {
            Ok(()) => {
                self.sent.lock().unwrap().push(message);
                Ok(Receipt::default())
            }
            Err("panic") => std::panic::resume_unwind(Box::new("publisher")),
            Err(text) => Err(Error::not_executed(text)),
        };
        let results = batch.drain(..).map(accept).collect();
        Box::pin(std::future::ready(results))
    }
    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }
    async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn dead_lettering(
    results: impl IntoIterator<Item = Result<(), &'static str>>,
) -> (Worker, Arc<Topic>, Holds) {
    let topic =
        Arc::new(Topic { results: Mutex::new(results.into_iter().collect()), sent: Mutex::default() });
    let holds = Holds::new(Clock::system());
    let dead_letters = DeadLetters::new(topic.clone(), Backoff::default(), Clock::system(), holds.clone());
    let handler = handler_fn(|delivery: Delivery| async move {
        match delivery.position.offset {
            Some(0) => Err(Error::invalid("no")),
            _ => Ok(Outcome::Done),
        }
    });
    (worker(handler, WorkerConfig::default().dead_letters(dead_letters)), topic, holds)
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_written_before_the_key_continues() {
    let (mut worker, topic, holds) = dead_lettering([Err("down"), Err("down")]);
    assert!(push(&mut worker, "a", 0).await.is_none());
    assert!(push(&mut worker, "a", 1).await.is_none());
    assert!(push(&mut worker, "b", 2).await.is_some());
    assert_eq!(next(&mut worker).await.unwrap(), "0 dead-lettered");
    assert!(holds.is_empty());
    assert_eq!(next(&mut worker).await.unwrap(), "1 done");
    let sent = topic.sent.lock().unwrap();
    assert_eq!((sent.len(), sent[0].topic()), (1, "t.dlq"));
    assert_eq!(sent[0].headers().text(crate::wire::DLQ_OFFSET), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_cannot_be_written_is_abandoned_by_a_stop() {
    let (mut worker, topic, holds) = dead_lettering(std::iter::repeat_n(Err("down"), 1_000));
    assert!(push(&mut worker, "a", 0).await.is_none());
    assert!(push(&mut worker, "a", 1).await.is_none());
    tokio::time::timeout(Duration::from_secs(60), next(&mut worker)).await.unwrap_err();
    assert_eq!(holds.len(), 1);
    worker.stop();
    assert_eq!(next(&mut worker).await.unwrap(), "1 abandoned");
    assert_eq!(next(&mut worker).await.unwrap(), "0 abandoned");
    assert!(holds.is_empty() && topic.sent.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_panics_stops_the_worker_and_loses_nothing() {
    let (mut worker, ..) = dead_lettering([Err("panic")]);
    assert!(push(&mut worker, "a", 0).await.is_none());
    assert!(push(&mut worker, "a", 1).await.is_none());
    assert_eq!(next(&mut worker).await.unwrap(), "0 stopped internal");
    assert_eq!(next(&mut worker).await.unwrap(), "1 abandoned");
    assert_eq!(next(&mut worker).await, None);
}
