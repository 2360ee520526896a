//! What becomes of rows that were read, and of the publisher's answers.

use comms_core::{Error, transport::Disposition};

use super::{HOT, SAVE_EVERY, Stint};
use crate::{
    parked::Refusal,
    relay::{
        fault::Fault,
        flights::{Aged, Flight, Results, Sent},
        store::{Page, Position},
    },
};

impl Stint<'_> {
    pub(super) fn take(&mut self, at: usize, page: Page) {
        let Page { rows, age, within, after, scan, more } = page;
        if self.relay.works() {
            self.report();
        }
        let idle = self.relay.settings.idle;
        let pause = self.pause;
        let found = more || !rows.is_empty();
        if at == 0 {
            self.pause = if found { HOT.min(idle) } else { (pause * 2).min(idle) };
        }
        let aged = (!rows.is_empty()).then(|| Aged { read: self.relay.clock.now(), age });
        let Some(track) = self.tracks.get(at) else { return };
        track.look = None;
        if !found && at == 0 {
            track.wait(pause);
        }
        track.near = !more && track.target.as_ref() == Some(&after);
        if at > 0 && !found && !track.near {
            // The branch is ahead: the main track has to come up to it.
            track.wait(idle);
        }
        track.changed |= at > 0;
        track.read = after.clone();
        track.scan = scan;
        (track.unsent.within, track.unsent.after, track.unsent.aged) = (within.clone(), Some(after), aged);
        for row in rows {
            self.admit(at, row, &within);
        }
        self.sift(at);
        // Nothing is left that could be refused.
        if let Some(track) = self.tracks.get(at).filter(|track| at > 0 && track.near && track.is_quiet()) {
            track.fault = None;
        }
        if !found && at == 0 && self.tracks.main.flights.rows() == 0 {
            self.relay.set_behind(None);
        }
        if at > 0 {
            self.mark_dirty();
        }
    }

    /// Puts a row in line to be handed over, unless it is not this track's, damaged, or delivered already.
    fn admit(&mut self, at: usize, row: crate::relay::Row, within: &Position) {
        let sent = Sent::of(&row);
        // Read before the destination was set apart. Its branch reads the row, behind the refused one.
        if at == 0 && self.tracks.is_apart(&sent.topic) {
            return;
        }
        if at == 0 && self.tracks.is_unnamed(&sent.topic) {
            tracing::error!(
                relay = %self.holder.relay, destination = %sent.topic,
                "no process with the lease names this destination: its messages wait"
            );
            let branch = self.tracks.set_apart(sent.topic, within.before(sent.id));
            self.pending.branches.push(branch);
            self.mark_dirty();
            return;
        }
        let Some(track) = self.tracks.get(at) else { return };
        if track.skips(sent.id) {
            return;
        }
        match row.message {
            Ok(message) => {
                track.unsent.rows.push_back(sent);
                track.unsent.messages.push_back(message);
            }
            Err(error) => self.park(sent, &error),
        }
    }

    /// Parks what waits to be handed over behind a parked row of its key.
    fn sift(&mut self, at: usize) {
        let Some(track) = self.tracks.get(at) else { return };
        track.retain_unsent(|row| !self.parking.stops(row));
        if self.parking.pending() > 0 {
            self.mark_dirty();
        }
    }

    pub(super) fn settle(&mut self, at: usize, flight: Flight, results: Results) -> Result<(), Error> {
        if results.len() != flight.rows.len() {
            return Err(Error::fatal("the publisher answered for another number of messages than it took"));
        }
        let Flight { rows, within, after, aged } = flight;
        for (row, result) in rows.into_iter().zip(results) {
            match result {
                Ok(_) => {
                    self.relay.metrics.relayed.increment(1);
                    self.note_delivered(at, &row);
                    self.progress = true;
                }
                Err(error) => self.refused(at, row, error, &within, aged)?,
            }
        }
        self.settled(at, after);
        self.mark_dirty();
        if self.parking.pending() > 0 {
            // What was read before its key was parked stands behind it too.
            (0..self.tracks.len()).for_each(|at| self.sift(at));
        }
        Ok(())
    }

    fn refused(
        &mut self,
        at: usize,
        row: Sent,
        error: Error,
        within: &Position,
        aged: Aged,
    ) -> Result<(), Error> {
        let disposition = error.kind.disposition();
        if disposition == Disposition::Stop {
            return Err(error.context("publish"));
        }
        if Refusal::carried(&error).is_some() || is_the_messages(&error) {
            self.park(row, &error);
            return Ok(());
        }
        if self.draining {
            // It comes again with the next session, and everything behind it.
            if let Some(track) = self.tracks.get(at) {
                track.flights.stop_at_refusal();
            }
            return Ok(());
        }
        let position = within.before(row.id);
        let clock = &self.relay.clock;
        let track = match at {
            0 => match self.tracks.branch(&row.topic) {
                Some(track) => track,
                None => {
                    let track = self.tracks.begin(row.topic.clone(), position.clone());
                    track.clear = false;
                    track
                }
            },
            _ => match self.tracks.get(at) {
                Some(track) => track,
                None => return Ok(()),
            },
        };
        match &mut track.fault {
            Some(fault) if fault.settling => {}
            Some(fault) => fault.again(position, &error),
            None => track.fault = Some(Fault::new(position, &error, Some(aged), clock)),
        }
        if let Some(fault) = &mut track.fault {
            fault.lanes.extend(row.lane());
            let relay = &self.holder.relay;
            if fault.logs(clock.now()) {
                tracing::error!(
                    %relay, destination = %row.topic, outbox_id = row.id, error = %fault.reason,
                    "destination held: its messages wait, others go on"
                );
            }
        }
        // What was read behind the refused row is read again, after the rows in flight are settled.
        (track.unsent, track.reading) = (crate::relay::track::Unsent::default(), None);
        track.changed = true;
        self.tracks.main.forget_unsent(&row.topic);
        Ok(())
    }

    /// A row behind a refused one of its destination that went through: it is not sent again, unless its key has a
    /// refused row.
    fn note_delivered(&mut self, at: usize, row: &Sent) {
        let track = if at == 0 { self.tracks.branch(&row.topic) } else { self.tracks.get(at) };
        let Some(track) = track else { return };
        if let Some(fault) = &track.fault
            && fault.settling
            && row.lane().is_none_or(|lane| !fault.lanes.contains(&lane))
        {
            track.delivered.insert(row.id);
        }
    }

    /// A flight is settled as a whole.
    fn settled(&mut self, at: usize, after: Option<Position>) {
        let draining = self.draining;
        let Some(track) = self.tracks.get(at) else { return };
        let stopped = draining && track.flights.is_stopped();
        if track.fault.as_ref().is_none_or(|fault| !fault.settling) && !stopped {
            if let Some(after) = after {
                track.acked = after;
                if track.is_quiet() {
                    track.skipped.clear();
                }
            }
            if let Some(fault) = track.fault.take() {
                let destination = track.destination.as_deref();
                tracing::info!(relay = %self.holder.relay, destination, held = ?fault.since.elapsed(), "destination goes on");
            }
            track.changed |= at > 0;
        }
        self.settle_faults();
    }

    /// Refused destinations whose rows are all settled wait for their next attempt.
    fn settle_faults(&mut self) {
        for at in 1..self.tracks.len() {
            self.tracks.clear(at);
            let Some(track) = self.tracks.get(at).filter(|track| track.clear) else { continue };
            if track.flights.rows() > 0 {
                continue;
            }
            let Some(fault) = track.fault.as_mut().filter(|fault| fault.settling) else { continue };
            fault.settling = false;
            let (position, delay) = (fault.at.clone(), fault.delay(&self.relay.backoff, &self.relay.clock));
            track.rewind(position);
            track.wait(delay);
        }
    }

    pub(super) fn mark_dirty(&mut self) {
        if !self.dirty {
            self.dirty = true;
            self.save = Box::pin(tokio::time::sleep(SAVE_EVERY.min(self.relay.settings.lease / 3)));
        }
    }

    fn park(&mut self, row: Sent, error: &Error) {
        let relay = &self.holder.relay;
        let refusal = Refusal::of(error);
        let error = &refusal.reason;
        if refusal.hold.is_some() {
            tracing::warn!(%relay, outbox_id = row.id, topic = %row.topic, %error, "message held");
        } else {
            tracing::error!(%relay, outbox_id = row.id, topic = %row.topic, %error, "message parked");
            self.relay.metrics.dead_letters.increment(1);
        }
        self.parking.refuse(row, refusal);
    }
}

/// Whether the publisher refused this one message, and would take others.
pub(in crate::relay) fn is_the_messages(error: &Error) -> bool {
    use comms_core::ErrorKind as Kind;
    error.kind.disposition() == Disposition::DeadLetter || error.kind == Kind::Internal
}
