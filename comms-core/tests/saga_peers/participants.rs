//! Participants that answer every command with the name of the step, and steps that wait for these answers.

use std::{collections::BTreeMap, time::Duration};

use comms_core::{
    event::Event,
    resilience::Backoff,
    saga::{Action, Instance, Reply},
};
use serde::{Deserialize, Serialize};

pub(crate) type Step = comms_core::saga::Step<Data>;

/// The id of the run under test.
pub(crate) const RUN: &str = "7";

/// The data of a run: the values that answers returned, by step.
pub(crate) type Data = BTreeMap<String, String>;

/// A command to execute or compensate a step, with the data of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) run: String,
    pub(crate) data: Data,
}

impl Event for Request {
    const TYPE: &'static str = "participant.request";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.run.clone()
    }
}

/// The answer of a participant, or an event of a service that a step observes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub(crate) run: String,
    pub(crate) step: String,
    pub(crate) action: Action,
    pub(crate) succeeded: bool,
    pub(crate) value: Option<String>,
}

impl Event for Answered {
    const TYPE: &'static str = "participant.answered";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.run.clone()
    }
}

impl Answered {
    pub(crate) fn new(step: &str, action: Action, succeeded: bool) -> Self {
        Self { run: RUN.into(), step: step.into(), action, succeeded, value: None }
    }

    /// Returns what the answer means for `action` of `step`, and stores its value.
    fn to(&self, step: &str, action: Action, data: &mut Data) -> Reply {
        if (self.step.as_str(), self.action) != (step, action) {
            return Reply::Ignored;
        }
        if let Some(value) = &self.value {
            data.insert(step.to_owned(), value.clone());
        }
        if self.succeeded { Reply::Done } else { Reply::Failed("refused".into()) }
    }
}

/// Returns a step of two attempts without a compensation.
pub(crate) fn step(name: &'static str) -> Step {
    answered(Step::command(name, request), name)
}

/// Returns a step that waits for an event.
pub(crate) fn observed(name: &'static str) -> Step {
    answered(Step::observe(name), name)
}

/// Adds a compensation of which the participant confirms the execution.
pub(crate) fn undoable(step: Step, name: &'static str) -> Step {
    step.compensate(request)
        .compensated_by::<Answered>(move |data, answered| answered.to(name, Action::Compensate, data))
}

/// Adds a compensation without a confirmation.
pub(crate) fn undone_unseen(step: Step) -> Step {
    step.compensate(request)
}

fn answered(step: Step, name: &'static str) -> Step {
    step.reply::<Answered>(move |data, answered| answered.to(name, Action::Execute, data))
        .topic(name)
        .time_limit(Duration::from_secs(10))
        .attempts(2, Backoff::default())
}

fn request(saga: &Instance<Data>) -> Request {
    Request { run: saga.id.clone(), data: saga.data.clone() }
}
