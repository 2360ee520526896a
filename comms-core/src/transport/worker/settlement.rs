//! The results of a worker.

use std::sync::Arc;

use crate::{Error, Outcome};

/// The result of one delivery.
#[derive(Debug)]
pub struct Settled {
    /// The tag that the owner passed to [`Worker::push`](super::Worker::push).
    pub tag: u64,
    /// What became of the delivery.
    pub result: Settlement,
}

/// What became of a delivery.
#[derive(Debug)]
#[non_exhaustive]
pub enum Settlement {
    /// The handler succeeded: acknowledge the delivery.
    Done(Outcome),
    /// The delivery failed for good, and its dead letter is written: acknowledge the delivery.
    DeadLettered,
    /// The delivery failed for good, and there is no writer of dead letters. The key is blocked, see
    /// [`Worker::release`](super::Worker::release).
    Refused {
        /// The error of the last attempt.
        error: Error,
        /// The number of counted attempts.
        attempts: u32,
    },
    /// The hold would exceed [`AttemptConfig::hold_in_place`](crate::transport::AttemptConfig::hold_in_place): deliver
    /// the message again later, with `attempts` as its [`Delivery::attempt`](crate::Delivery::attempt). The key is
    /// blocked, see [`Worker::release`](super::Worker::release).
    Held {
        /// The error of the last attempt. Its `retry_after`, if any, is at most five minutes.
        error: Error,
        /// The number of the next attempt. The attempts during the hold are not counted.
        attempts: u32,
    },
    /// The delivery did not run, because its key is blocked by a refused or held delivery. The text is the error of that
    /// delivery.
    Behind(Arc<str>),
    /// The worker was stopped before the delivery had a result: leave the delivery unacknowledged.
    Abandoned,
    /// The error is [`Fatal`](crate::ErrorKind::Fatal), or the failure policy stops the worker: leave the delivery
    /// unacknowledged and stop the process. The worker has stopped, as by [`Worker::stop`](super::Worker::stop).
    Stopped(Error),
}
