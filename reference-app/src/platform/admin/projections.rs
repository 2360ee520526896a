//! `/projections`: the projections, and the events at which they are parked.

use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    routing::{get, post},
};
use garde::Validate;
use serde::{Deserialize, Serialize};

use super::{
    AdminToken,
    problems::{bad_path, of_error},
    text,
};
use crate::platform::{
    http::{Json as Body, Problem},
    projections::{ProjectionRegistry, ProjectionReport},
};

/// Returns the routes. A change requires `token`.
pub(super) fn routes(projections: ProjectionRegistry, token: &AdminToken) -> Router {
    let reads = Router::new().route("/projections", get(list)).with_state(projections.clone());
    let changes = Router::new()
        .route("/projections/{name}/retry", post(retry))
        .route("/projections/{name}/skip", post(skip))
        .with_state(projections);
    reads.merge(token.require(changes))
}

/// The event at which the projection is parked, as `/projections` shows it. If another operator has settled this event, a
/// repeated request does not settle the next one.
#[derive(Deserialize, Validate)]
struct Retry {
    #[garde(skip)]
    revision: u32,
    #[garde(skip)]
    event: String,
}

#[derive(Deserialize, Validate)]
struct Skip {
    #[garde(skip)]
    revision: u32,
    #[garde(skip)]
    event: String,
    #[garde(length(chars, min = 1, max = 500), custom(text))]
    reason: String,
}

/// The event that a request settled.
#[derive(Serialize)]
struct Settled {
    event: String,
}

async fn list(State(projections): State<ProjectionRegistry>) -> Json<Vec<ProjectionReport>> {
    Json(projections.report().await)
}

/// `POST /projections/{name}/retry`: attempts the event again.
async fn retry(
    State(projections): State<ProjectionRegistry>,
    path: Result<Path<String>, PathRejection>,
    body: Result<Body<Retry>, Problem>,
) -> Result<Json<Settled>, Problem> {
    let (Path(name), Body(Retry { revision, event })) = (path.map_err(|_| bad_path())?, body?);
    let projection = projections.projection(&name, revision).map_err(of_error)?;
    projection.retry(&event).await.map_err(of_error)?;
    tracing::info!(projection = name, revision, event, "an operator retries a parked event");
    Ok(Json(Settled { event }))
}

/// `POST /projections/{name}/skip`: passes over the event. The read model lacks its effect.
async fn skip(
    State(projections): State<ProjectionRegistry>,
    path: Result<Path<String>, PathRejection>,
    body: Result<Body<Skip>, Problem>,
) -> Result<Json<Settled>, Problem> {
    let (Path(name), Body(Skip { revision, event, reason })) = (path.map_err(|_| bad_path())?, body?);
    let projection = projections.projection(&name, revision).map_err(of_error)?;
    projection.skip(&event, &reason).await.map_err(of_error)?;
    tracing::warn!(projection = name, revision, event, reason, "an operator skipped an event");
    Ok(Json(Settled { event }))
}
