//! The handlers of the events that payment-service consumes.

use comms_core::{
    Delivery, Error, Outcome, Scoped, clock::Clock, event, handler_fn, once, transactional,
    transport::BoxHandler,
};

use super::store::Store;
use crate::{
    contracts::{OrderStatus, OrderStatusChanged, PaymentStatus, PaymentStatusChanged},
    platform::db::{Db, Tx},
};

/// Handles `payment.status.changed` with the status PENDING: charges the buyer and stores the result with its event.
///
/// Both are in one transaction with the inbox, so a redelivery does not charge twice. The handler fails with `NotFound`
/// if there is no such payment.
pub(super) fn settle(db: Db, store: Store, limit_minor: i64, clock: Clock) -> BoxHandler {
    BoxHandler::new(transactional(db, move |event: PaymentStatusChanged, mut tx: Scoped<Tx>| {
        let (store, clock) = (store.clone(), clock.clone());
        async move {
            if event.status != PaymentStatus::Pending {
                return Ok(());
            }
            let payment = store.lock(&mut tx, &event.payment_id).await?;
            let Some(mut payment) = payment else {
                return Err(Error::not_found(format!("no payment {}", event.payment_id)));
            };
            if !payment.settle(limit_minor, clock.unix_millis()) {
                return Ok(());
            }
            if payment.status == PaymentStatus::Succeeded {
                store.charge(&mut tx, &payment).await?;
            }
            store.update_status(&mut tx, &payment).await
        }
    }))
}

/// Handles `order.status.changed` of a choreographed order: CREATED requests the payment, and CANCELLED cancels it.
///
/// The events of other orders are skipped without a transaction: their saga sends commands.
pub(super) fn follow_order(db: Db, store: Store) -> BoxHandler {
    BoxHandler::new(handler_fn(move |delivery: Delivery| {
        let (db, store) = (db.clone(), store.clone());
        async move {
            let Some(order) = event::read::<OrderStatusChanged>(&delivery.message)? else {
                return Ok(Outcome::Skipped);
            };
            let is_followed = matches!(order.status, OrderStatus::Created | OrderStatus::Cancelled);
            if !order.choreographed || !is_followed {
                return Ok(Outcome::Skipped);
            }
            let payment = store.new_payment(order.order_id, order.buyer_id, order.total)?;
            once(&db, &delivery, async |mut tx| {
                let payment = match order.status {
                    OrderStatus::Cancelled => store.cancel(&mut tx, payment).await,
                    _ => store.request(&mut tx, payment).await,
                };
                payment.map(drop)
            })
            .await
        }
    }))
}
