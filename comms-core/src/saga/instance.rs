//! The state of one run of a saga.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One run of a saga: what a coordinator stores.
///
/// `D` is the data of the run, such as the ids that replies return. The JSON form is stable: fields may be added, and
/// unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Instance<D> {
    /// The name of the definition.
    pub saga: String,
    /// The version of the definition. Another version refuses the instance.
    pub version: u32,
    /// The id of the run, unique within the definition's name. By default the key of the event that started the run.
    pub id: String,
    /// Whether the run goes forward, goes back, has ended, or needs an operator.
    pub phase: Phase,
    /// The name of the state for people, such as `PaymentProcessing`.
    pub state: String,
    /// The steps, in the order of the definition.
    pub steps: Vec<StepState>,
    /// Why the run goes back, or went back. `None` while it goes forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The data of the run.
    pub data: D,
}

/// The phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// The steps are executed.
    Running,
    /// A step failed or the run was cancelled. Running steps are awaited, then the executed steps are compensated.
    Compensating,
    /// Every step is done. The run has ended.
    Completed,
    /// Every step with a compensation failed, was skipped, or is compensated. The run has ended.
    Failed,
    /// A step or a compensation got no result in all its attempts. An operator or a late reply continues the run.
    Held,
}

/// Why a run goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cause {
    /// The step that failed. `None` if an operator cancelled the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The reason in words.
    pub reason: String,
}

/// The state of one step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepState {
    /// The name of the step.
    pub name: String,
    /// The status of the step.
    pub status: StepStatus,
    /// The attempts to execute the step that have begun.
    #[serde(default)]
    pub attempts: u32,
    /// The attempts to compensate the step that have begun.
    #[serde(default)]
    pub compensations: u32,
    /// The attempts at the action in progress that began before an operator's last retry. They do not count towards the
    /// number of attempts of the definition.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub earlier_attempts: u32,
    /// Whether the last attempt got no result and the next one is due after the backoff.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// Why the step failed, is unknown, or is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The status of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepStatus {
    /// The step has not begun.
    Pending,
    /// The command was sent, or the event is awaited.
    Running,
    /// The step was executed.
    Done,
    /// The step was not executed: the reply reported a failure.
    Failed,
    /// The step got no reply in all its attempts: it may have been executed. It is compensated like a step that is done.
    Unknown,
    /// The command of the compensation was sent.
    Compensating,
    /// The step was compensated.
    Compensated,
    /// The step or its compensation got no result in all its attempts.
    Held,
    /// The run went back before the step began.
    Skipped,
}

/// The two directions of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Execute the step.
    Execute,
    /// Undo the effect of the step.
    Compensate,
}

impl Phase {
    /// Returns the name in JSON and in metrics, such as `running`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Held => "held",
        }
    }
}

impl<D> Instance<D> {
    /// Returns the state of the step named `name`.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&StepState> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// Returns whether the run has ended: [`Phase::Completed`] or [`Phase::Failed`]. No input changes it any more.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Completed | Phase::Failed)
    }

    /// Returns the instance with the data that `convert` makes of its data.
    pub(super) fn try_map<T, E>(self, convert: impl FnOnce(D) -> Result<T, E>) -> Result<Instance<T>, E> {
        let Self { saga, version, id, phase, state, steps, cause, data } = self;
        Ok(Instance { saga, version, id, phase, state, steps, cause, data: convert(data)? })
    }
}

impl StepState {
    pub(super) fn new(name: &str) -> Self {
        let status = StepStatus::Pending;
        Self {
            name: name.to_owned(),
            status,
            attempts: 0,
            compensations: 0,
            earlier_attempts: 0,
            waiting: false,
            reason: None,
        }
    }

    /// Returns what is in progress or held.
    pub(crate) const fn action(&self) -> Option<Action> {
        match self.status {
            StepStatus::Running => Some(Action::Execute),
            StepStatus::Compensating => Some(Action::Compensate),
            StepStatus::Held if self.compensations == 0 => Some(Action::Execute),
            StepStatus::Held => Some(Action::Compensate),
            _ => None,
        }
    }

    /// Returns the number of attempts at `action` that have begun.
    pub(crate) const fn attempts_of(&self, action: Action) -> u32 {
        match action {
            Action::Execute => self.attempts,
            Action::Compensate => self.compensations,
        }
    }

    /// Returns the number of attempts at `action` since the action began or an operator retried it.
    pub(crate) const fn recent_attempts_of(&self, action: Action) -> u32 {
        self.attempts_of(action).saturating_sub(self.earlier_attempts)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Execute => "execute",
            Self::Compensate => "compensate",
        })
    }
}
