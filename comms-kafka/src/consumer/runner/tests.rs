//! The records that a runner has taken when its partition is given up.

use std::sync::Arc;

use tokio::{
    sync::{Semaphore, mpsc},
    task::yield_now,
};

use super::*;
use crate::consumer::topic::Topic;
use comms_core::{
    Message, MessageParts, Outcome,
    clock::Clock,
    handler_fn,
    transport::{AttemptConfig, BoxHandler, Holds, Processor, WorkerConfig},
};

fn incoming(offset: i64, key: &str) -> Incoming {
    let parts = MessageParts { topic: "orders", key: Some(key.as_bytes()), ..MessageParts::default() };
    Incoming { message: Message::new(parts), offset, timestamp: None }
}

fn runner(assignment: &Arc<Assignment>) -> Runner {
    let (clock, control) = (Clock::system(), Arc::<Control>::default());
    let holds = Holds::new(clock.clone());
    let health = Arc::new(ConsumerHealth::new(None, holds, clock, Vec::new(), control.clone()));
    let every = (1_000, Duration::from_secs(60));
    let commits = Commits::new("group".into(), Arc::default(), (health.clone(), Arc::default()), every);
    let shared = Shared {
        group: "group".into(),
        max_gap: 100,
        commits: Arc::new(commits),
        control: control.clone(),
        health,
    };
    let worker = Worker::new(assignment.topic.processor.clone(), WorkerConfig::default());
    let guard = EndGuard { assignment: assignment.clone(), signal: Arc::default(), control };
    Runner::new(worker, Arc::new(shared), guard)
}

/// Takes records of the keys a, a and b, of which the first one ends after the phase has changed to `phase`. Returns the
/// offset that may be committed at the end.
async fn frontier_after(phase: Phase) -> Option<i64> {
    let (open, (ended, mut ends)) = (Arc::new(Semaphore::new(0)), mpsc::channel(3));
    let handler = handler_fn({
        let open = open.clone();
        move |delivery: Delivery| {
            let (open, ended) = (open.clone(), ended.clone());
            async move {
                if delivery.position.offset == Some(0) {
                    drop(open.acquire().await);
                }
                ended.send(delivery.position.offset).await.unwrap();
                Ok(Outcome::Done)
            }
        }
    });
    let processor =
        Processor::new(BoxHandler::new(handler), AttemptConfig::default(), Clock::system(), "kafka");
    let assignment = Arc::new(Assignment::new(Arc::new(Topic::new("orders".into(), processor)), 0));
    assignment.source().early.extend([incoming(0, "a"), incoming(1, "a"), incoming(2, "b")]);
    let running = tokio::spawn(runner(&assignment).run());
    assert_eq!(ends.recv().await, Some(Some(2)));
    assignment.advance(phase);
    // The runner sees the phase before the record ends.
    for _ in 0..10 {
        yield_now().await;
    }
    open.add_permits(1);
    running.await.unwrap();
    assignment.frontier()
}

#[tokio::test]
async fn records_that_wait_for_their_key_are_finished_before_the_runner_stops() {
    assert_eq!(frontier_after(Phase::Finish).await, Some(3));
    assert_eq!(frontier_after(Phase::Stop).await, Some(1), "no further record begins");
    assert_eq!(frontier_after(Phase::Cut).await, None, "the running record is cancelled");
}
