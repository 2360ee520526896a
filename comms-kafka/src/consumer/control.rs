//! The signals between the runners, the poll thread and `run` that stop a consumer.

use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use comms_core::Error;

/// The signals that stop a consumer.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// Requests a graceful stop: drain, commit, leave the group.
    pub(super) stopping: CancellationToken,
    /// The future of `run` was dropped: stop without a drain.
    pub(super) abandoned: CancellationToken,
    failure: Mutex<Option<Error>>,
}

impl Control {
    /// Requests a graceful stop because of `error`. The first of several errors is kept.
    pub(super) fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stopping.cancel();
    }

    /// Takes the error that stopped the consumer. `None` if shutdown was requested.
    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
