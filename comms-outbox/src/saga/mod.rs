//! The coordinator of sagas: stores their runs, and drives them with messages and timers.

mod builder;
mod change;
mod context;
mod coordinator;
mod handle;
mod progress;
mod report;
mod run;
mod store;
mod timeline;
mod timers;
mod writes;

pub use builder::CoordinatorBuilder;
pub use change::{LogLine, LoggedEffect, RunChange, RunInput};
pub use coordinator::Coordinator;
pub(crate) use run::phase;
pub use run::{DueRuns, LockedRun, RunCount, RunId, StoredRun, StoredTimer, Swept};
pub use store::SagaStore;
pub use timeline::{RunFilter, Timeline, TimelineTimer};
pub(crate) use writes::{LogRow, RunRow, Writes};

/// The most messages that are kept for a run that has not started.
pub(crate) const EARLY_LIMIT: i64 = 100;

pub(crate) fn too_many_early(run: &RunId) -> comms_core::Error {
    let text = format!(
        "{EARLY_LIMIT} messages wait for the run {run}, which has not started: start it, or delete them"
    );
    comms_core::Error::invalid(text)
}
