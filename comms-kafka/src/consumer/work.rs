//! What happens to one record in its lane.

use metrics::counter;
use std::sync::{Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

use super::{
    assignment::Flight,
    dead_letter::{self, DeadLetters, Place},
};
use comms_core::{Clock, Delivery, Error, Verdict, telemetry};

/// How the lanes, the poll thread and `run` tell each other to end.
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

/// Handles `record` to its end. Where it is left, it stays uncommitted.
pub(super) async fn work(mut record: Record, letters: &DeadLetters, control: &Control, clock: &Clock) {
    if !record.flight.start() {
        return;
    }
    let assignment = record.flight.assignment.clone();
    let (stopping, cancelled) = (assignment.closed.cancelled(), assignment.revoked.cancelled());
    let ended = match assignment.processor.process(record.delivery.clone(), stopping, cancelled).await {
        Verdict::Done(_) => Ok(true),
        Verdict::DeadLetter { error, attempts } => {
            let letter = dead_letter::letter(&record.delivery, record.place, &error, attempts, clock);
            tokio::select! {
                // First: a letter must not leave after the partition has.
                biased;
                () = assignment.revoked.cancelled() => Ok(false),
                carried = letters.carry(&letter) => carried.map(|()| {
                    let (kind, topic) = (error.kind.as_str(), assignment.topic.to_string());
                    let group = record.delivery.group.to_string();
                    counter!(telemetry::DEAD_LETTERS, "topic" => topic, "group" => group, "error" => kind).increment(1);
                    true
                }),
            }
        }
        Verdict::Held { .. } | Verdict::Abandoned => Ok(false),
        Verdict::Stop(error) => Err(error.context(format_args!("at {}", record.delivery.origin))),
    };
    match ended {
        Ok(true) => record.flight.complete(),
        Ok(false) => {}
        Err(error) => {
            // Before this lane goes on: a later record of the key must not overtake this one.
            assignment.close();
            control.fail(error);
        }
    }
}
