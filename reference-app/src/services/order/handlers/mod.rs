//! The handlers of the events that order-service consumes: the saga from a created order to a paid or failed one.

use comms_core::{
    Delivery, Error, Outcome, Scoped, event,
    event_sourcing::{Audit, AuthType},
    handler_fn, once,
    resilience::Policy,
    transactional,
    transport::BoxHandler,
};
use comms_grpc::{Channel, from_status, keyed};

use super::{PAYMENTS, SAGA, change::Change, store::Store};
use crate::{
    contracts::{
        OrderStatus, OrderStatusChanged, PaymentStatus, PaymentStatusChanged,
        payment::proto::{Amount, Payment, RequestPaymentRequest, payments_client::PaymentsClient},
    },
    platform::db::{Db, Tx},
};

/// Handles `order.status.changed` with the status CREATED: requests the payment and stores its id.
///
/// The call to payment-service is made under its policy, and no transaction is open during the call. The order's id is
/// the idempotency key, so that a redelivery after a crash requests the same payment. If a guard of the policy refuses
/// the call, or payment-service is unavailable or lacks the method, the delivery is held and no attempt is counted.
pub(super) fn request_payment(db: Db, store: Store, payments: Channel, policy: Policy) -> BoxHandler {
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
            let payment = policy.run_idempotent(|| call_payment(client.clone(), &order)).await;
            let payment = payment.map_err(|e| e.context("request the payment from payment-service"))?;
            let audit = Audit::new(AuthType::System, SAGA).reason("the order was created");
            let start = Change::StartPayment { payment_id: payment.payment_id };
            once(&db, &delivery, async |mut tx| {
                store.change(&mut tx, &order.order_id, start, audit).await.map(drop)
            })
            .await
        }
    }))
}

/// Makes one attempt of the call.
async fn call_payment(
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

/// Handles `payment.status.changed`: changes the order, in one transaction with the inbox. A pending payment changes
/// nothing.
///
/// The handler fails with `NotFound` if there is no such order.
pub(super) fn apply_payment(db: Db, store: Store) -> BoxHandler {
    BoxHandler::new(transactional(db, move |payment: PaymentStatusChanged, mut tx: Scoped<Tx>| {
        let store = store.clone();
        async move {
            let why = format!("the payment {} is {}", payment.payment_id, <&str>::from(payment.status));
            let audit = Audit::new(AuthType::System, PAYMENTS).reason(why);
            let result = match payment.status {
                PaymentStatus::Pending => return Ok(()),
                PaymentStatus::Succeeded => Change::Pay,
                PaymentStatus::Declined => Change::FailPayment { reason: payment.reason },
            };
            let start = Change::StartPayment { payment_id: payment.payment_id };
            for change in [start, result] {
                store.change(&mut tx, &payment.order_id, change, audit.clone()).await?;
            }
            Ok(())
        }
    }))
}

#[cfg(test)]
mod tests;
