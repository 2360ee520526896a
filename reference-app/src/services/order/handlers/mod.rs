//! What order-service does when it hears of something: the saga in its first form.

use comms_core::{
    Delivery, Error, Outcome, Scoped, event, handler_fn, once, resilience::Policy, transactional,
    transport::BoxHandler,
};
use comms_grpc::{Channel, from_status, keyed};

use super::store::Store;
use crate::{
    contracts::{
        OrderStatus, OrderStatusChanged, PaymentStatusChanged,
        payment::proto::{Amount, Payment, RequestPaymentRequest, payments_client::PaymentsClient},
    },
    platform::db::{Db, Tx},
};

/// On its own CREATED: asks payment-service, *before* a transaction is open, under its policy and with the
/// order's id as key, so that asking again after a crash asks for the same payment. What a guard refuses, and a
/// payment-service that is away or lacks the method, is no failure of the order's: the delivery is held.
pub(super) fn ask_payment(db: Db, store: Store, payments: Channel, policy: Policy) -> BoxHandler {
    let client = PaymentsClient::new(payments);
    BoxHandler::new(handler_fn(move |delivery: Delivery| {
        let (db, store, client, policy) = (db.clone(), store.clone(), client.clone(), policy.clone());
        async move {
            let Some(order) = event::read::<OrderStatusChanged>(&delivery.message)? else {
                return Ok(Outcome::Skipped);
            };
            if order.status != OrderStatus::Created {
                return Ok(Outcome::Skipped);
            }
            let asked = policy.run_idempotent(|| request_payment(client.clone(), &order));
            let payment = asked.await.map_err(|e| e.context("ask payment-service"))?;
            once(&db, &delivery, async |mut tx| {
                store.set_payment(&mut tx, &order.order_id, &payment.payment_id).await
            })
            .await
        }
    }))
}

async fn request_payment(
    mut client: PaymentsClient<Channel>,
    order: &OrderStatusChanged,
) -> Result<Payment, Error> {
    let request = RequestPaymentRequest {
        order_id: order.order_id.clone(),
        buyer_id: order.buyer_id.clone(),
        amount: Some(Amount { minor: order.total.minor, currency: order.total.currency.clone() }),
    };
    let request = keyed(tonic::Request::new(request), &order.order_id)?;
    let reply = client.request_payment(request).await;
    reply.map(tonic::Response::into_inner).map_err(|status| from_status(&status))
}

/// On how the payment went: the order's next status, and the event that says so.
pub(super) fn on_payment(db: Db, store: Store) -> BoxHandler {
    BoxHandler::new(transactional(db, move |payment: PaymentStatusChanged, mut tx: Scoped<Tx>| {
        let store = store.clone();
        async move {
            let order = store.lock(&mut tx, &payment.order_id).await?;
            let Some(mut order) = order else {
                return Err(Error::not_found(format!("the order {} of a payment", payment.order_id)));
            };
            if order.apply_payment(payment.status, payment.reason, store.now()) {
                store.update_status(&mut tx, &order).await?;
            }
            Ok(())
        }
    }))
}

#[cfg(test)]
mod tests;
