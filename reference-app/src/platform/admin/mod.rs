//! The admin listener: `/livez`, `/readyz`, `/metrics`, `/policies`, `/channels`, `/sockets`, `/holds`, `/sagas`
//! (`admin/sagas.rs`) and `/projections` (`admin/projections.rs`).
//!
//! Reading needs no credentials. Every operation that changes state requires the admin token ([`AdminToken`], in
//! `admin/token.rs`). A listener on a loopback address refuses requests whose `Host` names another
//! machine (`admin/loopback.rs`).

mod loopback;
mod problems;
mod projections;
mod sagas;
mod token;

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

use problems::{bad_path, of_error, refused};
pub use token::AdminToken;

use super::{
    channels::{ChannelRegistry, ChannelReport},
    holds::{HoldRegistry, HoldReport},
    http::{self, Guarded, Json as Body, Problem},
    message_key,
    policies::Policies,
    projections::ProjectionRegistry,
    sagas::SagaRegistry,
    sockets::{SocketRegistry, SocketReport},
};

/// The parts of the process that the admin listener shows and changes.
pub struct Admin {
    /// Readiness and liveness.
    pub health: Health,
    /// The policies of this process.
    pub policies: Policies,
    /// The channels of this process to other services.
    pub channels: ChannelRegistry,
    /// The hubs of this process.
    pub sockets: SocketRegistry,
    /// The held and parked messages of this process.
    pub holds: HoldRegistry,
    /// The sagas of this process.
    pub sagas: SagaRegistry,
    /// The projections of this process.
    pub projections: ProjectionRegistry,
    /// The admin token.
    pub token: AdminToken,
    /// The metrics of this process.
    pub metrics: PrometheusHandle,
    /// The clock.
    pub clock: Clock,
}

impl Admin {
    /// Serves within `limits` until `shutdown` fires.
    ///
    /// # Errors
    /// Returns `Invalid` if a limit is zero.
    pub async fn serve(
        self,
        listener: TcpListener,
        limits: ListenerConfig,
        shutdown: ShutdownSignal,
    ) -> Result<(), Error> {
        let (metrics, clock) = (self.metrics.clone(), self.clock.clone());
        let is_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let served = http::serve(listener, self.routes(is_local), limits, clock.clone(), shutdown.wait());
        tokio::select! {
            end = served => end,
            () = fold_samples(&metrics, &clock) => Ok(()),
        }
    }

    fn routes(self, is_local: bool) -> Guarded {
        let Self { health, policies, channels, sockets, holds, sagas, projections, token, metrics, clock } =
            self;
        let scrape = async move || ([("content-type", "text/plain; version=0.0.4")], metrics.render());
        let probes = Router::new().route("/livez", get(live)).route("/readyz", get(ready)).with_state(health);
        let settings = Router::new().route("/policies", get(show_policies)).with_state(policies.clone());
        let calls = Router::new().route("/channels", get(show_channels)).with_state(channels);
        let sessions = Router::new().route("/sockets", get(show_sockets)).with_state(sockets);
        let held = Router::new().route("/holds", get(show_holds)).with_state(holds.clone());
        let breakers = Router::new()
            .route("/policies/{name}/breaker/{switch}", post(switch_breaker))
            .with_state(policies);
        let releases =
            Router::new().route("/holds/{service}/{relay}/release", post(release)).with_state(holds);
        let changes = token.require(breakers.merge(releases));
        let runs = sagas::routes(sagas, &token);
        let read_models = projections::routes(projections, &token);
        let routes = probes.merge(settings).merge(calls).merge(sessions);
        let routes = routes.merge(held).merge(runs).merge(read_models).merge(changes);
        let routes = routes.route("/metrics", get(scrape));
        let routes = if is_local { loopback::only(routes) } else { routes };
        http::checked(routes, &clock)
    }
}

/// Folds histogram samples at an interval. The recorder keeps each sample until the next scrape, which may never
/// come.
async fn fold_samples(metrics: &PrometheusHandle, clock: &Clock) {
    loop {
        clock.sleep(Duration::from_secs(5)).await;
        metrics.run_upkeep();
    }
}

async fn live(State(health): State<Health>) -> impl IntoResponse {
    answer(health.is_live(), health.liveness())
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    answer(health.is_ready(), health.readiness())
}

fn answer(is_healthy: bool, report: Report) -> impl IntoResponse {
    (if is_healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(report))
}

/// Checks the text of an operator, which is stored and logged. PostgreSQL stores no NUL.
fn text(text: &str, _: &()) -> garde::Result {
    match text.trim().is_empty() || text.contains(char::is_control) {
        true => Err(garde::Error::new("must be one line of text")),
        false => Ok(()),
    }
}

async fn show_policies(State(policies): State<Policies>) -> Json<Vec<PolicySnapshot>> {
    Json(policies.snapshots())
}

async fn show_channels(State(channels): State<ChannelRegistry>) -> Json<Vec<ChannelReport>> {
    Json(channels.report())
}

async fn show_sockets(State(sockets): State<SocketRegistry>) -> Json<Vec<SocketReport>> {
    Json(sockets.report())
}

async fn show_holds(State(holds): State<HoldRegistry>) -> Json<HoldReport> {
    Json(holds.report().await)
}

#[derive(Deserialize, Validate)]
struct Release {
    /// The key as `/holds` shows it. `null` stands for messages without a key. The field is required.
    #[garde(skip)]
    #[serde(deserialize_with = "Option::deserialize")]
    key: Option<String>,
}

#[derive(Serialize)]
struct Released {
    released: u64,
}

/// `POST /holds/{service}/{relay}/release`: releases the parked messages of a key, which the relay then delivers in
/// order.
async fn release(
    State(holds): State<HoldRegistry>,
    path: Result<Path<(String, String)>, PathRejection>,
    body: Result<Body<Release>, Problem>,
) -> Result<Json<Released>, Problem> {
    let (Path((service, relay)), Body(Release { key })) = (path.map_err(|_| bad_path())?, body?);
    let key = key.as_deref().map(message_key::from_text).transpose().map_err(of_error)?;
    let relay_handle = holds.relay(&service, &relay).map_err(of_error)?;
    let released = relay_handle.release(key.as_deref()).await.map_err(of_error)?;
    tracing::info!(service, relay, released, "an operator released parked messages");
    Ok(Json(Released { released }))
}

/// `POST /policies/{name}/breaker/{open|closed|reset}`: switches the breaker of a policy.
async fn switch_breaker(
    State(policies): State<Policies>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<PolicySnapshot>, Problem> {
    let Path((name, switch)) = path.map_err(|_| bad_path())?;
    let policy = policies.get(&name).ok_or_else(|| {
        let detail = format!("no policy {name:?} in this process; the policies are {:?}", policies.names());
        refused(StatusCode::NOT_FOUND, detail)
    })?;
    let breaker = policy.breaker().ok_or_else(|| {
        let detail = format!("the policy {name} has no breaker, because policies.{name}.breaker is false");
        refused(StatusCode::CONFLICT, detail)
    })?;
    match switch.as_str() {
        "open" => breaker.force_open(),
        "closed" => breaker.force_closed(),
        "reset" => breaker.reset(),
        _ => {
            let detail = "the last segment of the path must be open, closed or reset";
            return Err(refused(StatusCode::BAD_REQUEST, detail));
        }
    }
    tracing::info!(policy = name, switch, "an operator switched a breaker");
    Ok(Json(policy.snapshot()))
}
