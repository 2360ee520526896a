//! order-service: takes orders, and runs the saga that gets them paid.
//!
//! - Owns: the orders, each a stream of events in the event store, and the read model of lists (`migrations/`).
//! - Publishes: `order.status.changed`, one event for each change of an order's status.
//! - Consumes: `order.status.changed` (group `order-saga`) and `payment.status.changed` (group `order-payments`).
//! - Calls: payment-service over gRPC, under the policy `payment`.
//!
//! In the order of an order's life: `api` receives the gateway's call with a `change`, `domain` decides which of the
//! `events` follow, `store` appends them with the message for other services and keeps the list of orders, and `handlers`
//! request the payment and apply its result. `history` shows the events to the buyer.

mod api;
mod change;
mod commands;
mod domain;
mod events;
mod handlers;
mod history;
mod saga;
mod settings;
mod shipping;
mod store;

use comms_core::{
    Error,
    event::{Event, EventSource},
    event_sourcing::{Aggregate, Recorded},
};
use tonic::service::Routes;

use crate::{
    contracts::{
        MAX_REQUEST, OrderStatusChanged, PaymentStatusChanged, order::proto::orders_server::OrdersServer,
    },
    platform::{
        db::Tx,
        service::{Call, Database, Host, Parts, Protocol, Serves, Service, Subscription, Topic},
    },
};

/// The consumer group that requests the payment of each new order.
const SAGA: &str = "order-saga";
/// The consumer group that applies the results of payments.
const PAYMENTS: &str = "order-payments";
/// The service that order-service calls, and the name of the policy for the calls.
const PAYMENT: &str = "payment";

/// The registration of order-service.
pub static SERVICE: Service = Service {
    name: "order",
    about: "Takes orders, and runs the saga that gets them paid.",
    source: "order-service",
    defaults: include_str!("defaults.toml"),
    check: settings::check,
    shown: settings::SHOWN,
    protocol: Some(Protocol::Grpc),
    database: Some(Database { schema: "order_service", migrations: &MIGRATIONS }),
    topics: &[Topic::of::<OrderStatusChanged>()],
    subscriptions: &[
        Subscription { group: SAGA, topic: OrderStatusChanged::TYPE },
        Subscription { group: PAYMENTS, topic: PaymentStatusChanged::TYPE },
    ],
    calls: &[Call { service: PAYMENT, policy: PAYMENT }],
    refers_to: &[],
    start,
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/services/order/migrations");

fn start(host: &Host<'_>) -> Result<Parts, Error> {
    let (db, clock, payment) = (host.db()?, host.clock(), host.peer(PAYMENT)?);
    let store = store::Store::new(db.clone(), EventSource::new(SERVICE.source, clock.clone()));
    let projected = store.clone();
    let apply = move |events: Vec<Recorded>, mut tx: Tx| {
        let store = projected.clone();
        async move { store.project(&mut tx, &events).await }
    };
    let (list_loop, list) =
        host.projection(store::LIST, store::REVISION, &[domain::Order::CATEGORY], apply)?;
    let saga = handlers::request_payment(db.clone(), store.clone(), payment.channel, payment.policy);
    let payments = handlers::apply_payment(db.clone(), store.clone());
    let server =
        OrdersServer::new(api::Api { db, store, list, clock }).max_decoding_message_size(MAX_REQUEST);
    Ok(Parts {
        serves: Serves::Grpc(Routes::new(server)),
        handlers: vec![(SAGA, saga), (PAYMENTS, payments)],
        loops: vec![list_loop],
        ..Parts::default()
    })
}
