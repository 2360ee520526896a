//! Parks rows: one that was refused because of its content, and later rows of its key.

use comms_core::{Error, ErrorKind, transport::Disposition};

use super::state::Session;
use crate::{parked::Refusal, relay::in_flight::RowRef};

impl Session<'_> {
    /// Parks or holds `row` with the reason in `error`.
    pub(super) fn park(&mut self, row: RowRef, error: &Error) {
        let relay = &self.holder.relay;
        let refusal = Refusal::of(error);
        let error = &refusal.reason;
        if refusal.hold.is_some() {
            tracing::warn!(%relay, outbox_id = row.id, topic = %row.topic, %error, "message held");
        } else {
            tracing::error!(%relay, outbox_id = row.id, topic = %row.topic, %error, "message parked");
            self.context.metrics.dead_letters.increment(1);
        }
        self.parking.park(row, refusal);
    }

    /// Parks the unsent rows of the track at index `at` whose keys are parked.
    pub(super) fn park_behind(&mut self, at: usize) {
        let Some(track) = self.tracks.get(at) else { return };
        track.retain_unsent(|row| !self.parking.park_behind(row));
        if self.parking.pending() > 0 {
            self.mark_unsaved();
        }
    }
}

/// Returns whether the publisher refused this message because of its content, and may accept others of the topic.
pub(super) fn refuses_message(error: &Error) -> bool {
    Refusal::carried_by(error).is_some()
        || error.kind.disposition() == Disposition::DeadLetter
        || error.kind == ErrorKind::Internal
}
