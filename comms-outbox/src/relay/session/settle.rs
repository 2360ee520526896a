//! Processes the publisher's results.

use comms_core::{Error, transport::Disposition};

use super::{park::refuses_message, state::Session};
use crate::relay::{
    fault::Fault,
    in_flight::{Batch, Results, RowAge, RowRef},
    store::Position,
    track::Unsent,
};

impl Session<'_> {
    /// Settles a batch of the track at index `at`: rows are delivered, parked, or hold their topic.
    ///
    /// # Errors
    /// Returns `Fatal` if the publisher reports it, or returned another number of results than it took messages.
    pub(super) fn settle(&mut self, at: usize, batch: Batch, results: Results) -> Result<(), Error> {
        if results.len() != batch.rows.len() {
            return Err(wrong_number(batch.rows.len(), results.len()));
        }
        let Batch { rows, within, after, age } = batch;
        for (row, result) in rows.into_iter().zip(results) {
            match result {
                Ok(_) => {
                    self.context.metrics.relayed.increment(1);
                    self.record_delivered(at, &row);
                    self.progress = true;
                }
                Err(error) => self.settle_refused(at, row, error, &within, age)?,
            }
        }
        self.end_batch(at, after);
        self.mark_unsaved();
        if self.parking.pending() > 0 {
            // Rows that were read before their key was parked stand behind the parked row too.
            (0..self.tracks.len()).for_each(|at| self.park_behind(at));
        }
        Ok(())
    }

    /// Records a delivered row behind a refused row of its topic. It is not published again, unless its key has a
    /// refused row.
    fn record_delivered(&mut self, at: usize, row: &RowRef) {
        let track = if at == 0 { self.tracks.branch(&row.topic) } else { self.tracks.get(at) };
        let Some(track) = track else { return };
        if let Some(fault) = &track.fault
            && fault.settling
            && row.lane().is_none_or(|lane| !fault.lanes.contains(&lane))
        {
            track.delivered_ahead.insert(row.id);
        }
    }

    /// Settles a refused row: stops the relay, parks the row, or holds its topic, depending on the kind of `error`.
    fn settle_refused(
        &mut self,
        at: usize,
        row: RowRef,
        error: Error,
        within: &Position,
        age: RowAge,
    ) -> Result<(), Error> {
        if error.kind.disposition() == Disposition::Stop {
            return Err(error.context("publish"));
        }
        if refuses_message(&error) {
            self.park(row, &error);
            return Ok(());
        }
        if self.draining {
            // The next session delivers this row and the rows behind it again.
            if let Some(track) = self.tracks.get(at) {
                track.in_flight.stop_at_refusal();
            }
            return Ok(());
        }
        self.hold_topic(at, &row, &error, within.before(row.id), age);
        Ok(())
    }

    /// Holds the topic of `row` on its branch, which begins at `position` if there is none.
    fn hold_topic(&mut self, at: usize, row: &RowRef, error: &Error, position: Position, age: RowAge) {
        let clock = &self.context.clock;
        let track = match at {
            0 => match self.tracks.branch(&row.topic) {
                Some(track) => track,
                None => {
                    let track = self.tracks.begin_branch(row.topic.clone(), position.clone());
                    track.main_is_clear = false;
                    track
                }
            },
            _ => match self.tracks.get(at) {
                Some(track) => track,
                None => return,
            },
        };
        match &mut track.fault {
            Some(fault) if fault.settling => {}
            Some(fault) => fault.record_failure(position, error),
            None => track.fault = Some(Fault::new(position, error, Some(age), clock)),
        }
        if let Some(fault) = &mut track.fault {
            fault.lanes.extend(row.lane_to_keep());
            if fault.should_log(clock.now()) {
                tracing::error!(
                    relay = %self.holder.relay, topic = %row.topic, outbox_id = row.id, error = %fault.reason,
                    "topic held: its messages wait, other topics continue"
                );
            }
        }
        // Rows behind the refused row are read again, after the rows in flight are settled.
        (track.unsent, track.read_task) = (Unsent::default(), None);
        track.unsaved = true;
        self.tracks.main.drop_unsent(&row.topic);
    }

    /// Moves the settled position of the track after all rows of a batch are settled.
    fn end_batch(&mut self, at: usize, after: Option<Position>) {
        let draining = self.draining;
        let Some(track) = self.tracks.get(at) else { return };
        let stopped = draining && track.in_flight.is_stopped();
        if track.fault.as_ref().is_none_or(|fault| !fault.settling) && !stopped {
            if let Some(after) = after {
                track.settled_position = after;
                if track.is_quiet() {
                    track.skipped.clear();
                }
            }
            if let Some(fault) = track.fault.take() {
                let held = self.context.clock.now().saturating_duration_since(fault.since);
                let topic = track.topic.as_deref();
                tracing::info!(relay = %self.holder.relay, topic, ?held, "topic is no longer held");
            }
            track.unsaved |= at > 0;
        }
        self.schedule_attempts();
    }

    /// Schedules the next attempt of each held topic whose rows are all settled.
    fn schedule_attempts(&mut self) {
        for at in 1..self.tracks.len() {
            self.tracks.update_main_is_clear(at);
            let Some(track) = self.tracks.get(at).filter(|track| track.main_is_clear) else { continue };
            if track.in_flight.rows() > 0 {
                continue;
            }
            let Some(fault) = track.fault.as_mut().filter(|fault| fault.settling) else { continue };
            fault.settling = false;
            let position = fault.position.clone();
            let delay = fault.delay(&self.context.backoff, &self.context.clock);
            track.rewind(position);
            track.wait(delay, &self.context.clock);
        }
    }
}

/// A publisher that breaks its contract.
pub(super) fn wrong_number(taken: usize, results: usize) -> Error {
    Error::fatal(format!(
        "the publisher took {taken} messages and returned {results} results: it must return one for each message"
    ))
}
