//! What operators and pages read.

use std::time::Duration;

use comms_core::{
    Error,
    saga::{Cause, Instance, Phase, StepState},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    LogLine, RunId, StoredRun, StoredTimer,
    change::{LoggedChange, millis},
    context,
    run::phase,
};

/// Everything that is stored about a run, for an operator or a page.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Timeline {
    /// The identity.
    #[serde(flatten)]
    pub run: RunId,
    /// The version of the definition.
    pub version: u32,
    /// The phase.
    pub phase: Phase,
    /// The name of the state.
    pub state: String,
    /// When the run started: milliseconds since 1970, by the database's clock.
    pub started_at_ms: u64,
    /// When the run changed last.
    pub updated_at_ms: u64,
    /// Why the run goes back, or went back.
    pub cause: Option<Cause>,
    /// The steps with their attempts.
    pub steps: Vec<StepState>,
    /// The data of the run.
    pub data: Value,
    /// The timers that are set.
    pub timers: Vec<TimelineTimer>,
    /// Why a timer of the run could not be handled, or why the stored instance cannot be read.
    pub error: Option<String>,
    /// The trace of the last input from outside.
    pub trace_id: Option<String>,
    /// The changes, in their order.
    pub log: Vec<LogLine>,
}

/// A timer that is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TimelineTimer {
    /// The name of the timer.
    pub timer: String,
    /// When the timer is due: milliseconds since 1970, by the database's clock.
    pub due_at_ms: u64,
}

/// Which runs a list contains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunFilter {
    /// Only runs of this saga.
    pub saga: Option<String>,
    /// Only runs in this phase.
    pub phase: Option<Phase>,
}

impl RunFilter {
    /// Returns a filter that every run passes.
    #[must_use]
    pub const fn all() -> Self {
        Self { saga: None, phase: None }
    }

    /// Returns the same filter for the runs of `saga` alone.
    #[must_use]
    pub fn saga(self, saga: impl Into<String>) -> Self {
        Self { saga: Some(saga.into()), ..self }
    }

    /// Returns the same filter for the runs in `phase` alone.
    #[must_use]
    pub fn phase(self, phase: Phase) -> Self {
        Self { phase: Some(phase), ..self }
    }
}

impl Timeline {
    /// Makes the timeline. An instance that does not decode is reported as the error of the run.
    pub(crate) fn of(stored: StoredRun, timers: Vec<StoredTimer>, log: Vec<LogLine>) -> Self {
        let instance = stored.instance();
        let unreadable = instance.as_ref().err().map(|error| error.chain().to_string());
        let (cause, steps, data) = match instance {
            Ok(Instance { cause, steps, data, .. }) => (cause, steps, data),
            Err(_) => (None, Vec::new(), Value::Null),
        };
        let timer = |timer: StoredTimer| TimelineTimer {
            timer: timer.id.as_str().to_owned(),
            due_at_ms: millis(timer.due_at),
        };
        Self {
            version: stored.version,
            phase: stored.phase,
            started_at_ms: millis(stored.started_at),
            updated_at_ms: millis(stored.updated_at),
            cause,
            steps,
            data,
            timers: timers.into_iter().map(timer).collect(),
            error: unreadable.or(stored.error),
            trace_id: context::trace_id(&stored.headers),
            log,
            state: stored.state,
            run: stored.run,
        }
    }
}

impl LogLine {
    /// Makes a line of the columns of a row.
    ///
    /// # Errors
    /// Returns `Internal` if the columns do not decode.
    pub(crate) fn decode(
        sequence: i64,
        at: Duration,
        phase_text: &str,
        state: String,
        entry: &str,
    ) -> Result<Self, Error> {
        let damaged =
            |e| Error::internal(e).context(format_args!("decode line {sequence} of the log of a run"));
        let LoggedChange { input, effects, trace_id } = serde_json::from_str(entry).map_err(damaged)?;
        let (phase, at_ms) = (phase(phase_text)?, millis(at));
        Ok(Self { sequence: sequence.unsigned_abs(), at_ms, phase, state, input, effects, trace_id })
    }
}
