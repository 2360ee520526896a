//! The calls to the participants of the saga.

use std::sync::Arc;

use comms_core::Error;
use comms_grpc::{Channel, from_status, keyed};
use tonic::Request;

use super::command::Command;
use crate::{
    contracts::{
        ad::proto::{self as ads, ads_client::AdsClient},
        payment::proto::{self as payments, payments_client::PaymentsClient},
    },
    services::order::{
        saga::messages::{CancelPayment, ConfirmStock, ReleaseStock, RequestPayment, ReserveStock},
        shipping::Shipping,
    },
};

/// The participants of the saga.
pub(in crate::services::order) struct Participants {
    payments: PaymentsClient<Channel>,
    ads: AdsClient<Channel>,
    shipping: Arc<dyn Shipping>,
}

impl Participants {
    /// Creates the clients of payment-service and ad-service.
    pub(in crate::services::order) fn new(
        payment: Channel,
        ad: Channel,
        shipping: Arc<dyn Shipping>,
    ) -> Self {
        Self { payments: PaymentsClient::new(payment), ads: AdsClient::new(ad), shipping }
    }

    /// Makes the call of `command` with the idempotency key `key`.
    pub(super) async fn execute(&self, key: &str, command: &Command) -> Result<(), Error> {
        match command {
            Command::RequestPayment(command) => {
                let called = self.request_payment(key, command).await;
                called.map_err(|e| e.context("request the payment from payment-service"))
            }
            Command::CancelPayment(command) => {
                let called = self.cancel_payment(key, command).await;
                called.map_err(|e| e.context("cancel the payment at payment-service"))
            }
            Command::ReserveStock(command) => {
                let called = self.reserve(key, command).await;
                called.map_err(|e| e.context("reserve the stock at ad-service"))
            }
            Command::ReleaseStock(command) => {
                // The pieces of an order that may still be delivered must not be sold again.
                let cancelled = self.shipping.cancel(key, &command.order_id).await;
                cancelled.map_err(|e| e.context("withdraw the shipment"))?;
                let called = self.release(key, command).await;
                called.map_err(|e| e.context("release the stock at ad-service"))
            }
            Command::ConfirmStock(command) => {
                let called = self.confirm(key, command).await;
                called.map_err(|e| e.context("confirm the stock at ad-service"))
            }
            Command::ShipOrder(command) => {
                let created = self.shipping.create(key, command).await;
                created.map_err(|e| e.context("request the shipment"))
            }
        }
    }

    async fn request_payment(&self, key: &str, command: &RequestPayment) -> Result<(), Error> {
        let RequestPayment { order_id, buyer_id, amount } = command.clone();
        let amount = Some(payments::Amount { minor: amount.minor, currency: amount.currency });
        let request = payments::RequestPaymentRequest { order_id, buyer_id, amount };
        let reply = self.payments.clone().request_payment(keyed(Request::new(request), key)?).await;
        reply.map(drop).map_err(|status| from_status(&status))
    }

    async fn cancel_payment(&self, key: &str, command: &CancelPayment) -> Result<(), Error> {
        let CancelPayment { order_id, buyer_id, amount } = command.clone();
        let amount = Some(payments::Amount { minor: amount.minor, currency: amount.currency });
        let request = payments::CancelPaymentRequest { order_id, buyer_id, amount };
        let reply = self.payments.clone().cancel_payment(keyed(Request::new(request), key)?).await;
        reply.map(drop).map_err(|status| from_status(&status))
    }

    async fn reserve(&self, key: &str, command: &ReserveStock) -> Result<(), Error> {
        let ReserveStock { order_id, item } = command.clone();
        let price = item.unit_price;
        let unit_price = Some(ads::Money { minor: price.minor, currency: price.currency });
        let request =
            ads::ReserveRequest { order_id, ad_id: item.ad_id, quantity: item.quantity, unit_price };
        let reply = self.ads.clone().reserve(keyed(Request::new(request), key)?).await;
        reply.map(drop).map_err(|status| from_status(&status))
    }

    async fn release(&self, key: &str, command: &ReleaseStock) -> Result<(), Error> {
        let request = ads::ReleaseRequest { order_id: command.order_id.clone() };
        let reply = self.ads.clone().release(keyed(Request::new(request), key)?).await;
        reply.map(drop).map_err(|status| from_status(&status))
    }

    async fn confirm(&self, key: &str, command: &ConfirmStock) -> Result<(), Error> {
        let request = ads::ConfirmRequest { order_id: command.order_id.clone() };
        let reply = self.ads.clone().confirm(keyed(Request::new(request), key)?).await;
        reply.map(drop).map_err(|status| from_status(&status))
    }
}
