//! What becomes of deliveries in a worker, on a manual clock and without a runtime.

mod batch_calls;
mod batch_script;
mod batches;
mod concurrent_batches;
mod failures;
mod hostile;
mod limits;
mod measured;
mod properties;
mod rig;
mod script;
mod tasks;
mod transactional;

use std::{task::Poll, time::Duration};

use super::*;
use crate::{
    Delivery, Error, ErrorKind, Message, Outcome,
    transport::{Budget, BudgetConfig, FailurePolicy},
};
use rig::{Rig, text};
use script::Plan;

#[test]
fn a_handler_that_ends_at_once_settles_at_once_and_leaves_nothing() {
    let mut rig = Rig::new(WorkerConfig::default());
    for tag in 0..3 {
        assert_eq!(rig.push(tag, "a", []).as_deref(), Some("done"));
    }
    assert!(rig.worker.is_empty() && rig.worker.is_idle());
    assert_eq!(rig.polled(), Poll::Ready(None));
    assert_eq!((rig.budget.running(), rig.budget.records(), rig.budget.bytes()), (0, 0, 0));
}

#[test]
fn a_key_waits_for_its_delivery_and_other_keys_do_not() {
    let mut rig = Rig::new(WorkerConfig::default());
    assert_eq!(rig.push(1, "a", [Plan::Wait]), None);
    assert_eq!(rig.push(2, "a", []), None);
    assert_eq!(rig.push(3, "b", []).as_deref(), Some("done"));
    assert_eq!((rig.worker.len(), rig.budget.records()), (2, 2));
    assert_eq!(rig.polled(), Poll::Pending);
    rig.open();
    assert_eq!(rig.drain(), ["1 done", "2 done"]);
    assert_eq!(rig.calls(), [1, 3, 2]);
}

#[test]
fn deliveries_without_a_key_do_not_wait() {
    let mut rig = Rig::new(WorkerConfig::default());
    assert_eq!(rig.push(1, None, [Plan::Wait]), None);
    assert_eq!(rig.push(2, None, []).as_deref(), Some("done"));
}

#[test]
fn the_order_can_be_that_of_the_partition_or_none() {
    let mut rig = Rig::new(WorkerConfig::default().ordering(Ordering::Partition));
    assert_eq!(rig.push(1, "a", [Plan::Wait]), None);
    assert_eq!((rig.push(2, "b", []), rig.push(3, None, [])), (None, None));
    rig.open();
    assert_eq!(rig.drain(), ["1 done", "2 done", "3 done"]);
    let mut rig = Rig::new(WorkerConfig::default().ordering(Ordering::None));
    assert_eq!(rig.push(1, "a", [Plan::Wait]), None);
    assert_eq!(rig.push(2, "a", []).as_deref(), Some("done"));
}

#[test]
fn a_stopped_worker_begins_nothing_and_lets_running_attempts_finish() {
    let mut rig = Rig::new(WorkerConfig::default());
    rig.push(1, "a", [Plan::Wait]);
    rig.push(2, "a", []);
    rig.push(3, "b", [Plan::Err(ErrorKind::Indeterminate)]);
    assert_eq!(rig.polled(), Poll::Pending, "3 waits for its next attempt");
    rig.worker.stop();
    assert_eq!(rig.push(4, "c", []).as_deref(), Some("abandoned"));
    assert_eq!(rig.settled(), ["2 abandoned", "3 abandoned"]);
    rig.open();
    assert_eq!(rig.drain(), ["1 done"]);
    assert_eq!(rig.calls(), [1, 3]);
}

#[test]
fn a_dropped_worker_returns_all_that_it_holds() {
    let mut rig = Rig::new(WorkerConfig::default());
    rig.push(1, "a", [Plan::Wait]);
    rig.push(2, "a", []);
    rig.push(3, "b", [Plan::WaitAndPanicInDrop]);
    rig.push(4, "c", [Plan::Err(ErrorKind::Indeterminate)]);
    assert_eq!(rig.polled(), Poll::Pending);
    assert_eq!((rig.budget.running(), rig.budget.records()), (2, 4));
    let (budget, world) = (rig.budget.clone(), rig.world.clone());
    drop(rig);
    assert_eq!((budget.running(), budget.records(), budget.bytes()), (0, 0, 0));
    assert_eq!(world.running(), 0);
}
