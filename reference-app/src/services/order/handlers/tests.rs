//! The hold of an order while payment-service lacks the method.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use comms_core::{
    ErrorKind,
    clock::Clock,
    event::{Event as _, EventSource},
    in_transaction,
    resilience::PolicyConfig,
    testing::{DeliveryState, TestConsumer},
};
use comms_grpc::ServerConfig;
use tokio::net::TcpListener;
use tonic::service::Routes;

use super::*;
use crate::{
    contracts::{
        Money,
        payment::proto::{
            CancelPaymentRequest,
            payments_server::{Payments, PaymentsServer},
        },
    },
    services::order::{MIGRATIONS, SERVICE, change::Placement},
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

    async fn cancel_payment(
        &self,
        _: tonic::Request<CancelPaymentRequest>,
    ) -> Result<tonic::Response<Payment>, tonic::Status> {
        Err(tonic::Status::unimplemented("this test cancels no payment"))
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
        item: None,
        choreographed: false,
    };
    let new = Placement {
        order_id: created.order_id.clone(),
        buyer_id: "ann".into(),
        ad_id: "bike".into(),
        quantity: 1,
        unit_price: created.total.clone(),
    };
    let audit = Audit::new(AuthType::AppUser, "ann");
    in_transaction(&db, async |mut tx| {
        store.change(&mut tx, &created.order_id, Change::Place(new), audit).await
    })
    .await
    .unwrap();
    let policy = || Policy::new("payment", PolicyConfig::none()).unwrap();
    let handler = request_payment(db.clone(), store.clone(), serve(Routes::default()).await, policy());
    let deployed = Arc::new(Mutex::new(handler));
    let current = deployed.clone();
    let handler = handler_fn(move |delivery| {
        let handler = current.lock().unwrap().clone();
        async move { handler.handle(delivery).await }
    });
    let consumer =
        TestConsumer::builder("order-saga").on(OrderStatusChanged::TYPE, handler).start().await.unwrap();
    let state = consumer.deliver_event(&created).await.unwrap();
    assert_eq!(state, DeliveryState::Held(ErrorKind::Misconfigured));
    assert!(consumer.holds()[0].reason.contains("request the payment"), "{:?}", consumer.holds());

    let repaired = serve(Routes::new(PaymentsServer::new(PendingPayments))).await;
    *deployed.lock().unwrap() = request_payment(db, store.clone(), repaired, policy());
    consumer.advance(Duration::from_secs(1)).await.unwrap();
    consumer.assert_states(&[DeliveryState::Done]);
    assert!(consumer.holds().is_empty());
    let order = store.find(&created.order_id).await.unwrap().unwrap();
    assert_eq!(order.payment_id.as_deref(), Some("p-1"));
}
