//! The gRPC server of payment-service.

use comms_core::{
    Error,
    clock::Clock,
    idempotency::{CallKey, StoredReply, reply_once},
};
use comms_grpc::{key_of, refused};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{domain::Payment, store::Store};
use crate::{
    contracts::{
        self, Money, PaymentStatus,
        payment::proto::{RequestPaymentRequest, payments_server::Payments},
    },
    platform::db::Db,
};

pub(super) struct Api {
    pub(super) db: Db,
    pub(super) store: Store,
    pub(super) clock: Clock,
}

#[tonic::async_trait]
impl Payments for Api {
    async fn request_payment(
        &self,
        request: Request<RequestPaymentRequest>,
    ) -> Result<Response<contracts::payment::proto::Payment>, Status> {
        let key = key_of(&request)?;
        // The call is one transaction, so an error of the kind `NotExecuted` proves that nothing was committed.
        let reply = self.request(&key, request.into_inner()).await.map_err(|e| refused(&e))?;
        Ok(Response::new(reply))
    }
}

impl Api {
    /// Commits the payment, its event and the reply in one transaction. A second call with the same key returns the
    /// stored reply.
    async fn request(
        &self,
        key: &str,
        request: RequestPaymentRequest,
    ) -> Result<contracts::payment::proto::Payment, Error> {
        let call = CallKey::new("order-service", "request-payment", key, &request.encode_to_vec())?;
        let payment = self.new_payment(request)?;
        let replied = reply_once(&self.db, &call, async |mut tx| {
            self.store.insert(&mut tx, &payment).await?;
            let reply = contracts::payment::proto::Payment {
                payment_id: payment.payment_id.clone(),
                order_id: payment.order_id.clone(),
                status: <&str>::from(payment.status).to_owned(),
            };
            Ok(StoredReply::new(0, reply.encode_to_vec()))
        })
        .await?;
        contracts::payment::proto::Payment::decode(replied.reply.body).map_err(Error::internal)
    }

    fn new_payment(&self, request: RequestPaymentRequest) -> Result<Payment, Error> {
        let amount = request.amount.ok_or_else(|| Error::invalid("a payment needs an amount"))?;
        if amount.minor <= 0 || !Money::is_currency(&amount.currency) {
            return Err(Error::invalid("the amount must be positive, in an ISO 4217 currency"));
        }
        let now = self.clock.unix_millis();
        Ok(Payment {
            payment_id: self.clock.uuid_v7().to_string(),
            order_id: request.order_id,
            buyer_id: request.buyer_id,
            amount: Money { minor: amount.minor, currency: amount.currency },
            status: PaymentStatus::Pending,
            sequence: 1,
            reason: None,
            created_at: now,
            updated_at: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use comms_core::event::EventSource;
    use comms_grpc::keyed;

    use super::*;
    use crate::{
        contracts::payment::proto::Amount,
        services::payment::{MIGRATIONS, SERVICE},
    };

    #[tokio::test]
    async fn a_payment_in_an_unknown_currency_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::sqlite(dir.path(), "payment_service", &MIGRATIONS, &Clock::system()).await.unwrap();
        let store = Store::new(db.clone(), EventSource::new(SERVICE.source, Clock::system()));
        let api = Api { db, store, clock: Clock::system() };
        for (currency, code) in [("AAA", tonic::Code::InvalidArgument), ("RUB", tonic::Code::Ok)] {
            let request = RequestPaymentRequest {
                order_id: format!("order-{currency}"),
                buyer_id: "ann".into(),
                amount: Some(Amount { minor: 100, currency: currency.into() }),
            };
            let request = keyed(Request::new(request), currency).unwrap();
            let reply = api.request_payment(request).await;
            assert_eq!(reply.map_or_else(|status| status.code(), |_| tonic::Code::Ok), code, "{currency}");
        }
    }
}
