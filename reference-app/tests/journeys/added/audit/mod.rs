//! A service with an HTTP listener, a database and a consumer: counts the changes of orders.

use axum::{Router, extract::State, http::StatusCode, routing::get};
use comms_core::{Error, Scoped, event::Event, transactional, transport::BoxHandler};
use reference_app::{
    contracts::OrderStatusChanged,
    platform::{
        db::{Db, Tx},
        http,
        service::{Database, Host, Parts, Protocol, Section, Serves, Service, Subscription},
    },
};
use serde::Deserialize;

pub(super) static SERVICE: Service = Service {
    name: "audit",
    about: "Counts the changes of orders.",
    source: "audit-service",
    defaults: include_str!("defaults.toml"),
    check,
    shown: &["limit"],
    protocol: Some(Protocol::Http),
    database: Some(Database { schema: "audit_service", migrations: &MIGRATIONS }),
    topics: &[],
    subscriptions: &[Subscription { group: "audit-orders", topic: OrderStatusChanged::TYPE }],
    calls: &[],
    refers_to: &[],
    start,
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("tests/journeys/added/audit/migrations");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    limit: i64,
}

fn check(section: &Section) -> Result<(), Error> {
    section.read::<Config>().map(drop)
}

fn start(host: &Host<'_>) -> Result<Parts, Error> {
    let (db, limit) = (host.db()?, host.section::<Config>()?.limit);
    let handler = transactional(db.clone(), |change: OrderStatusChanged, mut tx: Scoped<Tx>| async move {
        let sql = "INSERT INTO {s}.changes (order_id, sequence) VALUES ($1, $2)";
        tx.execute(sql, &[(&change.order_id).into(), change.sequence.into()]).await.map(drop)
    });
    let routes = Router::new().route("/v1/seen", get(seen)).with_state((db, limit));
    Ok(Parts {
        serves: Serves::Http(http::checked(routes, &host.clock())),
        handlers: vec![("audit-orders", BoxHandler::new(handler))],
        ..Parts::default()
    })
}

async fn seen(State((db, limit)): State<(Db, i64)>) -> Result<String, StatusCode> {
    let rows = db.fetch("SELECT order_id FROM {s}.changes", &[]).await;
    let rows = rows.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(format!("{} of {limit}", rows.len()))
}
