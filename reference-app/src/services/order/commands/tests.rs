//! The calls that follow from commands, with servers that record them.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use comms_core::{
    ErrorKind,
    clock::Clock,
    event::{Event, EventSource},
    testing::{DeliveryState, TestConsumer},
};
use comms_grpc::{Channel, ServerConfig, key_of};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, codegen::BoxStream, service::Routes};

use super::*;
use crate::{
    contracts::{
        Money, OrderItem,
        ad::proto::{self as ads, ads_server::AdsServer},
        payment::proto::{self as payments, payments_server::PaymentsServer},
    },
    services::order::{
        saga::messages::{
            CancelPayment, ConfirmStock, ReleaseStock, RequestPayment, ReserveStock, ShipOrder, TOPIC,
        },
        shipping::Shipping,
    },
};

const KEY: &str = "order/o-1/step/execute";

/// The calls in their order, each with its key and its order.
#[derive(Clone, Default)]
struct Calls {
    made: Arc<Mutex<Vec<String>>>,
    /// The shipment of every order was delivered, so that it cannot be withdrawn.
    is_delivered: bool,
}

impl Calls {
    fn add(&self, call: &str, key: &str, order: &str) {
        self.made.lock().unwrap().push(format!("{call} {key} {order}"));
    }

    fn reserved(&self, call: &str, key: &str, order: &str) -> Result<Response<ads::Reservation>, Status> {
        self.add(call, key, order);
        Ok(Response::new(ads::Reservation::default()))
    }
}

#[tonic::async_trait]
impl payments::payments_server::Payments for Calls {
    async fn request_payment(
        &self,
        request: Request<payments::RequestPaymentRequest>,
    ) -> Result<Response<payments::Payment>, Status> {
        let (key, request) = (key_of(&request)?, request.into_inner());
        self.add(&format!("pay {}", request.amount.unwrap_or_default().minor), &key, &request.order_id);
        Ok(Response::new(payments::Payment::default()))
    }

    async fn cancel_payment(
        &self,
        request: Request<payments::CancelPaymentRequest>,
    ) -> Result<Response<payments::Payment>, Status> {
        let key = key_of(&request)?;
        self.add("cancel payment", &key, &request.into_inner().order_id);
        Ok(Response::new(payments::Payment::default()))
    }

    type WatchPaymentStream = BoxStream<payments::PaymentUpdate>;

    async fn watch_payment(
        &self,
        _: Request<payments::WatchPaymentRequest>,
    ) -> Result<Response<Self::WatchPaymentStream>, Status> {
        Err(Status::unimplemented("not a command"))
    }
}

#[tonic::async_trait]
impl ads::ads_server::Ads for Calls {
    async fn create_ad(
        &self,
        _: Request<ads::CreateAdRequest>,
    ) -> Result<Response<ads::CreateAdReply>, Status> {
        Err(Status::unimplemented("not a command"))
    }

    async fn get_ad(&self, _: Request<ads::GetAdRequest>) -> Result<Response<ads::Ad>, Status> {
        Err(Status::unimplemented("not a command"))
    }

    async fn list_ads(&self, _: Request<ads::ListAdsRequest>) -> Result<Response<ads::ListAdsReply>, Status> {
        Err(Status::unimplemented("not a command"))
    }

    async fn reserve(
        &self,
        request: Request<ads::ReserveRequest>,
    ) -> Result<Response<ads::Reservation>, Status> {
        let (key, request) = (key_of(&request)?, request.into_inner());
        self.reserved(&format!("reserve {} {}", request.quantity, request.ad_id), &key, &request.order_id)
    }

    async fn confirm(
        &self,
        request: Request<ads::ConfirmRequest>,
    ) -> Result<Response<ads::Reservation>, Status> {
        self.reserved("confirm", &key_of(&request)?, &request.into_inner().order_id)
    }

    async fn release(
        &self,
        request: Request<ads::ReleaseRequest>,
    ) -> Result<Response<ads::Reservation>, Status> {
        self.reserved("release", &key_of(&request)?, &request.into_inner().order_id)
    }
}

#[async_trait]
impl Shipping for Calls {
    async fn create(&self, key: &str, order: &ShipOrder) -> Result<(), Error> {
        self.add(&format!("ship {} {}", order.quantity, order.ad_id), key, &order.order_id);
        Ok(())
    }

    async fn cancel(&self, key: &str, order_id: &str) -> Result<(), Error> {
        self.add("withdraw", key, order_id);
        if self.is_delivered { Err(Error::invalid("the order was delivered")) } else { Ok(()) }
    }
}

async fn peer(routes: Routes) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(comms_grpc::serve(listener, routes, ServerConfig::default(), Clock::system(), pending()));
    Channel::builder(format!("http://{address}")).without_policy().build().unwrap()
}

/// A consumer of the commands. payment-service and ad-service serve `routes`, or all their methods.
async fn consumer(calls: &Calls, routes: Option<Routes>) -> TestConsumer {
    let payment = routes.clone().unwrap_or_else(|| Routes::new(PaymentsServer::new(calls.clone())));
    let ad = routes.unwrap_or_else(|| Routes::new(AdsServer::new(calls.clone())));
    let shipping = Arc::new(calls.clone());
    let participants = Participants::new(peer(payment).await, peer(ad).await, shipping);
    TestConsumer::builder("order-commands").on(TOPIC, execute(participants)).start().await.unwrap()
}

/// Returns the message of a command as a coordinator writes it.
fn command<C: Event + Serialize + DeserializeOwned>(command: &C, key: Option<&str>) -> Message {
    let message = EventSource::new("order-service", Clock::system()).message(command).unwrap();
    let mut headers = comms_core::Headers::from(message.headers());
    if let Some(key) = key {
        headers.append(wire::IDEMPOTENCY_KEY, key);
    }
    Message::new(comms_core::MessageParts {
        source: message.source(),
        id: message.id(),
        topic: TOPIC,
        key: message.key(),
        headers: headers.view(),
        payload: message.payload(),
    })
}

fn price(minor: i64) -> Money {
    Money { minor, currency: "RUB".into() }
}

fn commands() -> Vec<Message> {
    let (order_id, buyer_id, ad_id) = ("o-1".to_owned(), "ann".to_owned(), "bike".to_owned());
    let (id, buyer) = (|| order_id.clone(), || buyer_id.clone());
    let item = OrderItem { ad_id: ad_id.clone(), quantity: 2, unit_price: price(50) };
    let key = Some(KEY);
    vec![
        command(&RequestPayment { order_id: id(), buyer_id: buyer(), amount: price(100) }, key),
        command(&ReserveStock { order_id: id(), item }, key),
        command(&ShipOrder { order_id: id(), buyer_id: buyer(), ad_id, quantity: 2 }, key),
        command(&ConfirmStock { order_id: id() }, key),
        command(&ReleaseStock { order_id: id() }, key),
        command(&CancelPayment { order_id: id(), buyer_id: buyer(), amount: price(100) }, key),
    ]
}

#[tokio::test]
async fn each_command_is_a_call_with_the_key_of_the_command() {
    let calls = Calls::default();
    let consumer = consumer(&calls, None).await;
    for message in commands() {
        assert_eq!(consumer.deliver(message).await.unwrap(), DeliveryState::Done);
    }
    let expected =
        ["pay 100", "reserve 2 bike", "ship 2 bike", "confirm", "withdraw", "release", "cancel payment"];
    assert_eq!(*calls.made.lock().unwrap(), expected.map(|call| format!("{call} {KEY} o-1")));
}

/// A participant that lacks the method, as while it is deployed, uses up no attempt.
#[tokio::test]
async fn a_command_is_held_while_its_participant_cannot_execute_it() {
    for message in commands() {
        let is_shipment = message.event_type() == Some("order.shipment.create.v1");
        let consumer = consumer(&Calls::default(), Some(Routes::default())).await;
        let state = consumer.deliver(message).await.unwrap();
        let held = DeliveryState::Held(ErrorKind::Misconfigured);
        assert_eq!(state, if is_shipment { DeliveryState::Done } else { held });
    }
}

#[tokio::test]
async fn the_stock_of_a_delivered_order_is_not_released() {
    let calls = Calls { is_delivered: true, ..Calls::default() };
    let consumer = consumer(&calls, None).await;
    let release = command(&ReleaseStock { order_id: "o-1".into() }, Some(KEY));
    let state = consumer.deliver(release).await.unwrap();
    assert_eq!(state, DeliveryState::DeadLettered(ErrorKind::Invalid));
    assert_eq!(*calls.made.lock().unwrap(), [format!("withdraw {KEY} o-1")]);
}

#[tokio::test]
async fn a_command_without_a_key_is_refused_and_one_of_an_unknown_type_waits() {
    let consumer = consumer(&Calls::default(), None).await;
    let without_key = command(&ConfirmStock { order_id: "o-1".into() }, None);
    consumer.deliver(without_key.clone()).await.unwrap();
    consumer.assert_dead_lettered(&without_key, ErrorKind::Invalid, "idempotency-key");

    #[derive(Serialize, serde::Deserialize)]
    struct Newer {}
    impl Event for Newer {
        const TYPE: &'static str = "order.shipment.insure";
        const VERSION: u32 = 1;
        fn key(&self) -> String {
            "o-2".into()
        }
    }
    let state = consumer.deliver(command(&Newer {}, Some(KEY))).await.unwrap();
    assert_eq!(state, DeliveryState::Held(ErrorKind::Misconfigured));
}
