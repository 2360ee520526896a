//! `/livez`, `/readyz`, `/metrics`.

use std::time::Duration;

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use comms_core::{Error, Health};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::http;

/// Serves until `shutdown`.
///
/// # Errors
/// Those of [`http::serve`].
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let scraped = metrics.clone();
    let routes = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(health)
        .route(
            "/metrics",
            get(async move || ([("content-type", "text/plain; version=0.0.4")], scraped.render())),
        );
    let served = http::serve(listener, routes, shutdown.cancelled_owned());
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

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let report = health
        .report()
        .into_iter()
        .map(|(name, reason)| (name, serde_json::Value::from(reason.unwrap_or_else(|| "ready".to_owned()))));
    (status, Json(serde_json::Map::from_iter(report)))
}
