//! Gives back the stock of reservations that are not confirmed in time.

use comms_core::{Error, Scoped, health::Heartbeat};

use super::store::{Store, reservations::Due};
use crate::platform::{
    db::{Db, Tx},
    service::{DueRows, PAGE, Sweep, settle_due},
};

/// The reservations whose time is over.
pub(super) struct Expiry {
    pub(super) db: Db,
    pub(super) store: Store,
}

impl Sweep for Expiry {
    async fn sweep(&self, heartbeat: &Heartbeat) -> Result<(), Error> {
        settle_due(&self.db, self, heartbeat).await.map(drop)
    }
}

impl DueRows for Expiry {
    type Row = Due;

    async fn due(&self, after: Option<&Due>) -> Result<Vec<Due>, Error> {
        self.store.due(after, PAGE).await
    }

    async fn settle(&self, tx: &mut Scoped<Tx>, due: &Due) -> Result<bool, Error> {
        self.store.expire(tx, &due.order_id).await
    }
}
