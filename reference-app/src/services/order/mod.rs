//! order-service: takes orders, and gets them paid.
//!
//! `api` answers the gateway over gRPC, `handlers` listens to its own events and to payment-service's,
//! `domain` knows which status may follow which, `store` keeps it.

mod api;
mod domain;
mod handlers;
mod store;

use comms_core::{Clock, Event, Policy};
use comms_grpc::Channel;
use tonic::service::Routes;

use crate::{
    contracts::{OrderStatusChanged, PaymentStatusChanged, order::proto::orders_server::OrdersServer},
    platform::{
        db::Db,
        delivery::{Source, Subscription},
    },
};

/// The tables of this service.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/services/order/migrations");
/// The name of its schema, and of its SQLite file.
pub const SCHEMA: &str = "order_service";
/// Who it is in events.
const SOURCE: &str = "order-service";

/// order-service over its database.
pub struct OrderService {
    db: Db,
    clock: Clock,
}

impl OrderService {
    /// The service on `db`.
    #[must_use]
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// What it answers over gRPC.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let api = api::Api { store: self.store(), db: self.db.clone(), clock: self.clock.clone() };
        Routes::new(OrdersServer::new(api))
    }

    /// What it says.
    #[must_use]
    pub fn source(&self) -> Source {
        Source { name: SOURCE, db: self.db.clone(), topics: &[OrderStatusChanged::TYPE] }
    }

    /// What it listens to. `payments` is payment-service, asked under `policy`.
    #[must_use]
    pub fn subscriptions(&self, payments: Channel, policy: Policy) -> Vec<Subscription> {
        vec![
            Subscription {
                db: self.db.clone(),
                group: "order-saga",
                topic: OrderStatusChanged::TYPE,
                handler: handlers::ask_payment(self.db.clone(), self.store(), payments, policy),
            },
            Subscription {
                db: self.db.clone(),
                group: "order-payments",
                topic: PaymentStatusChanged::TYPE,
                handler: handlers::on_payment(self.db.clone(), self.store()),
            },
        ]
    }

    fn store(&self) -> store::Store {
        store::Store::new(self.db.clone(), SOURCE, self.clock.clone())
    }
}
