//! The registry of saga coordinators, for `/sagas` of the admin listener.

use comms_core::{
    Error,
    clock::rfc3339,
    saga::{Cause, Phase, StepState, StepStatus},
};
use comms_outbox::saga::{Coordinator, RunCount, RunFilter, RunId, StoredRun, Timeline};
use serde::Serialize;

use super::{db::Db, registry::Registry};

/// The saga coordinators of this process, with their databases. Clones share them.
#[derive(Clone, Default)]
pub struct SagaRegistry(Registry<Registered>);

/// A coordinator of one service.
#[derive(Clone)]
pub struct Registered {
    service: &'static str,
    coordinator: Coordinator<Db>,
    db: Db,
}

/// A position in the list of runs: the last run of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The service.
    #[serde(rename = "after_service")]
    pub service: String,
    /// The saga.
    #[serde(rename = "after_saga")]
    pub saga: String,
    /// The id of the run.
    #[serde(rename = "after_id")]
    pub id: String,
}

/// The number of runs by saga and phase, and one page of runs.
#[derive(Serialize)]
pub struct SagaReport {
    services: Vec<ServiceReport>,
    runs: Vec<Run>,
    /// The parameters of the next page. `None` on the last page.
    next: Option<Position>,
}

/// The runs of one service that have not ended.
#[derive(Serialize)]
struct ServiceReport {
    service: &'static str,
    counts: Vec<Count>,
    /// The reason why the tables could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable: Option<String>,
}

/// The number of runs in one phase.
#[derive(Serialize)]
struct Count {
    saga: String,
    version: u32,
    phase: Phase,
    runs: u64,
    failing: u64,
}

/// A run, without its data.
#[derive(Serialize)]
struct Run {
    service: &'static str,
    saga: String,
    id: String,
    version: u32,
    phase: Phase,
    state: String,
    started_at: String,
    updated_at: String,
    cause: Option<Cause>,
    /// The held steps, each with its attempts and the reason.
    held: Vec<StepState>,
    error: Option<String>,
}

impl SagaRegistry {
    /// Adds the coordinator of `service`, whose runs are in `db`.
    ///
    /// # Errors
    /// Returns `Internal` if a definition has the name of another coordinator's definition: an operator addresses a run by
    /// this name.
    pub fn add(&self, service: &'static str, coordinator: Coordinator<Db>, db: Db) -> Result<(), Error> {
        let names: Vec<_> = coordinator.definitions().names().map(str::to_owned).collect();
        let collides = |other: &Registered| names.iter().any(|name| other.has(name));
        match self.0.add(Registered { service, coordinator, db }, collides) {
            true => Ok(()),
            false => Err(Error::internal(format!(
                "another coordinator of this process has one of the sagas {names:?}"
            ))),
        }
    }

    /// Returns the coordinator that has a definition named `saga`.
    ///
    /// # Errors
    /// Returns `NotFound`, with the names of the sagas, if this process has no such definition.
    pub fn coordinator(&self, saga: &str) -> Result<Registered, Error> {
        let registered = self.0.all();
        registered.iter().find(|one| one.has(saga)).cloned().ok_or_else(|| {
            let names = registered.iter().flat_map(|one| one.coordinator.definitions().names());
            let names = names.collect::<Vec<_>>();
            Error::not_found(format!("no saga {saga} in this process; the sagas are {names:?}"))
        })
    }

    /// Returns the numbers of runs, and the first `limit` runs behind `after` that pass `filter`: service by service, in the
    /// order of their sagas and ids. If the database of a service does not answer, the report contains the reason, and none
    /// of its runs.
    pub async fn report(&self, filter: &RunFilter, after: Option<&Position>, limit: u32) -> SagaReport {
        let mut databases: Vec<_> = self.0.all().into_iter().map(|one| (one.service, one.db)).collect();
        databases.sort_by_key(|(service, _)| *service);
        databases.dedup_by_key(|(service, _)| *service);
        let mut report = SagaReport { services: Vec::new(), runs: Vec::new(), next: None };
        for (service, db) in databases {
            let unavailable = report.add(service, &db, filter, after, limit as usize).await.err();
            if let Some(error) = unavailable {
                let unavailable = Some(error.chain().to_string());
                report.services.push(ServiceReport { service, counts: Vec::new(), unavailable });
            }
        }
        if report.runs.len() > limit as usize {
            report.runs.truncate(limit as usize);
            report.next = report.runs.last().map(Run::position);
        }
        report
    }
}

impl Registered {
    /// Returns the coordinator.
    #[must_use]
    pub const fn coordinator(&self) -> &Coordinator<Db> {
        &self.coordinator
    }

    /// Returns everything that is stored about `run`.
    ///
    /// # Errors
    /// Returns `NotFound` if there is no such run, and the errors of [`Db::saga_timeline`].
    pub async fn timeline(&self, run: &RunId) -> Result<Timeline, Error> {
        let timeline = self.db.saga_timeline(run).await?;
        timeline.ok_or_else(|| Error::not_found(format!("there is no run {run}")))
    }

    fn has(&self, saga: &str) -> bool {
        self.coordinator.definitions().names().any(|name| name == saga)
    }
}

impl SagaReport {
    /// Adds the numbers of a service, and its runs if the page has room for them and does not begin behind them. One run more
    /// than the limit shows that there is a next page.
    async fn add(
        &mut self,
        service: &'static str,
        db: &Db,
        filter: &RunFilter,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<(), Error> {
        let counts = db.saga_counts().await?;
        let counts = counts.into_iter().filter(|count| filter.saga.as_ref().is_none_or(|s| *s == count.saga));
        let is_passed = after.is_some_and(|after| service < after.service.as_str());
        let room = (limit + 1).saturating_sub(self.runs.len());
        if !is_passed && room > 0 {
            let after = after.filter(|after| after.service == service);
            let after = after.map(|after| RunId::new(&after.saga, &after.id));
            let runs = db.saga_runs(filter, after.as_ref(), u32::try_from(room).unwrap_or(u32::MAX)).await?;
            self.runs.extend(runs.into_iter().map(|run| Run::of(service, run)));
        }
        let counts = counts.map(Count::of).collect();
        self.services.push(ServiceReport { service, counts, unavailable: None });
        Ok(())
    }
}

impl Count {
    fn of(count: RunCount) -> Self {
        let RunCount { saga, version, phase, runs, failing, .. } = count;
        Self { saga, version, phase, runs, failing }
    }
}

impl Run {
    fn of(service: &'static str, stored: StoredRun) -> Self {
        let instance = stored.instance();
        let unreadable = instance.as_ref().err().map(|error| error.chain().to_string());
        let (cause, steps) = instance.map(|instance| (instance.cause, instance.steps)).unwrap_or_default();
        Self {
            service,
            version: stored.version,
            phase: stored.phase,
            started_at: rfc3339(stored.started_at),
            updated_at: rfc3339(stored.updated_at),
            cause,
            held: steps.into_iter().filter(|step| step.status == StepStatus::Held).collect(),
            error: unreadable.or(stored.error),
            state: stored.state,
            saga: stored.run.saga,
            id: stored.run.id,
        }
    }

    fn position(&self) -> Position {
        Position { service: self.service.to_owned(), saga: self.saga.clone(), id: self.id.clone() }
    }
}
