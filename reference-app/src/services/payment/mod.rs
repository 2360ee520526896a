//! payment-service: takes the payment of each order, once.
//!
//! - Owns: the payments, the charges and the refunds (`migrations/`).
//! - Publishes: `payment.status.changed`, one event for each change of a payment's status, and the current status again
//!   for each repeated request.
//! - Consumes: `payment.status.changed` (group `payment-settlement`), and `order.status.changed` of choreographed orders
//!   (group `payment-orders`).
//! - Calls: nothing.
//!
//! `api` receives order-service's call and streams the statuses of a payment, `store` inserts the payment with its event, and the reply is PENDING.
//! `handlers` consume that event and settle the payment by the rule in `domain`. The result is the next event. A
//! cancellation takes the same way: a payment is locked while it is settled or cancelled, so a cancelled payment is
//! never charged, and a charged one is refunded.

mod api;
mod domain;
mod handlers;
mod store;

use comms_core::{
    Error,
    event::{Event, EventSource},
};
use serde::Deserialize;

use crate::{
    contracts::{
        MAX_REQUEST, OrderStatusChanged, PaymentStatusChanged,
        payment::proto::payments_server::PaymentsServer,
    },
    platform::service::{Database, Host, Parts, Protocol, Section, Serves, Service, Subscription, Topic},
};

/// The consumer group that settles payments.
const SETTLEMENT: &str = "payment-settlement";
/// The consumer group that takes and cancels the payments of choreographed orders.
const ORDERS: &str = "payment-orders";

/// The registration of payment-service.
pub static SERVICE: Service = Service {
    name: "payment",
    about: "Takes payments.",
    source: "payment-service",
    defaults: include_str!("defaults.toml"),
    check,
    shown: &["limit_minor"],
    protocol: Some(Protocol::Grpc),
    database: Some(Database { schema: "payment_service", migrations: &MIGRATIONS }),
    topics: &[Topic::of::<PaymentStatusChanged>()],
    subscriptions: &[
        Subscription { group: SETTLEMENT, topic: PaymentStatusChanged::TYPE },
        Subscription { group: ORDERS, topic: OrderStatusChanged::TYPE },
    ],
    calls: &[],
    refers_to: &[],
    start,
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/services/payment/migrations");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The largest payment, in minor units of its currency. A larger one is declined.
    limit_minor: i64,
}

fn check(section: &Section) -> Result<(), Error> {
    if section.read::<Config>()?.limit_minor < 0 {
        return Err(section.refusal("limit_minor", "must not be negative"));
    }
    Ok(())
}

fn start(host: &Host<'_>) -> Result<Parts, Error> {
    let config: Config = host.section()?;
    let (db, clock) = (host.db()?, host.clock());
    let store = store::Store::new(db.clone(), EventSource::new(SERVICE.source, clock.clone()));
    let orders = handlers::follow_order(db.clone(), store.clone());
    let watches = api::Watches::new(store.clone(), clock.clone(), host.drain.clone());
    let settle = handlers::settle(db.clone(), store.clone(), config.limit_minor, clock);
    let server = PaymentsServer::new(api::Api { db, store, watches }).max_decoding_message_size(MAX_REQUEST);
    Ok(Parts {
        serves: Serves::grpc(server),
        handlers: vec![(SETTLEMENT, settle), (ORDERS, orders)],
        ..Parts::default()
    })
}
