//! `/livez`, `/readyz`, `/metrics`.

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use comms_core::{Error, Health};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves until `shutdown`.
///
/// # Errors
/// `Fatal` where the listener fails.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let routes = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(health)
        .route(
            "/metrics",
            get(async move || {
                metrics.run_upkeep();
                ([("content-type", "text/plain; version=0.0.4")], metrics.render())
            }),
        );
    let server = axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned());
    server.await.map_err(Error::fatal)
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let report = health
        .report()
        .into_iter()
        .map(|(name, reason)| (name, serde_json::Value::from(reason.unwrap_or_else(|| "ready".to_owned()))));
    (status, Json(serde_json::Map::from_iter(report)))
}
