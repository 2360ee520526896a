//! What happens to one record in its lane.

use metrics::counter;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

use super::{
    assignment::{Assignment, Flight},
    dead_letter::{DeadLetters, Place},
};
use comms_core::{Delivery, Error, telemetry, transport::Verdict};

/// What the work on each record needs.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) letters: DeadLetters,
    pub(super) control: Arc<Control>,
}

/// The signals by which the lanes, the poll thread and `run` end each other.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// End in order: drain, commit, close.
    pub(super) stopping: CancellationToken,
    /// Nobody waits for the end any more: do not drain.
    pub(super) abandoned: CancellationToken,
    failure: Mutex<Option<Error>>,
}

impl Control {
    /// End in order because of `error`; of several the first counts.
    pub(super) fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stopping.cancel();
    }

    /// Why it ended, if not because it was told to.
    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A record on its way through a lane.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) flight: Flight,
    pub(super) delivery: Delivery,
    pub(super) place: Place,
}

/// Handles `record` to its end. A record that is left stays uncommitted.
pub(super) async fn work(mut record: Record, shared: &Shared) {
    if !record.flight.start() {
        return;
    }
    let assignment = record.flight.assignment.clone();
    match handle(&record, &assignment, shared).await {
        Ok(true) => record.flight.complete(),
        Ok(false) => {}
        Err(error) => {
            // Before this lane goes on: a later record of the key must not overtake this one.
            assignment.close();
            shared.control.fail(error);
        }
    }
}

/// Whether the record is handled, or stands in the dead letters.
async fn handle(record: &Record, assignment: &Assignment, shared: &Shared) -> Result<bool, Error> {
    let (stopping, cancelled) = (assignment.closed.cancelled(), assignment.revoked.cancelled());
    match assignment.processor.process(record.delivery.clone(), stopping, cancelled).await {
        Verdict::Done(_) => Ok(true),
        Verdict::DeadLetter { error, attempts } => {
            Ok(bury(record, assignment, shared, &error, attempts).await)
        }
        // `Held` does not come: the builder lets the processor wait in place, because the lane waits anyway.
        Verdict::Abandoned | Verdict::Held { .. } => Ok(false),
        Verdict::Stop(error) => Err(error.context(format_args!("at {}", record.delivery.origin))),
    }
}

/// Writes the dead letter. False where the partition went before that.
async fn bury(
    record: &Record,
    assignment: &Assignment,
    shared: &Shared,
    error: &Error,
    attempts: u32,
) -> bool {
    tokio::select! {
        // First: a dead letter must not leave after the partition has.
        biased;
        () = assignment.revoked.cancelled() => false,
        form = shared.letters.write(&record.delivery, record.place, error, attempts, assignment.closed.cancelled()) => {
            let Some(form) = form else { return false };
            let labels = [
                ("topic", assignment.topic.to_string()),
                ("group", record.delivery.group.to_string()),
                ("error", error.kind.as_str().to_owned()),
                ("form", form.as_str().to_owned()),
            ];
            counter!(telemetry::DEAD_LETTERS, &labels).increment(1);
            true
        }
    }
}
