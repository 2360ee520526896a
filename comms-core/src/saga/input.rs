//! The inputs of a run.

use super::effect::TimerId;
use crate::Message;

/// An input of [`Definition::transition`](super::Definition::transition).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input<'a> {
    /// A message, usually a reply. Messages of other events, of other runs and duplicates change nothing.
    Message(&'a Message),
    /// A timer of [`Effect::SetTimer`](super::Effect::SetTimer) that fired.
    Timer(TimerId),
    /// A request of an operator.
    Operator(Operation),
}

/// A request of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Go back: await the running steps, then compensate. Refused once the command of the pivot was sent.
    Cancel {
        /// The reason in words.
        reason: String,
    },
    /// Attempt every held step again, with the attempts of its definition.
    Retry,
    /// Set the status of one step that is in progress or held, because the operator knows it.
    Force {
        /// The step.
        step: String,
        /// The status.
        status: ForcedStatus,
    },
}

/// A status that an operator sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForcedStatus {
    /// The step was executed.
    Done,
    /// The step was not executed, and will not be. Refused after the pivot, where a run only goes forward.
    Failed,
    /// The step was compensated.
    Compensated,
}
