//! ad-service: keeps the ads of sellers, and reserves their stock for orders.
//!
//! - Owns: the ads, and one reservation for each order (`migrations/`).
//! - Publishes: `ad.reservation.changed`, the state of an order's reservation after each command.
//! - Consumes: `order.status.changed` (group `ad-orders`), for choreographed orders.
//! - Calls: nothing.
//!
//! `api` receives the calls of the gateway and of a coordinator of orders, `handlers` the events of choreographed orders.
//! `domain` has the transitions of a reservation, and `store` makes them in the transaction of a command. `expiry` gives
//! back the stock of reservations that are not confirmed in time. `demonstration` creates the first ads.

mod api;
mod demonstration;
mod domain;
mod expiry;
mod handlers;
mod store;

use std::time::Duration;

use comms_core::{
    Error,
    event::{Event, EventSource},
};
use serde::Deserialize;

use crate::{
    contracts::{MAX_REQUEST, OrderStatusChanged, ReservationChanged, ad::proto::ads_server::AdsServer},
    platform::{
        config::{Profile, duration},
        service::{Database, Host, Loop, Parts, Protocol, Section, Serves, Service, Subscription, Topic},
    },
};

/// The consumer group that follows choreographed orders.
const ORDERS: &str = "ad-orders";
/// The bounds of `reservation_ttl`.
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);

/// The pause between two searches for reservations whose time is over.
const EXPIRY_PAUSE: Duration = Duration::from_secs(1);

/// The registration of ad-service.
pub static SERVICE: Service = Service {
    name: "ad",
    about: "Keeps ads, and reserves their stock for orders.",
    source: "ad-service",
    defaults: include_str!("defaults.toml"),
    check,
    shown: &["reservation_ttl", "demo"],
    protocol: Some(Protocol::Grpc),
    database: Some(Database { schema: "ad_service", migrations: &MIGRATIONS }),
    topics: &[Topic::of::<ReservationChanged>()],
    subscriptions: &[Subscription { group: ORDERS, topic: OrderStatusChanged::TYPE }],
    calls: &[],
    refers_to: &[],
    start,
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/services/ad/migrations");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// How long a reservation lasts if it is not confirmed.
    #[serde(with = "duration")]
    reservation_ttl: Duration,
    /// Whether the first start creates the demonstration ads. Default: in the profile `embedded`.
    demo: Option<bool>,
}

fn check(section: &Section) -> Result<(), Error> {
    match TTL.contains(&section.read::<Config>()?.reservation_ttl) {
        true => Ok(()),
        false => Err(section.refusal("reservation_ttl", "must be between 1s and 30 days")),
    }
}

fn start(host: &Host<'_>) -> Result<Parts, Error> {
    let config: Config = host.section()?;
    let (db, clock, ttl) = (host.db()?, host.clock(), config.reservation_ttl);
    let store = store::Store::new(db.clone(), EventSource::new(SERVICE.source, clock.clone()));
    let follow_order = handlers::follow_order(db.clone(), store.clone(), ttl);
    let expiry = expiry::Expiry { db: db.clone(), store: store.clone() };
    let mut loops = vec![host.sweep("ad reservations", EXPIRY_PAUSE, expiry)?];
    if config.demo.unwrap_or(host.config.profile == Profile::Embedded) {
        let (parts, clock) = ((db.clone(), store.clone()), clock.clone());
        let component = host.health.component("demonstration ads");
        let run = |shutdown| Box::pin(demonstration::run(parts, clock, component, shutdown)) as _;
        loops.push(Loop { name: "demonstration ads", run: Box::new(run) });
    }
    let server = AdsServer::new(api::Api { db, store, clock, ttl }).max_decoding_message_size(MAX_REQUEST);
    Ok(Parts {
        serves: Serves::grpc(server),
        handlers: vec![(ORDERS, follow_order)],
        loops,
        ..Parts::default()
    })
}
