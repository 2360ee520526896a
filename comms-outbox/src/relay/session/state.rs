//! The state of a session.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use comms_core::clock::Sleep;
use tokio::sync::watch;

use crate::relay::{
    context::RelayContext,
    parking::Parking,
    released::Released,
    store::{Changes, LeaseHolder},
    tracks::Tracks,
};

/// The longest time from an acknowledgement to the save of the position. A crash repeats what was delivered in it.
const SAVE_INTERVAL: Duration = Duration::from_millis(100);
/// The pause before the next read after rows were found. It doubles up to the poll interval.
pub(super) const MIN_PAUSE: Duration = Duration::from_millis(1);

/// How a session ended without an error.
#[derive(Debug)]
pub(in crate::relay) enum End {
    /// Shutdown was requested.
    Shutdown,
    /// Another owner has the lease.
    NoLease,
    /// Another session took the lease, or the database went through a recovery.
    Lost,
}

pub(in crate::relay) struct Session<'a> {
    pub(super) context: &'a RelayContext,
    pub(super) holder: LeaseHolder,
    /// Until when this session certainly has the lease, counted from before the request for it.
    pub(super) lease_valid_until: Instant,
    pub(super) tracks: Tracks,
    pub(super) parking: Parking,
    pub(super) released: Released,
    /// Changes for the next save, besides parked rows and branches.
    pub(super) pending: Changes,
    /// Rows were settled after the last save.
    pub(super) unsaved: bool,
    /// A row was delivered in this session.
    pub(in crate::relay) progress: bool,
    /// The session ends: a refusal stops the position, and begins no branch.
    pub(super) draining: bool,
    pub(super) commits: watch::Receiver<()>,
    /// The pause before the next read if a read finds no row.
    pub(super) pause: Duration,
    pub(super) next_save: Pin<Box<Sleep>>,
}

impl Session<'_> {
    /// Returns whether this session certainly has the lease. Otherwise no message may be handed to the publisher.
    pub(super) fn lease_is_valid(&self) -> bool {
        self.context.clock.now() < self.lease_valid_until
    }

    /// Schedules a save soon.
    pub(super) fn mark_unsaved(&mut self) {
        if !self.unsaved {
            self.unsaved = true;
            let interval = SAVE_INTERVAL.min(self.context.settings.lease / 3);
            self.next_save.as_mut().reset(interval);
        }
    }
}
