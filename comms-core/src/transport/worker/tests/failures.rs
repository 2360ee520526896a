//! Deliveries that fail.

use super::{keys::Place, *};
use crate::transport::AttemptConfig;

#[test]
fn a_failure_is_retried_and_holds_up_only_its_key() {
    let mut rig = Rig::new(WorkerConfig::default());
    assert_eq!(rig.push(1, "a", [Plan::Err(ErrorKind::Indeterminate)]), None);
    assert_eq!(rig.push(2, "a", []), None);
    assert_eq!(rig.push(3, "b", []).as_deref(), Some("done"));
    assert_eq!(rig.polled(), Poll::Pending);
    assert_eq!(rig.budget.running(), 0, "a delivery that waits for its next attempt has no permit");
    assert_eq!(rig.drain(), ["1 done", "2 done"]);
    assert_eq!(rig.calls(), [1, 3, 1, 2]);
}

#[test]
fn a_panic_at_any_moment_is_one_failed_attempt() {
    for plan in [Plan::PanicInCall, Plan::PanicInPoll, Plan::PanicInDrop, Plan::WaitAndPanicInDrop] {
        let mut rig = Rig::new(WorkerConfig::default());
        assert_eq!(rig.push(1, "a", [plan, plan, plan]), None);
        assert_eq!(rig.push(2, "a", []), None);
        assert_eq!(rig.drain(), ["1 refused internal 3", "2 behind"], "{plan:?}");
        assert_eq!((rig.calls(), rig.world.running()), (vec![1, 1, 1], 0), "{plan:?}");
    }
}

#[test]
fn without_dead_letters_a_key_is_refused_until_it_is_released() {
    let mut rig = Rig::new(WorkerConfig::default());
    assert_eq!(rig.push(1, "a", [Plan::Err(ErrorKind::Invalid)]), None);
    assert_eq!(rig.push(2, "a", []), None);
    assert_eq!(rig.settled(), ["1 refused invalid 1", "2 behind"]);
    assert_eq!(rig.push(3, "a", []).as_deref(), Some("behind"));
    assert_eq!(rig.push(4, "b", []).as_deref(), Some("done"));
    rig.worker.release("t", Some(b"b"));
    rig.worker.release("other", Some(b"a"));
    assert_eq!(rig.push(5, "a", []).as_deref(), Some("behind"));
    rig.worker.release("t", Some(b"a"));
    assert_eq!(rig.push(6, "a", []).as_deref(), Some("done"));
    assert_eq!(rig.calls(), [1, 4, 6]);
}

#[test]
fn a_release_of_a_busy_key_changes_nothing() {
    let mut rig = Rig::new(WorkerConfig::default());
    assert_eq!(rig.push(1, "a", [Plan::Wait]), None);
    rig.worker.release("t", Some(b"a"));
    assert_eq!(rig.push(2, "a", []), None);
    assert_eq!(rig.drain(), ["1 done", "2 done"]);
}

#[test]
fn a_held_delivery_is_returned_and_goes_on_when_it_comes_again() {
    let attempts = AttemptConfig::default().hold_in_place(Duration::ZERO);
    let mut rig = Rig::with(attempts, WorkerConfig::default());
    let held = [Plan::Err(ErrorKind::NotExecuted)];
    assert_eq!(rig.push(1, "a", held), None);
    assert_eq!(rig.push(2, "a", []), None);
    assert_eq!(rig.settled(), ["1 held not_executed 1", "2 behind"]);
    assert_eq!(rig.holds.len(), 1);
    rig.worker.release("t", Some(b"a"));
    assert_eq!(rig.push(1, "a", held), None);
    assert_eq!(rig.settled(), ["1 held not_executed 1"]);
    assert_eq!(rig.holds.list()[0].attempts, 2, "the hold goes on");
    rig.worker.release("t", Some(b"a"));
    assert_eq!(rig.push(1, "a", []), None);
    assert_eq!(rig.settled(), ["1 done"]);
    assert!(rig.holds.is_empty());
}

#[test]
fn deliveries_behind_a_failed_one_keep_no_memory_of_others_alive() {
    let mut keys = keys::Keys::new(Ordering::Key);
    let mut slab = bytes::BytesMut::with_capacity(1_000);
    let parts =
        crate::MessageParts { topic: "t", key: Some(b"k"), payload: Some(b"x"), ..Default::default() };
    let mut queued = |tag| Queued {
        delivery: Delivery::new(Message::in_buffer(parts, &mut slab), "g"),
        place: Place { bytes: 1, ..Place::new(tag, &Message::new(parts)) },
    };
    let address = |queued: &Queued| queued.delivery.message.payload().unwrap().as_ptr();
    let (first, second, third, later) = (queued(1), queued(2), queued(3), queued(4));
    let before = [&first, &second, &third, &later].map(address);
    let key = keys.occupy(&first.delivery.message).unwrap();
    keys.queue(key, first);
    keys.wait_long(key);
    keys.queue(key, second);
    let moved = |queued: Option<Queued>, before| queued.is_some_and(|queued| address(&queued) != before);
    assert!(moved(keys.next(key), before[0]));
    keys.queue(key, third);
    assert!(moved(keys.next(key), before[1]));
    assert!(moved(keys.next(key), before[2]), "the next failure does not copy the others again");
    assert!(keys.next(key).is_none() && keys.queued() == 0);
    let key = keys.occupy(&later.delivery.message).unwrap();
    keys.queue(key, later);
    assert!(!moved(keys.next(key), before[3]), "the key was free meanwhile");
}

#[test]
fn a_fatal_error_stops_the_worker_before_the_key_continues() {
    let mut rig = Rig::new(WorkerConfig::default());
    assert_eq!(rig.push(1, "a", [Plan::Err(ErrorKind::Fatal)]), None);
    assert_eq!(rig.push(2, "a", []), None);
    assert_eq!(rig.push(3, "b", [Plan::Wait]), None);
    assert_eq!(rig.settled(), ["1 stopped fatal", "2 abandoned"]);
    assert_eq!(rig.push(4, "c", []).as_deref(), Some("abandoned"));
    assert_eq!(rig.drain(), ["3 done"]);
    assert_eq!(rig.calls(), [1, 3]);
}

#[test]
fn the_policy_decides_about_final_errors_alone() {
    let policy = |error: &Error, _: &Delivery| match error.kind {
        ErrorKind::Invalid => FailurePolicy::Hold,
        ErrorKind::NotFound => FailurePolicy::Stop,
        _ => FailurePolicy::DeadLetter,
    };
    let mut rig = Rig::new(WorkerConfig::default().failure_policy_with(policy));
    let invalid = Plan::Err(ErrorKind::Invalid);
    assert_eq!(rig.push(1, "a", [invalid, invalid, invalid, invalid, invalid]), None);
    assert!(rig.settled().is_empty());
    assert_eq!(rig.holds.len(), 1, "the hold is visible");
    assert_eq!(rig.drain(), ["1 done"]);
    assert_eq!((rig.calls().len(), rig.holds.len()), (6, 0), "more attempts than the limit of 3");
    let internal = Plan::Err(ErrorKind::Internal);
    assert_eq!(rig.push(2, "a", [internal, internal, internal]), None);
    assert_eq!(rig.drain(), ["2 refused internal 3"]);
    assert_eq!(rig.push(3, "b", [internal]), None);
    assert_eq!(rig.drain(), ["3 done"]);
}

#[test]
fn a_delivery_that_the_policy_holds_is_returned_like_any_other_held_one() {
    let attempts = AttemptConfig::default().hold_in_place(Duration::from_secs(10));
    let config = WorkerConfig::default().failure_policy(FailurePolicy::Hold);
    let mut rig = Rig::with(attempts, config);
    let invalid = Plan::Err(ErrorKind::Invalid);
    rig.push(1, "a", [invalid; 100]);
    rig.push(2, "a", []);
    let mut settled = rig.settled();
    (0..10).for_each(|_| settled.extend(rig.after(Duration::from_secs(2))));
    assert_eq!(settled, ["1 held invalid 1", "2 behind"]);
    assert_eq!(rig.holds.list()[0].kind, ErrorKind::Invalid, "it stays listed");
}

#[test]
fn a_policy_that_panics_holds_the_delivery() {
    let policy = |_: &Error, _: &Delivery| std::panic::resume_unwind(Box::new("policy"));
    let mut rig = Rig::new(WorkerConfig::default().failure_policy_with(policy));
    assert_eq!(rig.push(1, "a", [Plan::Err(ErrorKind::Invalid)]), None);
    assert!(rig.settled().is_empty());
    assert_eq!(rig.holds.len(), 1);
    assert_eq!(rig.drain(), ["1 done"]);
}

#[test]
fn waits_between_attempts_are_those_of_the_clock() {
    let mut rig = Rig::new(WorkerConfig::default());
    rig.push(1, "a", [Plan::Err(ErrorKind::Conflict), Plan::Err(ErrorKind::Conflict)]);
    assert!(rig.settled().is_empty());
    assert!(rig.after(Duration::from_millis(79)).is_empty());
    assert_eq!(rig.calls().len(), 1, "the wait is 100 ms, +-20%");
    assert!(rig.after(Duration::from_millis(42)).is_empty());
    assert_eq!(rig.calls().len(), 2);
    assert_eq!(rig.after(Duration::from_millis(121)), ["1 done"]);
}
