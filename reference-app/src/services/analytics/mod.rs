//! analytics-service: counts orders by hour and status, and the revenue by day and currency.
//!
//! - Owns: the events that it has received, and the figures (`migrations/`).
//! - Publishes: nothing.
//! - Consumes: `order.status.changed` (group `analytics`).
//! - Calls: nothing.
//!
//! `handlers` stores each event in the event store of this service. `projection` applies the stored events to the
//! figures, by the rules in `domain` and the SQL in `store`. `api` returns the figures. The figures can be built again
//! from the stored events at any time, also when the broker has deleted the messages.

mod api;
mod domain;
mod handlers;
mod projection;
mod store;

use std::time::Duration;

use comms_core::{Error, event::Event};
use serde::Deserialize;

use crate::{
    contracts::{MAX_REQUEST, OrderStatusChanged, analytics::proto::analytics_server::AnalyticsServer},
    platform::service::{Database, Host, Parts, Protocol, Section, Serves, Service, Subscription},
};

/// The consumer group that stores the events.
const GROUP: &str = "analytics";
/// The name of the projection.
const PROJECTION: &str = "figures";
/// The category of the stored events: a stream for each order.
const CATEGORY: &str = "order";
/// The pause between two searches for figures that were replaced.
const PURGE_PAUSE: Duration = Duration::from_secs(5);

/// The registration of analytics-service.
pub static SERVICE: Service = Service {
    name: "analytics",
    about: "Counts orders and revenue.",
    source: "analytics-service",
    defaults: include_str!("defaults.toml"),
    check,
    shown: &["revision"],
    protocol: Some(Protocol::Grpc),
    database: Some(Database { schema: "analytics_service", migrations: &MIGRATIONS }),
    topics: &[],
    subscriptions: &[Subscription { group: GROUP, topic: OrderStatusChanged::TYPE }],
    calls: &[],
    refers_to: &[],
    start,
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/services/analytics/migrations");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The revision of the figures. A higher revision is built from the stored events, beside the live one.
    revision: u32,
}

fn check(section: &Section) -> Result<(), Error> {
    if section.read::<Config>()?.revision == 0 {
        return Err(section.refusal("revision", "must be at least 1"));
    }
    Ok(())
}

fn start(host: &Host<'_>) -> Result<Parts, Error> {
    let (db, revision) = (host.db()?, host.section::<Config>()?.revision);
    let apply = move |events, tx| projection::apply(revision, events, tx);
    let (figures, handle) = host.projection(PROJECTION, revision, &[CATEGORY], apply)?;
    let purge = host.sweep("analytics purge", PURGE_PAUSE, projection::Replaced(db.clone()))?;
    let server = AnalyticsServer::new(api::Api { db: db.clone(), handle });
    Ok(Parts {
        serves: Serves::grpc(server.max_decoding_message_size(MAX_REQUEST)),
        handlers: vec![(GROUP, handlers::store_events(db))],
        loops: vec![figures, purge],
        ..Parts::default()
    })
}
