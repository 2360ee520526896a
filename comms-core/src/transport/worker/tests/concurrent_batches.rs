//! Several batches at the same time.

use super::*;
use crate::transport::{AttemptConfig, Budget, BudgetConfig};

/// A rig with batches of two, and two of them at the same time.
fn rig(config: WorkerConfig) -> Rig {
    let batch = BatchConfig::default().max_records(2).concurrency(2);
    Rig::batch(AttemptConfig::default(), config.batch(batch))
}

fn batches(rig: &Rig) -> Vec<Vec<u64>> {
    std::mem::take(&mut rig.world.lock().batches)
}

/// Pushes deliveries with the tags from `first` on, which wait for the gate.
fn push<const N: usize>(rig: &mut Rig, first: u64, keys: [&str; N]) {
    for (tag, key) in (first..).zip(keys) {
        assert_eq!(rig.push(tag, key, [Plan::Wait]), None);
    }
}

#[test]
fn full_batches_without_a_common_key_run_at_the_same_time() {
    let mut rig = rig(WorkerConfig::default());
    push(&mut rig, 1, ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(batches(&rig), [[1, 2], [3, 4]]);
    assert_eq!((rig.budget.running(), rig.worker.len()), (2, 6));
    assert!(rig.settled().is_empty());
    rig.open();
    assert_eq!(rig.settled(), ["1 done", "2 done", "3 done", "4 done"]);
    assert_eq!(batches(&rig), [[5, 6]]);
    assert_eq!(rig.drain(), ["5 done", "6 done"]);
    assert_eq!((rig.budget.running(), rig.budget.records(), rig.budget.bytes()), (0, 0, 0));
}

#[test]
fn a_batch_that_is_not_full_waits_for_the_others() {
    let mut rig = rig(WorkerConfig::default());
    push(&mut rig, 1, ["a"]);
    assert!(rig.settled().is_empty());
    push(&mut rig, 2, ["b"]);
    assert!(rig.settled().is_empty());
    assert_eq!(batches(&rig), [[1]]);
    assert_eq!(rig.drain(), ["1 done", "2 done"]);
}

#[test]
fn deliveries_with_the_key_of_a_running_batch_wait_and_others_pass_them() {
    let mut rig = rig(WorkerConfig::default());
    push(&mut rig, 1, ["a", "b", "a", "c", "a", "d", "e"]);
    assert!(rig.settled().is_empty());
    assert_eq!(batches(&rig), [[1, 2]], "one of the next two is not enough");
    rig.open();
    assert_eq!(rig.settled(), ["1 done", "2 done"]);
    assert_eq!(batches(&rig), [[3, 4], [6, 7]]);
    rig.open();
    assert_eq!(rig.settled(), ["3 done", "4 done", "6 done", "7 done"]);
    assert_eq!(rig.drain(), ["5 done"]);
}

#[test]
fn one_batch_runs_at_a_time_if_the_source_has_one_order() {
    let mut rig = rig(WorkerConfig::default().ordering(Ordering::Partition));
    push(&mut rig, 1, ["a", "b", "c", "d"]);
    assert!(rig.settled().is_empty());
    assert_eq!(batches(&rig), [[1, 2]]);
    assert_eq!(rig.drain(), ["1 done", "2 done", "3 done", "4 done"]);
}

#[test]
fn no_further_batch_begins_while_one_is_held() {
    let mut rig = rig(WorkerConfig::default());
    assert_eq!(rig.push(1, "a", [Plan::FailBatch(ErrorKind::NotExecuted)]), None);
    assert_eq!(rig.push(2, "b", []), None);
    push(&mut rig, 3, ["c", "d"]);
    assert!(rig.settled().is_empty());
    assert_eq!((batches(&rig), rig.budget.running()), (vec![vec![1, 2]], 0));
    assert_eq!(rig.drain(), ["1 done", "2 done", "3 done", "4 done"]);
}

#[test]
fn a_batch_that_fails_is_attempted_one_by_one_while_the_other_goes_on() {
    let mut rig = rig(WorkerConfig::default());
    let fails = Plan::WaitAndFailBatch(ErrorKind::Conflict);
    assert_eq!(rig.push(1, "a", [fails, Plan::Stuck]), None);
    push(&mut rig, 2, ["b", "c", "d", "a", "e"]);
    assert_eq!(batches(&rig), [[1, 2], [3, 4]]);
    assert!(rig.settled().is_empty());
    rig.open();
    assert_eq!(rig.settled(), ["2 done", "3 done", "4 done"]);
    rig.open();
    assert_eq!(rig.settled(), ["6 done"], "the fifth waits behind the first");
    let mut alone = batches(&rig);
    alone.sort();
    assert_eq!(alone, [[1], [2], [6]]);
    assert_eq!(rig.drain(), ["1 done", "5 done"]);
}

#[test]
fn a_held_batch_that_waits_for_a_permit_keeps_no_other_one_running() {
    let budget = Budget::new(BudgetConfig::default().concurrency(2)).unwrap();
    let mut rig = rig(WorkerConfig::default().budget(budget));
    let fails = Plan::WaitAndFailBatch(ErrorKind::NotExecuted);
    for (tag, key, plans) in
        [(1, "a", vec![fails, Plan::Wait]), (2, "b", vec![]), (3, "c", vec![fails]), (4, "d", vec![])]
    {
        assert_eq!(rig.push(tag, key, plans), None);
    }
    rig.open();
    assert!(rig.settled().is_empty());
    assert_eq!((batches(&rig), rig.budget.running()), (vec![vec![1, 2], vec![3, 4]], 0));
    // Another worker takes a permit, so that one of the two runs, and the other one waits for its permit.
    let permit = rig.budget.try_permit();
    assert!(permit.is_some() && rig.after(Duration::from_secs(60)).is_empty());
    assert_eq!(batches(&rig), [[1, 2]]);
    rig.open();
    assert_eq!(rig.settled(), ["1 done", "2 done", "3 done", "4 done"]);
}
