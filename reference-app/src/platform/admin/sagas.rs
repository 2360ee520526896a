//! `/sagas`: the runs of sagas, and the requests of operators.

use axum::{
    Json, Router,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use comms_core::saga::{ForcedStatus, Instance, Operation, Phase};
use comms_outbox::saga::{RunFilter, RunId, Timeline};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AdminToken,
    problems::{bad_path, of_error, refused},
    text,
};
use crate::platform::{
    http::{FieldError, Json as Body, Problem},
    sagas::{Position, SagaRegistry, SagaReport},
};

/// The operator in the log of a run. The token does not name a person.
const OPERATOR: &str = "admin";
/// The number of runs of a page if the request names no limit.
const DEFAULT_LIMIT: u32 = 100;
/// The largest number of runs of a page.
const MAX_LIMIT: u32 = 1_000;

type RunPath = Result<Path<(String, String)>, PathRejection>;

/// Returns the routes. A change requires `token`.
pub(super) fn routes(sagas: SagaRegistry, token: &AdminToken) -> Router {
    let reads = Router::new()
        .route("/sagas", get(list))
        .route("/sagas/{saga}/diagram", get(diagram))
        .route("/sagas/{saga}/{id}", get(timeline))
        .with_state(sagas.clone());
    let changes = Router::new()
        .route("/sagas/{saga}/{id}/cancel", post(cancel))
        .route("/sagas/{saga}/{id}/retry", post(retry))
        .route("/sagas/{saga}/{id}/force", post(force))
        .with_state(sagas);
    reads.merge(token.require(changes))
}

#[derive(Deserialize, Validate)]
struct Cancel {
    /// The reason in words. The order shows it to its buyer.
    #[garde(length(chars, min = 1, max = 500), custom(text))]
    reason: String,
}

#[derive(Deserialize, Validate)]
struct Force {
    #[garde(length(chars, min = 1, max = 500))]
    step: String,
    #[garde(skip)]
    status: Status,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Done,
    Failed,
    Compensated,
}

/// A run after a change.
#[derive(Serialize)]
struct Changed {
    run: Instance<Value>,
}

/// The parameters of a list.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    filter: RunFilter,
    after: Option<Position>,
    limit: u32,
}

impl Query {
    /// Reads the parameters. Refuses an unknown or repeated one: with a misspelled filter, an operator would read other runs.
    fn parse(query: &str) -> Result<Self, Problem> {
        const NAMES: [&str; 6] = ["saga", "phase", "limit", "after_service", "after_saga", "after_id"];
        let (mut values, mut errors) = ([const { None }; NAMES.len()], Vec::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let known = NAMES.iter().position(|known| *known == name);
            let detail = match known.map(|index| values[index].replace(value.into_owned())) {
                Some(None) => continue,
                Some(Some(_)) => "Send this parameter once.".to_owned(),
                None => format!("This parameter does not exist. The parameters are {}.", NAMES.join(", ")),
            };
            errors.push(FieldError::new(format!("/{}", name.replace('~', "~0").replace('/', "~1")), detail));
        }
        let [saga, phase, limit, service, after_saga, after_id] = values;
        let phase = phase.map_or(Ok(Phase::Held), |text| serde_json::from_value(Value::String(text)));
        let phase = phase.unwrap_or_else(|_| {
            let detail = "Send running, compensating, completed, failed or held.";
            errors.push(FieldError::new("/phase", detail));
            Phase::Held
        });
        let limit = limit.map_or(Some(DEFAULT_LIMIT), |text| text.parse().ok());
        let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit)).unwrap_or_else(|| {
            errors.push(FieldError::new("/limit", format!("Send a number from 1 to {MAX_LIMIT}.")));
            DEFAULT_LIMIT
        });
        let after = match (service, after_saga, after_id) {
            (Some(service), Some(saga), Some(id)) => Some(Position { service, saga, id }),
            (None, None, None) => None,
            _ => {
                let detail =
                    "Send after_service, after_saga and after_id together, from `next` of the previous page.";
                errors.push(FieldError::new("/after_id", detail));
                None
            }
        };
        if !errors.is_empty() {
            return Err(Problem::fields(errors));
        }
        let filter = RunFilter::all().phase(phase);
        let filter = saga.into_iter().fold(filter, RunFilter::saga);
        Ok(Self { filter, after, limit })
    }
}

/// `GET /sagas?saga=...&phase=held`: returns the numbers of runs, and one page of runs.
async fn list(
    State(sagas): State<SagaRegistry>,
    RawQuery(query): RawQuery,
) -> Result<Json<SagaReport>, Problem> {
    let Query { filter, after, limit } = Query::parse(&query.unwrap_or_default())?;
    Ok(Json(sagas.report(&filter, after.as_ref(), limit).await))
}

/// `GET /sagas/{saga}/{id}`: returns everything that is stored about a run.
async fn timeline(State(sagas): State<SagaRegistry>, path: RunPath) -> Result<Json<Timeline>, Problem> {
    let run = run_of(path)?;
    let coordinator = sagas.coordinator(&run.saga).map_err(of_error)?;
    coordinator.timeline(&run).await.map(Json).map_err(of_error)
}

/// `GET /sagas/{saga}/diagram`: returns the diagram of each registered version, as Mermaid text. A comment names the version.
async fn diagram(
    State(sagas): State<SagaRegistry>,
    path: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Path(saga) = path.map_err(|_| bad_path())?;
    let registered = sagas.coordinator(&saga).map_err(of_error)?;
    let diagrams = registered.coordinator().definitions().diagrams(&saga);
    let texts = diagrams.into_iter().map(|(version, text)| format!("%% {saga} v{version}\n{text}"));
    let texts = texts.collect::<Vec<_>>().join("\n");
    Ok(([("content-type", "text/plain; charset=utf-8")], texts))
}

async fn cancel(
    State(sagas): State<SagaRegistry>,
    path: RunPath,
    body: Result<Body<Cancel>, Problem>,
) -> Result<Json<Changed>, Problem> {
    let (run, Body(Cancel { reason })) = (run_of(path)?, body?);
    operate(&sagas, &run, "cancel", Operation::Cancel { reason }).await
}

async fn retry(State(sagas): State<SagaRegistry>, path: RunPath) -> Result<Json<Changed>, Problem> {
    operate(&sagas, &run_of(path)?, "retry", Operation::Retry).await
}

async fn force(
    State(sagas): State<SagaRegistry>,
    path: RunPath,
    body: Result<Body<Force>, Problem>,
) -> Result<Json<Changed>, Problem> {
    let (run, Body(Force { step, status })) = (run_of(path)?, body?);
    let status = match status {
        Status::Done => ForcedStatus::Done,
        Status::Failed => ForcedStatus::Failed,
        Status::Compensated => ForcedStatus::Compensated,
    };
    operate(&sagas, &run, "force", Operation::Force { step, status }).await
}

fn run_of(path: RunPath) -> Result<RunId, Problem> {
    let Path((saga, id)) = path.map_err(|_| bad_path())?;
    Ok(RunId::new(saga, id))
}

/// Performs the request of an operator. An existing run whose state does not allow the request is a conflict.
async fn operate(
    sagas: &SagaRegistry,
    run: &RunId,
    name: &str,
    operation: Operation,
) -> Result<Json<Changed>, Problem> {
    let registered = sagas.coordinator(&run.saga).map_err(of_error)?;
    let changed = registered.coordinator().operate(run, OPERATOR, operation).await;
    let instance = changed.map_err(|error| match error.kind {
        comms_core::ErrorKind::Invalid => refused(StatusCode::CONFLICT, error.chain().to_string()),
        _ => of_error(error),
    })?;
    tracing::info!(saga = run.saga, run = run.id, operation = name, "an operator changed a run");
    Ok(Json(Changed { run: instance }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_the_held_runs_unless_a_phase_is_named() {
        let held = RunFilter::all().phase(Phase::Held);
        let parsed = Query::parse("").unwrap();
        assert_eq!(parsed, Query { filter: held, after: None, limit: 100 });
        let next = "saga=order&phase=running&limit=7&after_service=order&after_saga=order&after_id=a%26b";
        let after = Position { service: "order".into(), saga: "order".into(), id: "a&b".into() };
        let filter = RunFilter::all().saga("order").phase(Phase::Running);
        assert_eq!(Query::parse(next).unwrap(), Query { filter, after: Some(after), limit: 7 });
    }

    #[test]
    fn a_wrong_parameter_is_refused() {
        for wrong in [
            "phases=held",
            "phase=Held",
            "phase=held&phase=held",
            "limit=0",
            "limit=1001",
            "limit=x",
            "after_id=7",
        ] {
            let status = Query::parse(wrong).map(drop).unwrap_err().status();
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        }
    }
}
