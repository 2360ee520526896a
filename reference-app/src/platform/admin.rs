//! `/livez`, `/readyz`, `/metrics`.

use std::time::Duration;

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use comms_core::{Error, Health, health::Report, shutdown::Told};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use super::http;

/// Serves until `shutdown`.
///
/// # Errors
/// Those of [`http::serve`].
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: PrometheusHandle,
    shutdown: Told,
) -> Result<(), Error> {
    let scraped = metrics.clone();
    let routes =
        Router::new().route("/livez", get(live)).route("/readyz", get(ready)).with_state(health).route(
            "/metrics",
            get(async move || ([("content-type", "text/plain; version=0.0.4")], scraped.render())),
        );
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
