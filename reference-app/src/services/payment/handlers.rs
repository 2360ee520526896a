//! The handler of the events that payment-service consumes.

use comms_core::{Error, Scoped, clock::Clock, transactional, transport::BoxHandler};

use super::store::Store;
use crate::{
    contracts::{PaymentStatus, PaymentStatusChanged},
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
