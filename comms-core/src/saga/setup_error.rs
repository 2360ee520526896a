//! The error of a faulty definition.

use crate::Error;

/// Why [`DefinitionBuilder::build`](super::DefinitionBuilder::build) or
/// [`Definitions::register`](super::Definitions::register) refused a definition. Converts into an [`Error`] of
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The name of a definition or a step is empty, or has characters other than ASCII letters, digits, `-`, `_`, `.`.
    #[error("{0:?} is no name of a saga or a step: use ASCII letters, digits, '-', '_' and '.'")]
    Name(String),
    /// The version is 0. Versions start at 1.
    #[error("version 0: versions start at 1")]
    VersionZero,
    /// Two events start a run.
    #[error("the events {0} and {1} both start a run: one event starts a run")]
    TwoStarts(&'static str, &'static str),
    /// The definition, or one of its parallel stages, has no step.
    #[error("a saga and a parallel stage need at least one step")]
    NoStep,
    /// Two steps have the same name.
    #[error("two steps are named {0}")]
    DuplicateStep(String),
    /// No reply can end the step.
    #[error("the step {0} has no reply that ends it: add Step::reply")]
    NoReply(String),
    /// The step has no time limit, or a limit of zero.
    #[error(
        "the step {0} has no time limit above zero: without one, a lost reply would stop the run for ever"
    )]
    NoTimeLimit(String),
    /// The step has zero attempts.
    #[error("the step {0} has zero attempts: it could never run")]
    NoAttempts(String),
    /// The step has a reply of its compensation, but no compensation.
    #[error("the step {0} awaits a reply of a compensation that it does not have: add Step::compensate")]
    NoCompensation(String),
    /// Two steps are the pivot.
    #[error("the steps {0} and {1} are both the pivot: keep one of them")]
    TwoPivots(String, String),
    /// The pivot is a step of a parallel stage. The other steps of the stage would be before or after it by chance.
    #[error("the pivot {0} is in a parallel stage: give it a stage of its own")]
    ParallelPivot(String),
    /// The pivot sends no command, so it can happen at any time, even while the run goes back.
    #[error("the pivot {0} is an observed step: a saga must decide itself when it begins")]
    ObservedPivot(String),
    /// A step after the pivot has a compensation.
    #[error("the step {0} is after the pivot and has a compensation, which would never run")]
    CompensationAfterPivot(String),
    /// Versions or a correlation are set for an event that neither starts the saga nor is a reply.
    #[error("{0} starts no run and is no reply: remove its versions or its correlation")]
    UnusedEvent(&'static str),
    /// A definition with this name and version is registered already.
    #[error("{0} v{1} is registered twice: give the changed definition a new version")]
    DuplicateDefinition(String, u32),
}

impl From<SetupError> for Error {
    fn from(error: SetupError) -> Self {
        Self::invalid(error)
    }
}
