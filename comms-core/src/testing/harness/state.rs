//! The state of one delivery, and the failure of one attempt.

use std::{fmt, time::Duration};

use crate::{Error, ErrorKind, Outcome};

/// The state of one delivery of a message to a consumer group, as [`TestConsumer`](super::TestConsumer) reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryState {
    /// The handler returned [`Outcome::Done`].
    Done,
    /// The handler returned [`Outcome::Duplicate`].
    Duplicate,
    /// The handler returned [`Outcome::Skipped`].
    Skipped,
    /// The dead letter is acknowledged. The last attempt failed with this kind of error.
    DeadLettered(ErrorKind),
    /// The delivery is held and attempted again without counting attempts. The last attempt failed with this kind of
    /// error.
    Held(ErrorKind),
    /// The delivery waits for its next counted attempt. The last attempt failed with this kind of error.
    Retrying(ErrorKind),
    /// The delivery waits behind an earlier delivery of its key that is held or retried.
    Queued,
    /// The delivery is on its way to the handler, its handler runs, or its dead letter is being written.
    Running,
    /// The consumer stopped before the delivery was settled. The message is delivered again after a restart.
    Abandoned,
    /// The handler returned an error of this kind, which stopped the consumer.
    Stopped(ErrorKind),
}

impl From<Outcome> for DeliveryState {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::Duplicate => Self::Duplicate,
            Outcome::Skipped => Self::Skipped,
        }
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, kind) = match self {
            Self::Done => ("done", None),
            Self::Duplicate => ("duplicate", None),
            Self::Skipped => ("skipped", None),
            Self::DeadLettered(kind) => ("dead-lettered", Some(kind)),
            Self::Held(kind) => ("held", Some(kind)),
            Self::Retrying(kind) => ("retrying", Some(kind)),
            Self::Queued => ("queued", None),
            Self::Running => ("running", None),
            Self::Abandoned => ("abandoned", None),
            Self::Stopped(kind) => ("stopped the consumer", Some(kind)),
        };
        match kind {
            Some(kind) => write!(f, "{text} ({kind})"),
            None => f.write_str(text),
        }
    }
}

/// The error of a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The text of the error and of its causes, as [`Error::chain`] displays it.
    pub text: String,
    /// The wait that the error requests.
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        Self { kind: error.kind, text: error.chain().to_string(), retry_after: error.retry_after }
    }
}
