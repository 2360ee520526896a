//! Hands rows to the publisher.

use super::state::Session;
use crate::relay::in_flight::Batch;

impl Session<'_> {
    /// Hands the unsent messages of each track to the publisher, as many as it takes.
    pub(super) fn publish(&mut self) {
        let publisher = &self.context.publisher;
        self.tracks.for_each(|track| {
            if !track.has_unsent() {
                return;
            }
            let (messages, rows) = (&mut track.unsent.messages, &mut track.unsent.rows);
            let before = messages.len();
            let acks = publisher.enqueue(messages);
            let taken = before.saturating_sub(messages.len());
            let Some(age) = track.unsent.age.filter(|_| taken > 0) else { return };
            let rows = rows.drain(..taken).collect();
            let after = track.unsent.after.clone().filter(|_| messages.is_empty());
            track.in_flight.push(Batch { rows, within: track.unsent.within.clone(), after, age }, acks);
        });
    }
}
