//! Chosen paths of a run.

use comms_core::saga::{Effect, Operation, Phase};

use super::*;
use DeliveryStatus as D;
use PaymentStatus as P;
use ReservationStatus as R;

/// Brings a run to the command of the shipment.
fn until_shipping(saga: &mut SagaTest<OrderData>) -> &mut SagaTest<OrderData> {
    saga.event(&payment(P::Succeeded)).event(&stock(R::Reserved)).event(&stock(R::Confirmed));
    saga.assert_sent(&["execute shipping"])
}

#[test]
fn an_orchestrated_order_sends_each_command_after_the_reply_to_the_one_before() {
    let mut saga = start(&orchestrated(&limits()).unwrap());
    saga.assert_sent(&["execute payment"]).assert_state("PaymentProcessing");
    saga.event(&payment(P::Pending)).assert_unchanged();
    saga.event(&payment(P::Succeeded)).assert_sent(&["execute inventory"]).assert_state("PaymentProcessing");
    saga.event(&stock(R::Reserved)).assert_sent(&["execute confirmation"]);
    saga.assert_state("InventoryReserved");
    saga.event(&stock(R::Confirmed)).assert_sent(&["execute shipping"]).assert_state("InventoryReserved");
    saga.event(&shipment(D::Accepted)).assert_sent(&[]).assert_state("ShippingProcessing");
    saga.event(&shipment(D::Delivered)).assert_state("Completed").assert_phase(Phase::Completed);
    assert_eq!(saga.instance().data.payment_id.as_deref(), Some("p-1"));
}

#[test]
fn a_choreographed_order_commands_the_confirmation_and_the_shipment_alone() {
    let mut saga = start(&choreographed(&limits()).unwrap());
    saga.assert_sent(&[]).assert_state("PaymentProcessing");
    saga.event(&payment(P::Succeeded)).assert_sent(&[]).assert_state("PaymentProcessing");
    saga.event(&stock(R::Reserved)).assert_sent(&["execute confirmation"]).assert_state("InventoryReserved");
    saga.event(&stock(R::Confirmed)).assert_sent(&["execute shipping"]).assert_state("InventoryReserved");
    saga.event(&shipment(D::Accepted)).assert_sent(&[]).assert_state("ShippingProcessing");
    saga.event(&shipment(D::Delivered)).assert_phase(Phase::Completed);
}

#[test]
fn a_declined_payment_ends_the_order_with_nothing_to_undo() {
    for definition in both() {
        let mut saga = start(&definition);
        saga.event(&payment(P::Declined)).assert_sent(&[]).assert_state("Failed").assert_phase(Phase::Failed);
        assert_eq!(saga.instance().cause.as_ref().unwrap().reason, "limit_exceeded");
    }
}

#[test]
fn an_order_without_stock_is_paid_back() {
    for definition in both() {
        let mut saga = start(&definition);
        saga.event(&payment(P::Succeeded)).event(&stock(R::Rejected));
        saga.assert_sent(&["compensate payment"]).assert_state("PaymentCancelled");
        saga.event(&payment(P::Succeeded)).assert_unchanged();
        saga.event(&payment(P::Refunded)).assert_phase(Phase::Failed);
        assert!(saga.instance().data.refunded);
    }
}

#[test]
fn a_refused_shipment_gives_back_the_stock_and_then_the_money() {
    for definition in both() {
        let mut saga = start(&definition);
        until_shipping(&mut saga).event(&shipment(D::Refused));
        saga.assert_sent(&["compensate inventory"]).assert_state("CompensateInventory");
        for late in [R::Reserved, R::Confirmed] {
            saga.event(&stock(late)).assert_unchanged();
        }
        saga.event(&stock(R::Released)).assert_sent(&["compensate payment"]).assert_state("PaymentCancelled");
        saga.event(&payment(P::Refunded)).assert_state("Failed").assert_phase(Phase::Failed);
    }
}

/// A participant that is away for less than all attempts does not fail an order.
#[test]
fn a_lost_reply_is_made_up_for_by_the_next_attempt() {
    let mut saga = start(&orchestrated(&limits()).unwrap());
    saga.timer("payment/execute/1/limit").timer("payment/execute/1/retry").assert_sent(&["execute payment"]);
    let Some(Effect::Send(again)) = saga.effects().first() else { panic!("a command is sent") };
    assert_eq!(again.id, "order/o-1/payment/execute/2");
    assert_eq!(again.idempotency_key, "order/o-1/payment/execute");
    assert_eq!((again.topic.as_str(), again.key.as_str()), ("order.commands", ORDER));
    saga.event(&payment(P::Succeeded)).assert_sent(&["execute inventory"]);
}

#[test]
fn a_payment_without_a_reply_is_cancelled() {
    let mut saga = start(&orchestrated(&limits()).unwrap());
    saga.timer("payment/execute/1/limit").timer("payment/execute/1/retry").timer("payment/execute/2/limit");
    saga.assert_sent(&["compensate payment"]).assert_state("PaymentCancelled");
    saga.event(&payment(P::Cancelled)).assert_phase(Phase::Failed);

    let mut observed = start(&choreographed(&limits()).unwrap());
    observed.timer("payment/execute/1/limit").assert_sent(&["compensate payment"]);
    observed.event(&payment(P::Cancelled)).assert_phase(Phase::Failed);
}

/// The pieces of a reservation that has expired may be sold to another order, so no order is shipped without its
/// confirmation. The reply to the reservation that comes again is not the reply to the confirmation.
#[test]
fn a_reservation_that_expires_is_not_shipped_before_it_is_confirmed() {
    for definition in both() {
        let mut saga = start(&definition);
        saga.event(&payment(P::Succeeded)).event(&stock(R::Reserved)).assert_sent(&["execute confirmation"]);
        saga.event(&stock(R::Reserved)).assert_unchanged();
        saga.event(&stock(R::Expired)).assert_unchanged();
        saga.event(&shipment(D::Accepted)).assert_sent(&[]).assert_state("InventoryReserved");
        saga.event(&stock(R::Confirmed)).assert_sent(&["execute shipping"]);
    }
}

/// A confirmation that is under way may take the pieces again after the reservation has expired, so the end of the
/// reservation is not the reply to its release.
#[test]
fn an_order_that_cannot_be_confirmed_gives_back_the_stock_and_then_the_money() {
    for definition in both() {
        let mut rejected = start(&definition);
        rejected.event(&payment(P::Succeeded)).event(&stock(R::Reserved)).event(&stock(R::Rejected));
        let mut late = start(&definition);
        late.event(&payment(P::Succeeded)).event(&stock(R::Reserved));
        late.timer("confirmation/execute/1/limit").timer("confirmation/execute/1/retry");
        late.assert_sent(&["execute confirmation"]).timer("confirmation/execute/2/limit");
        for saga in [&mut rejected, &mut late] {
            saga.assert_sent(&["compensate inventory"]).assert_state("CompensateInventory");
            for ignored in [R::Expired, R::Rejected, R::Confirmed] {
                saga.event(&stock(ignored)).assert_sent(&[]).assert_state("CompensateInventory");
            }
            saga.event(&stock(R::Released)).assert_sent(&["compensate payment"]);
            saga.event(&payment(P::Refunded)).assert_phase(Phase::Failed);
        }
    }
}

/// The delivery may be reported before the acceptance is.
#[test]
fn an_early_delivery_counts() {
    for definition in both() {
        let mut saga = start(&definition);
        until_shipping(&mut saga).event(&shipment(D::Delivered)).assert_state("InventoryReserved");
        saga.event(&shipment(D::Accepted)).assert_phase(Phase::Completed);
    }
}

/// The courier may have the goods, so nothing is undone without an operator, and a late answer goes on.
#[test]
fn a_shipment_without_an_answer_is_held_until_the_answer_comes() {
    for definition in both() {
        let mut saga = start(&definition);
        until_shipping(&mut saga);
        saga.timer("shipping/execute/1/limit").timer("shipping/execute/1/retry");
        saga.timer("shipping/execute/2/limit").assert_alarms(&["shipping"]).assert_phase(Phase::Held);
        saga.refused(Operation::Cancel { reason: "late".into() });
        saga.event(&shipment(D::Accepted)).assert_phase(Phase::Running).assert_state("ShippingProcessing");
    }
}
