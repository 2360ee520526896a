//! Saves the position, the branches and the parked rows, and renews the lease in the same transaction.

use comms_core::Error;

use super::state::Session;
use crate::relay::{
    call::{CALL_LIMIT, limited},
    store::Changes,
};

impl Session<'_> {
    /// Saves the state of the session and renews the lease. Returns `false` if the lease is lost.
    pub(super) async fn save(&mut self) -> Result<bool, Error> {
        self.save_with(Changes::default()).await
    }

    /// Saves `changes` in addition, in the same transaction. Returns `false` if the lease is lost.
    pub(super) async fn save_with(&mut self, mut changes: Changes) -> Result<bool, Error> {
        let requested_at = self.context.clock.now();
        changes.park = self.parking.changes();
        changes.covers.clone_from(&self.pending.covers);
        changes.joined.clone_from(&self.pending.joined);
        changes.branches = self.tracks.unsaved();
        changes.branches.extend(self.pending.branches.iter().cloned());
        let position = self.tracks.main.settled_position.clone();
        let save = self.context.store.save(&self.holder, &position, &changes);
        if !limited(&self.context.clock, CALL_LIMIT, save).await? {
            tracing::warn!(relay = %self.holder.relay, token = %self.holder.token, "relay lost the lease");
            return Ok(false);
        }
        self.lease_valid_until = requested_at + self.holder.lease;
        self.parking.saved();
        self.tracks.saved();
        self.pending = Changes::default();
        self.unsaved = false;
        self.next_save.as_mut().reset(self.context.settings.lease / 3);
        self.report();
        Ok(true)
    }

    /// Loads the parked lanes from the database.
    pub(super) async fn load_parked(&mut self) -> Result<(), Error> {
        let parked = self.context.store.parked_lanes(&self.holder.relay);
        let parked = limited(&self.context.clock, CALL_LIMIT, parked).await?;
        self.parking.load(parked);
        self.report();
        Ok(())
    }
}
