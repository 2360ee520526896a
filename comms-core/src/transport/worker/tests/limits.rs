//! Time limits, permits and room.

use super::*;
use crate::{MessageParts, transport::AttemptConfig};

const LIMIT: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(1);

fn budget(concurrency: usize, records: u64) -> WorkerConfig {
    let limits = BudgetConfig::default().concurrency(concurrency).records(records);
    WorkerConfig::default().budget(Budget::new(limits).unwrap())
}

#[test]
fn a_call_without_end_is_ended_at_its_own_time_limit() {
    let attempts = AttemptConfig::default().max_attempts(1);
    let mut rig = Rig::with(attempts, WorkerConfig::default());
    rig.push(1, "a", [Plan::Stuck]);
    assert!(rig.after(LIMIT / 2).is_empty());
    rig.push(2, "b", [Plan::Stuck]);
    rig.push(3, "c", [Plan::Wait]);
    assert!(rig.after(LIMIT / 2 - MOMENT).is_empty());
    assert_eq!(rig.after(MOMENT), ["1 refused indeterminate 1"]);
    rig.open();
    assert_eq!(rig.settled(), ["3 done"]);
    assert!(rig.after(LIMIT / 2 - MOMENT).is_empty());
    assert_eq!(rig.after(MOMENT), ["2 refused indeterminate 1"]);
    assert_eq!((rig.world.running(), rig.budget.running()), (0, 0));
}

#[test]
fn a_result_that_is_ready_at_the_time_limit_counts() {
    let mut rig = Rig::new(WorkerConfig::default());
    rig.push(1, "a", [Plan::Wait]);
    assert!(rig.settled().is_empty());
    rig.clock.advance(LIMIT);
    rig.open();
    assert_eq!(rig.settled(), ["1 done"]);
}

#[test]
fn the_wait_for_readiness_does_not_count_towards_the_call() {
    let attempts = AttemptConfig::default().max_attempts(1);
    let mut rig = Rig::with(attempts, WorkerConfig::default());
    rig.push(1, "a", [Plan::NotReady, Plan::Stuck]);
    assert!(rig.after(LIMIT - MOMENT).is_empty());
    rig.open();
    assert!(rig.settled().is_empty());
    assert!(rig.after(LIMIT - MOMENT).is_empty());
    assert_eq!(rig.calls(), [1], "it was called after 30 s of waiting");
    assert_eq!(rig.after(MOMENT), ["1 refused indeterminate 1"]);
}

#[test]
fn a_call_that_begins_at_the_end_of_the_wait_for_readiness_has_its_own_time_limit() {
    let attempts = AttemptConfig::default().max_attempts(1);
    let rigs = [Rig::with, Rig::batch].map(|rig| rig(attempts.clone(), WorkerConfig::default()));
    for mut rig in rigs {
        rig.push(1, "a", [Plan::NotReady, Plan::Stuck]);
        assert!(rig.settled().is_empty());
        rig.ready_without_a_wake();
        assert!(rig.after(LIMIT).is_empty());
        assert_eq!(rig.calls(), [1], "the timer has found the service ready");
        assert!(rig.after(LIMIT - MOMENT).is_empty());
        assert_eq!(rig.after(MOMENT), ["1 refused indeterminate 1"]);
    }
}

#[test]
fn a_time_limit_of_zero_ends_what_is_not_ready_at_once_and_the_longest_one_nothing() {
    for (limit, expected) in [(Duration::ZERO, vec!["1 refused indeterminate 1"]), (Duration::MAX, vec![])] {
        let attempts = AttemptConfig::default().max_attempts(1).timeout(limit);
        for rig in [Rig::with, Rig::batch] {
            let mut rig = rig(attempts.clone(), WorkerConfig::default());
            // A batch fails as a whole first.
            rig.push(1, "a", [Plan::Stuck, Plan::Stuck]);
            rig.push(2, "b", []);
            let mut settled = rig.after(LIMIT * 1_000);
            settled.retain(|text| text.starts_with('1'));
            assert_eq!(settled, expected);
        }
    }
}

#[test]
fn a_hold_keeps_no_permit() {
    let mut rig = Rig::new(budget(1, 100));
    rig.push(1, "a", [Plan::Err(ErrorKind::NotExecuted), Plan::Err(ErrorKind::NotExecuted)]);
    assert!(rig.settled().is_empty());
    assert_eq!((rig.holds.len(), rig.budget.running()), (1, 0));
    assert_eq!(rig.push(2, "b", []).as_deref(), Some("done"));
    assert_eq!(rig.drain(), ["1 done"]);
}

#[test]
fn a_handler_that_is_never_ready_holds_the_delivery() {
    let mut rig = Rig::new(WorkerConfig::default());
    rig.push(1, "a", [Plan::NotReady]);
    assert!(rig.after(LIMIT - MOMENT).is_empty());
    assert!(rig.holds.is_empty());
    assert!(rig.after(MOMENT).is_empty());
    let holds = rig.holds.list();
    assert_eq!((holds.len(), holds[0].kind), (1, ErrorKind::NotExecuted));
    assert_eq!(rig.drain(), ["1 done"]);
}

#[test]
fn handlers_run_within_the_permits_in_the_order_of_the_pushes() {
    let mut rig = Rig::new(budget(2, 100));
    for (tag, key) in [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "c")] {
        assert_eq!(rig.push(tag, key, [Plan::Wait]), None);
    }
    assert!(rig.settled().is_empty());
    assert_eq!((rig.calls(), rig.budget.running()), (vec![1, 2], 2));
    rig.open();
    assert_eq!(rig.settled(), ["1 done", "2 done"]);
    assert_eq!(rig.calls(), [1, 2, 3, 4]);
    assert_eq!(rig.drain(), ["3 done", "4 done", "5 done"]);
    assert_eq!(rig.budget.running(), 0);
}

#[test]
fn an_idle_worker_keeps_no_permit_from_the_other_workers() {
    let config = budget(1, 100);
    let (mut one, mut other) = (Rig::new(config.clone()), Rig::new(config));
    assert_eq!(one.push(1, "a", []).as_deref(), Some("done"));
    assert_eq!(other.push(1, "a", []), None, "the permit is kept for the next record of the chunk");
    assert!(other.settled().is_empty());
    assert_eq!(one.polled(), Poll::Ready(None));
    assert_eq!(other.settled(), ["1 done"], "the waiting worker was woken");
}

#[test]
fn the_permit_of_an_attempt_goes_to_the_worker_that_waits_for_one() {
    let config = budget(1, 100);
    let (mut one, mut other) = (Rig::new(config.clone()), Rig::new(config));
    one.push(1, "a", [Plan::Wait]);
    one.push(2, "b", []);
    other.push(3, "c", [Plan::Wait]);
    assert!(other.settled().is_empty());
    one.open();
    assert_eq!(one.settled(), ["1 done"], "2 waits behind the other worker");
    assert!(other.settled().is_empty());
    assert_eq!((one.calls(), other.calls()), (vec![1], vec![3]));
    other.open();
    assert_eq!((other.settled(), one.settled()), (vec!["3 done".into()], vec!["2 done".into()]));
}

#[test]
fn a_delivery_that_waits_for_a_permit_is_not_overtaken() {
    let config = budget(1, 100);
    let (mut one, mut other) = (Rig::new(config.clone()), Rig::new(config));
    assert_eq!(one.push(1, "a", [Plan::Wait]), None);
    assert_eq!(other.push(1, "a", []), None);
    assert_eq!(one.drain(), ["1 done"]);
    assert_eq!(one.polled(), Poll::Ready(None));
    assert_eq!(other.push(2, "b", []), None, "the permit is free, and 1 is first");
    assert_eq!(other.settled(), ["1 done", "2 done"]);
}

#[test]
fn room_is_twice_the_free_room_and_its_return_wakes_the_worker() {
    let config = budget(100, 9);
    let (mut one, mut other) = (Rig::new(config.clone()), Rig::new(config));
    let mut tag = 0;
    let mut fill = |rig: &mut Rig| {
        let first = tag;
        while rig.worker.has_room() {
            assert_eq!(rig.push(tag, None, [Plan::Wait]), None);
            tag += 1;
        }
        tag - first
    };
    assert_eq!(fill(&mut one), 6, "two thirds");
    assert_eq!(fill(&mut other), 2, "two, while one is free");
    assert!(one.settled().is_empty() && other.settled().is_empty());
    assert!(!other.worker.has_room() && !other.is_woken());
    one.open();
    assert_eq!(one.drain().len(), 6);
    assert!(other.worker.has_room() && other.is_woken());
    assert!(other.settled().is_empty());
    assert_eq!(fill(&mut other), 4);
    other.drain();
    assert_eq!((other.budget.records(), other.budget.bytes()), (0, 0));
}

#[test]
fn a_record_larger_than_the_room_passes_an_empty_worker() {
    let limits = BudgetConfig::default().bytes(1);
    let mut rig = Rig::new(WorkerConfig::default().budget(Budget::new(limits).unwrap()));
    assert!(rig.worker.has_room());
    rig.push(1, "a", [Plan::Wait]);
    assert!(!rig.worker.has_room());
    assert_eq!(rig.drain(), ["1 done"]);
    assert!(rig.worker.has_room());
}

#[test]
fn a_budget_without_room_is_invalid() {
    let limits = BudgetConfig::default();
    for limits in [limits.concurrency(0), limits.records(0), limits.bytes(0), limits.concurrency(usize::MAX)]
    {
        assert_eq!(Budget::new(limits).unwrap_err().kind, ErrorKind::Invalid);
    }
}

/// One delivery of each buffer waits, and keeps no other part of the buffer alive.
#[test]
fn the_memory_of_a_long_queue_is_that_of_its_messages() {
    const BUFFER: usize = 16 * 1024;
    for (config, key) in [(budget(4_096, 10_000), Some("a")), (budget(1, 10_000), None)] {
        let mut rig = Rig::new(config);
        rig.push(0, "a", [Plan::Wait]);
        let mut buffers: Vec<_> = (1..1_000).map(|tag| waiting(&mut rig, tag, key, BUFFER)).collect();
        // A buffer that a message shares cannot be reclaimed.
        let kept = buffers.iter_mut().map(|buffer| u64::from(!buffer.try_reclaim(BUFFER))).sum::<u64>();
        assert_eq!((kept, rig.worker.len()), (keys::LONG_QUEUE as u64, 1_000));
        assert_eq!(rig.drain().len(), 1_000);
    }
}

/// Pushes a delivery in a buffer of `bytes`, and returns the buffer.
fn waiting(rig: &mut Rig, tag: u64, key: Option<&str>, bytes: usize) -> bytes::BytesMut {
    let mut buffer = bytes::BytesMut::with_capacity(bytes);
    let delivery = rig::delivery(tag, key, MessageParts::default());
    let message = Message::in_buffer(delivery.message.parts(), &mut buffer);
    assert_eq!(rig.push_delivery(Delivery { message, ..delivery }, tag), None);
    buffer
}
