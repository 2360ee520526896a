//! Failures, time limits and compensations.

use super::data::{ID, Order, did, order, parallel, step, undid, undoable};
use crate::{
    saga::{Definition, Operation, Phase, StepStatus},
    testing::SagaTest,
};

fn shipping_failed() -> SagaTest<Order> {
    let mut saga = SagaTest::start(&order(), ID, Order::default());
    saga.event(&did::<'P'>(true)).event(&did::<'I'>(true)).event(&did::<'S'>(false));
    saga
}

fn status(saga: &SagaTest<Order>, step: &str) -> StepStatus {
    saga.instance().step(step).unwrap().status
}

#[test]
fn a_failure_compensates_the_stages_in_reverse_order() {
    let mut saga = shipping_failed();
    saga.assert_sent(&["compensate inventory"])
        .assert_state("CompensateInventory")
        .assert_phase(Phase::Compensating);
    saga.event(&undid::<'P'>(true)).assert_unchanged();
    saga.event(&undid::<'I'>(true)).assert_sent(&["compensate payment"]).assert_state("PaymentCancelled");
    saga.event(&undid::<'P'>(true)).assert_sent(&[]).assert_state("Failed").assert_phase(Phase::Failed);
    let cause = saga.instance().cause.clone().unwrap();
    assert_eq!((cause.step.as_deref(), cause.reason.as_str()), (Some("shipping"), "refused"));
    saga.event(&undid::<'P'>(true)).assert_unchanged();
}

#[test]
fn a_failed_step_itself_is_not_compensated_and_later_steps_are_skipped() {
    let mut saga = SagaTest::start(&order(), ID, Order::default());
    saga.event(&did::<'P'>(false)).assert_sent(&[]).assert_state("Failed");
    assert_eq!(status(&saga, "payment"), StepStatus::Failed);
    assert_eq!(status(&saga, "inventory"), StepStatus::Skipped);
}

#[test]
fn a_step_without_a_reply_is_compensated_too() {
    let mut saga = SagaTest::start(&order(), ID, Order::default());
    saga.timer("payment/execute/1/limit").timer("payment/execute/1/retry").timer("payment/execute/2/limit");
    saga.assert_sent(&["compensate payment"]).assert_state("PaymentCancelled");
    assert_eq!(saga.instance().cause.as_ref().unwrap().reason, "no reply within 1s, attempt 2");
    saga.event(&did::<'P'>(true)).assert_unchanged();
    saga.event(&undid::<'P'>(true)).assert_state("Failed");
}

#[test]
fn the_running_steps_of_a_stage_are_awaited_and_not_attempted_again() {
    let mut saga = SagaTest::start(&parallel(), ID, Order::default());
    saga.event(&did::<'P'>(false)).assert_sent(&[]).assert_phase(Phase::Compensating);
    saga.event(&did::<'I'>(true)).assert_sent(&["compensate inventory"]);
    saga.event(&undid::<'I'>(true)).assert_state("Failed");

    let mut saga = SagaTest::start(&parallel(), ID, Order::default());
    saga.event(&did::<'P'>(false)).timer("inventory/execute/1/limit").assert_sent(&["compensate inventory"]);

    // A step between two attempts is given up at once.
    let mut saga = SagaTest::start(&parallel(), ID, Order::default());
    saga.timer("inventory/execute/1/limit").event(&did::<'P'>(false)).assert_sent(&["compensate inventory"]);
    saga.timer("inventory/execute/1/retry").assert_unchanged();
}

#[test]
fn a_late_reply_settles_an_unknown_step_until_its_compensation_begins() {
    let unknown = || {
        let mut saga = SagaTest::start(&parallel(), ID, Order::default());
        saga.timer("payment/execute/1/limit").operate(Operation::Cancel { reason: "changed mind".into() });
        assert_eq!(status(&saga, "payment"), StepStatus::Unknown);
        saga
    };
    let mut saga = unknown();
    saga.event(&did::<'P'>(true)).assert_sent(&[]);
    assert_eq!(status(&saga, "payment"), StepStatus::Done);
    saga.event(&did::<'I'>(false)).assert_sent(&["compensate payment"]);

    let mut saga = unknown();
    saga.event(&did::<'P'>(false)).assert_sent(&[]);
    saga.event(&did::<'I'>(false)).assert_sent(&[]).assert_state("Failed");
}

#[test]
fn the_compensations_of_a_parallel_stage_run_together() {
    let mut saga = SagaTest::start(&parallel(), ID, Order::default());
    saga.event(&did::<'P'>(true)).event(&did::<'I'>(true)).event(&did::<'S'>(false));
    saga.assert_sent(&["compensate payment", "compensate inventory"]);
    saga.assert_state("PaymentCancelled + compensating inventory");
    saga.event(&undid::<'P'>(true)).assert_phase(Phase::Compensating);
    saga.event(&undid::<'I'>(true)).assert_phase(Phase::Failed);
}

#[test]
fn a_compensation_without_a_reply_is_done_with_its_command() {
    let free = |name| step::<'P'>(name).compensate(|saga| super::data::Undo::<'P'>(saga.id.clone()));
    let definition = Definition::builder("order", 1)
        .step(free("a"))
        .step(undoable::<'I'>("b"))
        .step(free("c").reply::<super::data::Did<'X'>>(|_, did| super::data::result(did.1)))
        .step(step::<'S'>("d"))
        .build()
        .unwrap();
    let mut saga = SagaTest::start(&definition, ID, Order::default());
    saga.event(&did::<'P'>(true)).event(&did::<'I'>(true)).event(&did::<'X'>(true)).event(&did::<'S'>(false));
    saga.assert_sent(&["compensate c", "compensate b"]);
    saga.event(&undid::<'I'>(true)).assert_sent(&["compensate a"]).assert_state("Failed");
}

#[test]
fn a_compensation_without_a_result_is_retried_and_then_held_with_an_alarm() {
    let mut saga = shipping_failed();
    saga.timer("inventory/compensate/1/limit").assert_sent(&[]);
    saga.timer("inventory/compensate/1/retry").assert_sent(&["compensate inventory"]);
    saga.event(&undid::<'I'>(false)).assert_alarms(&["inventory"]).assert_phase(Phase::Held);
    saga.assert_state("CompensateInventory");
    assert_eq!(saga.instance().step("inventory").unwrap().reason.as_deref(), Some("refused"));
    saga.timer("inventory/compensate/2/limit").assert_unchanged();
    saga.event(&undid::<'I'>(false)).assert_unchanged();
    saga.event(&undid::<'I'>(true)).assert_sent(&["compensate payment"]).assert_phase(Phase::Compensating);
}

#[test]
fn a_step_after_the_pivot_is_retried_and_then_held() {
    let definition = Definition::builder("order", 1)
        .step(undoable::<'P'>("payment"))
        .step(step::<'S'>("shipping").pivot())
        .step(step::<'I'>("mail"))
        .build()
        .unwrap();
    let mut saga = SagaTest::start(&definition, ID, Order::default());
    saga.event(&did::<'P'>(true)).event(&did::<'S'>(true)).assert_sent(&["execute mail"]);
    saga.event(&did::<'I'>(false)).assert_sent(&[]).assert_phase(Phase::Running);
    saga.event(&did::<'I'>(false)).assert_unchanged();
    saga.timer("mail/execute/1/retry").assert_sent(&["execute mail"]);
    saga.timer("mail/execute/2/limit")
        .assert_alarms(&["mail"])
        .assert_phase(Phase::Held)
        .assert_state("mail");
    saga.event(&did::<'I'>(true)).assert_state("Completed");
}

#[test]
fn a_pivot_without_a_reply_is_held_unless_it_has_a_compensation() {
    let time_out = |saga: &mut SagaTest<Order>| {
        saga.event(&did::<'P'>(true)).timer("shipping/execute/1/limit");
        saga.timer("shipping/execute/1/retry").timer("shipping/execute/2/limit");
    };
    let run = |pivot| {
        let payment = undoable::<'P'>("payment");
        let definition = Definition::builder("order", 1).step(payment).step(pivot).build().unwrap();
        SagaTest::start(&definition, ID, Order::default())
    };
    let mut held = run(step::<'S'>("shipping").pivot());
    time_out(&mut held);
    held.assert_alarms(&["shipping"]).assert_sent(&[]).assert_phase(Phase::Held);
    held.event(&did::<'S'>(false)).assert_sent(&["compensate payment"]).assert_phase(Phase::Compensating);

    let mut undone = run(undoable::<'S'>("shipping").pivot());
    time_out(&mut undone);
    undone
        .assert_sent(&["compensate shipping"])
        .event(&undid::<'S'>(true))
        .assert_sent(&["compensate payment"]);
}
