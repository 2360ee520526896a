//! The admin listener: `/livez`, `/readyz`, `/metrics`, `/policies`, `/holds`. Reading needs no credentials; every
//! operation that changes something needs the token of [`Operator`]. On a loopback address, requests that name another host
//! than this machine are refused.

mod local;
mod operator;
mod refusal;

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use comms_core::{
    Error,
    clock::Clock,
    health::{Health, Report},
    resilience::PolicySnapshot,
    shutdown::ShutdownSignal,
};
use comms_grpc::ListenerConfig;
use garde::Validate;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

pub use operator::Operator;
use refusal::{bad_path, failed, refused};

use super::{
    deliveries::{Deliveries, Waiting},
    http::{self, Guarded, Json as Body, Problem},
    key,
    policies::Policies,
};

/// What the admin listener shows and changes.
pub struct Admin {
    /// Readiness and liveness.
    pub health: Health,
    /// The policies of this process.
    pub policies: Policies,
    /// The deliveries that wait in this process.
    pub deliveries: Deliveries,
    /// The token of operators.
    pub operator: Operator,
    /// The metrics of this process.
    pub metrics: PrometheusHandle,
    /// The clock.
    pub clock: Clock,
}

impl Admin {
    /// Serves within `limits` until `shutdown`.
    ///
    /// # Errors
    /// Those of [`http::serve`].
    pub async fn serve(
        self,
        listener: TcpListener,
        limits: ListenerConfig,
        shutdown: ShutdownSignal,
    ) -> Result<(), Error> {
        let metrics = self.metrics.clone();
        let is_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let served = http::serve(listener, self.routes(is_local), limits, shutdown.wait());
        tokio::select! {
            end = served => end,
            () = upkeep(&metrics) => Ok(()),
        }
    }

    fn routes(self, is_local: bool) -> Guarded {
        let Self { health, policies, deliveries, operator, metrics, clock } = self;
        let scrape = async move || ([("content-type", "text/plain; version=0.0.4")], metrics.render());
        let probes = Router::new().route("/livez", get(live)).route("/readyz", get(ready)).with_state(health);
        let shown = Router::new().route("/policies", get(show_policies)).with_state(policies.clone());
        let held = Router::new().route("/holds", get(show_holds)).with_state(deliveries.clone());
        let breakers =
            Router::new().route("/policies/{name}/breaker/{switch}", post(turn_breaker)).with_state(policies);
        let releases =
            Router::new().route("/holds/{service}/{relay}/release", post(release)).with_state(deliveries);
        let changes = operator.guard(breakers.merge(releases));
        let routes = probes.merge(shown).merge(held).merge(changes).route("/metrics", get(scrape));
        let routes = if is_local { local::only(routes) } else { routes };
        http::checked(routes, &clock)
    }
}

/// The recorder keeps every sample of a histogram until the next scrape: without a scraper they are folded here.
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

#[derive(Deserialize, Validate)]
struct Release {
    /// As `/holds` shows it; `null`: the messages without a key. It must be there.
    #[garde(skip)]
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
    body: Result<Body<Release>, Problem>,
) -> Result<Json<Released>, Problem> {
    let (Path((service, relay)), Body(Release { key })) = (path.map_err(|_| bad_path())?, body?);
    let key = key.as_deref().map(key::parse).transpose().map_err(failed)?;
    let tables = deliveries.relay(&service, &relay).map_err(failed)?;
    let released = tables.release(key.as_deref()).await.map_err(failed)?;
    tracing::info!(service, relay, released, "parked messages released by an operator");
    Ok(Json(Released { released }))
}

/// `POST /policies/{name}/breaker/{open|closed|reset}`.
async fn turn_breaker(
    State(policies): State<Policies>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<PolicySnapshot>, Problem> {
    let Path((name, switch)) = path.map_err(|_| bad_path())?;
    let policy = policies.get(&name).ok_or_else(|| {
        let detail = format!("no policy {name:?} here; there are {:?}", policies.names());
        refused(StatusCode::NOT_FOUND, detail)
    })?;
    let breaker = policy.breaker().ok_or_else(|| {
        let detail = format!("the policy {name} has no breaker: policies.{name}.breaker is false");
        refused(StatusCode::CONFLICT, detail)
    })?;
    match switch.as_str() {
        "open" => breaker.force_open(),
        "closed" => breaker.force_closed(),
        "reset" => breaker.reset(),
        _ => {
            let detail = "the last part of the path must be open, closed or reset";
            return Err(refused(StatusCode::BAD_REQUEST, detail));
        }
    }
    tracing::info!(policy = name, switch, "breaker switched by an operator");
    Ok(Json(policy.snapshot()))
}
