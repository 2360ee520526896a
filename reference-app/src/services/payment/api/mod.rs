//! The gRPC server of payment-service. `watch` streams the statuses of a payment.

mod watch;

use comms_core::{
    Error,
    idempotency::{CallKey, StoredReply, reply_once},
    in_transaction,
};
use comms_grpc::{key_of, refused};
use prost::Message as _;
use tonic::{Request, Response, Status, codegen::BoxStream};

use super::{domain::Payment, store::Store};
use crate::{
    contracts::{
        Money,
        payment::proto::{
            self, Amount, CancelPaymentRequest, PaymentUpdate, RequestPaymentRequest, WatchPaymentRequest,
            payments_server::Payments,
        },
    },
    platform::db::Db,
};

pub(super) use watch::Watches;

/// The scope of the idempotency keys: order-service alone calls.
const CALLER: &str = "order-service";

pub(super) struct Api {
    pub(super) db: Db,
    pub(super) store: Store,
    pub(super) watches: Watches,
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Request,
    Cancel,
}

#[tonic::async_trait]
impl Payments for Api {
    async fn request_payment(
        &self,
        request: Request<RequestPaymentRequest>,
    ) -> Result<Response<proto::Payment>, Status> {
        let key = key_of(&request)?;
        // The call is one transaction, so an error of the kind `NotExecuted` proves that nothing was committed.
        let reply = self.request(&key, request.into_inner()).await.map_err(|e| refused(&e))?;
        Ok(Response::new(reply))
    }

    async fn cancel_payment(
        &self,
        request: Request<CancelPaymentRequest>,
    ) -> Result<Response<proto::Payment>, Status> {
        let key = key_of(&request)?;
        let reply = self.cancel(&key, request.into_inner()).await.map_err(|e| refused(&e))?;
        Ok(Response::new(reply))
    }

    type WatchPaymentStream = BoxStream<PaymentUpdate>;

    async fn watch_payment(
        &self,
        request: Request<WatchPaymentRequest>,
    ) -> Result<Response<Self::WatchPaymentStream>, Status> {
        let updates = self.watches.open(request.into_inner()).await;
        Ok(Response::new(updates.map_err(|e| refused(&e))?))
    }
}

impl Api {
    async fn request(&self, key: &str, request: RequestPaymentRequest) -> Result<proto::Payment, Error> {
        let call = CallKey::new(CALLER, "request-payment", key, &request.encode_to_vec())?;
        let payment = self.new_payment(request.order_id, request.buyer_id, request.amount)?;
        self.run(&call, Operation::Request, payment).await
    }

    async fn cancel(&self, key: &str, request: CancelPaymentRequest) -> Result<proto::Payment, Error> {
        let call = CallKey::new(CALLER, "cancel-payment", key, &request.encode_to_vec())?;
        let payment = self.new_payment(request.order_id, request.buyer_id, request.amount)?;
        self.run(&call, Operation::Cancel, payment).await
    }

    fn new_payment(
        &self,
        order_id: String,
        buyer_id: String,
        amount: Option<Amount>,
    ) -> Result<Payment, Error> {
        let Amount { minor, currency } = amount.ok_or_else(|| Error::invalid("a payment needs an amount"))?;
        self.store.new_payment(order_id, buyer_id, Money { minor, currency })
    }

    /// Commits the operation, its event and the reply in one transaction. A second call with the same key returns the
    /// stored reply.
    ///
    /// The second call also publishes the current status again. A caller that waits for the event repeats the call when
    /// the event does not come, and must get an event for it.
    async fn run(
        &self,
        call: &CallKey,
        operation: Operation,
        payment: Payment,
    ) -> Result<proto::Payment, Error> {
        let order_id = payment.order_id.clone();
        let replied = reply_once(&self.db, call, async |mut tx| {
            let payment = match operation {
                Operation::Request => self.store.request(&mut tx, payment).await?,
                Operation::Cancel => self.store.cancel(&mut tx, payment).await?,
            };
            Ok(StoredReply::new(0, reply(payment).encode_to_vec()))
        })
        .await?;
        if replied.replayed {
            in_transaction(&self.db, async |mut tx| self.store.announce(&mut tx, &order_id).await).await?;
        }
        proto::Payment::decode(replied.reply.body).map_err(Error::internal)
    }
}

fn reply(payment: Payment) -> proto::Payment {
    let status = <&str>::from(payment.status).to_owned();
    proto::Payment { payment_id: payment.payment_id, order_id: payment.order_id, status }
}

#[cfg(test)]
mod tests;
