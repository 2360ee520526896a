//! What an event of a participant means for a step.
//!
//! One event may concern two steps, and a repeated command repeats its event. So each function accepts only statuses that
//! no other step in progress accepts, and ignores the others.

use comms_core::saga::Reply;

use super::OrderData;
use crate::contracts::{
    DeliveryStatus, DeliveryStatusChanged, PaymentStatus, PaymentStatusChanged, ReservationChanged,
    ReservationStatus,
};

/// The reply to the request of the payment.
pub(super) fn paid(order: &mut OrderData, payment: &PaymentStatusChanged) -> Reply {
    order.payment_id = Some(payment.payment_id.clone());
    match payment.status {
        PaymentStatus::Pending => Reply::Ignored,
        PaymentStatus::Succeeded => Reply::Done,
        PaymentStatus::Declined => failed(payment.reason.as_ref(), "payment_declined"),
        // The buyer keeps the money, so the step has nothing to undo.
        PaymentStatus::Cancelled | PaymentStatus::Refunded => failed(None, "payment_cancelled"),
    }
}

/// The reply to the cancellation of the payment.
pub(super) fn paid_back(order: &mut OrderData, payment: &PaymentStatusChanged) -> Reply {
    order.payment_id = Some(payment.payment_id.clone());
    order.refunded |= payment.status == PaymentStatus::Refunded;
    match payment.status {
        // Late replies to the request.
        PaymentStatus::Pending | PaymentStatus::Succeeded => Reply::Ignored,
        PaymentStatus::Declined | PaymentStatus::Cancelled | PaymentStatus::Refunded => Reply::Done,
    }
}

/// The reply to the reservation of the stock.
pub(super) fn reserved(_: &mut OrderData, reservation: &ReservationChanged) -> Reply {
    match reservation.status {
        ReservationStatus::Reserved => Reply::Done,
        ReservationStatus::Rejected => failed(reservation.reason.as_ref(), "reservation_rejected"),
        // A repeated command found a reservation that had ended. The pieces are back in the stock.
        ReservationStatus::Expired => failed(None, "reservation_expired"),
        ReservationStatus::Released => failed(None, "reservation_released"),
        ReservationStatus::Confirmed => Reply::Ignored,
    }
}

/// The reply to the release of the stock.
pub(super) fn released(_: &mut OrderData, reservation: &ReservationChanged) -> Reply {
    match reservation.status {
        ReservationStatus::Released => Reply::Done,
        // Events from before the release. A confirmation that is under way takes the pieces of a reservation that has
        // expired again, so only RELEASED shows that the order has no pieces.
        ReservationStatus::Reserved
        | ReservationStatus::Rejected
        | ReservationStatus::Confirmed
        | ReservationStatus::Expired => Reply::Ignored,
    }
}

/// The reply to the confirmation of the stock.
pub(super) fn confirmed(_: &mut OrderData, reservation: &ReservationChanged) -> Reply {
    match reservation.status {
        ReservationStatus::Confirmed => Reply::Done,
        ReservationStatus::Rejected => failed(reservation.reason.as_ref(), "confirmation_rejected"),
        ReservationStatus::Released => failed(None, "reservation_released"),
        // A reservation that has expired is confirmed if there is stock left, so its end is not the reply.
        ReservationStatus::Reserved | ReservationStatus::Expired => Reply::Ignored,
    }
}

/// The reply to the shipment.
pub(super) fn accepted(_: &mut OrderData, delivery: &DeliveryStatusChanged) -> Reply {
    match delivery.status {
        DeliveryStatus::Accepted => Reply::Done,
        DeliveryStatus::Refused => failed(delivery.reason.as_ref(), "shipment_refused"),
        // The event of the last step.
        DeliveryStatus::Delivered => Reply::Ignored,
    }
}

/// The event that ends a run.
pub(super) fn delivered(_: &mut OrderData, delivery: &DeliveryStatusChanged) -> Reply {
    match delivery.status {
        DeliveryStatus::Delivered => Reply::Done,
        DeliveryStatus::Accepted | DeliveryStatus::Refused => Reply::Ignored,
    }
}

fn failed(reason: Option<&String>, code: &str) -> Reply {
    Reply::Failed(reason.map_or(code, String::as_str).to_owned())
}
