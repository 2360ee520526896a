//! `/livez`, `/readyz`, `/metrics`, `/policies`.

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
use comms_core::{Error, Health, health::Report, resilience::PolicySnapshot, shutdown::Told};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use tokio::net::TcpListener;

use super::{http, policies::Policies};

/// Serves until `shutdown`.
///
/// # Errors
/// Those of [`http::serve`].
pub async fn serve(
    listener: TcpListener,
    health: Health,
    policies: Policies,
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
    let routes = probes.merge(guards).route("/metrics", get(scrape));
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

/// What a hand does to a breaker.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    Open,
    Closed,
    Reset,
}

/// `POST /policies/{name}/breaker/{open|closed|reset}`, by hand and from this machine only: the listener may
/// be open to probes and scrapers, which have no business here, and no web page has.
async fn turn_breaker(
    State(policies): State<Policies>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Path((name, switch)): Path<(String, Switch)>,
) -> Result<Json<PolicySnapshot>, (StatusCode, String)> {
    // A proxy's peer is the proxy: what says that it came through one did not come from here.
    let relayed = ["origin", "forwarded", "x-forwarded-for", "via"];
    let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    if !here.contains(&peer.ip().to_canonical()) || relayed.iter().any(|name| headers.contains_key(*name)) {
        let text = "breakers are turned from this machine's loopback address, by no proxy and no web page";
        return Err((StatusCode::FORBIDDEN, text.to_owned()));
    }
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
