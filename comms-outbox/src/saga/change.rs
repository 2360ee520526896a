//! A change of a run, and its line in the log.

use std::time::Duration;

use comms_core::{
    context::Context,
    saga::{Action, Command, Effect, ForcedStatus, Instance, Operation, Phase, TimerId},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A committed or about to be committed change of a run, with its effects.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunChange {
    /// The state after the change.
    pub instance: Instance<Value>,
    /// The number of the change within the run, from 1.
    pub revision: u64,
    /// What caused the change.
    pub input: RunInput,
    /// The effects of the change.
    pub effects: Vec<Effect>,
    /// The context of the commands.
    pub(crate) context: Context,
}

impl RunChange {
    pub(super) fn commands(&self) -> impl Iterator<Item = &Command> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Send(command) => Some(command),
            _ => None,
        })
    }

    /// Returns the part of the log line that is stored as JSON.
    pub(crate) fn entry(&self) -> LoggedChange {
        LoggedChange {
            input: self.input.clone(),
            effects: self.effects.iter().filter_map(LoggedEffect::of).collect(),
            trace_id: self.context.trace.map(|trace| trace.trace_id()),
        }
    }
}

/// What caused a change of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunInput {
    /// The application started the run.
    Start,
    /// A message, which started the run if this is the first change.
    Message {
        /// The type of the event, such as `payment.changed.v1`.
        event_type: Option<String>,
        /// The source of the message.
        source: String,
        /// The id of the message.
        id: String,
    },
    /// A timer fired.
    Timer {
        /// The timer.
        timer: TimerId,
    },
    /// An operator continued the run.
    Operator {
        /// Who it was, as given to [`Coordinator::operate`](super::Coordinator::operate).
        operator: String,
        /// The operation: `cancel`, `retry` or `force`.
        operation: String,
        /// The reason of a cancel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The step whose result was forced.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// The forced result: `done`, `failed` or `compensated`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<String>,
    },
    /// The coordinator set timers again that were lost.
    Repair,
}

impl RunInput {
    pub(super) fn operator(operator: &str, operation: &Operation) -> Self {
        let (name, reason, step, status) = match operation {
            Operation::Cancel { reason } => ("cancel", Some(reason.clone()), None, None),
            Operation::Retry => ("retry", None, None, None),
            Operation::Force { step, status } => ("force", None, Some(step.clone()), Some(forced(*status))),
            _ => ("other", None, None, None),
        };
        Self::Operator { operator: operator.to_owned(), operation: name.to_owned(), reason, step, status }
    }

    /// Returns the value of the metric label `input`.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Message { .. } => "message",
            Self::Timer { .. } => "timer",
            Self::Operator { .. } => "operator",
            Self::Repair => "repair",
        }
    }
}

fn forced(status: ForcedStatus) -> String {
    let text = match status {
        ForcedStatus::Done => "done",
        ForcedStatus::Failed => "failed",
        ForcedStatus::Compensated => "compensated",
        _ => "other",
    };
    text.to_owned()
}

/// The JSON column of a line of the log. The form is stable: fields may be added, and unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LoggedChange {
    pub(crate) input: RunInput,
    pub(crate) effects: Vec<LoggedEffect>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trace_id: Option<String>,
}

/// An effect of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum LoggedEffect {
    /// A command was sent.
    Command {
        /// The id of the message.
        id: String,
        /// The step.
        step: String,
        /// Whether the command executes or compensates the step.
        action: Action,
        /// The number of the attempt, from 1.
        attempt: u32,
        /// The topic.
        topic: String,
        /// The type of the command on the wire.
        event_type: String,
    },
    /// A timer was set: the time limit of an attempt, or the wait before the next one.
    Timer {
        /// The timer.
        timer: TimerId,
        /// The wait in milliseconds.
        after_ms: u64,
    },
    /// A step is held, and an operator was notified.
    Alarm {
        /// The step.
        step: String,
        /// The reason in words.
        reason: String,
    },
}

impl LoggedEffect {
    fn of(effect: &Effect) -> Option<Self> {
        Some(match effect.clone() {
            Effect::Send(Command { id, step, action, attempt, topic, event_type, .. }) => {
                Self::Command { id, step, action, attempt, topic, event_type }
            }
            Effect::SetTimer(timer, after) => Self::Timer { timer, after_ms: millis(after) },
            Effect::Alarm { step, reason } => Self::Alarm { step, reason },
            // A cancelled timer follows from the input.
            _ => return None,
        })
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A line of the log of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LogLine {
    /// The number of the change, from 1.
    pub sequence: u64,
    /// When the change was made: milliseconds since 1970, by the database's clock.
    pub at_ms: u64,
    /// The phase after the change.
    pub phase: Phase,
    /// The name of the state after the change.
    pub state: String,
    /// What caused the change.
    pub input: RunInput,
    /// The effects.
    pub effects: Vec<LoggedEffect>,
    /// The trace in which the change was made.
    pub trace_id: Option<String>,
}
