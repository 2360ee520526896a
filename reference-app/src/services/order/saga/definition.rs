//! The definitions of the two variants. Both have the same steps, states and compensations.

use std::time::Duration;

use comms_core::{
    resilience::Backoff,
    saga::{Definition, SetupError},
};

use super::{
    OrderData,
    limits::Limits,
    messages::{CancelPayment, ConfirmStock, ReleaseStock, RequestPayment, ReserveStock, ShipOrder, TOPIC},
    replies,
};

type Step = comms_core::saga::Step<OrderData>;

/// Returns the orchestrated saga: each step sends a command, and only the delivery is observed.
///
/// # Errors
/// Returns the rule that the steps break, which is a defect of this module or of `limits`.
pub(in crate::services::order) fn orchestrated(limits: &Limits) -> Result<Definition<OrderData>, SetupError> {
    let payment = Step::command("payment", |saga| RequestPayment {
        order_id: saga.id.clone(),
        buyer_id: saga.data.buyer_id.clone(),
        amount: saga.data.total.clone(),
    });
    let inventory = Step::command("inventory", |saga| ReserveStock {
        order_id: saga.id.clone(),
        item: saga.data.item.clone(),
    });
    Definition::builder("order", 1)
        .step(payment_step(payment.time_limit(limits.payment), limits))
        .step(inventory_step(inventory.time_limit(limits.inventory), limits))
        .step(confirmation_step(limits))
        .step(shipping_step(limits))
        .step(delivery_step(limits))
        .build()
}

/// Returns the choreographed saga: payment-service and ad-service react to the events of the order, and the saga observes
/// their events.
///
/// An observed step has one attempt, so its limit is that of all attempts of a command. The confirmation is a command here
/// too: an order enters no status between the reservation and the shipment, so no event of the order causes it. So is the
/// shipment: a courier follows no events, and the point of no return of a run must be a command. The compensations are
/// commands as well. They have the same effect once as the event that the order is cancelled, and they add what an event
/// lacks: attempts, a time limit and an alarm.
///
/// # Errors
/// Returns the rule that the steps break, which is a defect of this module or of `limits`.
pub(in crate::services::order) fn choreographed(
    limits: &Limits,
) -> Result<Definition<OrderData>, SetupError> {
    let observe =
        |name, limit: Duration| Step::observe(name).time_limit(limit.saturating_mul(limits.attempts));
    Definition::builder("order-choreographed", 1)
        .step(payment_step(observe("payment", limits.payment), limits))
        .step(inventory_step(observe("inventory", limits.inventory), limits))
        .step(confirmation_step(limits))
        .step(shipping_step(limits))
        .step(delivery_step(limits))
        .build()
}

fn payment_step(step: Step, limits: &Limits) -> Step {
    step.reply(replies::paid)
        .compensate(|saga| CancelPayment {
            order_id: saga.id.clone(),
            buyer_id: saga.data.buyer_id.clone(),
            amount: saga.data.total.clone(),
        })
        .compensated_by(replies::paid_back)
        .topic(TOPIC)
        .attempts(limits.attempts, Backoff::default())
        .running("PaymentProcessing")
        .compensating("PaymentCancelled")
}

fn inventory_step(step: Step, limits: &Limits) -> Step {
    step.reply(replies::reserved)
        .compensate(|saga| ReleaseStock { order_id: saga.id.clone() })
        .compensated_by(replies::released)
        .topic(TOPIC)
        .attempts(limits.attempts, Backoff::default())
        .done("InventoryReserved")
        .compensating("CompensateInventory")
}

/// Makes the reservation permanent before the order is shipped: a reservation that has expired may be sold again. The
/// compensation of the inventory undoes a confirmed reservation too.
fn confirmation_step(limits: &Limits) -> Step {
    Step::command("confirmation", |saga| ConfirmStock { order_id: saga.id.clone() })
        .reply(replies::confirmed)
        .topic(TOPIC)
        .time_limit(limits.confirmation)
        .attempts(limits.attempts, Backoff::default())
        .running("InventoryReserved")
}

/// The pivot: an accepted shipment is not called back. Without an answer the run is held, because the courier may have the
/// order.
fn shipping_step(limits: &Limits) -> Step {
    let step = Step::command("shipping", |saga| ShipOrder {
        order_id: saga.id.clone(),
        buyer_id: saga.data.buyer_id.clone(),
        ad_id: saga.data.item.ad_id.clone(),
        quantity: saga.data.item.quantity,
    });
    step.reply(replies::accepted)
        .topic(TOPIC)
        .time_limit(limits.shipping)
        .attempts(limits.attempts, Backoff::default())
        .done("ShippingProcessing")
        .pivot()
}

fn delivery_step(limits: &Limits) -> Step {
    Step::observe("delivery")
        .reply(replies::delivered)
        .time_limit(limits.delivery)
        .running("ShippingProcessing")
}
