//! The final result of a delivery's attempts.

use crate::{Error, Outcome};

/// The final result of a delivery's attempts, which the worker carries out.
#[derive(Debug)]
pub(in crate::transport) enum Verdict {
    /// The handler succeeded: acknowledge the delivery.
    Done(Outcome),
    /// The attempts are used up, or another attempt cannot succeed: publish the delivery as a dead letter with the
    /// error, then acknowledge it.
    DeadLetter {
        /// The error of the last attempt.
        error: Error,
        /// The number of counted attempts.
        attempts: u32,
    },
    /// The hold would exceed [`AttemptConfig::hold_in_place`](super::AttemptConfig::hold_in_place): return the delivery
    /// to the owner of the worker. It stays in the [`Holds`](crate::transport::Holds).
    Held {
        /// The error of the last attempt. Its `retry_after`, if any, is at most five minutes.
        error: Error,
        /// The number of the next attempt. The attempts during the hold are not counted.
        attempts: u32,
    },
    /// A signal of the consumer ended the work (shutdown, or a revoked partition): leave the delivery unacknowledged.
    Abandoned,
    /// The error is [`Fatal`](crate::ErrorKind::Fatal): leave the delivery unacknowledged and stop the process.
    Stop(Error),
}
