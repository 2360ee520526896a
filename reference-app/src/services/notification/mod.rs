//! notification-service: what a person waits for, pushed to their socket.
//!
//! Listens to orders (`handlers`), keeps what it told (`store`), and pushes it (`api` is the socket's
//! handshake). The words are `domain`'s.

mod api;
mod domain;
mod handlers;
mod store;

use axum::Router;
use comms_core::{Clock, Event, jwt::Verifier};
use comms_ws::Hub;

use crate::{
    contracts::OrderStatusChanged,
    platform::{
        db::Db,
        delivery::{Source, Subscription},
    },
};

/// The tables of this service.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/services/notification/migrations");
/// The name of its schema, and of its SQLite file.
pub const SCHEMA: &str = "notification_service";
/// Who it is in events.
const SOURCE: &str = "notification-service";

/// notification-service over its database and its hub of sockets.
pub struct NotificationService {
    db: Db,
    hub: Hub,
    clock: Clock,
}

impl NotificationService {
    /// The service on `db`, pushing through `hub`.
    #[must_use]
    pub fn new(db: Db, hub: Hub, clock: Clock) -> Self {
        Self { db, hub, clock }
    }

    /// The socket's routes. `verifier` verifies the tokens of handshakes.
    pub fn routes(&self, verifier: Verifier) -> Router {
        api::routes(self.hub.clone(), verifier, self.clock.clone())
    }

    /// What it says: nothing yet.
    #[must_use]
    pub fn source(&self) -> Source {
        Source { name: SOURCE, db: self.db.clone(), topics: &[] }
    }

    /// What it listens to.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Subscription> {
        let store = store::Store::new(self.clock.clone());
        let handler = handlers::notify(self.db.clone(), store, self.hub.clone());
        vec![Subscription { group: "notification-orders", topic: OrderStatusChanged::TYPE, handler }]
    }
}
