//! What a session writes: the cursor, branches, parked rows, the lease; and how it ends.

use std::time::Duration;

use comms_core::{Error, ErrorKind};

use super::{End, Stint};
use crate::relay::{
    CALL_LIMIT, limited,
    store::Changes,
    track::{Event, Track},
};

/// How long the main track waits for branches to join it.
const JOIN_LIMIT: Duration = Duration::from_secs(2);

impl Stint<'_> {
    /// Brings branches that caught up to the main position. The main track stops reading for that at the end of a
    /// window, or a busy branch would chase it for ever.
    pub(super) fn join(&mut self) {
        let main = &self.tracks.main;
        if main.is_quiet() && main.read.is_settled() {
            self.join_branches();
        }
        // A branch with messages in flight does not stop the others; once they have stopped, its last lap may.
        let stopped = self.tracks.joining.is_some();
        let near = |track: &Track| track.near && track.fault.is_none() && (stopped || track.is_quiet());
        if !self.tracks.branches().iter().any(near) {
            self.tracks.joining = None;
            return;
        }
        let now = self.relay.clock.now();
        let since = *self.tracks.joining.get_or_insert(now);
        if now.saturating_duration_since(since) > JOIN_LIMIT {
            self.tracks.give_up_joining();
        }
    }

    fn join_branches(&mut self) {
        let joined = self.tracks.join();
        if joined.is_empty() {
            return;
        }
        for destination in &joined {
            tracing::info!(relay = %self.holder.relay, %destination, "destination is at the position of the others");
        }
        self.pending.joined.extend(joined);
        self.mark_dirty();
    }

    /// Ends in order: waits for what is in flight, within the limit, and writes what was reached. So what is
    /// sent again after a failure stands behind everything sent before.
    pub(in crate::relay) async fn finish(&mut self, result: Result<End, Error>) -> Result<End, Error> {
        self.draining = true;
        self.tracks.each(|track| track.reading = None);
        if matches!(result, Ok(End::Lost)) {
            return result;
        }
        let drained = tokio::time::timeout(self.relay.settings.drain, self.drain()).await;
        if let Ok(Err(error)) = drained
            && error.kind == ErrorKind::Fatal
        {
            return Err(error);
        }
        if result.as_ref().err().is_none_or(|error| error.kind == ErrorKind::Fatal) {
            // The end: a successor may begin at once.
            self.holder.lease = Duration::ZERO;
        } else {
            self.relay.set_behind(self.oldest());
        }
        if let Err(error) = self.write().await {
            let error = error.chain();
            tracing::warn!(relay = %self.holder.relay, %error, "the cursor was not written; rows will come again");
        }
        result
    }

    /// Settles flights, and writes meanwhile.
    async fn drain(&mut self) -> Result<(), Error> {
        while self.tracks.all().any(|track| track.flights.rows() > 0) || self.releases.in_flight() {
            let releasing = self.releases.in_flight();
            tokio::select! {
                biased;
                () = self.save.as_mut() => {
                    if !self.write().await? {
                        return Ok(());
                    }
                }
                (track, event) = super::next(&mut self.tracks, false) => {
                    if let Event::Settled(flight, results) = event {
                        self.settle(track, flight, results)?;
                    }
                }
                answered = self.releases.next(), if releasing => {
                    if let Some((rows, results)) = answered && !self.settle_release(rows, results).await? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes cursor, branches, parking and lease. `false`: the session has ended.
    pub(in crate::relay) async fn write(&mut self) -> Result<bool, Error> {
        self.write_with(Changes::default()).await
    }

    pub(in crate::relay) async fn write_with(&mut self, mut changes: Changes) -> Result<bool, Error> {
        let asked = self.relay.clock.now();
        changes.park = self.parking.changes();
        changes.covers.clone_from(&self.pending.covers);
        changes.joined.clone_from(&self.pending.joined);
        changes.branches = self.tracks.changes();
        changes.branches.extend(self.pending.branches.iter().cloned());
        let position = self.tracks.main.acked.clone();
        let saved = limited(CALL_LIMIT, self.relay.store.save(&self.holder, &position, &changes)).await?;
        if !saved {
            tracing::warn!(relay = %self.holder.relay, token = %self.holder.token, "relay lost the lease");
            return Ok(false);
        }
        self.valid_until = asked + self.holder.lease;
        self.parking.saved();
        self.tracks.saved();
        self.pending = Changes::default();
        self.dirty = false;
        self.save = Box::pin(tokio::time::sleep(self.relay.settings.lease / 3));
        self.report();
        Ok(true)
    }

    pub(in crate::relay) async fn load_parked(&mut self) -> Result<(), Error> {
        let parked = limited(CALL_LIMIT, self.relay.store.parked_lanes(&self.holder.relay)).await?;
        self.parking.load(parked);
        self.report();
        Ok(())
    }
}
