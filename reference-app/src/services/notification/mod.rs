//! notification-service: pushes each change of an order and of its delivery to the sessions of its buyer.
//!
//! - Owns: the notifications that were made (`migrations/`).
//! - Publishes: nothing.
//! - Consumes: `order.status.changed` (group `notification-orders`), `delivery.status.changed` (group
//!   `notification-deliveries`).
//! - Calls: nothing.
//!
//! `api` opens the sessions, with the rights in `sessions`. `handlers` consumes the events, `domain` has the texts and
//! topics, `store` has the SQL, `settings` the configuration.

mod api;
mod domain;
mod handlers;
mod sessions;
mod settings;
mod store;
#[cfg(test)]
mod tests;

use comms_core::{Error, event::Event};
use comms_ws::{CursorKey, Hub};

use crate::{
    contracts::{DeliveryStatusChanged, OrderStatusChanged},
    platform::{
        data_dir::{random_secret, read_or_create_secret},
        service::{Database, Host, Parts, Protocol, Serves, Service, Subscription},
    },
};
use sessions::Sessions;
use settings::Settings;
use store::Store;

/// The consumer group that notifies buyers.
const ORDERS: &str = "notification-orders";
/// The consumer group that pushes the progress of deliveries.
const DELIVERIES: &str = "notification-deliveries";
/// The name of the generated cursor key's file, in the data directory.
const KEY_FILE: &str = "cursor-key";

/// The registration of notification-service.
pub static SERVICE: Service = Service {
    name: "notification",
    about: "Pushes the changes of orders and deliveries to their buyers.",
    source: "notification-service",
    defaults: include_str!("defaults.toml"),
    check: settings::check,
    shown: settings::SHOWN,
    protocol: Some(Protocol::Sockets),
    database: Some(Database { schema: "notification_service", migrations: &MIGRATIONS }),
    topics: &[],
    subscriptions: &[
        Subscription { group: ORDERS, topic: OrderStatusChanged::TYPE },
        Subscription { group: DELIVERIES, topic: DeliveryStatusChanged::TYPE },
    ],
    calls: &[],
    refers_to: &[],
    start,
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/services/notification/migrations");

fn start(host: &Host<'_>) -> Result<Parts, Error> {
    let settings: Settings = host.section()?;
    let origins = [settings.origins.clone(), host.own_origins()].concat();
    let store = Store::new(host.db()?, host.clock());
    let sessions = Sessions { verifier: host.verifier(), store: store.clone() };
    let of_token = sessions.clone();
    let hub = Hub::builder(settings.hub(&origins), host.clock())
        .cursor_keys(cursor_keys(host, &settings)?)
        .bare_sockets(comms_grpc::take_socket)
        .authenticate(move |token: String| std::future::ready(of_token.of_token(&token)));
    let backplane = host.backplane()?;
    let hub = match &backplane {
        Some(redis) => hub.backplane(redis.clone()).build()?,
        None => hub.build()?,
    };
    let notify = handlers::notify(host.db()?, store, hub.clone());
    let push_delivery = handlers::push_delivery(hub.clone());
    let api = api::Api { hub: hub.clone(), sessions, verifier: host.verifier() };
    Ok(Parts {
        serves: Serves::Sockets { routes: api::routes(api, &origins, host.clock()), hub, backplane },
        handlers: vec![(ORDERS, notify), (DELIVERIES, push_delivery)],
        ..Parts::default()
    })
}

/// Returns the configured keys, or the one in the data directory, with which clients resume after a restart.
///
/// # Errors
/// Returns `Invalid` if Redis is configured and no key is, or if the file cannot be read or written.
fn cursor_keys(host: &Host<'_>, settings: &Settings) -> Result<Vec<CursorKey>, Error> {
    if !settings.cursor_keys.is_empty() {
        return settings.cursor_keys.iter().map(|key| CursorKey::new(key.as_bytes())).collect();
    }
    if host.config.redis.is_some() {
        return Err(Error::invalid(
            "processes that share Redis would each generate a key of their own, and refuse each other's cursors: set \
             notification.cursor_keys (COMMS_NOTIFICATION__CURSOR_KEYS) to the same secrets in all processes",
        ));
    }
    let path = host.config.data_dir.join(KEY_FILE);
    let secret = read_or_create_secret(&path, random_secret)?;
    CursorKey::new(secret.as_bytes()).map(|key| vec![key]).map_err(|error| error.context(path.display()))
}
