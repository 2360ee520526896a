//! A stored run.

use std::{fmt, time::Duration};

use comms_core::{
    Error,
    saga::{Instance, Phase, TimerId},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits;

/// The identity of a run: the name of its definition and its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunId {
    /// The name of the definition.
    pub saga: String,
    /// The id of the run, unique within the name of the definition.
    pub id: String,
}

impl RunId {
    /// Returns the identity of the run `id` of the saga `saga`.
    #[must_use]
    pub fn new(saga: impl Into<String>, id: impl Into<String>) -> Self {
        Self { saga: saga.into(), id: id.into() }
    }

    pub(crate) fn of(instance: &Instance<Value>) -> Self {
        Self::new(&instance.saga, &instance.id)
    }

    /// Checks that the tables can store the identity.
    ///
    /// # Errors
    /// Returns `Invalid` if the name or the id is empty, too long or contains NUL.
    pub(super) fn check(&self) -> Result<(), Error> {
        limits::check_name("the name of a saga", &self.saga)?;
        limits::check_name("the id of a run", &self.id)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.id, self.saga)
    }
}

/// A row of `comms_saga`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredRun {
    /// The identity.
    pub run: RunId,
    /// The version of the definition.
    pub version: u32,
    /// The phase.
    pub phase: Phase,
    /// The name of the state for people.
    pub state: String,
    /// The number of changes, from 1.
    pub revision: u64,
    /// When the run started: time since 1970, by the database's clock.
    pub started_at: Duration,
    /// When the run changed last: time since 1970, by the database's clock.
    pub updated_at: Duration,
    /// How often the current timer or repair of the run has failed.
    pub failures: u32,
    /// Why it failed, at most 1 KiB; `None` after a change.
    pub error: Option<String>,
    pub(crate) instance: String,
    pub(crate) headers: Vec<u8>,
}

impl StoredRun {
    /// Returns the instance.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if the stored JSON is not an instance of
    /// this run, so that a message waits until the row is repaired.
    pub fn instance(&self) -> Result<Instance<Value>, Error> {
        let decode =
            |error: Error| error.context(format_args!("decode the instance of the run {}", self.run));
        let instance: Instance<Value> =
            serde_json::from_str(&self.instance).map_err(|e| decode(Error::misconfigured(e)))?;
        if RunId::of(&instance) != self.run {
            let text = format!("it belongs to the run {} of {}", instance.id, instance.saga);
            return Err(decode(Error::misconfigured(text)));
        }
        Ok(instance)
    }
}

/// A locked run with its timers.
#[derive(Debug)]
#[non_exhaustive]
pub struct LockedRun {
    /// The run.
    pub run: StoredRun,
    /// The timers of the run, the oldest first.
    pub timers: Vec<StoredTimer>,
}

/// A timer of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredTimer {
    /// The name of the timer within its run.
    pub id: TimerId,
    /// When the timer is due: time since 1970, by the database's clock.
    pub due_at: Duration,
    /// Whether the timer was due when it was read.
    pub is_due: bool,
}

/// The runs with the oldest timers.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DueRuns {
    /// The runs with a timer that is due, each once, the oldest timer first.
    pub runs: Vec<RunId>,
    /// How long the oldest timer has been due.
    pub lag: Duration,
    /// The time until the next timer is due. `None` if the timers that were read are all due, or there are none.
    pub next: Option<Duration>,
}

impl DueRuns {
    /// Makes the page of timers in the order of their due times: each with its run and the seconds since it was due.
    pub(crate) fn of(timers: impl IntoIterator<Item = (RunId, f64)>) -> Self {
        let (mut page, mut seen) = (Self::default(), std::collections::HashSet::new());
        for (run, seconds) in timers {
            let duration = Duration::try_from_secs_f64(seconds.abs()).unwrap_or(Duration::MAX);
            if seconds < 0.0 {
                page.next = page.next.or(Some(duration));
                continue;
            }
            page.lag = page.lag.max(duration);
            if seen.insert(run.clone()) {
                page.runs.push(run);
            }
        }
        page
    }
}

/// The number of runs in one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunCount {
    /// The name of the definition.
    pub saga: String,
    /// The version of the definition. A version without runs need not be registered any more.
    pub version: u32,
    /// The phase.
    pub phase: Phase,
    /// The number of runs.
    pub runs: u64,
    /// The number of these runs whose timer or repair has failed and is repeated.
    pub failing: u64,
}

/// What a sweep found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Swept {
    /// Runs that are in progress and have no timer.
    pub without_timer: Vec<RunId>,
    /// The runs that have not ended.
    pub counts: Vec<RunCount>,
    /// The early messages that were deleted because their run did not start in time.
    pub expired: u64,
}

/// Converts the column `phase`.
pub(crate) fn phase(text: &str) -> Result<Phase, Error> {
    serde_json::from_value(text.into()).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_each_due_run_once_and_the_wait_for_the_next() {
        let run = |id: &str| RunId::new("order", id);
        let timers = [(run("2"), 3.0), (run("1"), 1.5), (run("2"), 0.0), (run("3"), -0.25), (run("1"), -9.0)];
        let page = DueRuns::of(timers);
        assert_eq!(page.runs, [run("2"), run("1")]);
        assert_eq!((page.lag, page.next), (Duration::from_secs(3), Some(Duration::from_millis(250))));
        let full = DueRuns::of([(run("1"), 1.0)]);
        assert_eq!((full.runs.len(), full.next), (1, None));
    }
}
