//! Eventuate Tram Sagas: the saga of the customers-and-orders example, and its variant with notifications.
//!
//! A local step of Eventuate runs in the transaction of the orchestrator. A definition does no input or output, so a local
//! step is a command to the own service. Eventuate reports the failure of the first local step to the caller; here the
//! run ends as `Failed`. Its steps have no time limits; here every step has one. Its participants lock the aggregates of a
//! saga and unlock them at the end; here the state of the aggregate is the lock, and a confirming step releases it.

use comms_core::saga::{Definition, Phase};

use crate::{
    participants::{Data, step, undoable, undone_unseen},
    table::{Row, check, explore},
};

/// The order is created, credit is reserved, and the order is approved. There is no pivot.
fn create_order() -> Definition<Data> {
    Definition::builder("create-order", 1)
        .step(undone_unseen(step("order")))
        .step(undoable(step("credit"), "credit"))
        .step(step("approval"))
        .build()
        .unwrap()
}

#[test]
fn the_saga_of_customers_and_orders() {
    let rows = [
        Row::completed(
            "credit is reserved and the order is approved",
            &[("order done", "execute credit"), ("credit done", "execute approval"), ("approval done", "")],
        ),
        Row::failed(
            "an exceeded credit limit rejects the order",
            "credit",
            &[("order done", "execute credit"), ("credit failed", "compensate order")],
        ),
        Row::failed(
            "the failure of the first step compensates nothing",
            "order",
            &[("order failed", ""), ("order done", "ignored")],
        ),
        Row::failed(
            "the failure of the last step compensates every executed step in reverse",
            "approval",
            &[
                ("order done", "execute credit"),
                ("credit done", "execute approval"),
                ("approval failed", "compensate credit"),
                ("order undone", "ignored"),
                ("credit undone", "compensate order"),
            ],
        ),
        // Eventuate throws in the handler of the reply, and the run stays in its state.
        Row::failed(
            "a refused compensation is retried, then held with an alarm, and continues with a late reply",
            "approval",
            &[
                ("order done", "execute credit"),
                ("credit done", "execute approval"),
                ("approval failed", "compensate credit"),
                ("credit not-undone", ""),
                ("timer credit/compensate/1/retry", "compensate credit"),
                ("credit not-undone", ""),
                ("credit not-undone", "ignored"),
                ("credit undone", "compensate order"),
            ],
        )
        .alarms(&["credit"]),
        Row::at(
            "a repeated reply, a reply of a later step and a reply of another run change nothing",
            "credit",
            Phase::Running,
            &[
                ("order done", "execute credit"),
                ("order done", "ignored"),
                ("order failed", "ignored"),
                ("approval done", "ignored"),
                ("other-run credit done", "ignored"),
            ],
        ),
    ];
    check(&create_order(), "execute order", &rows);
    assert!(explore(&create_order()).failed > 0);
}

/// The compensation of the inventory is a notification, which is not confirmed.
fn with_notifications() -> Definition<Data> {
    Definition::builder("create-order", 2)
        .step(undone_unseen(step("order")))
        .step(undoable(step("credit"), "credit"))
        .step(undone_unseen(step("inventory")))
        .step(step("approval"))
        .step(step("fulfilment"))
        .build()
        .unwrap()
}

#[test]
fn the_saga_with_notifications() {
    let rows = [
        Row::failed(
            "a notification and the next compensation are sent together",
            "approval",
            &[
                ("order done", "execute credit"),
                ("credit done", "execute inventory"),
                ("inventory done", "execute approval"),
                ("approval failed", "compensate inventory, compensate credit"),
                ("credit undone", "compensate order"),
            ],
        ),
        Row::failed(
            "a refused inventory is not released",
            "inventory",
            &[
                ("order done", "execute credit"),
                ("credit done", "execute inventory"),
                ("inventory failed", "compensate credit"),
                ("credit undone", "compensate order"),
            ],
        ),
        // Eventuate completes with the notification. Here every step is confirmed, so that a lost one is noticed.
        Row::at(
            "the last command is confirmed before the run completes",
            "fulfilment",
            Phase::Running,
            &[
                ("order done", "execute credit"),
                ("credit done", "execute inventory"),
                ("inventory done", "execute approval"),
                ("approval done", "execute fulfilment"),
            ],
        ),
    ];
    check(&with_notifications(), "execute order", &rows);
}
