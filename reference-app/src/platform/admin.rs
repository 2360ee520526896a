//! The admin listener: `/livez`, `/readyz`, `/metrics`, `/policies`, `/holds`. Reading needs no credentials; every
//! operation that changes something needs the token of [`Operator`].

mod operator;
mod refusal;

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{
        Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use comms_core::{Error, Health, health::Report, resilience::PolicySnapshot, shutdown::Told};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

pub use operator::Operator;
use refusal::Refusal;

use super::{
    deliveries::{Deliveries, Waiting},
    http, key,
    policies::Policies,
};

/// Serves until `shutdown`.
///
/// # Errors
/// Those of [`http::serve`].
pub async fn serve(
    listener: TcpListener,
    health: Health,
    policies: Policies,
    deliveries: Deliveries,
    operator: Operator,
    metrics: PrometheusHandle,
    shutdown: Told,
) -> Result<(), Error> {
    let scraped = metrics.clone();
    let scrape = async move || ([("content-type", "text/plain; version=0.0.4")], scraped.render());
    let probes = Router::new().route("/livez", get(live)).route("/readyz", get(ready)).with_state(health);
    let shown = Router::new().route("/policies", get(show_policies)).with_state(policies.clone());
    let held = Router::new().route("/holds", get(show_holds)).with_state(deliveries.clone());
    let breakers =
        Router::new().route("/policies/{name}/breaker/{switch}", post(turn_breaker)).with_state(policies);
    let releases =
        Router::new().route("/holds/{service}/{relay}/release", post(release)).with_state(deliveries);
    let changes = operator.guard(breakers.merge(releases));
    let routes = probes.merge(shown).merge(held).merge(changes).route("/metrics", get(scrape));
    let served = http::serve(listener, routes, shutdown.wait());
    tokio::select! {
        end = served => end,
        () = upkeep(&metrics) => Ok(()),
    }
}

/// Samples are gathered until somebody looks; where nobody ever does, they must be gathered up all the same.
async fn upkeep(metrics: &PrometheusHandle) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        metrics.run_upkeep();
    }
}

async fn live(State(health): State<Health>) -> impl IntoResponse {
    answer(health.is_live(), health.liveness())
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    answer(health.is_ready(), health.readiness())
}

fn answer(well: bool, report: Report) -> impl IntoResponse {
    (if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(report))
}

async fn show_policies(State(policies): State<Policies>) -> Json<Vec<PolicySnapshot>> {
    Json(policies.snapshots())
}

async fn show_holds(State(deliveries): State<Deliveries>) -> Json<Waiting> {
    Json(deliveries.waiting().await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    /// As `/holds` shows it; `null`: the messages without a key. It must be there.
    #[serde(deserialize_with = "Option::deserialize")]
    key: Option<String>,
}

#[derive(Serialize)]
struct Released {
    released: u64,
}

/// `POST /holds/{service}/{relay}/release`: the parked messages of a key are delivered again, in their order.
async fn release(
    State(deliveries): State<Deliveries>,
    path: Result<Path<(String, String)>, PathRejection>,
    body: Result<Json<Release>, JsonRejection>,
) -> Result<Json<Released>, Refusal> {
    let (Path((service, relay)), Json(Release { key })) = (path?, body?);
    let key = key.as_deref().map(key::parse).transpose()?;
    let tables = deliveries.relay(&service, &relay)?;
    let released = tables.release(key.as_deref()).await?;
    tracing::info!(service, relay, released, "parked messages released by an operator");
    Ok(Json(Released { released }))
}

/// What an operator does to a breaker.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    Open,
    Closed,
    Reset,
}

/// `POST /policies/{name}/breaker/{open|closed|reset}`.
async fn turn_breaker(
    State(policies): State<Policies>,
    path: Result<Path<(String, Switch)>, PathRejection>,
) -> Result<Json<PolicySnapshot>, Refusal> {
    let Path((name, switch)) = path?;
    let policy = policies.get(&name).ok_or_else(|| {
        let detail = format!("no policy {name:?} here; there are {:?}", policies.names());
        Refusal::new(StatusCode::NOT_FOUND, detail)
    })?;
    let breaker = policy.breaker().ok_or_else(|| {
        let detail = format!("the policy {name} has no breaker: policies.{name}.breaker is false");
        Refusal::new(StatusCode::CONFLICT, detail)
    })?;
    match switch {
        Switch::Open => breaker.force_open(),
        Switch::Closed => breaker.force_closed(),
        Switch::Reset => breaker.reset(),
    }
    tracing::info!(policy = name, ?switch, "breaker switched by an operator");
    Ok(Json(policy.snapshot()))
}
