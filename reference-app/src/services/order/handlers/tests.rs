//! The hold of an order while payment-service lacks the method.

use std::{future::pending, time::Duration};

use comms_core::{
    ErrorKind,
    clock::Clock,
    event::EventSource,
    health::Status,
    resilience::PolicyConfig,
    transport::{AttemptConfig, Processor, Verdict},
};
use comms_grpc::ServerConfig;
use tokio::net::TcpListener;
use tonic::service::Routes;

use super::*;
use crate::{
    contracts::{
        Money,
        payment::proto::payments_server::{Payments, PaymentsServer},
    },
    services::order::{MIGRATIONS, SERVICE},
};

/// A payment-service that answers every request with a pending payment.
struct PendingPayments;

#[tonic::async_trait]
impl Payments for PendingPayments {
    async fn request_payment(
        &self,
        request: tonic::Request<RequestPaymentRequest>,
    ) -> Result<tonic::Response<Payment>, tonic::Status> {
        let order_id = request.into_inner().order_id;
        let (payment_id, status) = ("p-1".to_owned(), "PENDING".to_owned());
        Ok(tonic::Response::new(Payment { payment_id, order_id, status }))
    }
}

/// Serves `routes` and returns a channel to them.
async fn serve(routes: Routes) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(comms_grpc::serve(listener, routes, ServerConfig::default(), Clock::system(), pending()));
    Channel::builder(format!("http://{address}")).build().unwrap()
}

#[tokio::test]
async fn an_order_is_held_until_payment_service_has_the_method() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::sqlite(dir.path(), "order_service", &MIGRATIONS, &Clock::system()).await.unwrap();
    let store = Store::new(db.clone(), EventSource::new(SERVICE.source, Clock::system()));
    let created = OrderStatusChanged {
        order_id: "0190a0c4-0000-7000-8000-000000000000".into(),
        buyer_id: "ann".into(),
        status: OrderStatus::Created,
        sequence: 1,
        total: Money { minor: 100, currency: "RUB".into() },
        reason: None,
        changed_at: "2026-11-26T00:00:00.000Z".into(),
    };
    let message = EventSource::new(SERVICE.source, Clock::system()).message(&created).unwrap();
    let delivery = Delivery::new(message, "order-saga");

    let policy = || Policy::new("payment", PolicyConfig::none()).unwrap();
    let handler = request_payment(db.clone(), store.clone(), serve(Routes::default()).await, policy());
    let mut attempts = AttemptConfig::default();
    (attempts.max_attempts, attempts.hold_in_place) = (1, Some(Duration::ZERO));
    let wrong = Processor::new(handler, attempts.clone(), Clock::system(), "test");
    let verdict = wrong.process(delivery.clone(), pending(), pending()).await;
    assert!(
        matches!(&verdict, Verdict::Held { error, attempts: 1 } if error.kind == ErrorKind::Misconfigured),
        "{verdict:?}"
    );
    let state = wrong.holds().state();
    assert!(state.status == Status::Degraded && state.reason.unwrap().contains("request the payment"));

    let repaired = serve(Routes::new(PaymentsServer::new(PendingPayments))).await;
    let handler = request_payment(db, store, repaired, policy());
    let right = Processor::new(handler, attempts, Clock::system(), "test").with_holds(wrong.holds().clone());
    let verdict = right.process(delivery, pending(), pending()).await;
    assert!(matches!(verdict, Verdict::Done(Outcome::Done)), "{verdict:?}");
    assert!(right.holds().is_empty());
}
