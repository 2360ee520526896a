//! `/livez`, `/readyz`, `/metrics`, `/policies`, `/holds`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::{get, post},
};
use comms_core::{Error, ErrorKind, Health, health::Report, resilience::PolicySnapshot, shutdown::Told};
use comms_grpc::ListenerConfig;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::{
    deliveries::{Deliveries, Waiting},
    http, key,
    policies::Policies,
};

/// Serves within `limits` until `shutdown`.
///
/// # Errors
/// Those of [`http::serve`].
pub async fn serve(
    listener: TcpListener,
    limits: ListenerConfig,
    health: Health,
    policies: Policies,
    deliveries: Deliveries,
    metrics: PrometheusHandle,
    shutdown: Told,
) -> Result<(), Error> {
    let scraped = metrics.clone();
    let scrape = async move || ([("content-type", "text/plain; version=0.0.4")], scraped.render());
    let probes = Router::new().route("/livez", get(live)).route("/readyz", get(ready)).with_state(health);
    let guards = Router::new()
        .route("/policies", get(show_policies))
        .route("/policies/{name}/breaker/{switch}", post(turn_breaker))
        .with_state(policies);
    let held = Router::new()
        .route("/holds", get(show_holds))
        .route("/holds/{service}/{relay}/release", post(release))
        .with_state(deliveries);
    let routes = probes.merge(guards).merge(held).route("/metrics", get(scrape));
    let served = http::serve(listener, routes, limits, shutdown.wait());
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
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Path((service, relay)): Path<(String, String)>,
    Json(Release { key }): Json<Release>,
) -> Result<Json<Released>, (StatusCode, String)> {
    by_operator(peer, &headers)?;
    let refused = |error: Error| {
        let status = match error.kind {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, error.chain().to_string())
    };
    let key = key.as_deref().map(key::parse).transpose().map_err(refused)?;
    let tables = deliveries.relay(&service, &relay).map_err(refused)?;
    let released = tables.release(key.as_deref()).await.map_err(refused)?;
    tracing::info!(service, relay, released, "parked messages released by an operator");
    Ok(Json(Released { released }))
}

/// Refuses a change that does not come from this machine: the listener may be open to probes and scrapers, which
/// change nothing, and no web page does.
fn by_operator(peer: SocketAddr, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
    // A proxy's peer address is the proxy's, so a request that names a proxy did not come from here.
    let relayed = ["origin", "forwarded", "x-forwarded-for", "via"];
    let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    if !here.contains(&peer.ip().to_canonical()) || relayed.iter().any(|name| headers.contains_key(*name)) {
        let text = "changes are taken from this machine's loopback address, through no proxy and no web page";
        return Err((StatusCode::FORBIDDEN, text.to_owned()));
    }
    Ok(())
}

/// What an operator does to a breaker.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    Open,
    Closed,
    Reset,
}

/// `POST /policies/{name}/breaker/{open|closed|reset}`.
async fn turn_breaker(
    State(policies): State<Policies>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Path((name, switch)): Path<(String, Switch)>,
) -> Result<Json<PolicySnapshot>, (StatusCode, String)> {
    by_operator(peer, &headers)?;
    let policy = policies.get(&name).ok_or_else(|| {
        (StatusCode::NOT_FOUND, format!("no policy {name:?} here; there are {:?}", policies.names()))
    })?;
    let breaker = policy.breaker().ok_or_else(|| {
        (StatusCode::CONFLICT, format!("the policy {name} has no breaker: policies.{name}.breaker is false"))
    })?;
    match switch {
        Switch::Open => breaker.force_open(),
        Switch::Closed => breaker.force_closed(),
        Switch::Reset => breaker.reset(),
    }
    Ok(Json(policy.snapshot()))
}
