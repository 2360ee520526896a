//! What the state of a run means for the order.

use comms_core::saga::{Instance, StepState, StepStatus};

use super::OrderData;
use crate::services::order::change::Change;

/// Returns every change that follows from the state of a run, in their order. `data` is the data of `instance`.
///
/// Apply them to the order in the transaction of each transition. A change that the order has made before is among them:
/// the order ignores it. So a change that an earlier version of this function did not know is made up for.
///
/// An order goes back as soon as its run does, not when the run has ended: in a choreographed saga, the other services
/// undo their parts because of the event that the order is cancelled.
pub(in crate::services::order) fn changes<D>(instance: &Instance<D>, data: &OrderData) -> Vec<Change> {
    let is = |name: &str, status| instance.step(name).is_some_and(|step| step.status == status);
    let mut changes = Vec::new();
    if let Some(payment_id) = data.payment_id.clone() {
        changes.push(Change::StartPayment { payment_id });
    }
    let Some(cause) = &instance.cause else {
        let steps = [
            ("payment", Change::Pay),
            ("inventory", Change::Reserve),
            ("shipping", Change::Ship),
            ("delivery", Change::Deliver),
        ];
        // An observed event may come before the turn of its step.
        let done = steps.into_iter().take_while(|(step, _)| is(step, StepStatus::Done));
        changes.extend(done.map(|(_, change)| change));
        return changes;
    };
    let failed = cause.step.as_deref().and_then(|name| instance.step(name));
    // A step that has timed out can fail later, while the run goes back. That does not change the reason.
    let has_failed = failed.filter(|step| {
        step.status == StepStatus::Failed && step.reason.as_deref() == Some(cause.reason.as_str())
    });
    if has_failed.is_some_and(|step| step.name == "payment") {
        changes.push(Change::FailPayment { reason: Some(cause.reason.clone()) });
        return changes;
    }
    // The steps after the payment begin in the transition in which the order is paid. A payment that succeeds while its
    // run goes back already does not make a cancelled order a paid one.
    let begun = |step: &StepState| step.name != "payment" && step.attempts > 0;
    let was_paid = instance.steps.iter().any(begun);
    if was_paid {
        changes.push(Change::Pay);
    }
    let reason = match failed {
        Some(step) if has_failed.is_none() => format!("{}_timeout", step.name),
        _ => cause.reason.clone(),
    };
    changes.push(Change::Cancel { reason });
    if was_paid && data.refunded {
        changes.push(Change::Refund);
    }
    changes
}
