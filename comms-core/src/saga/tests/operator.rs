//! Cancel, retry and forced results.

use super::data::{ID, Order, did, order, parallel, undid};
use crate::{
    ErrorKind,
    saga::{ForcedStatus, Operation, Phase, StepStatus},
    testing::SagaTest,
};

fn cancel() -> Operation {
    Operation::Cancel { reason: "changed mind".into() }
}

fn force(step: &str, status: ForcedStatus) -> Operation {
    Operation::Force { step: step.into(), status }
}

fn held_compensation() -> SagaTest<Order> {
    let mut saga = SagaTest::start(&order(), ID, Order::default());
    saga.event(&did::<'P'>(true)).event(&did::<'I'>(false)).event(&undid::<'P'>(false));
    saga.timer("payment/compensate/1/retry").event(&undid::<'P'>(false)).assert_phase(Phase::Held);
    saga
}

#[test]
fn a_cancel_awaits_the_running_step_and_compensates() {
    let mut saga = SagaTest::start(&order(), ID, Order::default());
    saga.operate(cancel()).assert_sent(&[]).assert_phase(Phase::Compensating);
    saga.operate(cancel()).assert_unchanged();
    saga.event(&did::<'P'>(true)).assert_sent(&["compensate payment"]);
    saga.event(&undid::<'P'>(true)).assert_state("Failed");
    let cause = saga.instance().cause.as_ref().unwrap();
    assert_eq!((cause.step.as_deref(), cause.reason.as_str()), (None, "changed mind"));
    assert_eq!(saga.refused(cancel()).to_string(), "invalid: the run 7 of order has ended");
}

#[test]
fn a_cancel_is_refused_once_the_pivot_was_sent() {
    let mut saga = SagaTest::start(&order(), ID, Order::default());
    saga.event(&did::<'P'>(true)).event(&did::<'I'>(true)).assert_sent(&["execute shipping"]);
    let refused = saga.refused(cancel());
    assert_eq!(
        refused.to_string(),
        "invalid: too late to cancel: the command of the pivot shipping was sent"
    );
    saga.event(&did::<'S'>(true)).assert_state("Completed");
}

#[test]
fn a_retry_gives_a_held_step_its_attempts_again() {
    let mut saga = held_compensation();
    saga.operate(Operation::Retry).assert_sent(&["compensate payment"]).assert_phase(Phase::Compensating);
    assert_eq!(saga.instance().step("payment").unwrap().compensations, 3);
    assert_eq!(saga.refused(Operation::Retry).kind, ErrorKind::Invalid);
    saga.timer("payment/compensate/3/limit")
        .timer("payment/compensate/3/retry")
        .assert_sent(&["compensate payment"]);
    saga.timer("payment/compensate/4/limit").assert_alarms(&["payment"]).assert_phase(Phase::Held);
    saga.operate(Operation::Retry).event(&undid::<'P'>(true)).assert_state("Failed");
}

#[test]
fn a_forced_result_continues_a_held_run() {
    let mut saga = held_compensation();
    for status in [ForcedStatus::Done, ForcedStatus::Failed] {
        assert_eq!(saga.refused(force("payment", status)).kind, ErrorKind::Invalid);
    }
    saga.operate(force("payment", ForcedStatus::Compensated)).assert_state("Failed");
}

#[test]
fn a_forced_result_replaces_a_reply() {
    let mut saga = SagaTest::start(&parallel(), ID, Order::default());
    saga.operate(force("payment", ForcedStatus::Done));
    saga.operate(force("inventory", ForcedStatus::Failed)).assert_sent(&["compensate payment"]);
    assert_eq!(saga.instance().step("inventory").unwrap().status, StepStatus::Failed);
    for (step, status) in [
        ("shipping", ForcedStatus::Done),
        ("inventory", ForcedStatus::Compensated),
        ("mail", ForcedStatus::Done),
    ] {
        assert_eq!(saga.refused(force(step, status)).kind, ErrorKind::Invalid, "{step}");
    }
}

/// After the pivot a failure would need compensations that do not run.
#[test]
fn a_step_after_the_pivot_cannot_be_forced_to_fail() {
    use super::data::{step, undoable};
    let definition = crate::saga::Definition::builder("order", 1)
        .step(undoable::<'S'>("shipping").pivot())
        .step(step::<'I'>("mail"))
        .build()
        .unwrap();
    let mut saga = SagaTest::start(&definition, ID, Order::default());
    saga.event(&did::<'S'>(true));
    assert_eq!(saga.refused(force("mail", ForcedStatus::Failed)).kind, ErrorKind::Invalid);
    saga.operate(force("mail", ForcedStatus::Done)).assert_state("Completed");
}
