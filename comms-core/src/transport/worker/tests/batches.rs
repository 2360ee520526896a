//! Deliveries for a batch handler.

use super::{rig::delivery, *};
use crate::{
    MessageParts,
    transport::{AttemptConfig, Budget, BudgetConfig},
};

const INVALID: Plan = Plan::Err(ErrorKind::Invalid);

fn rig(max_records: usize) -> Rig {
    let batch = BatchConfig::default().max_records(max_records);
    Rig::batch(AttemptConfig::default().max_attempts(3), WorkerConfig::default().batch(batch))
}

fn batches(rig: &Rig) -> Vec<Vec<u64>> {
    std::mem::take(&mut rig.world.lock().batches)
}

/// Pushes a delivery that follows `plans`.
fn push<const N: usize>(rig: &mut Rig, tag: u64, key: &str, plans: [Plan; N]) {
    assert_eq!(rig.push(tag, key, plans), None);
}

#[test]
fn a_batch_is_what_is_there_when_the_handler_is_free() {
    let mut rig = rig(3);
    push(&mut rig, 1, "a", [Plan::Wait]);
    push(&mut rig, 2, "b", []);
    assert!(batches(&rig).is_empty() && !rig.worker.is_idle());
    assert!(rig.settled().is_empty());
    for tag in 3..8 {
        push(&mut rig, tag, "a", []);
    }
    assert_eq!((rig.worker.len(), rig.budget.records(), rig.budget.running()), (7, 7, 1));
    rig.open();
    assert_eq!(rig.settled(), (1..8).map(|tag| format!("{tag} done")).collect::<Vec<_>>());
    assert_eq!(batches(&rig), [vec![1, 2], vec![3, 4, 5], vec![6, 7]]);
    assert_eq!((rig.budget.running(), rig.budget.records(), rig.budget.bytes()), (0, 0, 0));
}

#[test]
fn a_full_batch_begins_in_the_push() {
    let mut rig = rig(2);
    push(&mut rig, 1, "a", []);
    push(&mut rig, 2, "a", []);
    assert_eq!(batches(&rig), [[1, 2]]);
    assert_eq!(rig.settled(), ["1 done", "2 done"]);
    let mut rig = Rig::batch(AttemptConfig::default(), {
        WorkerConfig::default().batch(BatchConfig::default().max_bytes(1))
    });
    push(&mut rig, 1, "a", []);
    push(&mut rig, 2, "a", []);
    assert_eq!(batches(&rig), [[1], [2]], "a large message is a batch of its own");
}

#[test]
fn a_failed_delivery_is_attempted_alone_and_its_key_waits_behind_it() {
    let mut rig = rig(10);
    push(&mut rig, 1, "a", []);
    push(&mut rig, 2, "b", [Plan::Err(ErrorKind::Indeterminate), INVALID]);
    push(&mut rig, 3, "b", []);
    push(&mut rig, 4, "a", []);
    assert_eq!(rig.settled(), ["1 done", "4 done"]);
    push(&mut rig, 5, "b", []);
    push(&mut rig, 6, "a", []);
    assert_eq!(rig.settled(), ["6 done"], "a delivery of a busy key is left out");
    assert_eq!(batches(&rig), [vec![1, 2, 3, 4], vec![6]]);
    assert_eq!(rig.drain(), ["2 refused invalid 2", "3 behind", "5 behind"]);
    assert_eq!(batches(&rig), [[2]]);
    rig.worker.release("t", Some(b"b"));
    push(&mut rig, 7, "b", []);
    assert_eq!(rig.settled(), ["7 done"]);
}

#[test]
fn deliveries_behind_a_failed_one_are_a_batch_when_it_has_ended() {
    let mut rig = rig(10);
    push(&mut rig, 1, "a", [Plan::Err(ErrorKind::Conflict)]);
    push(&mut rig, 2, "a", []);
    assert!(rig.settled().is_empty());
    push(&mut rig, 3, "a", []);
    assert_eq!(rig.drain(), ["1 done", "2 done", "3 done"]);
    assert_eq!(batches(&rig), [vec![1, 2], vec![1], vec![2, 3]]);
}

#[test]
fn the_gathered_deliveries_of_a_key_that_fails_keep_their_order() {
    let mut rig = rig(10);
    push(&mut rig, 1, "a", [Plan::WaitAndFail(ErrorKind::Indeterminate)]);
    assert!(rig.settled().is_empty());
    push(&mut rig, 2, "a", []);
    rig.open();
    assert!(rig.settled().is_empty());
    push(&mut rig, 3, "a", []);
    assert_eq!(rig.drain(), ["1 done", "2 done", "3 done"]);
}

#[test]
fn a_whole_batch_that_is_held_is_attempted_again_as_a_whole() {
    let held = Plan::FailBatch(ErrorKind::NotExecuted);
    let mut rig = rig(10);
    push(&mut rig, 1, "a", [held, held, held, held]);
    push(&mut rig, 2, "b", []);
    assert!(rig.settled().is_empty());
    push(&mut rig, 3, "c", []);
    assert!(rig.settled().is_empty());
    assert_eq!((rig.budget.running(), rig.holds.list()[0].attempts), (0, 1));
    assert_eq!(rig.drain(), ["1 done", "2 done", "3 done"], "more than the 3 attempts that count");
    assert!(rig.holds.is_empty());
    assert_eq!(batches(&rig), [vec![1, 2], vec![1, 2], vec![1, 2], vec![1, 2], vec![1, 2], vec![3]]);
}

#[test]
fn a_stop_ends_the_wait_of_a_held_batch() {
    let mut rig = rig(10);
    push(&mut rig, 1, "a", [Plan::FailBatch(ErrorKind::Rejected), Plan::FailBatch(ErrorKind::NotExecuted)]);
    push(&mut rig, 2, "b", [Plan::FailBatch(ErrorKind::NotExecuted)]);
    assert!(rig.settled().is_empty());
    push(&mut rig, 3, "c", []);
    rig.worker.stop();
    let mut settled = rig.settled();
    settled.sort();
    assert_eq!(settled, ["1 abandoned", "2 abandoned", "3 abandoned"]);
    assert!(rig.holds.is_empty() && rig.worker.is_empty());
    assert_eq!(rig.push(4, "a", []).as_deref(), Some("abandoned"));
}

#[test]
fn a_hold_of_a_batch_that_reaches_its_limit_ends_for_each_delivery_alone() {
    let attempts = AttemptConfig::default().hold_limit(Duration::from_secs(5));
    let mut rig = Rig::batch(attempts, WorkerConfig::default());
    rig.push(1, "a", [Plan::FailBatch(ErrorKind::NotExecuted); 100]);
    rig.push(2, "b", []);
    assert_eq!(rig.drain(), ["2 done", "1 refused not_executed 1"]);
    assert!(rig.holds.is_empty());
}

#[test]
fn a_batch_that_fails_otherwise_is_attempted_one_by_one_without_counting_the_failure() {
    let failures =
        [Plan::FailBatch(ErrorKind::Internal), Plan::PanicInCall, Plan::PanicInPoll, Plan::PanicInDrop];
    for plan in failures.into_iter().chain([Plan::Stuck, Plan::FailBatch(ErrorKind::Invalid)]) {
        let mut rig = rig(10);
        push(&mut rig, 1, "a", []);
        push(&mut rig, 2, "a", [plan, plan, plan, plan]);
        push(&mut rig, 3, "a", []);
        push(&mut rig, 4, "b", []);
        let kind = match plan {
            Plan::Stuck => "indeterminate 3",
            Plan::FailBatch(ErrorKind::Invalid) => "invalid 1",
            _ => "internal 3",
        };
        let mut settled = rig.drain();
        settled.sort();
        assert_eq!(settled, ["1 done", &format!("2 refused {kind}"), "3 behind", "4 done"], "{plan:?}");
        let all = batches(&rig);
        assert_eq!(all[0], [1, 2, 3, 4], "{plan:?}");
        assert!(all[1..].iter().all(|batch| batch.len() == 1), "{all:?}");
    }
}

#[test]
fn a_fatal_error_of_a_batch_stops_the_worker() {
    let mut rig = rig(10);
    push(&mut rig, 1, "a", [Plan::FailBatch(ErrorKind::Fatal)]);
    push(&mut rig, 2, "b", []);
    assert_eq!(rig.settled(), ["1 stopped fatal", "2 abandoned"]);
    assert_eq!(rig.push(3, "b", []).as_deref(), Some("abandoned"));
}

#[test]
fn a_stopped_worker_lets_its_batch_finish() {
    let mut rig = rig(2);
    push(&mut rig, 1, "a", [Plan::Wait]);
    push(&mut rig, 2, "b", [INVALID]);
    push(&mut rig, 3, "a", []);
    rig.worker.stop();
    assert_eq!(rig.settled(), ["3 abandoned"]);
    rig.open();
    assert_eq!(rig.drain(), ["1 done", "2 refused invalid 1"]);
}

#[test]
fn a_stopped_worker_attempts_no_delivery_of_its_batch_again() {
    for plan in [Plan::WaitAndFail(ErrorKind::Indeterminate), Plan::WaitAndFailBatch(ErrorKind::Internal)] {
        let mut rig = rig(10);
        push(&mut rig, 1, "a", [plan]);
        push(&mut rig, 2, "a", []);
        assert!(rig.settled().is_empty());
        rig.worker.stop();
        rig.open();
        let mut settled = rig.drain();
        settled.sort();
        assert_eq!(settled, ["1 abandoned", "2 abandoned"], "{plan:?}");
        assert_eq!(batches(&rig), [[1, 2]], "{plan:?}");
    }
}

#[test]
fn a_dropped_worker_cancels_its_batch() {
    for plan in [Plan::Wait, Plan::WaitAndPanicInDrop, Plan::FailBatch(ErrorKind::NotExecuted)] {
        let mut rig = rig(2);
        (1..6).for_each(|tag| push(&mut rig, tag, "a", [plan]));
        assert!(rig.settled().is_empty());
        let (budget, world, holds) = (rig.budget.clone(), rig.world.clone(), rig.holds.clone());
        drop(rig);
        assert_eq!((budget.running(), budget.records(), budget.bytes()), (0, 0, 0));
        assert!(world.running() == 0 && holds.is_empty());
    }
}

#[test]
fn a_batch_has_one_topic() {
    let mut rig = rig(10);
    for (tag, topic) in [(1, "t"), (2, "t"), (3, "u"), (4, "t")] {
        let mut next = delivery(tag, Some("a"), MessageParts::default());
        next.message = next.message.to(topic);
        assert_eq!(rig.push_delivery(next, tag), None);
    }
    assert_eq!(rig.settled().len(), 4);
    assert_eq!(batches(&rig), [vec![1, 2], vec![3], vec![4]]);
}

#[cfg(feature = "cloudevents")]
#[test]
fn an_envelope_that_cannot_be_decoded_fails_alone() {
    let headers: crate::Headers =
        [(crate::wire::CONTENT_TYPE, "application/cloudevents+json")].into_iter().collect();
    let parts = MessageParts { headers: headers.view(), payload: Some(b"{"), ..MessageParts::default() };
    let mut rig = rig(10);
    push(&mut rig, 1, "a", []);
    assert_eq!(rig.push_delivery(delivery(2, Some("b"), parts), 2), None);
    push(&mut rig, 3, "b", []);
    push(&mut rig, 4, "c", []);
    let mut settled = rig.drain();
    settled.sort();
    assert_eq!(settled, ["1 done", "2 refused invalid 1", "3 behind", "4 done"]);
    assert_eq!(batches(&rig), [[1, 4]]);
}

#[test]
fn a_batch_handler_that_is_never_ready_holds_the_batch() {
    let mut rig = rig(10);
    push(&mut rig, 1, "a", [Plan::NotReady]);
    push(&mut rig, 2, "b", []);
    assert!(rig.settled().is_empty() && rig.budget.running() == 1);
    assert!(rig.after(Duration::from_secs(30)).is_empty());
    assert_eq!((rig.holds.list()[0].kind, rig.budget.running()), (ErrorKind::NotExecuted, 0));
    assert_eq!(rig.drain(), ["1 done", "2 done"]);
    assert_eq!(batches(&rig), [[1, 2]]);
}

#[test]
fn a_batch_larger_than_the_room_does_not_wait_to_be_full() {
    let budget = Budget::new(BudgetConfig::default().records(3)).unwrap();
    let config = WorkerConfig::default().budget(budget.clone());
    let mut rig = Rig::batch(AttemptConfig::default(), config);
    let mut next = 1;
    let mut settled = Vec::new();
    while settled.len() < 10 {
        while next <= 10 && rig.worker.has_room() {
            push(&mut rig, next, "a", []);
            next += 1;
        }
        let more = rig.settled();
        assert!(!more.is_empty(), "stands still after {settled:?}");
        settled.extend(more);
    }
    assert_eq!(settled, (1..11).map(|tag| format!("{tag} done")).collect::<Vec<_>>());
    assert_eq!((budget.running(), budget.records()), (0, 0));
}

#[test]
fn each_delivery_of_a_batch_that_always_fails_ends_once() {
    let mut rig = rig(10);
    for (tag, key) in [(1, "a"), (2, "b"), (3, "c")] {
        push(&mut rig, tag, key, [Plan::FailBatch(ErrorKind::Indeterminate); 10]);
    }
    let mut settled = rig.drain();
    settled.sort();
    let refused = [1, 2, 3].map(|tag| format!("{tag} refused indeterminate 3"));
    assert_eq!(settled, refused, "the first one too");
    assert_eq!(rig.worker.len(), 0);
}
