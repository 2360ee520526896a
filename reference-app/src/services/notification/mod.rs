//! notification-service: pushes each change of an order to the sockets of its buyer.
//!
//! - Owns: the notifications that were made (`migrations/`).
//! - Publishes: nothing.
//! - Consumes: `order.status.changed` (group `notification-orders`).
//! - Calls: nothing.
//!
//! `api` accepts the WebSocket handshake, `handlers` consumes the events, `domain` has the texts, `store` has the SQL.

mod api;
mod domain;
mod handlers;
mod store;

use comms_core::{Error, event::Event};
use comms_ws::{Hub, HubConfig};
use serde::Deserialize;

use crate::{
    contracts::OrderStatusChanged,
    platform::service::{Database, Host, Parts, Protocol, Section, Serves, Service, Subscription},
};

/// The consumer group that notifies buyers.
const ORDERS: &str = "notification-orders";

/// The registration of notification-service.
pub static SERVICE: Service = Service {
    name: "notification",
    about: "Sends the changes of an order to the sockets of its buyer.",
    source: "notification-service",
    defaults: include_str!("defaults.toml"),
    check,
    shown: &["origins"],
    protocol: Some(Protocol::Sockets),
    database: Some(Database { schema: "notification_service", migrations: &MIGRATIONS }),
    topics: &[],
    subscriptions: &[Subscription { group: ORDERS, topic: OrderStatusChanged::TYPE }],
    calls: &[],
    refers_to: &[],
    start,
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/services/notification/migrations");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Browser origins whose pages may open a socket. The origins of this process are added to the list.
    origins: Vec<String>,
}

fn check(section: &Section) -> Result<(), Error> {
    section.read::<Config>().map(drop)
}

fn start(host: &Host<'_>) -> Result<Parts, Error> {
    let mut config = HubConfig::default();
    config.origins = host.section::<Config>()?.origins;
    config.origins.extend(host.own_origins());
    let hub = Hub::new(config, host.clock())?;
    let notify = handlers::notify(host.db()?, store::Store::new(host.clock()), hub.clone());
    Ok(Parts {
        serves: Serves::Sockets(api::routes(hub.clone(), host.verifier(), host.clock()), hub),
        handlers: vec![(ORDERS, notify)],
        ..Parts::default()
    })
}
