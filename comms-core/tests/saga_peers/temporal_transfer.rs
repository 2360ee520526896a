//! Temporal: the money transfer of the Go samples, with the options of the class `Saga` of the Java SDK.
//!
//! Temporal retries an activity that fails, unless the failure is marked as final. Here a reply that reports a failure is
//! final: the participant retries what it can retry, and answers once. Temporal discards the result of an attempt that
//! timed out. Here a late reply counts until the compensation begins, because all attempts have one idempotency key.

use comms_core::saga::{Definition, Phase};

use crate::{
    participants::{Data, step, undoable},
    table::{Row, check, explore},
};

fn transfer() -> Definition<Data> {
    Definition::builder("transfer", 1)
        .step(undoable(step("withdraw"), "withdraw"))
        .step(undoable(step("deposit"), "deposit"))
        .step(step("report"))
        .build()
        .unwrap()
}

#[test]
fn the_money_transfer() {
    let rows = [
        Row::failed(
            "a failure after both transfers compensates in reverse, one after the other",
            "report",
            &[
                ("withdraw done", "execute deposit"),
                ("deposit done", "execute report"),
                ("report failed", "compensate deposit"),
                ("deposit undone", "compensate withdraw"),
                ("withdraw undone", ""),
            ],
        ),
        Row::failed("a refused withdrawal compensates nothing", "withdraw", &[("withdraw failed", "")]),
        // The Go sample registers a compensation after its activity, and loses a withdrawal whose result is lost.
        Row::failed(
            "a withdrawal without an answer is compensated",
            "withdraw",
            &[
                ("timer withdraw/execute/1/limit", ""),
                ("timer withdraw/execute/1/retry", "execute withdraw"),
                ("timer withdraw/execute/2/limit", "compensate withdraw"),
                ("withdraw undone", ""),
            ],
        ),
        Row::at(
            "the attempts of the step do not count for its compensation",
            "compensating withdraw",
            Phase::Compensating,
            &[
                ("timer withdraw/execute/1/limit", ""),
                ("timer withdraw/execute/1/retry", "execute withdraw"),
                ("timer withdraw/execute/2/limit", "compensate withdraw"),
                ("timer withdraw/compensate/1/limit", ""),
                ("timer withdraw/compensate/1/retry", "compensate withdraw"),
            ],
        )
        .because("withdraw"),
        Row::completed(
            "the second attempt succeeds",
            &[
                ("timer withdraw/execute/1/limit", ""),
                ("timer withdraw/execute/1/retry", "execute withdraw"),
                ("timer withdraw/execute/1/limit", "ignored"),
                ("withdraw done", "execute deposit"),
                ("deposit done", "execute report"),
                ("report done", ""),
            ],
        ),
        Row::at(
            "the answer to the first attempt counts during the backoff, and during the second attempt",
            "report",
            Phase::Running,
            &[
                ("timer withdraw/execute/1/limit", ""),
                ("withdraw done", "execute deposit"),
                ("timer withdraw/execute/1/retry", "ignored"),
                ("timer deposit/execute/1/limit", ""),
                ("timer deposit/execute/1/retry", "execute deposit"),
                ("deposit done", "execute report"),
                ("deposit done", "ignored"),
            ],
        ),
        // In a cancelled scope the compensations of Temporal do not run, unless the workflow detaches them.
        Row::failed(
            "a cancelled run awaits the running step, and compensates",
            "cancel",
            &[
                ("withdraw done", "execute deposit"),
                ("cancel", ""),
                ("cancel", "ignored"),
                ("deposit done", "compensate deposit"),
                ("deposit undone", "compensate withdraw"),
                ("withdraw undone", ""),
                ("cancel", "refused"),
            ],
        ),
        Row::failed(
            "a cancelled run attempts the running step no more",
            "cancel",
            &[
                ("withdraw done", "execute deposit"),
                ("cancel", ""),
                ("timer deposit/execute/1/limit", "compensate deposit"),
                ("deposit undone", "compensate withdraw"),
                ("withdraw undone", ""),
            ],
        ),
        // Without `continueWithError` the rest of the compensations never runs; here it waits for the hold.
        Row::failed(
            "a compensation that fails is retried, held, and retried by an operator",
            "report",
            &[
                ("withdraw done", "execute deposit"),
                ("deposit done", "execute report"),
                ("report failed", "compensate deposit"),
                ("timer deposit/compensate/1/limit", ""),
                ("timer deposit/compensate/1/retry", "compensate deposit"),
                ("timer deposit/compensate/2/limit", ""),
                ("retry", "compensate deposit"),
                ("retry", "refused"),
                ("deposit undone", "compensate withdraw"),
                ("withdraw undone", ""),
            ],
        )
        .alarms(&["deposit"]),
        // With `continueWithError` the failure is passed over; here only an operator passes over it.
        Row::at(
            "the other compensations continue when an operator has compensated by hand",
            "compensating withdraw",
            Phase::Compensating,
            &[
                ("withdraw done", "execute deposit"),
                ("deposit done", "execute report"),
                ("report failed", "compensate deposit"),
                ("deposit not-undone", ""),
                ("timer deposit/compensate/1/retry", "compensate deposit"),
                ("deposit not-undone", ""),
                ("force deposit done", "refused"),
                ("force deposit compensated", "compensate withdraw"),
                ("deposit undone", "ignored"),
            ],
        )
        .because("report")
        .alarms(&["deposit"]),
    ];
    check(&transfer(), "execute withdraw", &rows);
    assert!(explore(&transfer()).held > 0);
}
