//! Handles one record in its lane: runs its attempts, and writes its dead letter if they fail.

use metrics::counter;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

use super::{
    assignment::{Assignment, Flight},
    dead_letter::{DeadLetters, Place},
};
use comms_core::{Delivery, Error, telemetry, transport::Verdict};

/// The parts that the work on every record shares.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dead_letters: DeadLetters,
    pub(super) control: Arc<Control>,
}

/// The signals between the lanes, the poll thread and `run` that stop the consumer.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// Requests a graceful stop: drain, commit, close.
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

/// A record in a lane.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) flight: Flight,
    pub(super) delivery: Delivery,
    pub(super) place: Place,
}

/// Handles `record`. A record that is abandoned stays uncommitted.
pub(super) async fn work(mut record: Record, shared: &Shared) {
    if !record.flight.start() {
        return;
    }
    let assignment = record.flight.assignment.clone();
    match handle(&record, &assignment, shared).await {
        Ok(true) => record.flight.complete(),
        Ok(false) => {}
        Err(error) => {
            // Close before the lane continues, or a later record of the key would overtake this one.
            assignment.close();
            shared.control.fail(error);
        }
    }
}

/// Returns whether the record is complete: handled, or written as a dead letter.
async fn handle(record: &Record, assignment: &Assignment, shared: &Shared) -> Result<bool, Error> {
    let (stopping, cancelled) = (assignment.closed.cancelled(), assignment.revoked.cancelled());
    match assignment.processor.process(record.delivery.clone(), stopping, cancelled).await {
        Verdict::Done(_) => Ok(true),
        Verdict::DeadLetter { error, attempts } => {
            Ok(write_dead_letter(record, assignment, shared, &error, attempts).await)
        }
        // `Held` does not occur: the builder makes the processor wait in place, because the lane waits anyway.
        Verdict::Abandoned | Verdict::Held { .. } => Ok(false),
        Verdict::Stop(error) => Err(error.context(format_args!("at {}", record.delivery.origin))),
    }
}

/// Writes the dead letter. Returns `false` if the partition was revoked first.
async fn write_dead_letter(
    record: &Record,
    assignment: &Assignment,
    shared: &Shared,
    error: &Error,
    attempts: u32,
) -> bool {
    let (stopping, dead_letters) = (assignment.closed.cancelled(), &shared.dead_letters);
    tokio::select! {
        // The revocation is polled first: no dead letter may be written after it.
        biased;
        () = assignment.revoked.cancelled() => false,
        form = dead_letters.write(&record.delivery, record.place, error, attempts, stopping) => {
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
