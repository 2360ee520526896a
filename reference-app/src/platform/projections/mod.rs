//! The registry of projections, for `/projections` of the admin listener.

use comms_core::{Error, clock::rfc3339};
use comms_outbox::{ParkedEvent, ParkedEventState, ProjectionState};
use serde::Serialize;

use super::{
    db::{Db, ProjectionHandle},
    registry::Registry,
};

/// The projections of this process. Clones share them.
#[derive(Clone, Default)]
pub struct ProjectionRegistry(Registry<Registered>);

/// One revision of a projection.
#[derive(Clone)]
pub struct Registered {
    service: &'static str,
    name: &'static str,
    handle: ProjectionHandle,
    db: Db,
}

/// The state of one revision of a projection.
#[derive(Serialize)]
pub struct ProjectionReport {
    service: &'static str,
    name: &'static str,
    revision: u32,
    /// What the projection does in this process.
    state: &'static str,
    /// Why the projection retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    live: bool,
    applied: u64,
    lag_events: u64,
    lag_seconds: f64,
    /// The event at which the projection is parked, and the events that were skipped.
    parked: Vec<ReportedEvent>,
    /// The reason why the table of parked events could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable: Option<String>,
}

/// An event that a projection could not apply, without its payload.
#[derive(Serialize)]
struct ReportedEvent {
    event: String,
    source: String,
    stream: String,
    version: u64,
    state: &'static str,
    kind: String,
    error: String,
    since: String,
    reason: Option<String>,
}

impl ProjectionRegistry {
    /// Adds the projection `name` of `service`.
    ///
    /// # Errors
    /// Returns `Internal` if a projection of this process has the same name and revision: an operator addresses it by both.
    pub fn add(
        &self,
        service: &'static str,
        name: &'static str,
        handle: ProjectionHandle,
        db: Db,
    ) -> Result<(), Error> {
        let new = Registered { service, name, handle, db };
        let revision = new.revision();
        match self.0.add(new, |other| other.is(name, revision)) {
            true => Ok(()),
            false => Err(Error::internal(format!(
                "two projections of this process are {name}, revision {revision}"
            ))),
        }
    }

    /// Returns the state of each projection. If a database does not answer, the report contains the reason.
    pub async fn report(&self) -> Vec<ProjectionReport> {
        let mut reports = Vec::new();
        for projection in self.0.all() {
            reports.push(projection.report().await);
        }
        reports
    }

    /// Returns the revision `revision` of the projection `name`.
    ///
    /// # Errors
    /// Returns `NotFound`, with the projections of this process, if it is not one of them.
    pub fn projection(&self, name: &str, revision: u32) -> Result<Registered, Error> {
        let registered = self.0.all();
        registered.iter().find(|projection| projection.is(name, revision)).cloned().ok_or_else(|| {
            let names = registered.iter().map(|one| format!("{} v{}", one.name, one.revision()));
            let names = names.collect::<Vec<_>>();
            Error::not_found(format!(
                "no projection {name} v{revision} in this process; the projections are {names:?}"
            ))
        })
    }
}

impl Registered {
    /// Makes the projection attempt the event `event`, at which it is parked, again.
    ///
    /// # Errors
    /// Returns `Conflict` if the projection is not parked at this event, and the errors of [`Db::retry_event`].
    pub async fn retry(&self, event: &str) -> Result<(), Error> {
        let parked = self.parked_at(event).await?;
        self.settled(event, self.db.retry_event(&parked).await?)
    }

    /// Makes the projection pass over the event `event`, at which it is parked.
    ///
    /// # Errors
    /// Returns `Conflict` if the projection is not parked at this event, and the errors of [`Db::skip_event`].
    pub async fn skip(&self, event: &str, reason: &str) -> Result<(), Error> {
        let parked = self.parked_at(event).await?;
        self.settled(event, self.db.skip_event(&parked, reason).await?)
    }

    async fn parked_at(&self, event: &str) -> Result<ParkedEvent, Error> {
        let parked = self.db.parked_events(self.name).await?;
        let is_it = |parked: &ParkedEvent| parked.revision == self.revision() && parked.id == event;
        let is_open = |parked: &ParkedEvent| parked.state != ParkedEventState::Skipped;
        let found = parked.into_iter().find(|parked| is_it(parked) && is_open(parked));
        found.ok_or_else(|| self.not_parked_at(event))
    }

    fn settled(&self, event: &str, is_done: bool) -> Result<(), Error> {
        if is_done { Ok(()) } else { Err(self.not_parked_at(event)) }
    }

    fn not_parked_at(&self, event: &str) -> Error {
        let (name, revision) = (self.name, self.revision());
        Error::conflict(format!("the projection {name} v{revision} is not parked at the event {event}"))
    }

    async fn report(self) -> ProjectionReport {
        let (status, parked) = (self.handle.status(), self.db.parked_events(self.name).await);
        let unavailable = parked.as_ref().err().map(|error| error.chain().to_string());
        let parked = parked.unwrap_or_default().into_iter();
        let (state, reason) = match status.state {
            ProjectionState::CatchingUp => ("catching_up", None),
            ProjectionState::Live => ("live", None),
            ProjectionState::Retrying { reason } => ("retrying", Some(reason)),
            ProjectionState::Parked(_) => ("parked", None),
            _ => ("standby", None),
        };
        ProjectionReport {
            service: self.service,
            name: self.name,
            revision: status.revision,
            state,
            reason,
            live: status.live,
            applied: status.applied,
            lag_events: status.lag_events,
            lag_seconds: status.lag.as_secs_f64(),
            parked: parked.filter(|one| one.revision == status.revision).map(ReportedEvent::of).collect(),
            unavailable,
        }
    }

    fn revision(&self) -> u32 {
        self.handle.status().revision
    }

    fn is(&self, name: &str, revision: u32) -> bool {
        self.name == name && self.revision() == revision
    }
}

impl ReportedEvent {
    fn of(parked: ParkedEvent) -> Self {
        Self {
            event: parked.id,
            source: parked.source,
            stream: parked.stream.to_string(),
            version: parked.version,
            state: parked.state.as_str(),
            kind: parked.error_kind,
            error: parked.error,
            since: rfc3339(parked.parked_at),
            reason: parked.reason,
        }
    }
}

#[cfg(test)]
mod tests;
