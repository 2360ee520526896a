//! payment-service: takes payments, once per order.
//!
//! Asked over gRPC it answers PENDING at once (`api`); its own event brings it back to settle the payment
//! (`handlers`), and how that ended is an event again. `domain` decides, `store` keeps.

mod api;
mod domain;
mod handlers;
mod store;

use comms_core::{Clock, Event};
use tonic::service::Routes;

use crate::{
    contracts::{PaymentStatusChanged, payment::proto::payments_server::PaymentsServer},
    platform::{
        db::Db,
        delivery::{Source, Subscription},
    },
};

/// The tables of this service.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/services/payment/migrations");
/// The name of its schema, and of its SQLite file.
pub const SCHEMA: &str = "payment_service";
/// Who it is in events.
const SOURCE: &str = "payment-service";

/// payment-service over its database.
pub struct PaymentService {
    db: Db,
    limit_minor: i64,
    clock: Clock,
}

impl PaymentService {
    /// The service on `db`; payments above `limit_minor` are declined.
    #[must_use]
    pub fn new(db: Db, limit_minor: i64, clock: Clock) -> Self {
        Self { db, limit_minor, clock }
    }

    /// What it answers over gRPC.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let api = api::Api { store: self.store(), db: self.db.clone(), clock: self.clock.clone() };
        Routes::new(PaymentsServer::new(api))
    }

    /// What it says.
    #[must_use]
    pub fn source(&self) -> Source {
        Source { name: SOURCE, db: self.db.clone(), topics: &[PaymentStatusChanged::TYPE] }
    }

    /// What it listens to.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Subscription> {
        let handler = handlers::settle(self.db.clone(), self.store(), self.limit_minor, self.clock.clone());
        let db = self.db.clone();
        vec![Subscription { db, group: "payment-settlement", topic: PaymentStatusChanged::TYPE, handler }]
    }

    fn store(&self) -> store::Store {
        store::Store::new(self.db.clone(), SOURCE, self.clock.clone())
    }
}
