//! The rows that changes of runs write, for both backends.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use comms_core::{
    Error,
    saga::{Effect, TimerId},
};

use super::{RunChange, RunId, RunInput, change::millis, context};

/// The rows of a call to `save_runs`: one for each run, with the result of all its changes.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    pub(crate) runs: Vec<RunRow>,
    pub(crate) log: Vec<LogRow>,
    /// The timers to set, each with its wait in milliseconds.
    pub(crate) set: BTreeMap<(RunId, TimerId), i64>,
    /// The timers to delete. None of them is set.
    pub(crate) deleted: BTreeSet<(RunId, TimerId)>,
}

#[derive(Debug)]
pub(crate) struct RunRow {
    pub(crate) run: RunId,
    pub(crate) version: i64,
    pub(crate) phase: &'static str,
    pub(crate) state: String,
    /// The stored revision; 0 for a new run.
    pub(crate) expected: i64,
    pub(crate) revision: i64,
    pub(crate) instance: String,
    pub(crate) headers: Vec<u8>,
    /// All timers of the run are deleted.
    pub(crate) ended: bool,
}

#[derive(Debug)]
pub(crate) struct LogRow {
    pub(crate) run: RunId,
    pub(crate) sequence: i64,
    pub(crate) phase: &'static str,
    pub(crate) state: String,
    pub(crate) entry: String,
}

impl Writes {
    /// Makes the rows of `changes`. Several changes of one run come in their order.
    ///
    /// # Errors
    /// Returns `Invalid` if the state cannot be encoded.
    pub(crate) fn of(changes: &[RunChange]) -> Result<Self, Error> {
        let (mut writes, mut runs) = (Self::default(), BTreeMap::<RunId, RunRow>::new());
        for change in changes {
            let row = row(change)?;
            let entry = serde_json::to_string(&change.entry()).map_err(Error::invalid)?;
            let RunRow { run, revision, phase, state, .. } = &row;
            let (run, state) = (run.clone(), state.clone());
            writes.log.push(LogRow { run: run.clone(), sequence: *revision, phase, state, entry });
            writes.timers(&run, change);
            let expected = runs.get(&run).map_or(row.expected, |first| first.expected);
            runs.insert(run, RunRow { expected, ..row });
        }
        writes.runs = runs.into_values().collect();
        Ok(writes)
    }

    fn timers(&mut self, run: &RunId, change: &RunChange) {
        if let RunInput::Timer { timer } = &change.input {
            self.delete(run, timer);
        }
        for effect in &change.effects {
            match effect {
                Effect::SetTimer(timer, after) => {
                    let key = (run.clone(), timer.clone());
                    self.deleted.remove(&key);
                    self.set.insert(key, wait_millis(*after));
                }
                Effect::CancelTimer(timer) => self.delete(run, timer),
                _ => {}
            }
        }
    }

    fn delete(&mut self, run: &RunId, timer: &TimerId) {
        let key = (run.clone(), timer.clone());
        self.set.remove(&key);
        self.deleted.insert(key);
    }
}

/// The longest wait of a timer, about 100 years, in milliseconds: a later time does not fit into the database.
const LONGEST_WAIT: i64 = 3_200_000_000_000;

pub(crate) fn wait_millis(wait: Duration) -> i64 {
    i64::try_from(millis(wait)).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
}

fn row(change: &RunChange) -> Result<RunRow, Error> {
    let instance = &change.instance;
    let revision = i64::try_from(change.revision).map_err(Error::internal)?;
    Ok(RunRow {
        run: RunId::of(instance),
        version: instance.version.into(),
        phase: instance.phase.as_str(),
        state: instance.state.replace('\0', ""),
        expected: revision - 1,
        revision,
        instance: serde_json::to_string(instance).map_err(Error::invalid)?,
        headers: context::encode(&change.context),
        ended: instance.is_ended(),
    })
}
